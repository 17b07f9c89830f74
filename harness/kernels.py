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
"""Scores counted at a time; only a chunk that holds an undecided one is looked through."""


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
_compile: Callable[[Any], Any] = numba.njit(nogil=True, cache=_KEPT)
"""Without `fastmath`: the order of every sum is the one written here, on every processor."""
_compile_reordered: Callable[[Any], Any] = numba.njit(
    nogil=True, cache=_KEPT, fastmath={"reassoc", "contract"}
)
"""Only where a bound holds for any order of a sum."""


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
def measure(rows: NDArray[np.floating], lengths: NDArray[np.float64]) -> bool:
    """The length of every row of [N, D], 1 for a zero row; whether all are fit for float32."""
    fit = True
    for r in range(rows.shape[0]):
        square = dot(rows[r], rows[r])
        fit &= 2.0**-40 <= square <= 2.0**40  # nan is not
        lengths[r] = math.sqrt(square) if square > 0.0 else 1.0
    return fit


@_compile
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
        exponent = math.frexp(largest)[1]
        half = exponent // 2
        for i in range(rows.shape[1]):
            rows[r, i] = math.ldexp(math.ldexp(np.float64(rows[r, i]), -half), half - exponent)
    return True


@_compile
def _find(values: NDArray[np.int64], low: int, high: int, value: int) -> int:
    """The first place from `low` to `high` of ascending values that is not below `value`."""
    while low < high:
        middle = (low + high) // 2
        if values[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


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
            k = _find(match_index, low, high, index[i])
            if k < high and match_index[k] == index[i]:
                match_score[k] = dot(queries[q], rows[i]) / lengths[i]


@_compile_reordered
def _part(x: NDArray[Any], y: NDArray[Any]) -> Any:
    total = np.float32(0)
    for i in range(x.shape[0]):
        total += np.float32(x[i]) * np.float32(y[i])
    return total


@_compile
def _near(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """The product of two rows, float32 over `NEAR_TERMS` terms and float64 over these sums."""
    total = 0.0
    for i in range(0, x.shape[0], NEAR_TERMS):
        total += _part(x[i : i + NEAR_TERMS], y[i : i + NEAR_TERMS])
    return total


@_compile
def _weigh(scores: NDArray[Any], weights: NDArray[Any], out: NDArray[Any]) -> None:
    for j in range(scores.shape[0]):
        out[j] = scores[j] * weights[j]


@_compile
def _place(
    scores: NDArray[Any], low: float, high: float, surely: NDArray[Any], maybe: NDArray[Any]
) -> Any:
    """Add one to `surely` where a score is above `high`, to `maybe` where at least `low`.

    Gives how many are at least `low`.
    """
    reach = np.int32(0)
    for j in range(scores.shape[0]):
        reaches = np.int32(scores[j] >= low)
        surely[j] += scores[j] > high
        maybe[j] += reaches
        reach = np.int32(reach + reaches)
    return reach


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

    `scores` [B, T], which are written to, are of queries `first`, `first` + 1, ... with the
    gallery's items `start`, `start` + 1, ...; times `weights` they are right to `slack` [2, Q], and
    -inf leaves an item out. Where that does not decide, a score is computed anew, right to the
    second slack; then as `dot` over the length. With no `rows` the scores are exact. A query's
    matches lie in descending order of (score, -index). Its person's items,
    `same[same_from[q] : same_to[q]]`, ascending, are left out.

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
    surely, maybe = np.zeros(CHUNK, np.int32), np.zeros(CHUNK, np.int32)
    most = 0
    for q in range(first, first + B):
        most = max(most, match_from[q + 1] - match_from[q])
    placed = np.zeros(most + 1, np.int64)
    for c in range(0, T, CHUNK):  # outside, so that the rows of a chunk stay in the cache
        size = min(CHUNK, T - c)
        for r in range(B):
            q = first + r
            low, high = match_from[q], match_from[q + 1]
            if low == high:
                continue
            _weigh(scores[r, c : c + size], weights[c : c + size], part[:size])
            k = high
            while k > low:
                target = match_score[k - 1]
                limit[0], limit[1] = target - slack[0, q], target + slack[0, q]
                if not _place(part[:size], limit[0], limit[1], surely[:size], maybe[:size]):
                    break  # nothing reaches the match, nor those above it
                k -= 1
            if k == high:
                continue
            for j in range(size):
                if maybe[j] == 0:
                    continue
                placed[surely[j]] += 1
                if maybe[j] > surely[j]:
                    item = c + j
                    score, known = np.float64(part[j]), rows.shape[0] == 0
                    if not known:
                        score = _near(queries[q], rows[item]) / lengths[item]
                        wrong += abs(score - part[j]) > slack[0, q] + slack[1, q]
                    for m in range(high - maybe[j], high - surely[j]):
                        if not known and abs(score - match_score[m]) <= slack[1, q]:
                            score, known = dot(queries[q], rows[item]) / lengths[item], True
                        ahead = score == match_score[m] and start + item < match_index[m]
                        above[m] += score > match_score[m] or ahead
            surely[:], maybe[:], higher = 0, 0, 0
            for n in range(high - k, 0, -1):  # above the n lowest matches
                higher += placed[n]
                above[high - n] += higher
            placed[: high - k + 1] = 0
    return wrong
