"""How sure a number is: intervals, p-values, Holm's correction, ranks over protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from protocols.errors import ReIDError
from results.collect import Row
from results.query_sums import METRICS, query_sums
from results.resampling import Flips, Part, SeedNoise, Term, bootstrap, degrees, rng, seed_noise

ALPHA = 0.05
"""Level of every interval (95 %) and test."""
TIE = 1e-10
"""Differences closer than this are equal: a sum's rounding is less, what one query adds is more."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval, fractions."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Ranks:
    """How entries rank over protocols, 1 the best (Demšar, JMLR 2006, section 3.2.2).

    `mean_ranks` [E]; two entries differ where their mean ranks are `critical_difference` or more
    apart (Nemenyi, 5 %). `friedman_p` is of the hypothesis that all are equal. `cliques` are the
    largest groups (columns of the scores, best first) of which no two differ.
    """

    mean_ranks: np.ndarray
    critical_difference: float
    friedman_p: float
    cliques: tuple[tuple[int, ...], ...]


def metric_interval(
    rows: Sequence[Row], metric: str = "mAP", resamples: int = 2000, seed: int = 0
) -> Interval:
    """The interval of `mAP` or `rank1` of one entry on one protocol; `rows` are its seeds.

    With one seed it holds for other people and the same training.
    Raises ReIDError if the per-query results of a row can't be read.
    """
    parts = [Part(query_sums(rows), 1.0)]
    ((_, drawn),) = bootstrap([parts[0].sums], resamples, seed)
    return interval(parts, [drawn], METRICS.index(metric), seed)


def interval(
    parts: Sequence[Part], drawn: Sequence[np.ndarray], metric: int, seed: int
) -> Interval:
    """The 95 % interval of a sum of parts in one metric; `drawn` are their `bootstrap`, [2, N].

    The percentiles of the draws, further out by as much as Student's t is wider than the normal
    (Hesterberg 2015, section 4.3.2), and within what the metric can be.
    """
    estimate = sum(part.weight * part.sums.metrics[metric].mean() for part in parts)
    by_people: dict[str, np.ndarray] = {}
    sizes: dict[str, int] = {}
    for part, draws in zip(parts, drawn, strict=True):
        people = part.sums.people
        by_people[people] = by_people.get(people, 0.0) + part.weight * draws[metric]
        sizes[people] = max(sizes.get(people, 0), len(part.sums.pids))
    noise = seed_noise(parts, metric)
    terms: list[Term] = [(float(d.var()), sizes[p] - 1) for p, d in by_people.items()]
    # one identity says nothing of others
    least = -1.0 if any(part.weight < 0 for part in parts) else 0.0
    if min(sizes.values()) < 2:
        return Interval(float(estimate), least, 1.0)
    generator = rng(seed, METRICS[metric], *(part.sums.protocol for part in parts))
    total = sum(by_people.values()) + _normal(generator, noise, len(drawn[0][metric]))
    df = degrees(terms, noise)
    wider = stats.t.ppf(1 - ALPHA / 2, df) / stats.norm.ppf(1 - ALPHA / 2)
    low, high = estimate + wider * np.quantile(total, [ALPHA / 2, 1 - ALPHA / 2])
    return Interval(float(estimate), float(max(low, least)), float(min(high, 1.0)))


def p_value(
    observed: float, flipped: Flips, noise: SeedNoise, resamples: int,
    generator: np.random.Generator,
) -> float:  # fmt: skip
    """Two-sided p of a difference: the share of the `flipped` [N] that are as far from zero.

    Where they are drawn at random, the observed one counts as one more (Phipson and Smyth 2010).
    Where seeds differ, each has a draw of their noise added, over a chi: a t, as in `interval`.
    """
    draws, exact = flipped.draws, flipped.exact
    if noise.variance:
        draws, exact = flipped.at_random(resamples, generator), False
        df = degrees([(float((draws**2).mean()), np.inf)], noise)
        draws = draws + _normal(generator, noise, resamples)
        draws = draws * np.sqrt(df / generator.chisquare(df, resamples))
    as_far = int((np.abs(draws) >= abs(observed) - TIE).sum())
    return as_far / len(draws) if exact else (1 + as_far) / (1 + len(draws))


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for how many there are (Holm 1979)."""
    order = np.argsort(p, kind="stable")
    steps = np.asarray(p, dtype=float)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in corrected]


def ranks(scores: np.ndarray) -> Ranks:
    """Friedman's test and Nemenyi's critical difference of scores [protocols, entries].

    Higher is better; ties share their mean rank, and Friedman's statistic is corrected for them.
    Raises ReIDError for fewer than two protocols or entries, and for NaN.
    """
    scores = np.asarray(scores, dtype=float)
    N, k = scores.shape if scores.ndim == 2 else (0, 0)
    if N < 2 or k < 2:
        raise ReIDError("Ranks need at least two protocols and two entries that have all of them.")
    if not np.isfinite(scores).all():
        raise ReIDError("Ranks need a number for every entry on every protocol.")
    ranked = stats.rankdata(-scores, axis=1)
    means = ranked.mean(axis=0)
    quantile = stats.studentized_range.ppf(1 - ALPHA, k, np.inf) / np.sqrt(2)
    distance = float(quantile * np.sqrt(k * (k + 1) / (6 * N)))
    return Ranks(means, distance, _friedman(ranked), _cliques(means, distance))


def _friedman(ranked: np.ndarray) -> float:
    """p of Friedman's chi-square for ranks [protocols, entries], ties corrected for."""
    N, k = ranked.shape
    spread = ((ranked - (k + 1) / 2) ** 2).sum()
    if spread == 0:
        return 1.0
    between = N**2 * ((ranked.mean(axis=0) - (k + 1) / 2) ** 2).sum()
    return float(stats.chi2.sf((k - 1) * between / spread, k - 1))


def _cliques(means: np.ndarray, distance: float) -> tuple[tuple[int, ...], ...]:
    order = [int(i) for i in np.argsort(means, kind="stable")]
    found: list[tuple[int, ...]] = []
    for start, first in enumerate(order):
        group = tuple(i for i in order[start:] if means[i] - means[first] < distance)
        if len(group) > 1 and not (found and set(group) <= set(found[-1])):
            found.append(group)
    return tuple(found)


def _normal(generator: np.random.Generator, noise: SeedNoise, count: int) -> np.ndarray:
    return np.sqrt(noise.variance) * generator.standard_normal(count)
