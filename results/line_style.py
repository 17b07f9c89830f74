"""How lines and points of a figure look: told apart by colour, in grey by marker and dash."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Of Okabe and Ito, told apart by colour-blind readers; in grey, by markers."""
MARKERS = "os^DvPX"
DASHES = ("-", "--", ":")
_STEPS = (((1.0, 1.5, 2.0, 3.0, 5.0, 7.0), 5.0), ((1.0, 2.0, 5.0), 200.0))
"""Multiples of powers of ten that a logarithmic axis names, for ends less than so far apart."""
MOST = len(COLOURS) * len(DASHES)
"""So many looks there are; of more lines than this some would look alike."""


def look(i: int, joined: bool = True) -> dict[str, Any]:
    """The line of the i-th name: colours come again with another dash, open and other markers."""
    turn, place = divmod(i, len(COLOURS))
    colour = COLOURS[place]
    return {
        "color": colour,
        "marker": MARKERS[(place + 2 * turn) % len(MARKERS)],
        "markerfacecolor": "white" if turn % 2 else colour,
        "markersize": 2.6,
        "markeredgewidth": 0.7,
        "linewidth": 0.9,
        "linestyle": DASHES[turn % len(DASHES)] if joined else "none",
    }


def band(axes: Axes, x: Sequence[float], found: Sequence[tuple[float, float]], i: int) -> None:
    """One standard deviation around the means of the i-th line, where there is any."""
    if any(std > 0 for _, std in found):
        low, high = [mean - std for mean, std in found], [mean + std for mean, std in found]
        colour = look(i)["color"]
        axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)


def logarithmic(axis: Axis, low: float, high: float) -> None:
    """Ticks of a logarithmic axis that reaches from `low` to `high`, written as plain numbers."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    steps = next((steps for steps, most in _STEPS if high < most * low), (1.0,))
    every = max(1, round(math.log10(high / low) / 4))
    found = LogLocator(subs=steps, numticks=99).tick_values(low, high)
    places = [float(one) for one in found if low <= one <= high]
    axis.set_major_locator(FixedLocator(places[::every]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def spread(points: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; not a number where there is no result, 0 for one."""
    if not points:
        return math.nan, math.nan
    return statistics.fmean(points), statistics.stdev(points) if len(points) > 1 else 0.0
