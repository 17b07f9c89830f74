"""What a setting does to mAP, as lines with the spread over seeds, from plain arrays."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.figures import COLUMN, plain
from results.line_style import band, look, spread
from results.sheet import LABEL, NOTE, Key, Sheet, depth, heading_depth, name_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TICKS = 8
"""Of more values than this, not every one is written below the axis."""
_TALL, _UNTITLED = 1.14, 0.04
"""Inches: a panel's height, what is above panels without titles."""
_LEFT, _RIGHT, _GAP = 0.42, 0.08, 0.3
"""Inches: left and right of the panels, between two abreast."""

Value = float | str


@dataclass(frozen=True)
class Curve:
    """One protocol: for each value, the results of the seeds in per cent; empty where none is."""

    name: str
    points: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Panel:
    """What stands side by side; the `title` says what else was set."""

    title: str
    curves: Sequence[Curve]


def sweep_figure(
    key: str,
    values: Sequence[Value],
    panels: Sequence[Panel],
    title: str,
    said: Sequence[str] = (),
    metric: str = "mAP (%)",
) -> Figure:
    """Results against the `values` of `key`: a line for each protocol, a panel each, two abreast.

    Numbers are joined by a line, with a band of one standard deviation over the seeds around the
    mean; the axis is logarithmic where they are spaced as powers are (`is_logarithmic`). Names are
    points with bars. All panels have the same scales. `said` are lines below the title.
    """
    names = [curve.name for curve in panels[0].curves]
    key_ = Key.of(names, COLUMN)
    across = min(2, len(panels))
    above = heading_depth(title, said, COLUMN) + 0.04 + key_.depth + 0.05
    wide = (COLUMN - _LEFT - _RIGHT - _GAP * (across - 1)) / across
    ticks = _ticks(values, wide)
    under = 0.1 * max(text.count("\n") for text in ticks) + 0.16
    titles = [name_lines(panel.title, wide, LABEL) for panel in panels]
    rows = [range(i, min(i + across, len(panels))) for i in range(0, len(panels), across)]
    deep = [max(depth(titles[i], LABEL) for i in row) for row in rows]
    titled = [one + 0.03 if one else _UNTITLED for one in deep]
    panelled = sum(titled) + len(rows) * (_TALL + under)
    low, high = _limits(panels)
    joined = _numbers(values) is not None
    with plain():
        sheet = Sheet.new(COLUMN, above + panelled + 0.16)
        top = sheet.heading(title, said) + 0.04
        sheet.lines_key(key_, [look(i, joined) for i in range(len(names))], top)
        top = above
        for row, room in zip(rows, titled, strict=True):
            for column, i in enumerate(row):
                left = _LEFT + column * (wide + _GAP)
                sheet.text(left, top, titles[i], LABEL)
                axes = sheet.plot(left, top + room, wide, _TALL)
                _draw(axes, values, ticks, panels[i])
                axes.set_ylim(low, high)
                if i + across >= len(panels):
                    axes.set_xlabel(key, fontsize=LABEL, labelpad=2)
            top += room + _TALL + under
        sheet.upright(metric, above + panelled / 2)
    return sheet.figure


def is_logarithmic(values: Sequence[Value]) -> bool:
    """Whether numbers are spaced more evenly as powers than as they are: 1, 2, 4, 8 or 1e-6, 1e-5.

    Spaced evenly: the smallest step is close to the largest. Never for two values, for names, or
    where one is not above 0.
    """
    numbers = sorted({value for value in values if not isinstance(value, str)})
    if len(numbers) != len(set(values)) or len(numbers) < 3 or numbers[0] <= 0:
        return False

    def even(found: Sequence[float]) -> float:
        steps = [b - a for a, b in itertools.pairwise(found)]
        return min(steps) / max(steps)

    return even([math.log(number) for number in numbers]) > even(numbers)


def _limits(panels: Sequence[Panel]) -> tuple[float, float]:
    """Of the axis of results: from below the lowest to above the highest of all panels."""
    found = [spread(points) for panel in panels for c in panel.curves for points in c.points]
    ends = [end for mean, std in found if not math.isnan(mean) for end in (mean - std, mean + std)]
    low, high = (min(ends), max(ends)) if ends else (0.0, 100.0)
    room = max(0.08 * (high - low), 0.5)
    return low - room, high + room


def _numbers(values: Sequence[Value]) -> list[float] | None:
    """The values, if all are numbers."""
    numbers = [value for value in values if not isinstance(value, str)]
    return numbers if len(numbers) == len(values) else None


def _ticks(values: Sequence[Value], wide: float) -> list[str]:
    """What stands below the axis, a text for each value; names broken where they are too long."""
    numbers = _numbers(values)
    if numbers is None:
        return [
            _broken(str(value), int(wide / len(values) * 72 / (0.58 * NOTE))) for value in values
        ]
    texts = [f"{number:g}" for number in numbers]
    if any("e" in text for text in texts):
        texts = [_power(number) for number in numbers]
    return texts


def _power(number: float) -> str:
    mantissa, exponent = f"{number:.3e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}" if number else "0"


def _broken(name: str, width: int) -> str:
    """A name on several lines, broken behind commas, hyphens and blanks."""
    lines = [""]
    for piece in re.findall(r"[^,\s-]*[,\s-]?", name):
        if lines[-1] and len(lines[-1]) + len(piece) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(lines)


def _draw(axes: Axes, values: Sequence[Value], ticks: Sequence[str], panel: Panel) -> None:
    numbers = _numbers(values)
    if numbers is None:
        _points(axes, ticks, panel)
    else:
        _lines(axes, numbers, ticks, panel)
    axes.locator_params(axis="y", nbins=5)


def _lines(axes: Axes, numbers: Sequence[float], ticks: Sequence[str], panel: Panel) -> None:
    order = sorted(range(len(numbers)), key=lambda i: numbers[i])
    x = [numbers[i] for i in order]
    if is_logarithmic(numbers):
        axes.set_xscale("log")
    for i, curve in enumerate(panel.curves):
        found = [spread(curve.points[j]) for j in order]
        axes.plot(x, [mean for mean, _ in found], **look(i))
        band(axes, x, found, i)
    written = order[:: -(-len(x) // TICKS)]
    axes.set_xticks([numbers[i] for i in written], [ticks[i] for i in written])
    axes.minorticks_off()


def _points(axes: Axes, ticks: Sequence[str], panel: Panel) -> None:
    count = len(panel.curves)
    for i, curve in enumerate(panel.curves):
        # beside each other, so that no bar hides another
        aside = 0.4 * (i - (count - 1) / 2) / count
        found = [spread(points) for points in curve.points]
        axes.errorbar(
            [place + aside for place in range(len(ticks))],
            [mean for mean, _ in found],
            yerr=[std for _, std in found] if any(std > 0 for _, std in found) else None,
            elinewidth=0.7,
            capsize=1.5,
            capthick=0.7,
            **look(i, joined=False),
        )
    axes.set_xlim(-0.5, len(ticks) - 0.5)
    axes.set_xticks(range(len(ticks)), ticks)
