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

from harness.cosine import LANES
from harness.files import require_writable
from protocols.cache import cache_folder
from protocols.errors import ReIDError

NEAR_TERMS = 256
"""So many terms are summed in float32, in any order, where a product was not decided."""
CHUNK = 256
"""Scores counted at a time; only one that holds an undecided score is looked through."""
LAST = 2**63 - 1
"""An index beyond all."""


config: Any = numba.config


def _keep() -> bool:
    """Whether compiled code can be kept, after telling numba where."""
    if config.CACHE_DIR:  # NUMBA_CACHE_DIR
        return True
    folder = cache_folder() / "numba"
    try:
        require_writable(folder)
    except ReIDError:
        return False
    config.CACHE_DIR = str(folder)
    return True


_KEPT = _keep()
compiled: Callable[[Any], Any] = numba.njit(nogil=True, cache=_KEPT)
"""Without `fastmath`: the order of every sum is the one written here, on every processor."""


_compile_reordered: Callable[[Any], Any] = numba.njit(
    nogil=True, cache=_KEPT, fastmath={"reassoc", "contract"}
)
"""Only where a bound holds for any order of a sum."""


@compiled
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


@compiled
def measure(rows: NDArray[np.floating], lengths: NDArray[np.float64]) -> bool:
    """The length of every row of [N, D], 1 for a zero row; whether all are fit for float32."""
    fit = True
    for r in range(rows.shape[0]):
        square = dot(rows[r], rows[r])
        fit &= 2.0**-40 <= square <= 2.0**40  # nan is not
        lengths[r] = math.sqrt(square) if square > 0.0 else 1.0
    return fit


@compiled
def rescale(rows: NDArray[np.floating]) -> bool:
    """Scale every row in place by a power of two, which is exact, to a largest value near 1.

    Gives whether all values are finite.
    """
    for r in range(rows.shape[0]):
        largest = 0.0
        for value in rows[r]:
            if not math.isfinite(value):
                return False
            largest = max(largest, abs(np.float64(value)))
        if largest == 0.0:
            continue
        exponent = math.frexp(largest)[1]
        half = exponent // 2
        for i in range(rows.shape[1]):
            rows[r, i] = math.ldexp(math.ldexp(np.float64(rows[r, i]), -half), half - exponent)
    return True


