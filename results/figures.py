"""Pictures of what a model looks at, from plain arrays, without a screen and without pyplot.

The same input gives the same bytes: neither date nor user's matplotlib settings are in a file.
"""

from __future__ import annotations

import contextlib
import io
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg")
MOST_LAYERS = 6
"""A figure shows no more layers than this: cells must stay readable at a paper's width."""
SURE = 0.5
"""A patch is outlined as the mask's where its probability is above this."""
DARKEST = 0.12
"""How bright a picture is where a mask is 0, of its own brightness."""
HEAT = "viridis"
"""Even in brightness, and told apart by colour-blind readers."""

COLUMN = 3.45
"""Inches of a paper's column; two blocks side by side are as wide as its page."""
DPI = 200
_SMALL, _LABEL, _TITLE = 5.0, 6.0, 7.5
"""Sizes of letters, in points."""
_ORIGINAL, _GAP, _SIDE = 1.7, 0.2, 0.09
"""Widths: the original and the gap before the attention in cells, margins in inches."""


@dataclass(frozen=True)
class MaskPicture:
    """One image and where a model saw its parts.

    image: [H, W, 3] uint8; masks: [layers, R, h, w] 0..1, attention: [R, h, w] of the last layer,
    both on a patch grid that covers the image.
    """

    name: str
    image: np.ndarray
    masks: np.ndarray
    attention: np.ndarray


