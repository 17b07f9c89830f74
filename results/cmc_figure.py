"""CMC curves: how many queries have a match among the first k, from plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.figures import COLUMN, plain
from results.line_style import band, look, spread
from results.sheet import LABEL, Key, Sheet, heading_depth

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RANKS = 20
"""Ranks along the axis; a record holds 50."""
TICKS = (1, 5, 10, 15, 20)
_LEFT, _RIGHT, _TALL, _UNDER = 0.42, 0.1, 2.0, 0.36
"""Inches: beside the curves, their height, what stands below them."""


@dataclass(frozen=True)
class Cmc:
    """One method: for each seed the rates of Rank-1, Rank-2, ..., fractions [seeds, >= RANKS].

    `place` decides its colour and marker, so that it has the same in figures of other protocols.
    """

    name: str
    rates: Sequence[Sequence[float]]
    place: int = 0


def cmc_figure(curves: Sequence[Cmc], title: str, said: Sequence[str] = ()) -> Figure:
    """A line for each method, with a band of one standard deviation over its seeds.

    The key gives each line's Rank-1 in per cent. `said` are lines below the title.
    """
    found = [[spread(at_rank) for at_rank in _by_rank(curve)] for curve in curves]
    names = [f"{one[0][0]:.1f}  {curve.name}" for curve, one in zip(curves, found, strict=True)]
    notes = [*said, "In the key: Rank-1 in per cent."]
    key = Key.of(names, COLUMN)
    above = heading_depth(title, notes, COLUMN) + 0.04 + key.depth + 0.06
    with plain():
        sheet = Sheet.new(COLUMN, above + _TALL + _UNDER)
        top = sheet.heading(title, notes) + 0.04
        sheet.lines_key(key, [look(curve.place) for curve in curves], top)
        axes = sheet.plot(_LEFT, above, COLUMN - _LEFT - _RIGHT, _TALL)
        for i, (curve, one) in enumerate(zip(curves, found, strict=True)):
            ranks = range(1, len(one) + 1)
            # markers of lines that run together stand at different ranks
            style = {**look(curve.place), "markevery": (i % 4, 4)}
            axes.plot(ranks, [mean for mean, _ in one], **style)
            band(axes, ranks, one, curve.place)
        axes.set_xticks([tick for tick in TICKS if tick <= max(map(len, found))])
        axes.set_xlim(0.5, max(map(len, found)) + 0.5)
        axes.set_ylim(_lowest(found), 101)
        axes.set_xlabel("rank k", fontsize=LABEL, labelpad=2)
        axes.set_ylabel("queries matched by rank k (%)", fontsize=LABEL, labelpad=2)
    return sheet.figure


def _by_rank(curve: Cmc) -> list[list[float]]:
    """Per cent of each seed at every rank that all have, up to `RANKS`."""
    return [[100 * rate for rate in rates] for rates in zip(*curve.rates, strict=False)][:RANKS]


def _lowest(found: Sequence[Sequence[tuple[float, float]]]) -> float:
    """Where the axis begins: a multiple of ten below everything, 0 where that is low."""
    least = min(mean - std for one in found for mean, std in one)
    return 0.0 if least < 30 else 10 * ((least - 1) // 10)