@compiled
def _find(values: NDArray[np.int64], low: int, high: int, value: int) -> int:
    """The first place from `low` to `high` of ascending values that is not below `value`."""
    while low < high:
        middle = (low + high) // 2
        if values[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
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
            k = _find(match_index, low, high, index[i])
            if k < high and match_index[k] == index[i]:
                match_score[k] = dot(queries[q], rows[i]) / lengths[i]


@_compile_reordered
def _part(x: NDArray[Any], y: NDArray[Any]) -> Any:
    total = np.float32(0)
    for i in range(x.shape[0]):
        total += np.float32(x[i]) * np.float32(y[i])
    return total


@compiled
def _near(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """The product of two rows, float32 over `NEAR_TERMS` terms and float64 over these sums."""
    total = 0.0
    for i in range(0, x.shape[0], NEAR_TERMS):
        total += _part(x[i : i + NEAR_TERMS], y[i : i + NEAR_TERMS])
    return total


@compiled
def _weigh(scores: NDArray[Any], weights: NDArray[Any], out: NDArray[Any]) -> None:
    for j in range(scores.shape[0]):
        out[j] = scores[j] * weights[j]


@compiled
def _reaching(scores: NDArray[Any], low: float, high: float) -> tuple[Any, Any]:
    """How many scores are at least `low`, and how many above `high`."""
    reach, sure = np.int32(0), np.int32(0)
    for j in range(scores.shape[0]):
        # kept to 32 bits, which is twice as fast
        reach = np.int32(reach + np.int32(scores[j] >= low))
        sure = np.int32(sure + np.int32(scores[j] > high))
    return reach, sure


@compiled
def _mark(scores: NDArray[Any], low: float, high: float, marks: NDArray[Any]) -> None:
    """Count at each score that it is from `low` to `high`."""
    for j in range(scores.shape[0]):
        marks[j] += np.int32(scores[j] >= low) & np.int32(scores[j] <= high)


@compiled
def _sure(
    match_score: NDArray[np.float64],
    low: int,
    high: int,
    score: float,
    slack: float,
    limit: NDArray[Any],
) -> int:
    """The first of the matches `low` to `high` that a score is above by more than `slack`.

    `limit` is where that is rounded as it is for `_reaching`.
    """
    while low < high:
        middle = (low + high) // 2
        limit[1] = match_score[middle] + slack
        if score > limit[1]:
            high = middle
        else:
            low = middle + 1
    return low


@compiled
def _place(
    match_score: NDArray[np.float64],
    match_index: NDArray[np.int64],
    low: int,
    high: int,
    score: float,
    item: int,
) -> int:
    """The first of the matches `low` to `high` that an item of some score comes before."""
    while low < high:
        middle = (low + high) // 2
        target = match_score[middle]
        if score > target or (score == target and item < match_index[middle]):
            high = middle
        else:
            low = middle + 1
    return low


@compiled
def first_alike(rows: NDArray[np.floating], lengths: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each of [T, D] rows the first of its chunk with the same numbers, often itself."""
    first = np.arange(rows.shape[0])
    for j in range(rows.shape[0]):
        for i in range(j - j % CHUNK, j):
            if lengths[i] == lengths[j] and np.array_equal(rows[i], rows[j]):
                first[j] = i
                break
    return first


@compiled
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
    alike: NDArray[np.int64],
) -> int:
    """Add to `above`, for every match of some queries, the items of a tile that come before it.

    `scores` [B, T], which are written to, are of queries `first`, `first` + 1, ... with the
    gallery's items `start`, `start` + 1, ...; times `weights` they are right to `slack` [2, Q], and
    -inf leaves an item out. Where that does not decide, a score is computed anew, right to the
    second slack; then as `dot` over the length; once for rows that are `alike` (`first_alike`).
    With no `rows` the scores are exact. A query's matches lie in descending order of (score,
    -index). Its person's items, `same[same_from[q] : same_to[q]]`, ascending, are left out.

    Gives how many scores were wrong by more than the slack: always 0 if the bound is right.
    """
    B, T, wrong = scores.shape[0], weights.shape[0], 0
    for r in range(B):
        q = first + r
        i = _find(same, same_from[q], same_to[q], start)
        while i < same_to[q] and same[i] < start + T:
            scores[r, same[i] - start] = -np.inf
            i += 1
    part, limit = np.empty(CHUNK, scores.dtype), np.empty(2, scores.dtype)
    marks, tier = np.zeros(CHUNK, np.int32), np.empty(CHUNK, np.int8)
    near, exact = np.empty(CHUNK), np.empty(CHUNK)
    most = 0
    for r in range(B):
        most = max(most, match_from[first + r + 1] - match_from[first + r])
    gain = np.zeros(most + 1, np.int64)
    for c in range(0, T, CHUNK):  # outside, so that the rows of a chunk stay in the cache
        size = min(CHUNK, T - c)
        for r in range(B):
            q = first + r
            low, high = match_from[q], match_from[q + 1]
            if low == high:
                continue
            _weigh(scores[r, c : c + size], weights[c : c + size], part[:size])
            k, undecided = high, 0
            while k > low:
                target = match_score[k - 1]
                limit[0], limit[1] = target - slack[0, q], target + slack[0, q]
                reach, sure = _reaching(part[:size], limit[0], limit[1])
                if reach == 0:
                    break  # nothing reaches the match, nor those above it
                k -= 1
                above[k] += sure
                if reach > sure:
                    _mark(part[:size], limit[0], limit[1], marks[:size])
                    undecided += 1
            if undecided == 0:
                continue
            tier[:size] = 0
            for j in range(size):
                if marks[j] == 0:
                    continue
                item = start + c + j
                # those after `last` are counted, as many before it are undecided as are marked
                last = _sure(match_score, k, high, part[j], slack[0, q], limit)
                place, end = last - marks[j], last
                score = np.float64(part[j])
                if rows.shape[0] > 0:
                    row = alike[c + j]
                    i = row - c
                    if tier[i] == 0:
                        near[i], tier[i] = _near(queries[q], rows[row]) / lengths[row], 1
                    score, off = near[i], slack[1, q]
                    wrong += abs(score - part[j]) > slack[0, q] + off
                    place = _place(match_score, match_index, place, last, score + off, -1)
                    end = _place(match_score, match_index, place, last, score - off, LAST)
                    if place < end:
                        if tier[i] == 1:
                            exact[i], tier[i] = dot(queries[q], rows[row]) / lengths[row], 2
                        score = exact[i]
                place = _place(match_score, match_index, place, end, score, item)
                gain[place - low] += 1
                gain[last - low] -= 1
            total = 0
            for m in range(k, high):
                total += gain[m - low]
                above[m] += total
            gain[: high - low + 1] = 0
            marks[:] = 0
    return wrong
