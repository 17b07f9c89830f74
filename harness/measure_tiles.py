"""The measures of large problems: one pass over tiles of scores, with compiled code.

The gallery is taken one person after the other, so that a person is done with when it is over. Its
products, their bounds and the exact scores of matches are those of `harness.counting`.

Sizes: Q queries, G gallery items, M matches.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from queue import SimpleQueue

import numpy as np
import torch
from torch import Tensor

from harness import measure_kernels as kernels
from harness.cosine import Features, Floats
from harness.counting import (
    QUERY_BYTES,
    SCORE_COLUMNS,
    Block,
    Lengths,
    Product,
    Tile,
    threads_of_torch,
)
from harness.matches import Index, Matches
from harness.measures import OPEN_SET, SINGLE_SHOT, VERIFICATION, Found
from harness.ranking import checked_scores
from harness.scores import Score, block_rows, full_precision
from harness.single_shot import RANKS, per_query
from harness.verification import BINS, Histogram

MATCHES = 2**17
"""So many matches are followed at a time, each with RANKS chances in float64."""


def look_at_features(query: Features, gallery: Features, found: Found) -> None:
    """The pass over cosines. Raises ReIDError for features that hold nan or inf."""
    on = query.values.device if isinstance(query.values, Tensor) else torch.device("cpu")
    found.pairs = pairs = Histogram()
    pairs.cover(-1, 1)
    with full_precision(on.type), threads_of_torch() as threads:
        bins = _Bins(pairs, threads.number)
        for start, stop in _ranges(found, max(1, QUERY_BYTES // (4 * query.D))):
            block = _CosineBlock(query, gallery, found, start, stop, Product(on), bins)
            block.count(threads, 0, len(found.persons.order))
            block.seen.finish()
        bins.collect()


def look_at_scores(score: Score, found: Found) -> None:
    """The pass over a score. Raises ReIDError for scores that `rank` can't take."""
    found.pairs = pairs = Histogram()
    G = found.people.shape[1]
    with threads_of_torch() as threads:
        bins = _Bins(pairs, threads.number)
        for start, stop in _ranges(found, block_rows(G)):
            scores = checked_scores(score, start, stop, G)
            pairs.cover(float(scores.min()), float(scores.max()))
            matches = found.people.matches(start, stop)
            owner = np.repeat(np.arange(len(scores)), np.diff(matches.starts))
            matches.score[:] = scores[owner, matches.index]
            seen = _Seen(found, start, matches, np.ones(len(scores)), bins)
            step = -(-len(scores) // threads.number)
            list(threads.pool.map(partial(_look, seen, scores, step), range(0, len(scores), step)))
            bins.collect()
            seen.finish()


def _look(seen: _Seen, scores: Floats, step: int, first: int) -> None:
    """Take in `step` rows of exact scores, from row `first`, by tiles."""
    order, none = seen.found.persons.order, np.empty((0, 0), np.float32)
    slack = np.zeros(len(scores))
    for start in range(0, len(order), SCORE_COLUMNS):
        part = scores[first : first + step, order[start : start + SCORE_COLUMNS]]
        part = np.ascontiguousarray(part)
        weights = np.ones(part.shape[1], part.dtype)
        seen.add(part, weights, (start, first), slack, (none, none, np.empty(0)))


def _ranges(found: Found, most: int) -> Iterator[tuple[int, int]]:
    """All queries as ranges of at most `most` with at most MATCHES matches, or of one query."""
    total = np.concatenate(([0], np.cumsum(found.matches)))
    for start, stop in found.people.blocks(most):
        while start < stop:
            fit = int(np.searchsorted(total, total[start] + MATCHES, side="right")) - 1
            end = min(max(fit, start + 1), stop)
            yield start, end
            start = end


class _Bins:
    """Impostors' scores into bins, by several threads, each with counts of its own."""

    def __init__(self, pairs: Histogram, threads: int) -> None:
        self.pairs, self.threads = pairs, threads
        self._spare: SimpleQueue[Index] = SimpleQueue()
        for _ in range(threads):
            self._spare.put(np.zeros(BINS, np.int64))

    def fill(self, scores: Floats, factors: Lengths) -> None:
        """Count scores times their rows' factors, in units of the bins' width; 0 skips a row."""
        counts = self._spare.get()
        kernels.fill(scores, factors / self.pairs.width, self.pairs.first, counts)
        self._spare.put(counts)

    def collect(self) -> None:
        """Add up what the threads have counted."""
        for _ in range(self.threads):
            counts = self._spare.get()
            self.pairs.add_impostors(counts)
            counts[:] = 0
            self._spare.put(counts)


class _Seen:
    """What is known of queries `start`, ..., as 0, 1, ..., while tiles come in.

    The `matches` have their scores. A score over its query's length compares between queries.
    """

    def __init__(
        self, found: Found, start: int, matches: Matches, lengths: Lengths, bins: _Bins
    ) -> None:
        matches.sort()
        self.found, self.matches, self.lengths, self.bins = found, matches, lengths, bins
        self.queries = slice(start, start + len(lengths))
        self.counts = np.diff(matches.starts)
        self.factors = (self.counts > 0) / lengths
        self.other, self.other_item = np.full(len(lengths), -np.inf), np.full(len(lengths), -1)
        follows = SINGLE_SHOT in found.which
        self.live = self.counts if follows else np.zeros_like(self.counts)
        self.live = self.live.copy()
        self.begun = np.zeros(len(matches.index), dtype=np.int64)
        self.chances = np.zeros((len(matches.index) if follows else 0, RANKS))
        self.chances[:, :1] = 1

    def add(
        self,
        scores: Floats,
        weights: Floats,
        at: tuple[int, int],
        slack: Lengths,
        decide: tuple[Floats, Floats, Lengths],
    ) -> int:
        """Take in a tile; `at` is its first place of `persons.order` and its first query.

        Gives how many scores were found to be off by more than `slack`.
        """
        (start, first), persons, matches = at, self.found.persons, self.matches
        stop, rows = start + scores.shape[1], slice(first, first + len(scores))
        own = (side[self.queries][rows] - start for side in (persons.own_from, persons.own_to))
        kernels.settle(scores, weights, *own)
        items, wrong = persons.order[start:stop], 0
        if VERIFICATION in self.found.which:
            self.bins.fill(scores, self.factors[rows])
        if OPEN_SET in self.found.which:
            wrong += kernels.best_others(
                scores, first, items, self.other, self.other_item, slack, *decide
            )
        if SINGLE_SHOT in self.found.which:
            wrong += kernels.follow(
                scores,
                first,
                items,
                persons.owner[start : stop + 1],
                persons.sizes,
                matches.starts,
                matches.score,
                matches.index,
                self.live,
                self.begun,
                self.chances,
                slack,
                *decide,
            )
        return wrong

    def finish(self) -> None:
        """Leave what has been seen of the whole gallery in `found`."""
        found, matches, there = self.found, self.matches, self.counts > 0
        best, item = np.full(len(there), -np.inf), np.full(len(there), -1)
        top = matches.starts[:-1][there]
        best[there], item[there] = matches.score[top], matches.index[top]
        earlier = (best == self.other) & (item < self.other_item)
        found.first[self.queries] = there & ((best > self.other) | earlier)
        found.best[self.queries] = best / self.lengths
        found.other[self.queries] = self.other / self.lengths
        if VERIFICATION in found.which:
            scores = matches.score / np.repeat(self.lengths, self.counts)
            found.pairs.add(scores, np.empty(0))
        if SINGLE_SHOT in found.which:
            np.cumsum(self.chances, axis=1, out=self.chances)
            found.cmc[self.queries] = per_query(self.chances, matches.starts)


class _CosineBlock(Block):
    """Queries of a problem of features, which sees the gallery's items by person."""

    def __init__(
        self,
        query: Features,
        gallery: Features,
        found: Found,
        start: int,
        stop: int,
        product: Product,
        bins: _Bins,
    ) -> None:
        super().__init__(query, gallery, found.people, start, stop, product)
        self.order = found.persons.order
        self.score_matches(0, gallery.N)
        lengths = self._measured(query, slice(start, stop))[1]
        self.seen = _Seen(found, start, self.matches, lengths, bins)

    def _tile(self, start: int, stop: int) -> Tile:
        items = self.order[start:stop]
        in_order = (np.diff(items) == 1).all()
        wanted = slice(int(items[0]), int(items[-1]) + 1) if in_order else items
        return self._of_rows(start, wanted)

    def _count(self, tile: Tile, queries: tuple[int, Tensor]) -> int:
        first, factor = queries
        return self.seen.add(
            self.product(factor, tile.factor),
            tile.weights,
            (tile.start, first),
            self.slack[0],
            (self.queries, tile.rows, tile.lengths),
        )
