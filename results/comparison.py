"""Is one entry better than another? Per protocol and over all, from the queries of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from protocols.errors import ReIDError
from results import comparison_words as words
from results.entries import Entry
from results.pairing import Pairs, pair
from results.query_sums import METRICS
from results.resampling import Flips, Part, bootstrap, flips, rng, seed_noise
from results.statistics import Interval, holm, interval, p_value

LEAST = 100
"""Fewer draws say nothing of the ends of an interval."""


@dataclass(frozen=True)
class Effect(Interval):
    """A difference a - b in one metric with its 95 % interval, fractions.

    `a` and `b` are each entry's own. `p` is of the permutation test; `p_holm` is corrected for the
    number of protocols, one metric apart from the other (the overall's is its `p`).
    """

    a: Interval
    b: Interval
    p: float
    p_holm: float


@dataclass(frozen=True)
class Line:
    """One protocol, or the mean of all.

    `seeds` of a and b (the fewest that a protocol has); `queries` over the protocols;
    `identities`, each once.
    """

    protocol: str
    mAP: Effect  # noqa: N815 (the field's name)
    rank1: Effect
    seeds: tuple[int, int]
    queries: int
    identities: int

    @property
    def p(self) -> float:
        """Of mAP."""
        return self.mAP.p

    @property
    def p_holm(self) -> float:
        """Of mAP, corrected over protocols."""
        return self.mAP.p_holm


@dataclass(frozen=True)
class Comparison:
    """a against b.

    `overall` is there for two protocols or more. `left_out`: protocol -> why. `problems`: rows
    that can't be read, each with its file. `resamples` were drawn for intervals and p alike.
    """

    a: str
    b: str
    lines: tuple[Line, ...]
    overall: Line | None
    sentence: str
    notes: tuple[str, ...]
    left_out: dict[str, str]
    problems: tuple[str, ...]
    resamples: int

    @property
    def shown(self) -> tuple[Line, ...]:
        """The lines, and the overall one where there is one."""
        return self.lines if self.overall is None else (*self.lines, self.overall)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON: the fields by name; every number a fraction, nowhere per cent.

        `lines` (and `overall`, null where there is one protocol) hold `protocol`, `seeds`,
        `queries`, `identities`, and of `mAP` and `rank1` each: `estimate`, `low`, `high`, `p`,
        `p_holm`, and `estimate`, `low`, `high` of `a` and `b`.
        """
        return asdict(self)


def compare(
    a: Entry,
    b: Entry,
    protocols: Sequence[str] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compare two entries on the protocols that both have rows of (of `protocols`, if given).

    Queries are paired by probe split and path; where the two did not answer the same, the
    protocol is left out and named. Raises ReIDError where there is nothing to compare.
    """
    if a.name == b.name:
        raise ReIDError(f"{a.name} is compared with itself; name two entries.")
    if resamples < LEAST:
        raise ReIDError(f"{resamples} resamples are too few; expected {LEAST} or more.")
    found = pair(a, b, protocols)
    if not found.pairs:
        raise ReIDError(words.nothing(a, b, found))
    drawn = Draws(found, resamples, seed)
    numbers = range(len(found.pairs))
    names = [one.protocol for one, _ in found.pairs]
    lines = _corrected([drawn.line(names[i], [i]) for i in numbers])
    overall = drawn.line("overall", list(numbers)) if len(lines) > 1 else None
    return Comparison(
        a=a.name,
        b=b.name,
        lines=lines,
        overall=overall,
        sentence=words.sentence(a.name, b.name, lines, overall),
        notes=tuple(words.notes(a, b, found, resamples)),
        left_out=found.left_out,
        problems=tuple(found.problems),
        resamples=resamples,
    )


class Draws:
    """What is drawn once for all protocols: identities that they share are drawn together."""

    def __init__(self, found: Pairs, resamples: int, seed: int) -> None:
        self.pairs, self.resamples, self.seed = found.pairs, resamples, seed
        both = [sums for two in found.pairs for sums in two]
        drawn = dict(bootstrap(both, resamples, seed))
        self.bootstrap = [(drawn[2 * i], drawn[2 * i + 1]) for i in range(len(found.pairs))]
        self.flips = self._flips()

    def line(self, name: str, members: Sequence[int]) -> Line:
        """The mean over some of the protocols."""
        mine = [self.pairs[i][0] for i in members]
        people = {(sums.people, pid) for sums in mine for pid in sums.pids.tolist()}
        fewest = [min(len(self.pairs[i][side].runs) for i in members) for side in (0, 1)]
        return Line(
            protocol=name,
            mAP=self._effect(members, METRICS.index("mAP")),
            rank1=self._effect(members, METRICS.index("rank1")),
            seeds=(fewest[0], fewest[1]),
            queries=sum(int(sums.counts.sum()) for sums in mine),
            identities=len(people),
        )

    def _effect(self, members: Sequence[int], metric: int) -> Effect:
        share = 1 / len(members)
        first = [Part(self.pairs[i][0], share) for i in members]
        second = [Part(self.pairs[i][1], share) for i in members]
        parts = [*first, *(Part(part.sums, -share) for part in second)]
        draws = [[self.bootstrap[i][side] for i in members] for side in (0, 1)]
        whole = interval(parts, [*draws[0], *draws[1]], metric, self.seed)
        protocols = (self.pairs[i][0].protocol for i in members)
        generator = rng(self.seed, "p", METRICS[metric], *protocols)
        flipped = self._flipped(members, metric, generator)
        noise = seed_noise(parts, metric)
        p = p_value(whole.estimate, flipped, noise, self.resamples, generator)
        return Effect(
            whole.estimate,
            whole.low,
            whole.high,
            a=interval(first, draws[0], metric, self.seed),
            b=interval(second, draws[1], metric, self.seed),
            p=p,
            p_holm=p,
        )

    def _flips(self) -> dict[str, Flips]:
        """Swapped differences by people, [N, 2 K]: both metrics of each of their protocols."""
        pids: dict[str, np.ndarray] = {}
        for one, _ in self.pairs:
            pids[one.people] = np.union1d(pids.get(one.people, one.pids), one.pids)
        columns: dict[str, list[np.ndarray]] = {}
        self.column: list[int] = []
        for one, other in self.pairs:
            whole = np.zeros((len(pids[one.people]), 2))
            whole[np.searchsorted(pids[one.people], one.pids)] = (one.shares - other.shares).T
            mine = columns.setdefault(one.people, [])
            self.column.append(2 * len(mine))
            mine.append(whole)
        shares = {people: np.concatenate(mine, axis=1) for people, mine in columns.items()}
        return flips(shares, self.resamples, self.seed)

    def _flipped(
        self, members: Sequence[int], metric: int, generator: np.random.Generator
    ) -> Flips:
        """The mean over some protocols, an identity swapped in all of them or in none."""
        columns: dict[str, list[int]] = {}
        for i in members:
            columns.setdefault(self.pairs[i][0].people, []).append(self.column[i] + metric)
        if len(columns) == 1:
            ((people, mine),) = columns.items()
            found = self.flips[people]
            return Flips(found.draws[:, mine].mean(axis=1), found.exact)
        total = sum(
            self.flips[people].at_random(self.resamples, generator)[:, mine].sum(axis=1)
            for people, mine in columns.items()
        )
        return Flips(np.asarray(total) / len(members))


def _corrected(lines: Sequence[Line]) -> tuple[Line, ...]:
    """The same with `p_holm` over all of them, one metric apart from the other."""
    by_map = holm([line.mAP.p for line in lines])
    by_rank1 = holm([line.rank1.p for line in lines])
    return tuple(
        replace(line, mAP=replace(line.mAP, p_holm=one), rank1=replace(line.rank1, p_holm=other))
        for line, one, other in zip(lines, by_map, by_rank1, strict=True)
    )
