"""How much of an expert's errors calibration mends, as curves, from plain arrays."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.figures import COLUMN, DPI, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEFORE, AFTER = "#D55E00", "#0072B2"
"""Vermilion and blue of Okabe and Ito, told apart by colour-blind readers; in grey, by markers."""
_SMALL, _LABEL, _TITLE = 6.0, 7.0, 7.5
_PANEL = 1.05
"""Inches from one row of panels to the next, without what stands below the last."""


@dataclass(frozen=True)
class Curve:
    """Of one data set: mean IoU with the truth at each of `rates` (0..1), before and after."""

    name: str
    rates: Sequence[float]
    before: Sequence[float]
    after: Sequence[float]


def calibration_figure(curves: Sequence[Curve], title: str, said: Sequence[str] = ()) -> Figure:
    """A panel for each data set, two abreast, in a paper's column; all on the same scales.

    `said` are lines below the title.
    """
    from matplotlib.figure import Figure

    heading = textwrap.wrap(title, 60)
    notes = [line for text in said for line in textwrap.wrap(text, 76)]
    across = min(2, len(curves))
    down = -(-len(curves) // across)
    above = 0.09 + 0.14 * len(heading) + 0.11 * len(notes) + 0.22
    height = above + down * _PANEL + 0.13
    lowest = min(min(*one.before, *one.after) for one in curves)
    with plain():
        figure = Figure(figsize=(COLUMN, height), dpi=DPI)
        left, top = 0.03, 1 - 0.06 / height
        figure.text(left, top, "\n".join(heading), fontsize=_TITLE, va="top")
        top -= 0.14 * len(heading) / height
        figure.text(left, top, "\n".join(notes), fontsize=_SMALL, va="top")
        for i, curve in enumerate(curves):
            row, column = divmod(i, across)
            wide = (COLUMN - 0.42 - 0.08) / across
            axes = figure.add_axes(
                (
                    (0.42 + column * wide) / COLUMN,
                    1 - (above + (row + 1) * _PANEL - 0.14) / height,
                    (wide - 0.08) / COLUMN,
                    (_PANEL - 0.27) / height,
                )
            )
            _panel(axes, curve, lowest)
            axes.tick_params(labelleft=column == 0, labelbottom=i + across >= len(curves))
        lines = figure.axes[0].get_lines()
        figure.legend(
            handles=lines,
            loc="upper right",
            bbox_to_anchor=(0.99, 1 - (above - 0.21) / height),
            ncols=2,
            fontsize=_SMALL,
            frameon=False,
            borderaxespad=0,
        )
        figure.text(0.55, 0.03 / height, "parts that are hit (%)", fontsize=_LABEL, ha="center")
        middle = 1 - (above + down * _PANEL / 2) / height
        figure.text(
            0.01, middle, "mean IoU with the truth", fontsize=_LABEL, va="center", rotation=90
        )
    return figure


def _panel(axes: Axes, curve: Curve, lowest: float) -> None:
    percent = [100 * rate for rate in curve.rates]
    axes.plot(percent, curve.before, "s--", color=BEFORE, markersize=2.2, lw=0.9, label="raw")
    axes.plot(percent, curve.after, "o-", color=AFTER, markersize=2.2, lw=0.9, label="calibrated")
    axes.set_title(curve.name, fontsize=_LABEL, pad=2)
    axes.set_ylim(max(0.0, lowest - 0.05), 1.02)
    axes.locator_params(nbins=5)
    axes.tick_params(labelsize=_SMALL, length=2, width=0.4, pad=1.5)
    axes.grid(color="0.9", linewidth=0.4)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_linewidth(0.4)
