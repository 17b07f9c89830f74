"""ROC and open-set curves: what is accepted rightly against what is accepted wrongly."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from protocols.errors import ReIDError
from results.entries import Entry
from results.figure_data import Asked, Drawn, said, shown, slug
from results.figures import COLUMN, plain
from results.line_style import band, look, spread
from results.sheet import LABEL, Key, Sheet, heading_depth

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

ROC, OPEN_SET, EER = "roc", "open_set", "eer"
"""Of a record: two curves, a metric."""
PER_DECADE = 8
"""Points of such a curve to a power of ten; the last is at a rate of 1."""
AXES = {
    ROC: ("false-positive rate", "true-positive rate (%)"),
    OPEN_SET: ("false-alarm rate", "found and accepted (%)"),
}
_LEFT, _RIGHT, _GAP, _TALL, _UNDER = 0.42, 0.1, 0.48, 1.5, 0.36
"""Inches: beside the panels, between them, their height, what stands below them."""


@dataclass(frozen=True)
class Roc:
    """One method: for each seed its equal error rate and its curves, fractions [seeds, points].

    NaN where pairs or queries are too few for the rate. `place` decides the colour and marker.
    """

    name: str
    eer: Sequence[float]
    curves: Mapping[str, Sequence[Sequence[float]]]
    place: int = 0


def roc(entries: Sequence[Entry], protocols: Asked = None) -> Iterator[Drawn]:
    """A figure for each protocol that has records with such curves.

    Raises ReIDError where there are none.
    """
    every, count = shown(entries, protocols), 0
    for protocol in every.protocols:
        lines = [_line(entry, protocol, place) for place, entry in enumerate(every.entries)]
        having = [entry for entry, line in zip(every.entries, lines, strict=True) if line]
        if not having:
            continue
        notes = said(replace(shown(having, [protocol]), notes=every.notes))
        title = f"Verification and open set on {protocol}"
        yield slug("roc", protocol), title, roc_figure([one for one in lines if one], title, notes)
        count += 1
    if not count:
        raise ReIDError(
            "No record here has an ROC curve; those that were written without one get it by "
            "harness run --force."
        )


def _line(entry: Entry, protocol: str, place: int) -> Roc | None:
    """An entry's line, None where no record has the curve."""
    having = [row.target for row in entry.at(protocol) if row.target.curves.get(ROC)]
    curves = {key: [one.curves.get(key, []) for one in having] for key in AXES}
    eer = [one.metrics.get(EER, math.nan) for one in having]
    return Roc(entry.name, eer, curves, place) if having else None


def roc_figure(lines: Sequence[Roc], title: str, said: Sequence[str] = ()) -> Figure:
    """Two panels, verification and open set: means over seeds and one standard deviation.

    The key gives each line's equal error rate in per cent. `said` are lines below the title.
    """
    names = [f"{100 * spread(line.eer)[0]:.1f}  {line.name}" for line in lines]
    notes = [*said, "In the key: equal error rate of verification in per cent."]
    key = Key.of(names, COLUMN)
    above = heading_depth(title, notes, COLUMN) + 0.04 + key.depth + 0.06
    wide = (COLUMN - _LEFT - _RIGHT - _GAP) / len(AXES)
    with plain():
        sheet = Sheet.new(COLUMN, above + _TALL + _UNDER)
        top = sheet.heading(title, notes) + 0.04
        sheet.lines_key(key, [look(line.place) for line in lines], top)
        for i, kind in enumerate(AXES):
            axes = sheet.plot(_LEFT + i * (wide + _GAP), above, wide, _TALL)
            _draw(axes, kind, lines)
    return sheet.figure


def _draw(axes: Axes, kind: str, lines: Sequence[Roc]) -> None:
    """One panel, from the lowest rate that any line has."""
    lowest = 0.1
    axes.set_xscale("log")
    for i, line in enumerate(lines):
        curves = [curve for curve in line.curves[kind] if curve]
        points = [
            (rate, spread([100 * one for one in values if math.isfinite(one)]))
            for rate, values in zip(rates(curves), zip(*curves, strict=True), strict=True)
            if any(map(math.isfinite, values))
        ]
        if not points:
            continue
        at, found = [rate for rate, _ in points], [one for _, one in points]
        lowest = min(lowest, at[0])
        # markers of lines that run together stand at different rates
        style = {**look(line.place), "markevery": (i % 4, PER_DECADE // 2)}
        axes.plot(at, [mean for mean, _ in found], **style)
        band(axes, at, found, line.place)
    across, up = AXES[kind]
    axes.set_xlim(lowest, 1)
    axes.set_ylim(0, 101)
    _powers(axes.xaxis, lowest)
    axes.set_xlabel(across, fontsize=LABEL, labelpad=2)
    axes.set_ylabel(up, fontsize=LABEL, labelpad=2)


def _powers(axis: Axis, lowest: float) -> None:
    """Ticks at powers of ten up to 1, as many as a panel has room for."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    count = math.floor(1e-9 - math.log10(lowest)) + 1
    axis.set_major_locator(FixedLocator([10.0**-k for k in range(0, count, 1 + count // 6)]))
    axis.set_major_formatter(
        FuncFormatter(lambda x, _: f"1e{round(math.log10(x))}".replace("e0", ""))
    )
    axis.set_minor_locator(NullLocator())


def rates(curves: Sequence[Sequence[float]]) -> list[float]:
    """The rates at which curves have their points."""
    count = len(curves[0]) if curves else 0
    return [10.0 ** ((k + 1 - count) / PER_DECADE) for k in range(count)]
