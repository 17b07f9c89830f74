"""Single-gallery-shot CMC, as CUHK03's first protocol has it, expected exactly and not sampled.

That protocol draws one image of each person for the gallery and repeats. Here is the mean over all
such galleries. Each of a query's matches is drawn as often. The image drawn of another person comes
before match i with probability (its items before i) / (its items), whatever is drawn of others. So
the match's rank less 1 is a sum of independent trials of unlike probability (a Poisson-binomial
variable), and CMC@k is the probability that it is below k. Ties go by gallery index, as everywhere.

An image of nobody (pid 0) is a person of its own. Were all of them one person, one would be kept of
thousands that are there to be in the way.

The mean reciprocal rank, which single-shot mAP would be, is not given: it needs the whole
distribution, not its first 50 ranks.

Sizes: G gallery items, K without junk, P persons, M matches.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.matches import Index, People
from protocols.types import DISTRACTOR_PID

RANKS = 50
"""Ranks of the curve, and of the distributions: what is beyond them never comes back."""

Chances = NDArray[np.float64]


class Persons:
    """The gallery's items without junk, one person after the other: `order` [K] are their indices.

    Person j has the places `bounds[j] : bounds[j + 1]` of `order`, `owner` [K] names each place's
    person, `sizes` [P] their numbers of items. A query's own person, if it has one, has the places
    `own_from[q] : own_to[q]`.
    """

    def __init__(self, people: People) -> None:
        self.order = people.order[~people.junk[people.order]]
        pids = people.gallery_pids[self.order]
        starts = np.append(True, (pids[1:] != pids[:-1]) | (pids[1:] == DISTRACTOR_PID))
        self.bounds = np.append(np.flatnonzero(starts[: len(pids)]), len(pids))
        self.sizes = np.diff(self.bounds)
        self.owner = np.repeat(np.arange(len(self.sizes)), self.sizes)
        self.own_from = np.searchsorted(pids, people.query_pids, side="left")
        self.own_to = np.searchsorted(pids, people.query_pids, side="right")
        nobody = people.query_pids == DISTRACTOR_PID
        self.own_to[nobody] = self.own_from[nobody]


def places(row: NDArray[np.floating]) -> Index:
    """The place of each item [G] where a gallery is ranked by its scores, equal ones by index."""
    place = np.empty(len(row), dtype=np.int64)
    place[np.argsort(-row, kind="stable")] = np.arange(len(row))
    return place


def items_before(place: Index, hits: Index, others: Index, owner: Index, persons: int) -> Index:
    """How many of each person's items come before each match, [m, P], best match first.

    `place` [G] is each item's in the ranking, `hits` are the matches, `others` the items of other
    persons, `owner` [G] says whose each item is.
    """
    ahead = np.searchsorted(np.sort(place[hits]), place[others])  # matches before each item
    width = len(hits) + 1
    found = np.bincount(owner[others] * width + ahead, minlength=persons * width)
    return found.reshape(persons, width)[:, :-1].cumsum(axis=1).T


def expected_cmc(before: Index, sizes: Index) -> Chances:
    """CMC of every match, [M, RANKS], from the items before it of each person, [M, P], of [P]."""
    chances = np.zeros((len(before), RANKS))
    chances[:, 0] = 1
    for j in np.flatnonzero(before.any(axis=0)):
        some = np.flatnonzero(before[:, j])
        share = (before[some, j] / sizes[j])[:, None]
        found = chances[some]
        found[:, 1:] = found[:, 1:] * (1 - share) + found[:, :-1] * share
        found[:, :1] *= 1 - share
        chances[some] = found
    return chances.cumsum(axis=1)


def per_query(cmc: Chances, starts: Index) -> Chances:
    """Means over the matches `starts[q] : starts[q + 1]` of each query, [Q, RANKS]; 0 of none."""
    counts = np.diff(starts)
    some = counts > 0
    found = np.zeros((len(counts), RANKS))
    found[some] = np.add.reduceat(cmc, starts[:-1][some], axis=0) / counts[some][:, None]
    return found


def single_shot(cmc: Chances) -> tuple[dict[str, float], list[float]]:
    """Metrics `single_shot_rank1`, 5 and 10, and the curve, from valid queries' [Q, RANKS]."""
    curve = cmc.mean(axis=0).tolist()
    return {f"single_shot_rank{k}": curve[k - 1] for k in (1, 5, 10)}, curve
