"""What pictures of boxes are made of: images with boxes on them, their letters, a legend.

Parts are told apart by colour (Okabe and Ito's, for colour-blind readers too) and by a letter; a
box as the expert gave it is solid, a calibrated one dashed, one that nobody trusts dotted.

Lengths are inches, from a figure's upper left corner. R is the number of parts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from results.sheet import NOTE, SIDE, Sheet, broken

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7")
"""Of the parts, in their order."""
RAW, CALIBRATED, DISCARDED = "solid", (0, (3, 1.5)), (0, (1, 1))
SMALL, LABEL = 5.0, NOTE
"""Sizes of letters, in points."""
TALLEST = 3.0
"""An image is shown at most so many times as high as wide."""
_TAG = (0.075, 0.085)
"""Width and height of a part's letter on its ground."""


@dataclass(frozen=True)
class BoxPicture:
    """An image [H, W, 3] uint8 and where its parts are, as fractions of its width and height.

    boxes: [R, 4] as the expert gave them, NaN where it found nothing; calibrated: [R, 4], others
    where they were replaced; None where only masks are known. discarded: [R] bool, what nobody
    trusts. masks: [R, h, w] bool, the patches of every part, where they are shown.
    """

    name: str
    image: np.ndarray
    boxes: np.ndarray | None
    calibrated: np.ndarray | None
    discarded: np.ndarray
    masks: np.ndarray | None = None

    def found(self, part: int) -> bool:
        """Whether the expert gave a box of a part."""
        return self.boxes is not None and not bool(np.isnan(self.boxes[part]).any())

    def replaced(self, part: int) -> bool:
        """Whether calibration put another box in its place, or one where there was none."""
        if self.boxes is None or self.calibrated is None:
            return False
        return not np.array_equal(self.boxes[part], self.calibrated[part], equal_nan=True)


def show_picture(sheet: Sheet, picture: BoxPicture, left: float, top: float, width: float) -> Axes:
    """An image `width` wide in its own shape; its axes go from 0 to 1, from top to bottom."""
    axes = sheet.axes(left, top, width, width * shape_of(picture))
    axes.imshow(picture.image, extent=(0, 1, 1, 0), aspect="auto")
    axes.set_xlim(0, 1)
    axes.set_ylim(1, 0)
    return axes


def name_lines(name: str, width: float) -> list[str]:
    """A file's name in small letters, broken after `_`, `-` and `.` where that is enough."""
    shown = re.sub(r"\s", " ", name)
    return broken(re.findall(r"[^_.-]*[_.-]|[^_.-]+", shown), width, SMALL)


def shape_of(picture: BoxPicture) -> float:
    """Height by width at which an image is shown: its own, if it is no tower."""
    return float(min(TALLEST, picture.image.shape[0] / picture.image.shape[1]))


def tallest(pictures: Sequence[BoxPicture]) -> float:
    """The largest height by width of some images."""
    return max(map(shape_of, pictures))


def draw_boxes(
    axes: Axes, picture: BoxPicture, parts: Sequence[str], only: int | None = None
) -> None:
    """The boxes of the parts (or of one `only`), with letters; calibrated ones beside raw ones."""
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    if picture.boxes is None or picture.calibrated is None:
        return
    tags: list[tuple[float, float]] = []
    for part, name in enumerate(parts):
        if only not in (None, part):
            continue
        styles: list[tuple[np.ndarray, Any]] = []
        if picture.found(part):
            styles.append((picture.boxes[part], DISCARDED if picture.discarded[part] else RAW))
        if picture.replaced(part):
            styles.append((picture.calibrated[part], CALIBRATED))
        for (x0, y0, x1, y1), style in styles:
            edge = Rectangle(
                (x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=COLOURS[part], linewidth=0.9,
                linestyle=style, path_effects=[withStroke(linewidth=1.7, foreground="black")],
            )  # fmt: skip
            axes.add_patch(edge)
        if only is None and styles:
            tags.append(_tag(axes, styles[0][0], name, COLOURS[part], tags))


def _tag(
    axes: Axes, box: np.ndarray, name: str, colour: str, others: Sequence[tuple[float, float]]
) -> tuple[float, float]:
    """The letter of a part in a free place on its box, else beside it; returns where it is."""
    figure = axes.get_figure()
    assert figure is not None
    place, inches = axes.get_position(), figure.get_size_inches()  # type: ignore[union-attr]
    wide, high = _TAG[0] / (place.width * inches[0]), _TAG[1] / (place.height * inches[1])
    x0, y0, x1, y1 = box
    columns = (x0, x1 - wide, (x0 + x1 - wide) / 2, x1, x0 - wide)
    rows = (y0, y1 - high, (y0 + y1 - high) / 2)
    corners = [(x, y) for y in (*rows, y1, y0 - high) for x in columns]
    inner = [(min(max(x, 0), 1 - wide), min(max(y, 0), 1 - high)) for x, y in corners]
    free = [
        (x, y) for x, y in inner
        if all(abs(x - a) >= wide or abs(y - b) >= high for a, b in others)
    ]  # fmt: skip
    x, y = (free or inner)[0]
    axes.fill([x, x + wide, x + wide, x], [y, y, y + high, y + high], colour, linewidth=0, zorder=4)
    axes.text(
        x + wide / 2, y + high / 2, name[:1].upper(), fontsize=4.5, ha="center",
        va="center_baseline", color="black", zorder=5,
    )  # fmt: skip
    return x, y


def legend(sheet: Sheet, pictures: Sequence[BoxPicture], parts: Sequence[str], top: float) -> None:
    """What colours, letters and lines mean; those that are to be seen in `pictures`."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, linewidth=2.5, label=f"{part[:1].upper()}: {part}")
        for part, colour in zip(parts, COLOURS, strict=False)
    ]
    handles += [
        Line2D([], [], color="black", linewidth=0.9, linestyle=style, label=label)
        for style, label in styles_of(pictures, parts)
    ]
    sheet.key(handles, SIDE, top, 3 if sheet.width < 5 else 6, labelspacing=0.35)


def legend_depth(width: float) -> float:
    """Height of a legend."""
    return 0.26 if width < 5 else 0.14


def styles_of(pictures: Sequence[BoxPicture], parts: Sequence[str]) -> list[tuple[Any, str]]:
    """The line styles that occur, with what they stand for."""
    here = [(one, part) for one in pictures for part in range(len(parts))]
    used: list[tuple[Any, str]] = [(RAW, "as the expert gave it")]
    if any(one.replaced(part) for one, part in here):
        used.append((CALIBRATED, "calibrated"))
    if any(one.found(part) and one.discarded[part] for one, part in here):
        used.append((DISCARDED, "discarded"))
    return used
