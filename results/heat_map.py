"""From which sources to which target: a grid of numbers for each method, from plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from results.figures import COLUMN, HEAT, plain
from results.sheet import LABEL, NOTE, SIDE, Sheet, breadth, depth, heading_depth, name_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DIFFERENCE = "PuOr_r"
"""Colours of differences: two that colour-blind readers tell apart, white at 0."""
LUMINANCE = (0.299, 0.587, 0.114)
_ROW, _BAR, _WIDEST_NAME, _APART = 0.17, 0.24, 0.95, 0.1
"""Inches: a row, the bar of colours with what stands below it, a row's name, between two grids."""
_LOWEST, _PAGE = 0.125, 6.0
"""Inches: the lowest row, all rows of all grids where they are to fit on a page."""
_CELL, _LEAST = 0.55, 0.28
"""Inches: the widest cell, the narrowest with a digit behind the point."""


@dataclass(frozen=True)
class Grid:
    """Of one method: per cent [sources, targets], NaN where there is no result."""

    title: str
    values: np.ndarray


def heat_map(
    sources: Sequence[str],
    targets: Sequence[str],
    own: np.ndarray,
    grids: Sequence[Grid],
    title: str,
    said: Sequence[str] = (),
    metric: str = "mAP (%)",
    difference: bool = False,
) -> Figure:
    """Sources down, targets across, a number in each cell; all grids have the same colours.

    `own` [sources, targets] bool: the target is among the sources, so that a number there is of a
    domain that was seen, which is hatched; grey where there is none. A dash: not computed.
    A `difference` has colours that are even around 0. `said` are lines below the title.
    """
    names = [name_lines(name, _WIDEST_NAME, NOTE) for name in sources]
    with plain():
        left = SIDE + 0.06 + max(breadth(line, NOTE) for lines in names for line in lines)
    room = COLUMN - left - SIDE
    across = 2 if len(grids) > 1 and 2 * len(targets) * _LEAST + _APART <= room else 1
    cell = min((room - _APART * (across - 1)) / across / len(targets), _CELL)
    wide = cell * len(targets)
    columns = [name_lines(name, cell * 0.98, NOTE) for name in targets]
    titles = [name_lines(one.title, wide if across > 1 else room, LABEL) for one in grids]
    rows = [range(i, min(i + across, len(grids))) for i in range(0, len(grids), across)]
    titled = [max(depth(titles[i], LABEL) for i in row) + 0.03 for row in rows]
    row_height = max(_LOWEST, min(_ROW, _PAGE / len(rows) / len(sources)))
    heights = [max(row_height, depth(lines, NOTE) + 0.015) for lines in names]
    pitch = sum(heights) + max(depth(lines, NOTE) for lines in columns) + 0.11
    above = heading_depth(title, said, COLUMN) + 0.05
    with plain():
        sheet = Sheet.new(COLUMN, above + sum(titled) + len(rows) * pitch + _BAR)
        top = sheet.heading(title, said) + 0.05
        colours = _colours(grids, difference)
        for row, deep in zip(rows, titled, strict=True):
            for column, i in enumerate(row):
                start = left + column * (wide + _APART)
                sheet.text(start, top + deep - 0.03 - depth(titles[i], LABEL), titles[i], LABEL)
                axes = sheet.axes(start, top + deep, wide, sum(heights))
                cells = _Cells(axes, cell, heights, own, colours)
                cells.draw(grids[i].values)
                cells.name(names if column == 0 else [], columns)
            top += deep + pitch
        _bar(sheet, left, top, room, colours, metric)
    return sheet.figure


