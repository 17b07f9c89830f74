"""The compiled inner loops of the measures (numba): binning, the best of the others, single-shot.

Each takes a tile of scores [B, T] of queries `first`, `first` + 1, ... with gallery items `items`
[T]; -inf leaves an item out. A score is right to its query's `slack`. Where that does not decide,
it is computed anew, as `dot` of the query and the item's row over the item's length; with no `rows`
scores are exact. What is returned is how many scores were wrong by more than the slack.

Compiled at first use, in seconds, and kept in the user's cache.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.kernels import CHUNK, compiled, dot
from harness.single_shot import RANKS
from harness.verification import BINS

GONE = 2.0**-60
"""A match with so little chance left to be among the first `RANKS` is not followed further."""

Floats = NDArray[np.floating]
Numbers = NDArray[np.float64]
Index = NDArray[np.int64]


@compiled
def settle(scores: Floats, weights: Floats, own_from: Index, own_to: Index) -> None:
    """Each column times its weight, in place; -inf from `own_from` to `own_to` in each row."""
    for r in range(scores.shape[0]):
        for j in range(scores.shape[1]):
            scores[r, j] *= weights[j]
        for j in range(max(own_from[r], 0), min(own_to[r], scores.shape[1])):
            scores[r, j] = -np.inf


@compiled
def fill(scores: Floats, factors: Numbers, first_bin: int, counts: Index) -> None:
    """Count every score times its row's factor in the bins from `first_bin` on; 0 skips a row."""
    for r in range(scores.shape[0]):
        if factors[r] == 0.0:
            continue
        for j in range(scores.shape[1]):
            if scores[r, j] > -np.inf:
                place = math.floor(scores[r, j] * factors[r]) - first_bin
                counts[min(max(place, 0), BINS - 1)] += 1


@compiled
def _reaches(scores: Floats, limit: float) -> Any:
    """Whether any score is at least `limit`."""
    reach = np.int32(0)
    for j in range(scores.shape[0]):
        reach = np.int32(reach + np.int32(scores[j] >= limit))  # 32 bits are twice as fast
    return reach > 0


@compiled
def best_others(
    scores: Floats,
    first: int,
    items: Index,
    best: Numbers,
    best_item: Index,
    slack: Numbers,
    queries: Floats,
    rows: Floats,
    lengths: Numbers,
) -> int:
    """The best exact score of each query so far, and the item that has it; equal ones by index."""
    wrong, limit = 0, np.empty(1, scores.dtype)
    for r in range(scores.shape[0]):
        q = first + r
        limit[0] = best[q] - slack[q]
        for c in range(0, scores.shape[1], CHUNK):
            part = scores[r, c : c + CHUNK]
            if not _reaches(part, limit[0]):
                continue
            for j in range(part.shape[0]):
                if part[j] >= limit[0] and part[j] > -np.inf:
                    score = np.float64(part[j])
                    if rows.shape[0] > 0:
                        score = dot(queries[q], rows[c + j]) / lengths[c + j]
                        wrong += abs(score - part[j]) > slack[q]
                    ahead = score == best[q] and items[c + j] < best_item[q]
                    if score > best[q] or ahead:
                        best[q], best_item[q] = score, items[c + j]
                        limit[0] = score - slack[q]
    return wrong


@compiled
def _step(chances: NDArray[np.float64], low: int, live: int, counts: Index, size: int) -> int:
    """One person more: `counts` of its `size` items come before match `low`, `low` + 1, ... each.

    `counts` are of those that come before no better match, and are zero then. Gives how many
    matches are still to be followed.
    """
    before = 0
    for m in range(live):
        before += counts[m]
        counts[m] = 0
        if before == 0:
            continue
        chance = chances[low + m]
        share = before / size
        for k in range(RANKS - 1, 0, -1):
            chance[k] = chance[k] * (1 - share) + chance[k - 1] * share
        chance[0] *= 1 - share
    while live > 0:  # a worse match has less chance left
        left = 0.0
        for k in range(RANKS):
            left += chances[low + live - 1, k]
        if left >= GONE:
            break
        live -= 1
    return live


@compiled
def follow(
    scores: Floats,
    first: int,
    items: Index,
    owner: Index,
    sizes: Index,
    match_from: Index,
    match_score: Numbers,
    match_index: Index,
    live: Index,
    begun: Index,
    chances: NDArray[np.float64],
    slack: Numbers,
    queries: Floats,
    rows: Floats,
    lengths: Numbers,
) -> int:
    """The chances [M, RANKS] of matches to have k others before them, with some persons more.

    The items of a person lie together: `owner` [T], and [T + 1] where there is a tile after this
    one, says whose they are. All `sizes[owner]` of them count; where the last person goes on in the
    next tile, what is `begun` of it is kept, [M]. A query's matches lie in descending order of
    (score, -index); the first `live` of them are followed.
    """
    B, T, wrong, most = scores.shape[0], scores.shape[1], 0, 0
    goes_on = owner.shape[0] > T and owner[T] == owner[T - 1]
    for q in range(first, first + B):
        most = max(most, match_from[q + 1] - match_from[q])
    counts, limit = np.zeros(most + 1, np.int64), np.empty(1, scores.dtype)
    for r in range(B):
        q = first + r
        low, n = match_from[q], live[q]
        if n == 0:
            continue
        counts[:n], counts[n:] = begun[low : low + n], 0
        begun[low : low + n] = 0
        now = owner[0]
        limit[0] = match_score[low + n - 1] - slack[q]
        for c in range(0, T, CHUNK):
            part = scores[r, c : c + CHUNK]
            if not _reaches(part, limit[0]):
                continue
            for j in range(part.shape[0]):
                if n == 0 or part[j] < limit[0]:
                    continue
                if owner[c + j] != now:
                    n, now = _step(chances, low, n, counts, sizes[now]), owner[c + j]
                    if n == 0:
                        continue
                    limit[0] = match_score[low + n - 1] - slack[q]
                score, known = np.float64(part[j]), rows.shape[0] == 0
                m = n  # the item comes before the m-th best match and those after it
                while m > 0 and match_score[low + m - 1] < score - slack[q]:
                    m -= 1
                if not known and m > 0 and match_score[low + m - 1] <= score + slack[q]:
                    score, known = dot(queries[q], rows[c + j]) / lengths[c + j], True
                    wrong += abs(score - part[j]) > slack[q]
                    m = n
                if known:
                    while m > 0 and (
                        match_score[low + m - 1] < score
                        or (
                            match_score[low + m - 1] == score
                            and items[c + j] < match_index[low + m - 1]
                        )
                    ):
                        m -= 1
                counts[m] += 1
        if goes_on and now == owner[T - 1]:
            begun[low : low + n] = counts[:n]
        elif n > 0:
            n = _step(chances, low, n, counts, sizes[now])
        live[q] = n
    return wrong
