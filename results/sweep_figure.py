"""What a setting does to mAP, as lines with the spread over seeds, from plain arrays."""

from __future__ import annotations

import itertools
import math
import re
import statistics
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from results.figures import COLUMN, DPI, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Of Okabe and Ito, told apart by colour-blind readers; in grey, by markers."""
MARKERS = "os^DvPX"
DASHES = ("-", "--", ":")
TICKS = 8
"""Of more values than this, not every one is written below the axis."""
_SMALL, _LABEL, _TITLE = 6.0, 7.0, 7.5
_PANEL = 1.3
"""Inches from one row of panels to the next."""
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
    from matplotlib.figure import Figure

    heading = textwrap.wrap(title, 56)
    notes = [line for text in said for line in textwrap.wrap(text, 70)]
    names = [curve.name for curve in panels[0].curves]
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    abreast = max(1, min(len(names), 60 // (max(map(len, names)) + 6)))
    listed = -(-len(names) // abreast)
    titled = 0.16 if any(panel.title for panel in panels) else 0.04
    above = 0.08 + 0.14 * len(heading) + 0.11 * len(notes) + 0.13 * listed + 0.05
    wide = (COLUMN - _LEFT - _RIGHT - _GAP * (across - 1)) / across
    ticks = _ticks(values, wide)
    under = 0.1 * max(text.count("\n") for text in ticks) + 0.16
    height = above + down * _PANEL + under + 0.16
    low, high = _limits(panels)
    with plain():
        figure = Figure(figsize=(COLUMN, height), dpi=DPI)
        top = 1 - 0.06 / height
        figure.text(0.03, top, "\n".join(heading), fontsize=_TITLE, va="top")
        top -= 0.14 * len(heading) / height
        figure.text(0.03, top, "\n".join(notes), fontsize=_SMALL, va="top")
        for i, panel in enumerate(panels):
            row, column = divmod(i, across)
            bottom = (row + 1) * _PANEL - (under if row + 1 < down else 0)
            axes = figure.add_axes(
                (
                    (_LEFT + column * (wide + _GAP)) / COLUMN,
                    1 - (above + bottom) / height,
                    wide / COLUMN,
                    (bottom - row * _PANEL - titled) / height,
                )
            )
            _draw(axes, values, ticks, panel)
            axes.set_ylim(low, high)
            axes.set_title(panel.title, fontsize=_LABEL, pad=2)
            if i + across >= len(panels):
                axes.set_xlabel(key, fontsize=_LABEL, labelpad=2)
        figure.legend(
            handles=_handles(names, joined=_numbers(values) is not None),
            loc="upper center",
            bbox_to_anchor=(0.5, 1 - (above - 0.13 * listed - 0.02) / height),
            ncols=abreast,
            fontsize=_SMALL,
            frameon=False,
            borderaxespad=0,
            borderpad=0,
            labelspacing=0.3,
        )
        middle = 1 - (above + down * _PANEL / 2) / height
        figure.text(0.012, middle, metric, fontsize=_LABEL, va="center", rotation=90)
    return figure


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


def spread(points: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; not a number where there is no result, 0 for one."""
    if not points:
        return math.nan, math.nan
    return statistics.fmean(points), statistics.stdev(points) if len(points) > 1 else 0.0


def _limits(panels: Sequence[Panel]) -> tuple[float, float]:
    """Of the axis of results: from below the lowest to above the highest of all panels."""
    found = [spread(points) for panel in panels for c in panel.curves for points in c.points]
    ends = [end for mean, std in found if not math.isnan(mean) for end in (mean - std, mean + std)]
    low, high = (min(ends), max(ends)) if ends else (0.0, 100.0)
    room = max(0.08 * (high - low), 0.5)
    return low - room, high + room


def _style(i: int) -> dict[str, Any]:
    cycle = len(COLOURS)
    dash = DASHES[i // cycle % len(DASHES)]
    return {"color": COLOURS[i % cycle], "marker": MARKERS[i % cycle], "linestyle": dash}


def _handles(names: Sequence[str], joined: bool) -> list[object]:
    from matplotlib.lines import Line2D

    styles = [
        _style(i) if joined else {**_style(i), "linestyle": "none"} for i in range(len(names))
    ]
    return [
        Line2D([], [], markersize=2.6, linewidth=0.9, label=name, **style)
        for name, style in zip(names, styles, strict=True)
    ]


def _numbers(values: Sequence[Value]) -> list[float] | None:
    """The values, if all are numbers."""
    numbers = [value for value in values if not isinstance(value, str)]
    return numbers if len(numbers) == len(values) else None


def _ticks(values: Sequence[Value], wide: float) -> list[str]:
    """What stands below the axis, a text for each value; names broken where they are too long."""
    numbers = _numbers(values)
    if numbers is None:
        return [
            _broken(str(value), int(wide / len(values) * 72 / (0.58 * _SMALL))) for value in values
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
    axes.tick_params(labelsize=_SMALL, length=2, width=0.4, pad=1.5)
    axes.locator_params(axis="y", nbins=5)
    axes.grid(color="0.9", linewidth=0.4)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_linewidth(0.4)


def _lines(axes: Axes, numbers: Sequence[float], ticks: Sequence[str], panel: Panel) -> None:
    order = sorted(range(len(numbers)), key=lambda i: numbers[i])
    x = [numbers[i] for i in order]
    if is_logarithmic(numbers):
        axes.set_xscale("log")
    for i, curve in enumerate(panel.curves):
        found = [spread(curve.points[j]) for j in order]
        style = _style(i)
        means = [mean for mean, _ in found]
        axes.plot(x, means, markersize=2.6, linewidth=0.9, **style)
        if any(std > 0 for _, std in found):
            low, high = [m - s for m, s in found], [m + s for m, s in found]
            axes.fill_between(x, low, high, color=style["color"], alpha=0.18, linewidth=0)
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
            markersize=2.6,
            elinewidth=0.7,
            capsize=1.5,
            capthick=0.7,
            **{**_style(i), "linestyle": "none"},
        )
    axes.set_xlim(-0.5, len(ticks) - 0.5)
    axes.set_xticks(range(len(ticks)), ticks)
