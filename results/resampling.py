"""Other identities, other seeds: the draws behind every interval and every p-value.

Two things could have come out otherwise: which people the test set has, and the chance in a
training. The first is drawn: identities with replacement (the bootstrap), or which of two methods
had which result, per identity (the permutation test). A query is never drawn without the others of
its person, nor a person in one protocol without the others that test on the same people.

A handful of seeds can't be drawn from: resampling three of them gives two thirds of their
variance. The second part is therefore a normal draw of the variance between runs, and the sum is
held against Student's t, not the normal, with degrees of freedom from how many identities and how
many seeds each part of the variance comes from (`degrees`). What the queries alone make runs
differ by is in the first part already and is taken off the second, as in two-way clustering
(Cameron, Gelbach and Miller 2011).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from results.query_sums import QuerySums

CELLS = 1 << 18
"""Weights that are drawn at a time: about what a processor's cache holds."""
Term = tuple[float, float]
"""A part of a variance, and the degrees of freedom it was estimated with."""


@dataclass(frozen=True)
class Part:
    """One entry on one protocol as a term of a sum; a - b is two, a mean over protocols 2 K."""

    sums: QuerySums
    weight: float


@dataclass(frozen=True)
class SeedNoise:
    """What the chance of training adds to the variance of an estimate; degrees of freedom of that.

    Without a second seed both are unknown: no variance, and `df` is infinite.
    """

    variance: float = 0.0
    df: float = np.inf


