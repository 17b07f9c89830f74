"""Measures of a ranking besides mAP and CMC: verification, open-set and single-shot rates.

Everything follows from one pass over the scores; there is no matrix of them. Who matches whom is
what `harness.ranking.rank` has: junk out, nobody's images in, the query's person in its own camera
out. Queries without a match count in the open-set rates alone.

Exact, whatever the tiles, threads, library and device: all that one query decides (which item comes
first, which items come before a match) and the scores of matches and of the best of the others.
Cosines of features are decided and compared in float64. Of a large problem's cosines, those of
impostor pairs are float32 products put into bins of 2^-19 (`harness.verification`): at a bin's edge
their counts may differ by the last digits of a product.

Sizes: Q queries, G gallery items, D feature dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from harness import ranking
from harness.cosine import Features, Rows, exact_scores, measured
from harness.matches import Index, Labels, People
from harness.open_set import open_set
from harness.scores import Score
from harness.single_shot import (
    RANKS,
    Persons,
    expected_cmc,
    items_before,
    per_query,
    places,
    single_shot,
)
from harness.verification import Floats, Pairs, pairs_of, verification
from protocols.errors import UnknownName
from protocols.types import JUNK_PID

SINGLE_SHOT, VERIFICATION, OPEN_SET = NAMES = ("single-shot", "verification", "open-set")
BLOCK_PAIRS = 2**20
"""How many exact scores are looked at together, without compiled code."""


@dataclass(frozen=True)
class Measures:
    """Numbers by name, fractions in 0..1, and curves by name.

    | | metrics | curves |
    |---|---|---|
    | single-shot | `single_shot_rank1`, `5`, `10` | `single_shot_cmc`: Rank-1 to Rank-50 |
    | verification | `tpr_at_fpr_0.1` ... `0.0001`, `auc`, `eer` | `roc`: at `verification.RATES` |
    | open-set | `dir_at_far_0.1` ... `0.001` | `open_set`: at `open_set.RATES` |

    Left out is what there is too little of to tell: a rate below one impostor (nan on a curve), and
    all of verification without an impostor.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)


def measure_features(
    query_features: Tensor | Rows,
    gallery_features: Tensor | Rows,
    *,
    query_pids: Labels,
    query_camids: Labels,
    gallery_pids: Labels,
    gallery_camids: Labels,
    which: Sequence[str] = NAMES,
) -> Measures:
    """Measure by the cosine of [Q, D] and [G, D] features, tensors or arrays of any float type.

    Of a memory-mapped gallery some rows are read at a time, one person after the other. Raises what
    `rank_features` raises, UnknownName for a name that is none of NAMES.
    """
    query, gallery = Features("query", query_features), Features("gallery", gallery_features)
    people = People(query_pids, query_camids, gallery_pids, gallery_camids)
    ranking.require_fit(query, gallery, people)
    found = Found(people, which)
    if ranking.is_small(query, gallery):
        _plain(exact_scores(query, gallery), found, measured(query)[1])
    else:
        from harness.measure_tiles import look_at_features  # loads numba

        look_at_features(query, gallery, found)
    return found.measures()


def measure_scores(
    score: Score,
    *,
    query_pids: Labels,
    query_camids: Labels,
    gallery_pids: Labels,
    gallery_camids: Labels,
    which: Sequence[str] = NAMES,
) -> Measures:
    """Measure by a score of any range, as `rank` takes it; queries are compared by it, too.

    Raises what `rank` raises, UnknownName for a name that is none of NAMES.
    """
    people = People(query_pids, query_camids, gallery_pids, gallery_camids)
    found = Found(people, which)
    Q, G = people.shape
    if Q * G < ranking.COMPILED_PAIRS:
        _plain(score, found, np.ones(Q))
    else:
        from harness.measure_tiles import look_at_scores  # loads numba

        look_at_scores(score, found)
    return found.measures()


class Found:
    """What a pass over the scores leaves.

    For each query: its best match's score and that of the best item of another person (-inf where
    there is none), whether the match comes `first`, and its expected CMC [RANKS]. `pairs`: the
    scores of all pairs of valid queries. Raises UnknownName for a name that is none of NAMES.
    """

    def __init__(self, people: People, which: Sequence[str]) -> None:
        for name in which:
            if name not in NAMES:
                raise UnknownName("measure", name, NAMES)
        Q, G = people.shape
        self.people, self.persons, self.which = people, Persons(people), frozenset(which)
        self.matches = people.counts()
        self.best, self.other = np.full(Q, -np.inf), np.full(Q, -np.inf)
        self.first = np.zeros(Q, dtype=bool)
        self.cmc = np.zeros((Q, RANKS))
        self.pairs: Pairs = pairs_of(Q * G)

    def see(self, q: int, row: Floats, place: Index, hits: Index, others: Index) -> None:
        """Take in a query's scores [G], with the place [G] of each item in its ranking."""
        if len(others):
            self.other[q] = row[others].max()
        if len(hits):
            self.best[q] = row[hits].max()
            self.first[q] = place[hits].min() < place[others].min(initial=len(place))

    def measures(self) -> Measures:
        """All that was asked for."""
        valid = self.matches > 0
        metrics: dict[str, float] = {}
        curves: dict[str, list[float]] = {}
        if SINGLE_SHOT in self.which:
            numbers, curves["single_shot_cmc"] = single_shot(self.cmc[valid])
            metrics |= numbers
        if VERIFICATION in self.which:
            numbers, curve = verification(self.pairs.levels())
            metrics |= numbers
            curves |= {"roc": curve} if curve else {}
        if OPEN_SET in self.which:
            alarms = self.other[self.people.query_pids != JUNK_PID]
            found = self.best[self.first]
            numbers, curves["open_set"] = open_set(found, int(valid.sum()), alarms)
            metrics |= numbers
        return Measures(metrics, curves)


def _plain(score: Score, found: Found, lengths: NDArray[np.float64]) -> None:
    """The pass with numpy alone; a score over its query's length compares between queries."""
    people, persons = found.people, found.persons
    owner = np.empty(people.shape[1], dtype=np.int64)
    owner[persons.order] = persons.owner
    for start, stop in people.blocks(max(1, BLOCK_PAIRS // people.shape[1])):
        scores = ranking.checked_scores(score, start, stop, people.shape[1])
        matches = people.matches(start, stop)
        before: list[Index] = []
        pairs: tuple[list[Floats], list[Floats]] = ([], [])
        for i, row in enumerate(scores):
            hits = matches.index[matches.starts[i] : matches.starts[i + 1]]
            kept = ~people.junk
            kept[matches.of(i)] = False
            others = np.flatnonzero(kept)
            place = places(row)
            comparable = row / lengths[start + i]
            found.see(start + i, comparable, place, hits, others)
            if not len(hits):
                continue
            for parts, items in zip(pairs, (hits, others), strict=True):
                parts.append(comparable[items])
            if SINGLE_SHOT in found.which:
                before.append(items_before(place, hits, others, owner, len(persons.sizes)))
        if pairs[0] and VERIFICATION in found.which:
            found.pairs.add(*map(np.concatenate, pairs))
        if before:
            cmc = expected_cmc(np.concatenate(before), persons.sizes)
            found.cmc[start:stop] = per_query(cmc, matches.starts)
