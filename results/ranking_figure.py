"""Queries and the first images of their ranked galleries, from plain arrays.

A right image has a solid frame and a check, a wrong one a dashed frame and a cross, so they are
told apart without colour, too. Lengths are inches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from results.figures import COLUMN, plain
from results.sheet import (
    LINE,
    NOTE,
    SIDE,
    Sheet,
    breadth,
    depth,
    heading_depth,
    wrapped,
)
from results.tables import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RIGHT, WRONG = "#0072B2", "#D55E00"
"""Blue and vermilion of Okabe and Ito, told apart by colour-blind readers."""
DASHED = (0.0, (2.2, 1.2))
ABREAST = 10
"""More rows than this stand in two columns."""
SHAPES = (1.0, 3.0)
"""The least and the most height by width of the cell that images are shown in."""
SMALL = 5.0
"""Size of the letters below an image, in points."""
_NARROWEST = 0.25
"""A cell is no narrower than this; a figure of more of them is wider than a paper's column."""
_GAP, _INSET = 0.3, 0.87
"""In cells: beside the first images of a gallery, and how wide an image may be."""
_ABOVE, _BETWEEN = 0.03, 0.07
"""Between a row's name and its images, and between two rows."""
_SIGN = 0.085
"""Side of the square that a check or a cross stands on."""
_CHECK = [[(0.18, 0.55), (0.42, 0.78), (0.82, 0.25)]]
_CROSS = [[(0.24, 0.24), (0.76, 0.76)], [(0.24, 0.76), (0.76, 0.24)]]


@dataclass(frozen=True)
class Picture:
    """An image [H, W, 3] uint8 and what stands below it: on one line, if all of a figure fit."""

    image: np.ndarray
    label: tuple[str, ...]


@dataclass(frozen=True)
class RankedRow:
    """A query and the first images of its gallery, best first; `right` says which of them match.

    `later` is the first right one, where it is not among them. `name` stands above the row at the
    left, shortened in its middle if need be; `said` at the right, whole.
    """

    name: str
    said: str
    query: Picture
    gallery: Sequence[Picture]
    right: Sequence[bool]
    later: Picture | None = None

    @property
    def pictures(self) -> list[Picture]:
        """The query, the gallery, and the first right one if it comes later."""
        return [self.query, *self.gallery, *([self.later] if self.later else [])]


