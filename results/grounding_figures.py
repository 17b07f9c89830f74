"""Pictures of a grounding: boxes (MUVA's figure 4), masks (6) and occluded people (8).

Made from plain arrays, without a screen; the same input gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from results.box_drawing import (
    COLOURS,
    LABEL,
    SMALL,
    BoxPicture,
    draw_boxes,
    legend,
    legend_depth,
    name_lines,
    shape_of,
    show_picture,
    tallest,
)
from results.figures import COLUMN, outline, plain
from results.sheet import SIDE, Sheet, depth, heading_depth, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GAP = 0.06
"""Inches between two images."""
ACROSS = 5
"""So many images beside each other in a column."""


@dataclass(frozen=True)
class Cases:
    """Images of people who are covered in one way; `rule` says how they were found."""

    title: str
    rule: str
    pictures: tuple[BoxPicture, ...]


def box_figure(
    pictures: Sequence[BoxPicture], parts: Sequence[str], title: str, said: Sequence[str] = ()
) -> Figure:
    """Images with the boxes of their parts; names, and what was not found, below them."""
    columns = 1 if len(pictures) <= ACROSS else 2
    width, across = columns * COLUMN, columns * ACROSS
    cell = (width - 2 * SIDE + GAP) / across
    below = [_below(one, parts, cell - GAP) for one in pictures]
    rows = [range(i, min(i + across, len(pictures))) for i in range(0, len(pictures), across)]
    deep = [max(shape_of(pictures[i]) * (cell - GAP) for i in row) for row in rows]
    noted = [max(depth(below[i], SMALL) for i in row) + 0.1 for row in rows]
    above = heading_depth(title, said, width) + 0.04
    height = above + sum(deep) + sum(noted) + legend_depth(width) + 0.04
    with plain():
        sheet = Sheet.new(width, height)
        top = sheet.heading(title, said) + 0.04
        for row, high, note in zip(rows, deep, noted, strict=True):
            for column, i in enumerate(row):
                left = SIDE + column * cell
                draw_boxes(
                    show_picture(sheet, pictures[i], left, top, cell - GAP), pictures[i], parts
                )
                lower = top + shape_of(pictures[i]) * (cell - GAP) + 0.03
                sheet.text(left + (cell - GAP) / 2, lower, below[i], SMALL, ha="center")
            top += high + note
        legend(sheet, pictures, parts, top)
    return sheet.figure


def _below(picture: BoxPicture, parts: Sequence[str], width: float) -> list[str]:
    """Name of a picture and the parts that were not found."""
    without = [part for i, part in enumerate(parts) if not picture.found(i)]
    lines = name_lines(picture.name, width)
    return lines + (wrapped(f"no {', '.join(without)}", width, SMALL) if without else [])


def vote_figure(
    pictures: Sequence[BoxPicture],
    parts: Sequence[str],
    grid: tuple[int, int],
    title: str,
    said: Sequence[str] = (),
) -> Figure:
    """For each image its boxes, then for each part its box over the patches that it covers."""
    columns = min(2, len(pictures))
    width = columns * COLUMN
    block = COLUMN - 2 * SIDE + GAP
    cell = block / (1 + len(parts))
    wide = cell - GAP
    high = tallest(pictures) * wide
    named = max(depth(name_lines(one.name, wide), SMALL) for one in pictures)
    down = 0.14 + high + max(named, depth([""], SMALL)) + 0.1
    rows = -(-len(pictures) // columns)
    caption = wrapped(_voted(grid), width - 2 * SIDE, LABEL)
    boxed = any(one.boxes is not None for one in pictures)
    above = heading_depth(title, said, width) + 0.04
    keyed = legend_depth(width) if boxed else 0
    height = above + rows * down + keyed + depth(caption, LABEL) + 0.06
    with plain():
        sheet = Sheet.new(width, height)
        top = sheet.heading(title, said) + 0.04
        for i, picture in enumerate(pictures):
            corner = SIDE + (i % columns) * COLUMN, top + (i // columns) * down
            _votes(sheet, picture, parts, corner, (cell, wide))
        top += rows * down
        if boxed:
            legend(sheet, pictures, parts, top)
        sheet.text(SIDE, top + keyed, caption, LABEL)
    return sheet.figure


def _votes(
    sheet: Sheet,
    picture: BoxPicture,
    parts: Sequence[str],
    corner: tuple[float, float],
    sizes: tuple[float, float],
) -> None:
    """The block of one image, its cells and their images as wide as `sizes` say."""
    (left, top), (cell, wide) = corner, sizes
    high = shape_of(picture) * wide
    middle = left + wide / 2
    masks = picture.masks
    assert masks is not None
    sheet.text(middle, top, ["boxes" if picture.boxes is not None else "image"], LABEL, ha="center")
    draw_boxes(show_picture(sheet, picture, left, top + 0.14, wide), picture, parts)
    name = name_lines(picture.name, wide)
    sheet.text(middle, top + 0.14 + high + 0.03, name, SMALL, ha="center")
    for part, title in enumerate(parts):
        start = left + (1 + part) * cell
        sheet.text(start + wide / 2, top, [title], LABEL, ha="center")
        axes = show_picture(sheet, picture, start, top + 0.14, wide)
        _tint(axes, masks[part], COLOURS[part])
        draw_boxes(axes, picture, parts, only=part)
        count = int(masks[part].sum())
        said = f"{count} patches" if count != 1 else "1 patch"
        if not count and picture.discarded[part]:
            said = "discarded"
        elif not count and not picture.found(part) and not picture.replaced(part):
            said = "not found"
        sheet.text(start + wide / 2, top + 0.14 + high + 0.03, [said], SMALL, ha="center")


def _tint(axes: Axes, mask: np.ndarray, colour: str) -> None:
    """The patch grid over an image, covered patches in a colour and with a border."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgb

    rows, columns = mask.shape
    over = np.zeros((rows, columns, 4))
    over[..., :3], over[..., 3] = to_rgb(colour), 0.6 * mask
    axes.imshow(over, extent=(0, 1, 1, 0), aspect="auto", interpolation="nearest")
    level = [[(0, y / rows), (1, y / rows)] for y in range(1, rows)]
    upright = [[(x / columns, 0), (x / columns, 1)] for x in range(1, columns)]
    axes.add_collection(
        LineCollection(level + upright, colors="white", linewidths=0.2, alpha=0.7), autolim=False
    )
    border = list(outline(mask) / np.array([columns, rows]))
    axes.add_collection(LineCollection(border, colors="white", linewidths=0.7), autolim=False)


