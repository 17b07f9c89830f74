"""A comparison as a table: protocols down; both entries, their difference and p across."""

from __future__ import annotations

from typing import Any

from results.comparison import Comparison, Effect, Line
from results.statistics import ALPHA, Interval
from results.tables import Cell, Section, Table

METRICS = {"mAP": "mAP", "rank1": "Rank-1"}
"""Field of a line -> what it is called."""


def build(comparison: Comparison) -> Table:
    """A section for each metric, its mean over protocols last; a clear difference is bold.

    Per cent with the 95 % interval in brackets.
    """
    return Table(
        title=f"{comparison.a} against {comparison.b}",
        header=(
            "Protocol", comparison.a, comparison.b, "Difference", "p",
        ),
        sections=[
            Section(title, [_line(line, getattr(line, metric)) for line in comparison.shown])
            for metric, title in METRICS.items()
        ],
        mean=None,
        notes=[comparison.sentence, *comparison.notes],
    )  # fmt: skip


def records(comparison: Comparison) -> list[dict[str, Any]]:
    """A record for each protocol and metric, `overall` last; every number a fraction."""
    found = []
    for line in comparison.shown:
        for metric, title in METRICS.items():
            effect: Effect = getattr(line, metric)
            numbers = {
                f"{name}{end}": getattr(interval, field)
                for name, interval in (("difference", effect), ("a", effect.a), ("b", effect.b))
                for end, field in (("", "estimate"), ("_low", "low"), ("_high", "high"))
            }
            found.append(
                {
                    "a_name": comparison.a,
                    "b_name": comparison.b,
                    "protocol": line.protocol,
                    "metric": title,
                    **numbers,
                    "p": effect.p,
                    "p_holm": effect.p_holm,
                    "seeds_a": line.seeds[0],
                    "seeds_b": line.seeds[1],
                    "queries": line.queries,
                    "identities": line.identities,
                }
            )
    return found


def _line(line: Line, effect: Effect) -> tuple[str | Cell, ...]:
    difference = Cell(_interval(effect, "+"), place=1 if effect.p_holm < ALPHA else 0)
    return line.protocol, _interval(effect.a), _interval(effect.b), difference, _p(effect.p_holm)


def _interval(found: Interval, sign: str = "") -> str:
    """`12.3 [10.1, 14.5]`; `-0.0` is 0.0."""
    middle, low, high = (round(100 * x, 1) + 0.0 for x in (found.estimate, found.low, found.high))
    return f"{middle:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def _p(p: float) -> str:
    """Two digits that count; what rounds to 0.05 is shown on its side of it."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"
