"""Methods against one another over all protocols that two share, as their pages show it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from protocols.errors import ReIDError
from results.comparison import Comparison, compare
from results.entries import Entry
from results.figure_data import principal
from results.page.standings import RESAMPLES

MOST = 12
"""Methods that are compared with one another; of more, none is, for there are too many pairs."""


@dataclass(frozen=True)
class Versus:
    """Two methods as their presets have them: who is better, in numbers and in a sentence.

    `estimate`, `low` and `high` are of the mean difference in mAP, from the side of `name`.
    """

    name: str
    other: str
    protocols: int
    estimate: float
    low: float
    high: float
    p: float
    sentence: str


@dataclass(frozen=True)
class Rivals:
    """A method against the others; `left_out` says with whom it is not compared, and why."""

    found: list[Versus] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def versus(entries: Sequence[Entry]) -> dict[str, Rivals]:
    """By the name of the method: it against every other one."""
    compared = principal(entries)
    rivals = {entry.method: Rivals() for entry in compared}
    if len(compared) > MOST:
        for one in rivals.values():
            one.left_out.append(
                f"{len(compared)} are too many to be compared with one another here, where "
                f"{MOST} are at most; `harness compare` compares any two."
            )
        return rivals
    for a, b in itertools.combinations(compared, 2):
        mine, others = rivals[a.method], rivals[b.method]
        if mine is others:
            continue
        try:
            result = compare(a, b, None, RESAMPLES)
        except ReIDError as error:
            for one in (mine, others):
                one.left_out.append(str(error))
            continue
        mine.found.append(_of(result, 1))
        others.found.append(_of(result, -1))
    return rivals


def _of(result: Comparison, sign: int) -> Versus:
    line = result.overall or result.lines[0]
    low, high = sorted((sign * line.mAP.low, sign * line.mAP.high))
    name, other = (result.a, result.b)[::sign]
    return Versus(
        name=name,
        other=other,
        protocols=len(result.lines),
        estimate=sign * line.mAP.estimate,
        low=low,
        high=high,
        p=line.p,
        sentence=result.sentence,
    )