def _voted(grid: tuple[int, int]) -> str:
    return (
        f"Masks on a grid of {grid[0]} x {grid[1]} patches (rows x columns): the patches in colour "
        "belong to the part."
    )


def occlusion_figure(
    groups: Sequence[Cases], parts: Sequence[str], title: str, said: Sequence[str] = ()
) -> Figure:
    """Groups of covered people side by side; of each image, a copy for the box of every part."""
    width = 2 * COLUMN
    apart = 0.18
    block = (width - 2 * SIDE - (len(groups) - 1) * apart) / len(groups)
    cell = (block + GAP) / len(parts)
    wide = cell - GAP
    shown = [one for group in groups for one in group.pictures]
    rules = [wrapped(group.rule, block, SMALL) for group in groups]
    under = 0.14 + 0.05 + max(depth(rule, SMALL) for rule in rules)
    deep = [sum(_sample_depth(one, wide, block) for one in group.pictures) for group in groups]
    above = heading_depth(title, said, width) + 0.06
    height = above + under + max([0.3, *deep]) + legend_depth(width) + 0.04
    with plain():
        sheet = Sheet.new(width, height)
        top = sheet.heading(title, said) + 0.06
        for i, (group, rule) in enumerate(zip(groups, rules, strict=True)):
            left, at = SIDE + i * (block + apart), top + under
            sheet.text(left, top, [group.title], LABEL + 0.5, weight="bold")
            sheet.text(left, top + 0.14, rule, SMALL)
            for picture in group.pictures:
                _sample(sheet, picture, parts, (left, at), (cell, wide))
                at += _sample_depth(picture, wide, block)
            if not group.pictures:
                sheet.text(left, at + 0.05, ["No such image was found."], LABEL, style="italic")
        legend(sheet, shown, parts, height - legend_depth(width) - 0.02)
    return sheet.figure


def _sample_depth(picture: BoxPicture, wide: float, block: float) -> float:
    name = depth(name_lines(picture.name, block), SMALL)
    return shape_of(picture) * wide + 0.12 + depth([""], SMALL) + name + 0.1


def _sample(
    sheet: Sheet,
    picture: BoxPicture,
    parts: Sequence[str],
    corner: tuple[float, float],
    sizes: tuple[float, float],
) -> None:
    """One image, once for every part."""
    (left, top), (cell, wide) = corner, sizes
    lower = top + 0.12 + shape_of(picture) * wide + 0.03
    for part, title in enumerate(parts):
        start = left + part * cell
        sheet.text(start + wide / 2, top, [title], SMALL, ha="center")
        draw_boxes(show_picture(sheet, picture, start, top + 0.12, wide), picture, parts, only=part)
        said = "not found" if not picture.found(part) else ""
        if picture.discarded[part]:
            said = "discarded"
        elif picture.replaced(part):
            said = "replaced" if said == "" else "filled in"
        sheet.text(start + wide / 2, lower, [said] if said else [], SMALL, ha="center")
    block = len(parts) * cell - GAP
    name = name_lines(picture.name, block)
    sheet.text(left + block / 2, lower + depth([""], SMALL), name, SMALL, ha="center")
