"""mAP of methods on each protocol, with intervals, from plain numbers."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from results.figures import COLUMN, plain
from results.line_style import look
from results.sheet import LABEL, NOTE, Key, Sheet, breadth, heading_depth, name_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Estimate = tuple[float, float, float]
"""An estimate, the low and the high end of its interval, in per cent."""
_STEP, _CLOSEST, _APART = 0.07, 0.036, 0.09
"""Inches: from one method's line to the next, at best and at least; between protocols."""
_TALLEST = 7.5
"""Inches that lines may take before they move together: a page has to hold the figure."""
_WIDEST_NAME, _RIGHT, _UNDER = 1.1, 0.12, 0.34


def interval_figure(
    protocols: Sequence[str],
    methods: Mapping[str, Sequence[Estimate | None]],
    title: str,
    said: Sequence[str] = (),
    metric: str = "mAP (%)",
) -> Figure:
    """Protocols from top to bottom, in each a point with its interval for every method.

    `methods` maps a name to its estimates, one a protocol; None where it has no result. `said` are
    lines below the title.
    """
    count = len(methods)
    labels = [name_lines(name, _WIDEST_NAME, NOTE) for name in protocols]
    with plain():
        left = 0.14 + max(breadth(line, NOTE) for lines in labels for line in lines)
    room = (_TALLEST - _APART * len(protocols)) / (count * len(protocols))
    step = max(_CLOSEST, min(_STEP, room))
    slots = [max(count * step, 0.11 * len(lines)) + _APART for lines in labels]
    starts = [0.0, *itertools.accumulate(slots)]
    key = Key.of(list(methods), COLUMN)
    above = heading_depth(title, said, COLUMN) + 0.04 + key.depth + 0.06
    with plain():
        sheet = Sheet.new(COLUMN, above + starts[-1] + _UNDER)
        top = sheet.heading(title, said) + 0.04
        sheet.lines_key(key, [look(i, joined=False) for i in range(count)], top)
        axes = sheet.plot(left, above, COLUMN - left - _RIGHT, starts[-1])
        # the axis is in inches: every method has its place in every protocol, results or not
        axes.set_ylim(starts[-1], 0)
        for i, estimates in enumerate(methods.values()):
            places = [
                start + slot / 2 + step * (i - (count - 1) / 2)
                for start, slot in zip(starts, slots, strict=False)
            ]
            there = [(place, *one) for place, one in zip(places, estimates, strict=True) if one]
            if there:
                y, x, low, high = zip(*there, strict=True)
                axes.hlines(y, low, high, color=look(i)["color"], linewidth=0.7)
                axes.plot(x, y, **look(i, joined=False))
        for j in range(1, len(protocols), 2):
            axes.axhspan(starts[j], starts[j + 1], color="0.955", linewidth=0, zorder=0)
        middles = [start + slot / 2 for start, slot in zip(starts, slots, strict=False)]
        axes.set_yticks(middles, ["\n".join(lines) for lines in labels])
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.04)
        axes.set_xlabel(metric, fontsize=LABEL, labelpad=2)
    return sheet.figure
