"""The compiled inner loops of the ranking engine (numba): dot products, and counting per match.

Compiled at first use, in seconds, and kept in the user's cache; `harness.counting` imports this
module only where a problem is large enough to gain from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from harness.files import require_writable
from protocols.cache import cache_folder
from protocols.errors import ReIDError

LANES = 32
"""A dot product is this many sums of every 32nd term, added up in order."""
CHUNK = 256
"""Scores counted at a time; only a chunk that holds an undecided one is looked through."""


def _keep() -> bool:
    """Whether compiled code can be kept, after telling numba where."""
    if numba.config.CACHE_DIR:  # NUMBA_CACHE_DIR
        return True
    folder = cache_folder() / "numba"
    try:
        require_writable(folder)
    except ReIDError:
        return False
    numba.config.CACHE_DIR = str(folder)
    return True


_compile: Callable[[Any], Any] = numba.njit(nogil=True, cache=_keep())
# No `fastmath`: the order of every sum is the one written here, on every processor.


@_compile
def dot(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """The float64 product of two rows of D, summed in one order wherever the rows lie."""
    lanes = np.zeros(LANES)
    whole = x.shape[0] // LANES
    for i in range(whole):
        for lane in range(LANES):
            lanes[lane] += np.float64(x[LANES * i + lane]) * np.float64(y[LANES * i + lane])
    for i in range(LANES * whole, x.shape[0]):
        lanes[i - LANES * whole] += np.float64(x[i]) * np.float64(y[i])
    total = 0.0
    for lane in range(LANES):
        total += lanes[lane]
    return total


@_compile
def measure(rows: NDArray[np.floating], lengths: NDArray[np.float64]) -> int:
    """The length of every row of [N, D], 1 for a zero row; the first row not finite, or -1.

    Rows too long or short for safe squares are scaled in place, by a power of two: exact.
    """
    for r in range(rows.shape[0]):
        row = rows[r]
        square = dot(row, row)
        if not 2.0**-40 <= square <= 2.0**40:
            largest = 0.0
            for value in row:
                if not math.isfinite(value):
                    return r
                largest = max(largest, abs(np.float64(value)))
            exponent = math.frexp(largest)[1]
            half = exponent // 2
            for i in range(row.shape[0]):
                row[i] = math.ldexp(math.ldexp(np.float64(row[i]), -half), half - exponent)
            square = dot(row, row)
        lengths[r] = math.sqrt(square) if square > 0.0 else 1.0
    return -1


@_compile
def score_matches(
    queries: NDArray[np.floating],
    rows: NDArray[np.floating],
    lengths: NDArray[np.float64],
    index: NDArray[np.int64],
    asked: NDArray[np.int64],
    asked_from: NDArray[np.int64],
    asked_to: NDArray[np.int64],
    match_index: NDArray[np.int64],
    match_from: NDArray[np.int64],
    match_score: NDArray[np.float64],
) -> None:
    """The scores of the matches among `rows`, which are the gallery's items `index`, ascending.

    Only queries `asked[asked_from[i] : asked_to[i]]` can match row i; a query's matches ascend.
    """
    for i in range(rows.shape[0]):
        for a in range(asked_from[i], asked_to[i]):
            q = asked[a]
            low, high = match_from[q], match_from[q + 1]
            k = low + np.searchsorted(match_index[low:high], index[i])
            if k < high and match_index[k] == index[i]:
                match_score[k] = dot(queries[q], rows[i]) / lengths[i]


@_compile
def _count(part: NDArray[np.floating], low: float, high: float) -> tuple[int, int]:
    """How many scores are above `high`, and how many at least `low`."""
    above, reach = np.int32(0), np.int32(0)
    for j in range(part.shape[0]):
        above = np.int32(above + np.int32(part[j] > high))
        reach = np.int32(reach + np.int32(part[j] >= low))
    return above, reach


@_compile
def count_above(
    scores: NDArray[np.floating],
    weights: NDArray[np.floating],
    start: int,
    first: int,
    same: NDArray[np.int64],
    same_from: NDArray[np.int64],
    same_to: NDArray[np.int64],
    match_from: NDArray[np.int64],
    match_score: NDArray[np.float64],
    match_index: NDArray[np.int64],
    above: NDArray[np.int64],
    slack: NDArray[np.float64],
    queries: NDArray[np.floating],
    rows: NDArray[np.floating],
    lengths: NDArray[np.float64],
) -> int:
    """Add to `above`, for every match of some queries, the items of a tile that come before it.

    `scores` [B, T] are of queries `first`, `first` + 1, ... with the gallery's items `start`,
    `start` + 1, ...; times `weights` (nan: leave the item out) they are right to `slack`, a
    number for each query. Where that does not decide, the score is `dot` over the length; with
    no `rows` the scores are exact. A query's matches lie in descending order of (score, -index).
    Its person's items, `same[same_from[q] : same_to[q]]`, ascending, are left out.

    Gives how many scores were wrong by more than the slack: always 0 if the bound is right.
    """
    width, wrong = weights.shape[0], 0
    row = np.empty(width, scores.dtype)
    limit = np.empty(2, scores.dtype)
    exact, exact_of = np.empty(width), np.full(width, -1)
    for r in range(scores.shape[0]):
        q = first + r
        matches = match_from[q], match_from[q + 1]
        if matches[0] == matches[1]:
            continue
        from_scores = scores[r]
        for j in range(width):
            row[j] = from_scores[j] * weights[j]
        i = same_from[q] + np.searchsorted(same[same_from[q] : same_to[q]], start)
        while i < same_to[q] and same[i] < start + width:
            row[same[i] - start] = np.nan
            i += 1
        for k in range(matches[1] - 1, matches[0] - 1, -1):  # the lowest match first
            limit[0], limit[1] = match_score[k] - slack[q], match_score[k] + slack[q]
            low, high = limit[0], limit[1]
            seen = 0
            for c in range(0, width, CHUNK):
                part = row[c : c + CHUNK]
                sure, reach = _count(part, low, high)
                above[k] += sure
                seen += reach
                if sure == reach:
                    continue
                for j in range(c, c + part.shape[0]):
                    if not low <= row[j] <= high:
                        continue
                    if exact_of[j] != r:
                        exact_of[j] = r
                        exact[j] = row[j]
                        if rows.shape[0]:
                            exact[j] = dot(queries[q], rows[j]) / lengths[j]
                            wrong += abs(exact[j] - row[j]) > slack[q]
                    before = start + j < match_index[k]
                    above[k] += exact[j] > match_score[k] or (exact[j] == match_score[k] and before)
            if seen == 0:  # nothing reaches the match, nor those above it
                break
    return wrong