def ranking_figure(
    rows: Sequence[RankedRow], title: str, said: Sequence[str] = (), top: int = 10
) -> Figure:
    """A row for each query, with room for `top` images of its gallery; `said` are below the title.

    As wide as a paper's column for up to ten images and ten rows; more rows stand in two columns,
    the second read after the first. An image keeps its own shape within its cell.
    """
    across = 1 if len(rows) <= ABREAST else 2
    down = -(-len(rows) // across)
    units = 1 + _GAP + top + (_GAP + 1 if _later(rows) else 0)
    cell = max((COLUMN - 2 * SIDE) / units, _NARROWEST)
    block = max(COLUMN, cell * units + 2 * SIDE)
    width = block * across
    tall = _INSET * cell * _shape(rows)
    under = 1 if _fit(rows, cell) else 2
    pitch = LINE * (NOTE + under * SMALL) / 72 + _ABOVE + tall + _BETWEEN
    above = heading_depth(title, said, width) + 0.05
    footing = wrapped(_legend(rows), width - 2 * SIDE, NOTE)
    height = above + down * pitch + 0.15 + depth(footing, NOTE) + 0.05
    with plain():
        sheet = Sheet.new(width, height)
        sheet.heading(title, said)
        for i, row in enumerate(rows):
            column, line = divmod(i, down)
            corner = (SIDE + column * block, above + line * pitch)
            _row(sheet, row, corner, (cell, tall), block - 2 * SIDE, top, under == 1)
        below = above + down * pitch
        sheet.key(_handles(), SIDE, below + 0.02, 2)
        sheet.text(SIDE, below + 0.15, footing, NOTE)
    return sheet.figure


def shortened(text: str, width: float, size: float) -> str:
    """`text` with its middle left out where letters of `size` points do not fit into `width`."""
    whole = short = printable(text)
    with plain():
        for kept in range(len(whole) - 1, 0, -1):
            if breadth(short, size) <= width:
                break
            # more of the end, where the names of files differ
            short = f"{whole[: kept // 3]}…{whole[len(whole) - (kept - kept // 3) :]}"
    return short


def _shape(rows: Sequence[RankedRow]) -> float:
    """Height by width of all cells: of the image in the middle, unless it is extreme."""
    images = [one.image for row in rows for one in row.pictures]
    shapes = sorted(image.shape[0] / image.shape[1] for image in images)
    return float(np.clip(shapes[len(shapes) // 2], *SHAPES))


def _fit(rows: Sequence[RankedRow], cell: float) -> bool:
    """Whether every label fits below its image on one line."""
    labels = {" ".join(one.label) for row in rows for one in row.pictures}
    with plain():
        return all(breadth(label, SMALL) <= 0.95 * cell for label in labels)


def _row(
    sheet: Sheet,
    row: RankedRow,
    corner: tuple[float, float],
    size: tuple[float, float],
    width: float,
    top: int,
    one_line: bool,
) -> None:
    """One query below `corner`; `size` is the pitch of the cells and their height."""
    (left, down), (cell, tall) = corner, size
    inner = _INSET * cell
    with plain():
        free = width - breadth(row.said, NOTE) - 0.12
    sheet.text(left, down, [shortened(row.name, free, NOTE)], NOTE)
    sheet.text(left + width - (cell - inner), down, [row.said], NOTE, ha="right")
    down += LINE * NOTE / 72 + _ABOVE
    starts = [0, *(1 + _GAP + i for i in range(len(row.gallery))), 1 + _GAP + top + _GAP]
    matches = [None, *row.right, True]
    for i, picture in enumerate(row.pictures):
        last = picture is row.later
        place = left + starts[-1 if last else i] * cell
        axes = sheet.axes(place, down, inner, tall)
        _image(axes, picture.image, inner, tall)
        match = matches[-1 if last else i]
        if match is not None:
            _frame(axes, match, inner)
        lines = [" ".join(picture.label)] if one_line else picture.label
        lines = [shortened(line, cell, SMALL) for line in lines]
        sheet.text(place + inner / 2, down + tall + 0.015, lines, SMALL, ha="center")


def _image(axes: Axes, image: np.ndarray, width: float, height: float) -> None:
    """An image in its own shape, in the middle of its cell."""
    high, wide = image.shape[:2]
    scale = min(width / wide, height / high)
    left, top = (width - scale * wide) / 2, (height - scale * high) / 2
    extent = (left, width - left, height - top, top)
    axes.imshow(image, extent=extent, aspect="auto")
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)


def _frame(axes: Axes, right: bool, width: float) -> None:
    """What says whether an image is right: its frame, and the sign in a corner."""
    colour, line = (RIGHT, "solid") if right else (WRONG, DASHED)
    for spine in axes.spines.values():
        spine.set(linewidth=1.2, edgecolor=colour, linestyle=line)
    left, right_end = width - _SIGN, width
    axes.fill(
        [left, right_end, right_end, left], [0, 0, _SIGN, _SIGN], colour, linewidth=0, zorder=3
    )
    for points in _CHECK if right else _CROSS:
        x, y = np.array(points).T * _SIGN
        axes.plot(left + x, y, color="white", linewidth=0.8, solid_capstyle="butt", zorder=4)


def _handles() -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=RIGHT, linewidth=1.2, label="right: same pid, another camid"),
        Line2D([], [], color=WRONG, linewidth=1.2, linestyle=DASHED, label="wrong: another pid"),
    ]


def _legend(rows: Sequence[RankedRow]) -> str:
    most = max(len(row.gallery) for row in rows)
    later = "at the right the first right one where it comes later; " if _later(rows) else ""
    return (
        f"At the left the query, then the first {most} of its gallery, best first; {later}below "
        "them pid and camid (c, from 0). As in the evaluation, junk and images of the query's "
        "person in its own camera are left out."
    )


def _later(rows: Sequence[RankedRow]) -> bool:
    return any(row.later for row in rows)
