"""Verification: how well one threshold tells pairs of one person from pairs of two (ROC).

A pair is genuine where the item matches the query, an impostor where it shows somebody else. What a
threshold accepts is counted at every level of score; equal scores are one level, as no threshold
tells them apart. Few pairs are sorted, so that each distinct score is a level. Of many, a level is
a bin of a histogram, whose width `Histogram` states: every rate is then exactly that of a threshold
at a bin's edge.

Rates are conservative: TPR at FPR f is of the lowest level that accepts at most the share f of the
impostors, with no interpolation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harness.matches import Index

Floats = NDArray[np.floating]
Rates = NDArray[np.float64]

RATES = tuple(10.0 ** (k / 8) for k in range(-48, 1))
"""The false-positive rates of the curve: from 1e-6 to 1, eight to a power of ten."""
NAMED = (1e-1, 1e-2, 1e-3, 1e-4)
"""The false-positive rates that have a metric."""
BINS = 2**20 + 1
"""Of a histogram; so many are 2^-19 wide where they are to reach from -1 to 1."""
SORTED = 2**20
"""So many pairs are sorted."""
_GENUINE, _IMPOSTOR = 0, 1


@dataclass(frozen=True)
class Levels:
    """How many genuine and impostor scores reach each level, from the highest level on, [n] each.

    `genuine[-1]` and `impostor[-1]` are all there are.
    """

    genuine: Index
    impostor: Index

    @classmethod
    def of_counts(cls, genuine: Index, impostor: Index) -> Levels:
        """From how many lie in each level, ascending."""
        some = (genuine > 0) | (impostor > 0)
        return cls(np.cumsum(genuine[some][::-1]), np.cumsum(impostor[some][::-1]))

    @classmethod
    def of_scores(cls, genuine: Floats, impostor: Floats) -> Levels:
        """From the scores themselves, each distinct one a level."""
        values, level = np.unique(np.concatenate([genuine, impostor]), return_inverse=True)
        return cls.of_counts(
            np.bincount(level[: len(genuine)], minlength=len(values)),
            np.bincount(level[len(genuine) :], minlength=len(values)),
        )

    def accepted(self, rates: tuple[float, ...], of: int | None = None) -> Rates:
        """The share of `of` (default: all genuine) accepted where at most `rates` impostors are.

        Not a number for a rate below that of one impostor, which these are too few to know. There
        must be an impostor.
        """
        impostors = self.impostor[-1]
        # divided, not multiplied: a share that equals a rate must not be rounded past it
        lowest = np.searchsorted(self.impostor / impostors, rates, side="right")
        shares = np.append(0, self.genuine)[lowest] / (of or self.genuine[-1])
        return np.where(1 / impostors > np.array(rates), np.nan, shares)

    def auc(self) -> float:
        """The area under the curve: how often a genuine score is higher, equal ones count half."""
        genuine = np.diff(self.genuine, prepend=0)
        below = 2 * (self.impostor[-1] - self.impostor) + np.diff(self.impostor, prepend=0)
        return float((genuine / self.genuine[-1] * (below / (2 * self.impostor[-1]))).sum())

    def eer(self) -> float:
        """The equal error rate: where as large a share is wrongly accepted as wrongly refused.

        Between two levels, on the straight line that joins them.
        """
        accepted = np.append(0, self.impostor / self.impostor[-1])
        refused = 1 - np.append(0, self.genuine / self.genuine[-1])
        k = int((accepted >= refused).argmax())
        gap, rise = refused[k - 1] - accepted[k - 1], accepted[k] - accepted[k - 1]
        share = gap / (rise + refused[k - 1] - refused[k])
        return float(accepted[k - 1] + share * rise)


class Pairs(Protocol):
    """Scores of pairs, collected a part at a time."""

    def add(self, genuine: Floats, impostor: Floats) -> None: ...

    def levels(self) -> Levels: ...


class Every:
    """Few pairs: every score is kept."""

    def __init__(self) -> None:
        self._parts: tuple[list[Floats], list[Floats]] = ([], [])

    def add(self, genuine: Floats, impostor: Floats) -> None:
        for parts, scores in zip(self._parts, (genuine, impostor), strict=True):
            parts.append(np.asarray(scores, np.float64))

    def levels(self) -> Levels:
        return Levels.of_scores(*(np.concatenate([*parts, []]) for parts in self._parts))


class Histogram:
    """Many pairs: `BINS` bins of one width, which are moved and doubled where scores need it.

    The width is the least power of two with which the bins cover all scores, whatever their order:
    at most 2^-19 of their range. What lies in one bin is taken for equal.
    """

    def __init__(self) -> None:
        self.counts = np.zeros((2, BINS), np.int64)
        self.low, self.high, self.exponent, self.first = math.inf, -math.inf, -1074, 0

    @property
    def width(self) -> float:
        """Of a bin; bin i is [first + i, first + i + 1) times the width."""
        return math.ldexp(1.0, self.exponent)

    def cover(self, low: float, high: float) -> None:
        """Make the bins reach from `low` to `high`, merging neighbours where they must."""
        if low >= self.low and high <= self.high:
            return
        self.low, self.high = min(low, self.low), max(high, self.high)
        largest = max(abs(self.low), abs(self.high))
        # no finer than float64 tells the largest from its neighbour
        least = max(self.high / BINS - self.low / BINS, largest * 2.0**-52, 2.0**-1000)
        exponent = max(self.exponent, math.frexp(least)[1] - 1)
        while _bin(self.high, exponent) - _bin(self.low, exponent) >= BINS:
            exponent += 1
        first = _bin(self.low, exponent)
        for counts in self.counts:
            there = np.flatnonzero(counts)
            found = counts[there]
            counts[:] = 0
            place = ((there + self.first) >> (exponent - self.exponent)) - first
            np.add.at(counts, place, found)
        self.exponent, self.first = exponent, first

    def add(self, genuine: Floats, impostor: Floats) -> None:
        for kind, scores in ((_GENUINE, genuine), (_IMPOSTOR, impostor)):
            if len(scores):
                self.cover(float(scores.min()), float(scores.max()))
                places = np.floor(np.ldexp(scores.astype(np.float64), -self.exponent))
                found = np.bincount(places.astype(np.int64) - self.first, minlength=BINS)
                self.counts[kind] += found

    def add_impostors(self, counts: Index) -> None:
        """Impostors that were counted elsewhere, by the same bins, [BINS]."""
        self.counts[_IMPOSTOR] += counts

    def levels(self) -> Levels:
        return Levels.of_counts(self.counts[_GENUINE], self.counts[_IMPOSTOR])


def _bin(value: float, exponent: int) -> int:
    return math.floor(math.ldexp(value, -exponent))


def pairs_of(number: int) -> Pairs:
    """Where to collect so many pairs."""
    return Every() if number <= SORTED else Histogram()


def verification(levels: Levels) -> tuple[dict[str, float], list[float]]:
    """Metrics `tpr_at_fpr_0.001` ..., `auc` and `eer`, and TPR at each of RATES.

    A metric of a rate that the impostors are too few for is left out, on the curve it is nan. With
    no genuine pair or no impostor there is nothing.
    """
    if not (levels.genuine.any() and levels.impostor.any()):
        return {}, []
    found = zip(NAMED, levels.accepted(NAMED).tolist(), strict=True)
    metrics = {f"tpr_at_fpr_{rate:g}": value for rate, value in found if not math.isnan(value)}
    return {**metrics, "auc": levels.auc(), "eer": levels.eer()}, levels.accepted(RATES).tolist()
