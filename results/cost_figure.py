"""Accuracy against what it costs: parameters, time of an image, time of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.figures import COLUMN, plain
from results.line_style import logarithmic, look
from results.sheet import LABEL, LINE, NOTE, Key, Sheet, breadth, heading_depth, name_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEFT, _RIGHT, _TALL, _UNDER = 0.42, 0.1, 1.35, 0.4
"""Inches: beside the panels, their height, what stands below each."""
_WIDE_SCALE = 10
"""An axis is logarithmic where its largest value is so many times the smallest above 0."""
_WIDEST_NAME, _MOST_LINES, _NEAR = 1.3, 2, 0.05
"""Of a name beside its point: inches, lines; how far from the point it stands."""

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""


@dataclass(frozen=True)
class CostPanel:
    """One cost: what its axis says, and what each method costs; methods may be missing."""

    label: str
    costs: Mapping[str, float]


def cost_figure(
    accuracy: Mapping[str, tuple[float, float]],
    panels: Sequence[CostPanel],
    title: str,
    said: Sequence[str] = (),
    metric: str = "mean mAP (%)",
) -> Figure:
    """A panel below the other for each cost, a point for each method, up and to the left is better.

    `accuracy` maps a method to its per cent and their standard deviation over seeds, drawn as a bar
    where it is above 0. Names stand beside their points if all of them find room, else in a key.
    `said` are lines below the title.
    """
    named = _drawn(accuracy, panels, title, said, metric, None)
    if named is not None:
        return named
    listed = _drawn(accuracy, panels, title, said, metric, Key.of(list(accuracy), COLUMN))
    assert listed is not None
    return listed


def _drawn(
    accuracy: Mapping[str, tuple[float, float]],
    panels: Sequence[CostPanel],
    title: str,
    said: Sequence[str],
    metric: str,
    key: Key | None,
) -> Figure | None:
    """The figure; without a `key` it is None where a name finds no room beside its point."""
    names = list(accuracy)
    noted = heading_depth(title, said, COLUMN) + 0.04
    above = noted + (key.depth + 0.05 if key else 0.03)
    with plain():
        sheet = Sheet.new(COLUMN, above + len(panels) * (_TALL + _UNDER) - 0.06)
        sheet.heading(title, said)
        if key:
            sheet.lines_key(key, [look(i, joined=False) for i in range(len(names))], noted)
        for row, panel in enumerate(panels):
            top = above + row * (_TALL + _UNDER)
            axes = sheet.plot(_LEFT, top, COLUMN - _LEFT - _RIGHT, _TALL)
            points = _points(axes, panel, accuracy)
            if not key and not _write_names(axes, points):
                return None
            axes.set_xlabel(panel.label, fontsize=LABEL, labelpad=2)
            axes.set_ylabel(metric, fontsize=LABEL, labelpad=2)
    return sheet.figure


def _points(
    axes: Axes, panel: CostPanel, accuracy: Mapping[str, tuple[float, float]]
) -> dict[str, Box]:
    """Draw the points; returns where each is with its bar, in inches from the axes' corner."""
    above = [cost for cost in panel.costs.values() if cost > 0]
    powers = bool(above) and max(above) > _WIDE_SCALE * min(above)
    free = powers and len(above) < len(panel.costs)
    # a logarithm has no place for what costs nothing: it stands at the left, behind a dotted line
    nothing = min(above) / (max(above) / min(above)) ** 0.15 if free else 0.0
    if powers:
        axes.set_xscale("log")
    places = {name: (cost or nothing, *accuracy[name]) for name, cost in panel.costs.items()}
    for i, name in enumerate(accuracy):
        if name in places:
            x, mean, std = places[name]
            style = {**look(i, joined=False), "markersize": 3.6}
            error = std if std > 0 else None
            axes.errorbar(x, mean, yerr=error, elinewidth=0.7, capsize=1.5, capthick=0.7, **style)
    axes.margins(x=0.1)
    axes.set_ylim(_limits(accuracy))
    axes.locator_params(axis="y", nbins=5)
    low, high = axes.get_xlim()
    if powers:
        logarithmic(axes.xaxis, min(above) if free else low, high)
    if free:
        axes.axvline((nothing * min(above)) ** 0.5, color="0.6", linewidth=0.5, linestyle=":")
        ticks = [float(one) for one in axes.get_xticks()]
        axes.set_xticks([nothing, *ticks], ["0", *(f"{one:g}" for one in ticks)])
    axes.set_xlim(low, high)
    return {name: _box(axes, *place) for name, place in places.items()}


def _limits(accuracy: Mapping[str, tuple[float, float]]) -> tuple[float, float]:
    """Of the axis of accuracy, the same in every panel."""
    low = min(mean - std for mean, std in accuracy.values())
    high = max(mean + std for mean, std in accuracy.values())
    room = max(0.1 * (high - low), 0.5)
    return low - room, high + room


def _box(axes: Axes, x: float, mean: float, std: float) -> Box:
    """Where a point is with its bar, in inches from the axes' corner."""
    corner, dpi = axes.get_window_extent(), axes.figure.dpi
    ends = axes.transData.transform([(x, mean - std), (x, mean + std)])
    (left, low), (_, high) = (ends - (corner.x0, corner.y0)) / dpi
    return left - _NEAR, low - _NEAR, left + _NEAR, high + _NEAR


def _write_names(axes: Axes, points: Mapping[str, Box]) -> bool:
    """Write each name beside its point where it covers nothing; False if one finds no room."""
    extent, dpi = axes.get_window_extent(), axes.figure.dpi
    inside = extent.width / dpi, extent.height / dpi
    taken: list[Box] = list(points.values())
    for name, point in points.items():
        lines = name_lines(name, _WIDEST_NAME, NOTE)
        wide = 0.01 + max(breadth(line, NOTE) for line in lines)
        tall = len(lines) * LINE * NOTE / 72
        box = next((b for b in _beside(point, wide, tall) if _free(b, taken, inside)), None)
        if len(lines) > _MOST_LINES or box is None:
            return False
        taken.append(box)
        place = box[0] / inside[0], box[1] / inside[1]
        words = "\n".join(lines)
        axes.text(
            *place, words, transform=axes.transAxes, fontsize=NOTE, va="bottom", linespacing=1.0
        )
    return True


def _beside(point: Box, wide: float, tall: float) -> list[Box]:
    """Places of a name around a point, the best first."""
    x0, y0, x1, y1 = point
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    middle, right, left = y - tall / 2, x - 0.02, x - wide + 0.02
    below, aside, upper, lower = y0 - tall, x0 - wide, y1 - 0.03, y0 - tall + 0.03
    corners = [
        *((x1, middle), (aside, middle), (x - wide / 2, y1), (x - wide / 2, below)),
        *((x1, upper), (x1, lower), (aside, upper), (aside, lower)),
        *((right, y1), (right, below), (left, y1), (left, below)),
    ]
    return [(left, low, left + wide, low + tall) for left, low in corners]


def _free(box: Box, taken: Sequence[Box], inside: tuple[float, float]) -> bool:
    x0, y0, x1, y1 = box
    if x0 < 0.02 or y0 < 0.01 or x1 > inside[0] - 0.02 or y1 > inside[1] - 0.01:
        return False
    return all(x1 <= a or c <= x0 or y1 <= b or d <= y0 for a, b, c, d in taken)
