"""Images made worse: a row for each kind, the image itself and its levels side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from results.figures import COLUMN, plain
from results.ranking_figure import shortened
from results.sheet import LABEL, NOTE, SIDE, Sheet, heading_depth

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORIGINAL = "original"
SHAPE = 2.0
"""Height by width in which all are shown: that of a model's input."""
_NAMES, _INSET = 0.72, 0.96
"""Inches for the names of kinds; the share of a cell that its image takes."""
_LINE, _BETWEEN = 0.13, 0.1
"""Inches: a line of words above images, and between two blocks."""


@dataclass(frozen=True)
class DegradedPicture:
    """An image [H, W, 3] uint8, and what it looks like: kind -> its levels, mildest first."""

    name: str
    original: np.ndarray
    levels: Mapping[str, Sequence[np.ndarray]]


def degradation_figure(
    pictures: Sequence[DegradedPicture], title: str, said: Sequence[str] = ()
) -> Figure:
    """A block for each image, two abreast; all have the same kinds. `said` are below the title."""
    across = min(2, len(pictures))
    width = COLUMN * across
    kinds = list(pictures[0].levels)
    most = max(len(images) for images in pictures[0].levels.values())
    cell = (COLUMN - 2 * SIDE - _NAMES) / (1 + most)
    block = 2 * _LINE + len(kinds) * cell * SHAPE + _BETWEEN
    above = heading_depth(title, said, width) + 0.05
    down = -(-len(pictures) // across)
    with plain():
        sheet = Sheet.new(width, above + down * block)
        sheet.heading(title, said)
        for i, picture in enumerate(pictures):
            row, column = divmod(i, across)
            _block(sheet, picture, (SIDE + column * COLUMN, above + row * block), cell)
    return sheet.figure


def _block(
    sheet: Sheet, picture: DegradedPicture, corner: tuple[float, float], cell: float
) -> None:
    """One image and its kinds from its upper left corner."""
    left, top = corner
    name = shortened(picture.name, COLUMN - 2 * SIDE, NOTE)
    sheet.text(left + _NAMES, top, [name], NOTE)
    top += _LINE
    most = max(map(len, picture.levels.values()))
    for i, word in enumerate([ORIGINAL, *map(str, range(1, most + 1))]):
        middle = left + _NAMES + (i + _INSET / 2) * cell
        sheet.text(middle, top, [word], NOTE, ha="center")
    top += _LINE
    for kind, images in picture.levels.items():
        sheet.text(left, top + 0.45 * cell * SHAPE, [kind], LABEL)
        for i, image in enumerate([picture.original, *images]):
            place = left + _NAMES + i * cell
            axes = sheet.axes(place, top, _INSET * cell, _INSET * cell * SHAPE)
            axes.imshow(image, aspect="auto")
        top += cell * SHAPE