@dataclass(frozen=True, eq=False)
class Flips:
    """Differences with signs flipped, [N, K]: `exact` if these are all, else N at random."""

    draws: np.ndarray
    exact: bool = False

    def at_random(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """[count, K], where the draws are not as many at random already."""
        if not self.exact:
            return self.draws
        return self.draws[generator.integers(0, len(self.draws), count)]


def rng(seed: int, *names: object) -> np.random.Generator:
    """A generator of its own for every use: no draw depends on what else is drawn."""
    return np.random.default_rng([seed, *(zlib.crc32(str(name).encode()) for name in names)])


def bootstrap(
    samples: Sequence[QuerySums], resamples: int, seed: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Deviations of both metrics of every sample when its identities are drawn anew.

    Yields (index, [2, resamples]), samples of the same people with the same draws. A deviation
    is widened by sqrt(C / (C - 1)): a draw's variance is that of C people about their own mean.
    """
    by_people: dict[str, list[int]] = {}
    for i, sums in enumerate(samples):
        by_people.setdefault(sums.people, []).append(i)
    for people, members in by_people.items():
        pids = np.unique(np.concatenate([samples[i].pids for i in members]))
        columns = np.concatenate([_ratio_columns(samples[i], pids) for i in members], axis=1)
        draws = np.concatenate(
            list(_products(columns, resamples, _counts(rng(seed, people, "bootstrap"))))
        )
        wider = np.sqrt(len(pids) / max(len(pids) - 1, 1))
        start = 0
        for i in members:
            sums = samples[i]
            mine = draws[:, start : start + 3 * sums.counts.shape[1]]
            start += mine.shape[1]
            yield i, wider * (_ratios(mine) - sums.metrics.mean(axis=1)[:, None])


def flips(shares: Mapping[str, np.ndarray], resamples: int, seed: int) -> dict[str, Flips]:
    """Differences as they would be if a and b were swapped, or not, for each identity.

    `shares`: people -> what each of C identities adds to K differences, [C, K].
    """
    found = {}
    for people, values in shares.items():
        C = len(values)
        if np.log2(resamples) >= C:
            signs = 1 - 2 * (np.arange(2**C)[:, None] >> np.arange(C) & 1)
            found[people] = Flips(signs @ values, exact=True)
        else:
            chosen = _products(values, resamples, _bits(rng(seed, people, "permutation")))
            found[people] = Flips(2 * np.concatenate(list(chosen)) - values.sum(axis=0))
    return found


def seed_noise(parts: Sequence[Part], metric: int) -> SeedNoise:
    """The variance that other seeds would add to the sum of some parts, in one metric.

    A run's share of the sum is followed through all protocols that it is tested on. Protocols
    with one run add nothing: what one seed hides can't be known.
    """
    shifts: dict[tuple[bool, str], dict[str, float]] = {}
    sampling = 0.0
    for part in parts:
        n, C = len(part.sums.runs), len(part.sums.pids)
        if n < 2:
            continue
        scale = part.weight / n * np.sqrt(n / (n - 1))
        values, influence = part.sums.metrics[metric], part.sums.influence[metric]
        fold = shifts.setdefault((part.weight > 0, part.sums.fold), {})
        for run, away in zip(part.sums.runs, scale * (values - values.mean()), strict=True):
            fold[run] = fold.get(run, 0.0) + float(away)
        apart = scale * (influence - influence.mean(axis=0))
        sampling += float((apart**2).sum()) * C / max(C - 1, 1)
    terms = [(sum(v * v for v in fold.values()), len(fold) - 1) for fold in shifts.values()]
    between = sum(value for value, _ in terms)
    return SeedNoise(max(between - sampling, 0.0), _satterthwaite(terms))


def degrees(people: Sequence[Term], noise: SeedNoise) -> float:
    """Degrees of freedom of an estimate's variance: parts by people, and what seeds add.

    The few degrees of the seeds count by their share of the variance to the power of 1.5.
    Satterthwaite's square of it would do with many seeds; with three, intervals can hold the truth
    92 times in a hundred only, and the share itself makes them too wide (bench_coverage.py).
    """
    variance = sum(value for value, _ in people) + noise.variance
    if not variance:
        return np.inf
    seeds = (noise.variance / variance) ** 1.5 / noise.df
    return 1 / (seeds + sum(value**2 / df for value, df in people) / variance**2)


def _satterthwaite(terms: Sequence[Term]) -> float:
    """Degrees of freedom of a sum of estimated variances (Satterthwaite 1946)."""
    below = sum(value**2 / df for value, df in terms)
    return sum(value for value, _ in terms) ** 2 / below if below else np.inf


def _ratio_columns(sums: QuerySums, pids: np.ndarray) -> np.ndarray:
    """[C, 3 P] over all identities of the people: counts, then the mean over runs of both sums."""
    columns = np.zeros((len(pids), 3 * sums.counts.shape[1]))
    both = sums.sums.mean(axis=1)
    columns[np.searchsorted(pids, sums.pids)] = np.hstack([sums.counts, both[0], both[1]])
    return columns


def _ratios(draws: np.ndarray) -> np.ndarray:
    """[N, 3 P] as above, added up by draw -> both metrics [2, N].

    A probe split that a draw has left without a query is left out of its mean.
    """
    counts, *both = np.split(draws, 3, axis=1)
    means = [np.divide(one, counts, out=np.zeros_like(one), where=counts > 0) for one in both]
    return np.stack(means).sum(axis=2) / np.maximum((counts > 0).sum(axis=1), 1)


def _products(
    values: np.ndarray, rows: int, weights: Callable[[int, int], np.ndarray]
) -> Iterator[np.ndarray]:
    """weights [rows, C] @ values [C, K], never more than `CELLS` weights at a time."""
    C = len(values)
    step = max(CELLS // C, 1)
    for start in range(0, rows, step):
        yield weights(min(step, rows - start), C) @ values


def _counts(generator: np.random.Generator) -> Callable[[int, int], np.ndarray]:
    """How often each of C identities is drawn, C times with replacement."""

    def weights(rows: int, people: int) -> np.ndarray:
        drawn = generator.integers(0, people, (rows, people))
        drawn += people * np.arange(rows)[:, None]
        found = np.bincount(drawn.ravel(), minlength=rows * people)
        return found.reshape(rows, people).astype(float)

    return weights


def _bits(generator: np.random.Generator) -> Callable[[int, int], np.ndarray]:
    """0 or 1 with even chances."""

    def weights(rows: int, people: int) -> np.ndarray:
        packed = generator.integers(0, 256, (rows, -(-people // 8)), np.uint8)
        return np.unpackbits(packed, axis=1, count=people).astype(float)

    return weights