def _colours(grids: Sequence[Grid], difference: bool) -> Any:
    """A value to a colour, from the least to the largest of all grids."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    values = np.concatenate([one.values[~np.isnan(one.values)] for one in grids])
    if difference:
        most = float(np.abs(values).max(initial=0.0)) or 1.0
        return ScalarMappable(Normalize(-most, most), colormaps[DIFFERENCE])
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 100.0)
    if high - low < 1:
        low, high = low - 0.5, high + 0.5
    return ScalarMappable(Normalize(low, high), colormaps[HEAT])


@dataclass(frozen=True)
class _Cells:
    """One grid; its axes are in inches, from top to bottom."""

    axes: Axes
    cell: float
    heights: Sequence[float]
    own: np.ndarray
    colours: Any

    def draw(self, values: np.ndarray) -> None:
        """A coloured cell with its number for every value."""
        self.axes.set_xlim(0, self.cell * values.shape[1])
        self.axes.set_ylim(sum(self.heights), 0)
        tops = [sum(self.heights[:i]) for i in range(len(self.heights))]
        for (i, j), value in np.ndenumerate(values):
            corner, own = (self.cell * j, tops[i]), bool(self.own[i, j])
            if np.isnan(value):
                self.fill(corner, self.heights[i], "0.85" if own else "white")
                self.write(corner, self.heights[i], "" if own else "\N{EN DASH}", "black")
                continue
            colour = self.colours.to_rgba(value)
            ink = "white" if np.dot(colour[:3], LUMINANCE) < 0.55 else "black"
            self.fill(corner, self.heights[i], colour)
            if own:
                self.hatch(corner, self.heights[i], ink)
            digits = 1 if self.cell >= _LEAST else 0
            self.write(corner, self.heights[i], f"{value:.{digits}f}", ink)

    def fill(self, corner: tuple[float, float], height: float, colour: Any) -> None:
        from matplotlib.patches import Rectangle

        self.axes.add_patch(
            Rectangle(corner, self.cell, height, facecolor=colour, edgecolor="white", linewidth=0.5)
        )

    def hatch(self, corner: tuple[float, float], height: float, ink: str) -> None:
        """Lines across the two ends of a cell: behind a number they would be hard to read."""
        from matplotlib.collections import LineCollection

        wide, step = 0.035, height / 5
        lines = [
            [(x, corner[1] + (k + 0.7) * step), (x + wide, corner[1] + (k + 0.3) * step)]
            for x in (corner[0] + 0.005, corner[0] + self.cell - wide - 0.005)
            for k in range(5)
        ]
        self.axes.add_collection(LineCollection(lines, colors=ink, linewidths=0.5), autolim=False)

    def write(self, corner: tuple[float, float], height: float, text: str, ink: str) -> None:
        middle = corner[0] + self.cell / 2, corner[1] + height / 2
        self.axes.text(*middle, text, fontsize=NOTE, color=ink, ha="center", va="center_baseline")

    def name(self, rows: Sequence[Sequence[str]], columns: Sequence[Sequence[str]]) -> None:
        """Sources at the left, if `rows` are given, targets below."""
        middles = np.cumsum(self.heights) - np.array(self.heights) / 2
        if rows:
            self.axes.set_yticks(middles, ["\n".join(lines) for lines in rows])
        centres = self.cell * (np.arange(len(columns)) + 0.5)
        self.axes.set_xticks(centres, ["\n".join(lines) for lines in columns])
        self.axes.tick_params(length=0, pad=2)
        for spine in self.axes.spines.values():
            spine.set_visible(False)


def _bar(sheet: Sheet, left: float, top: float, room: float, colours: Any, metric: str) -> None:
    """What the colours mean."""
    named = breadth(metric, NOTE) + 0.16
    wide = min(room - named, 2.0)
    axes = sheet.plot(left, top, wide, 0.06)
    bar = sheet.figure.colorbar(colours, cax=axes, orientation="horizontal")
    bar.outline.set_linewidth(0.4)
    axes.tick_params(labelsize=NOTE, length=2, width=0.4, pad=1)
    axes.locator_params(nbins=4)
    sheet.text(left + wide + 0.12, top - 0.02, [metric], NOTE)