def shown_layers(count: int, most: int = MOST_LAYERS) -> list[int]:
    """Which of `count` layers to show, from 0: all, or `most` evenly spread, first and last in."""
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def mask_figure(
    pictures: Sequence[MaskPicture],
    parts: Sequence[str],
    size: tuple[int, int],
    title: str,
    said: Sequence[str] = (),
) -> Figure:
    """Part masks over images, as in MUVA's figure 7, with every layer and the local attention.

    A block per image: the original at the left, then a row per part with its mask in each layer
    (brightness of the image) and the attention of its token in the last layer (heat). `size` is
    (height, width) at which the model sees the images; all are shown in that shape. `said` are
    lines below the title.
    """
    from matplotlib.figure import Figure

    count = len(pictures[0].masks)
    layers = shown_layers(count)
    across = min(2, len(pictures))
    down = -(-len(pictures) // across)
    units = _ORIGINAL + len(layers) + _GAP + 1
    cell = (COLUMN - 3 * _SIDE) / units
    tall = cell * size[0] / size[1]
    block = max(len(parts) * tall, *(_reach(one.name, len(parts), tall) for one in pictures))
    width = COLUMN * across
    heading = _lines(title, width, _TITLE)
    notes = [line for text in said for line in _lines(text, width, _LABEL)]
    footing = _lines(_legend(layers, count), width, _LABEL)
    titled, noted, below = 0.15 * len(heading), 0.11 * len(notes), 0.11 * len(footing) + 0.08
    between = 0.24  # room for the labels of columns
    above = 0.06 + titled + noted
    height = above + down * (block + between) + below
    with plain():
        figure = Figure(figsize=(width, height), dpi=DPI)
        left, top = _SIDE / width, 1 - 0.06 / height
        figure.text(left, top, "\n".join(heading), fontsize=_TITLE, va="top")
        figure.text(left, top - titled / height, "\n".join(notes), fontsize=_LABEL, va="top")
        figure.text(left, 0.04 / height, "\n".join(footing), fontsize=_LABEL, va="bottom")
        for i, picture in enumerate(pictures):
            top = height - above - (i // across) * (block + between) - between
            corner = ((i % across) * COLUMN + 2 * _SIDE, top)
            _block(_Canvas(figure, corner, cell, size), picture, parts, layers)
    return figure


def save(figure: Figure, kind: str = "png") -> bytes:
    """A figure as the content of a file of one of `FORMATS`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    file = io.BytesIO()
    unsaid: dict[str, Any] = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
    with plain():
        figure.savefig(file, format=kind, metadata=unsaid[kind])
    return file.getvalue()


@contextlib.contextmanager
def plain() -> Iterator[None]:
    """Matplotlib as it comes, whatever the user's settings; `$` is a dollar, not mathematics."""
    import matplotlib.style

    ours = {"text.parse_math": False, "svg.hashsalt": "harness", "svg.fonttype": "none"}
    with matplotlib.style.context(["default", ours]), warnings.catch_warnings():
        # one for each letter of a name in a script that the font lacks
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield


@dataclass(frozen=True)
class _Canvas:
    """Where a block stands: its upper left `corner` and the width of a `cell`, in inches."""

    figure: Figure
    corner: tuple[float, float]
    cell: float
    size: tuple[int, int]

    def axes(self, column: float, row: float, scale: float = 1.0) -> Axes:
        """Empty axes `column` and `row` cells from the corner, `scale` cells wide."""
        width, height = self.figure.get_size_inches()
        tall = self.cell * self.size[0] / self.size[1]
        left = self.corner[0] + column * self.cell
        bottom = self.corner[1] - (row + scale) * tall
        inset = 0.97 * scale
        axes = self.figure.add_axes(
            (left / width, bottom / height, inset * self.cell / width, inset * tall / height)
        )
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_linewidth(0.3)
        return axes


def _original(parts: int) -> tuple[float, float]:
    """Where the original of a block of `parts` rows begins and how high it is, in cells."""
    scale = min(_ORIGINAL - 0.3, parts)  # what is left is for the names of the parts
    return (parts - scale) / 2, scale


def _name(name: str) -> list[str]:
    return textwrap.wrap(name, 12)


def _reach(name: str, parts: int, tall: float) -> float:
    """Inches from the top of a block to below the `name` under its original."""
    return sum(_original(parts)) * tall + 0.05 + len(_name(name)) * 1.25 * _SMALL / 72


def _block(
    canvas: _Canvas, picture: MaskPicture, parts: Sequence[str], layers: Sequence[int]
) -> None:
    row, scale = _original(len(parts))
    original = canvas.axes((_ORIGINAL - 0.4 - scale) / 2, row, scale)
    _show(original, picture.image, canvas.size)
    original.set_xlabel("\n".join(_name(picture.name)), fontsize=_SMALL, labelpad=2)
    for row, part in enumerate(parts):
        for column, layer in enumerate(layers):
            axes = canvas.axes(_ORIGINAL + column, row)
            _show(axes, dimmed(picture.image, picture.masks[layer, row]), canvas.size)
            _outline(axes, picture.masks[layer, row] > SURE, canvas.size)
            if row == 0:
                label = str(layer + 1) if column else f"layer {layer + 1}"
                axes.set_title(label, fontsize=_LABEL, pad=2)
            if column == 0:
                axes.set_ylabel(part, fontsize=_LABEL, labelpad=2)
        axes = canvas.axes(_ORIGINAL + len(layers) + _GAP, row)
        _heat(axes, picture.image, picture.attention[row], canvas.size)
        if row == 0:
            axes.set_title("attention", fontsize=_LABEL, pad=2)


def dimmed(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`image` [H, W, 3] uint8, as bright as `mask` [h, w] says: whole at 1, `DARKEST` at 0."""
    height, width = image.shape[:2]
    rows = np.arange(height) * mask.shape[0] // height
    columns = np.arange(width) * mask.shape[1] // width
    light = DARKEST + (1 - DARKEST) * mask[rows[:, None], columns]
    return (image * light[..., None]).round().astype(np.uint8)


def outline(mask: np.ndarray) -> np.ndarray:
    """The border of a mask [h, w] bool: lines [N, 2, 2] of (x, y) ends, in patches."""
    padded = np.pad(mask, 1)
    left = np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1])[:, ::-1]
    upper = np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1])[:, ::-1]
    upright, level = np.array([0, 1]), np.array([1, 0])
    return np.concatenate(
        [np.stack([left, left + upright], 1), np.stack([upper, upper + level], 1)]
    )


def _outline(axes: Axes, mask: np.ndarray, size: tuple[int, int]) -> None:
    from matplotlib.collections import LineCollection

    patch = np.array([size[1] / mask.shape[1], size[0] / mask.shape[0]])
    lines = LineCollection(list(outline(mask) * patch), colors="white", linewidths=0.4)
    axes.add_collection(lines, autolim=False)


def _show(axes: Axes, image: np.ndarray, size: tuple[int, int]) -> None:
    axes.imshow(image, extent=(0, size[1], size[0], 0), aspect="auto")


def _heat(axes: Axes, image: np.ndarray, attention: np.ndarray, size: tuple[int, int]) -> None:
    grey = (image @ np.array([0.299, 0.587, 0.114])).round().astype(np.uint8)
    _show(axes, np.repeat(grey[..., None], 3, axis=2), size)
    axes.imshow(
        attention,
        cmap=HEAT,
        vmin=0.0,
        vmax=float(attention.max()) or 1.0,  # a part that was nowhere found has no attention
        alpha=0.55,
        extent=(0, size[1], size[0], 0),
        aspect="auto",
        interpolation="nearest",
    )


def _legend(layers: Sequence[int], count: int) -> str:
    which = ", ".join(str(layer + 1) for layer in layers)
    layered = f"Layers {which} of {count}" if len(layers) < count else f"All {count} layers"
    return (
        f"{layered}. Masks: brightness is the predicted probability of a patch, outlined above "
        f"{SURE}. Attention: of the part's token over the patches in the last layer, mean over "
        "heads, bright yellow is each map's largest."
    )


def _lines(text: str, width: float, size: float) -> list[str]:
    """`text` broken so that letters of `size` points fit into `width` inches."""
    return textwrap.wrap(text, int((width - 2 * _SIDE) * 72 / (0.55 * size)))
