"""Ranks by counting instead of sorting: tiles of scores are made, counted and forgotten.

The rank of a query's k-th best match is k plus the number of other persons' items before it. So
each query keeps its matches' scores alone, and every tile of the gallery adds to their counts.
There is no matrix of scores and no sort.

Features are ranked by float64 scores (`harness.cosine`), yet multiplied in float32. Which scores
float32 decides follows from a bound. Let u = 2^-24, and x and y be what is multiplied. Summed in
any order, fused or not, |fl(x.y) - x.y| <= g(D) sum |x_i y_i| with g(n) = n u / (1 - n u) (Higham,
Accuracy and Stability of Numerical Algorithms, 2002, eq. 3.5), and the sum is at most |x| |y|
(Cauchy-Schwarz). Rounding two float64 rows to float32 adds 2 u, the item's inverse length u, the
product with it u, the limit compared with u, and what float64 rounds and float32 underflows much
less than u. So a score x.y / |y| is right to |x| g(D + 8). A score further from a match's than that
is decided; the others are computed again in float64. Ranks therefore do not depend on tiles,
threads, the library's order of summation, or the device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import linear

from harness import kernels
from harness.cosine import Features, Floats, part_rows
from harness.matches import Index, Matches, People
from harness.scores import full_precision
from protocols.errors import ReIDError

QUERY_BYTES = 25_000_000
"""How much of the queries' features is taken at once; the gallery is read once for each part."""
QUERY_ROWS = 512
"""How many queries a thread multiplies with a tile at a time."""
SCORE_COLUMNS = 4096
"""How many exact scores of a query are counted at a time."""
UNIT = 2.0**-24
"""The relative error of one rounding to float32."""

Lengths = NDArray[np.float64]
ScoreBlock = tuple[int, Floats]


@dataclass(frozen=True)
class Tile:
    """A part of the gallery: item `start` and those after it, and the same ready to multiply.

    `alike` says which rows are copies (`kernels.first_alike`).
    """

    start: int
    rows: Floats
    lengths: Lengths
    weights: NDArray[np.float32]
    factor: Tensor
    alike: Index


class Product:
    """The fast product: float32, through oneDNN where torch has it, on a device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.onednn = device.type == "cpu" and torch.backends.mkldnn.is_available()

    def factor(self, rows: Floats) -> Tensor:
        """Rows [n, D] as a factor of products."""
        tensor = torch.from_numpy(rows.astype(np.float32, copy=False)).to(self.device)
        return tensor.to_mkldnn() if self.onednn else tensor

    def __call__(self, query: Tensor, gallery: Tensor) -> NDArray[np.float32]:
        """[b, T] products of factors [b, D] and [T, D]."""
        scores = linear(query, gallery)
        return (scores.to_dense() if self.onednn else scores).cpu().numpy()


@dataclass(frozen=True)
class Threads:
    """A pool of threads, and how many they are."""

    pool: ThreadPoolExecutor
    number: int


@contextmanager
def threads_of_torch() -> Iterator[Threads]:
    """As many threads as torch may use, each multiplying alone: none waits for another's part."""
    number = torch.get_num_threads()
    torch.set_num_threads(1)  # new threads take this over
    try:
        with ThreadPoolExecutor(number) as pool:
            yield Threads(pool, number)
    finally:
        torch.set_num_threads(number)


def feature_ranks(
    query: Features, gallery: Features, people: People, tile: int | None = None
) -> Iterator[tuple[int, Index]]:
    """Every valid query with the ranks of its matches; the gallery in tiles of `tile` rows.

    Raises ReIDError for features that hold nan or inf.
    """
    on = query.values.device if isinstance(query.values, Tensor) else torch.device("cpu")
    with full_precision(on.type), threads_of_torch() as threads:
        for start, stop in query_blocks(people, query.D):
            block = Block(query, gallery, people, start, stop, Product(on))
            block.score_matches(0, gallery.N)
            block.matches.sort()
            block.count(threads, 0, gallery.N, tile)
            yield from ranks_of(block.matches, start)


def tile_rows(gallery: Features) -> int:
    """How many items make a tile; in memory twice as many, of which products are a tenth faster."""
    return part_rows(gallery.D) * (2 if gallery.in_memory else 1)


def query_blocks(people: People, width: int) -> Iterator[tuple[int, int]]:
    """The ranges of queries that are counted at once, of features of D = `width` numbers.

    They are about equal, which takes the least memory for as many readings of the gallery.
    """
    Q, most = people.shape[0], max(1, QUERY_BYTES // (4 * width))
    return people.blocks(-(-Q // -(-Q // most)))


class Block:
    """Queries `start` to `stop`, as 0, 1, ..., and what is known of them.

    Items of the gallery are scored and counted a range at a time, by one process or several:
    `score_matches` of all ranges comes first, then `matches.sort`, then `count` of all ranges.
    """

    def __init__(
        self,
        query: Features,
        gallery: Features,
        people: People,
        start: int,
        stop: int,
        product: Product,
    ) -> None:
        self.gallery, self.people, self.product = gallery, people, product
        self.start, self.stop = start, stop
        self.dtype = np.float64 if query.wide or gallery.wide else np.float32
        self.queries, lengths = self._measured(query, slice(start, stop))
        D = gallery.D
        self.slack = np.array([lengths * _bound(n) for n in (D, min(D, kernels.NEAR_TERMS))])
        self.matches = people.matches(start, stop)

    def score_matches(self, first: int, last: int) -> None:
        """Score the matches among items `first` to `last` in float64, reading these rows alone."""
        matches, step = self.matches, part_rows(self.gallery.D)
        items = np.unique(matches.index[matches.within(first, last)])
        for at in range(0, len(items), step):
            index = items[at : at + step]
            kernels.score_matches(
                self.queries,
                *self._measured(self.gallery, index),
                index,
                *self.people.queries_of(self.start, self.stop, index),
                matches.index,
                matches.starts,
                matches.score,
            )

    def count(self, threads: Threads, first: int, last: int, tile: int | None = None) -> None:
        """Go through items `first` to `last`; the next tile is read while one is counted."""
        tile = tile_rows(self.gallery) if tile is None else tile
        starts = range(0, len(self.queries), QUERY_ROWS)
        queries = [(at, self.product.factor(self.queries[at : at + QUERY_ROWS])) for at in starts]
        following = threads.pool.submit(self._tile, first, min(first + tile, last))
        wrong = 0
        for start in range(first, last, tile):
            now, after = following.result(), start + tile
            if after < last:
                following = threads.pool.submit(self._tile, after, min(after + tile, last))
            wrong += sum(threads.pool.map(partial(self._count, now), queries))
        if wrong:
            raise ReIDError(
                f"{wrong} products were less exact than float32 allows. A setting makes float32 "
                "products coarser (ONEDNN_DEFAULT_FPMATH_MODE, say): take it back."
            )

    def _measured(self, side: Features, rows: slice | Index) -> tuple[Floats, Lengths]:
        part = side.read(rows, self.dtype)
        lengths = np.empty(len(part))
        if not kernels.measure(part, lengths):
            part = part.copy()
            if not kernels.rescale(part):
                raise side.refuse()
            kernels.measure(part, lengths)
        return part, lengths

    def _tile(self, start: int, stop: int) -> Tile:
        return self._of_rows(start, slice(start, stop))

    def _of_rows(self, start: int, wanted: slice | Index) -> Tile:
        rows, lengths = self._measured(self.gallery, wanted)
        weights = (1 / lengths).astype(np.float32)
        alike = kernels.first_alike(rows, lengths)
        return Tile(start, rows, lengths, weights, self.product.factor(rows), alike)

    def _count(self, tile: Tile, queries: tuple[int, Tensor]) -> int:
        """Count a tile for some queries: the first of them, and all as a factor of products."""
        first, factor = queries
        scores = self.product(factor, tile.factor)
        scores[:, self.people.junk[tile.start : tile.start + len(tile.rows)]] = -np.inf
        return _count(
            self.matches,
            scores,
            tile.weights,
            (tile.start, first),
            self.slack,
            (self.queries, tile.rows, tile.lengths, tile.alike),
        )


def _bound(terms: int) -> float:
    """How far a float32 score of unit rows can be off: g(terms + 8)."""
    error = (terms + 8) * UNIT
    return error / (1 - error)


def score_ranks(blocks: Iterable[ScoreBlock], people: People) -> Iterator[tuple[int, Index]]:
    """The same from blocks of exact scores, each [b, G] and with its first query."""
    with threads_of_torch() as threads:
        for start, scores in blocks:
            matches = people.matches(start, start + len(scores))
            owner = np.repeat(np.arange(len(scores)), np.diff(matches.starts))
            matches.score[:] = scores[owner, matches.index]
            matches.sort()
            step = -(-len(scores) // threads.number)
            first = range(0, len(scores), step)
            list(threads.pool.map(partial(_count_exact, matches, people, scores, step), first))
            yield from ranks_of(matches, start)


def _count_exact(matches: Matches, people: People, scores: Floats, step: int, first: int) -> None:
    """Count `step` rows of exact scores, from row `first`, by tiles."""
    none = np.empty((0, 0), np.float32), np.empty((0, 0), np.float32), np.empty(0)
    slack = np.zeros((2, len(scores)))
    for start in range(0, scores.shape[1], SCORE_COLUMNS):
        columns = slice(start, start + SCORE_COLUMNS)
        part = scores[first : first + step, columns].copy(order="C")
        part[:, people.junk[columns]] = -np.inf
        weights = np.ones(part.shape[1], part.dtype)
        _count(matches, part, weights, (start, first), slack, (*none, np.empty(0, np.int64)))


def _count(
    matches: Matches,
    scores: Floats,
    weights: Floats,
    at: tuple[int, int],
    slack: NDArray[np.float64],
    decide: tuple[Floats, Floats, Lengths, Index],
) -> int:
    """`kernels.count_above` of a tile; `at` is its first item and its first query."""
    return kernels.count_above(
        scores,
        weights,
        *at,
        matches.same,
        matches.same_from,
        matches.same_to,
        matches.starts,
        matches.score,
        matches.index,
        matches.above,
        slack,
        *decide,
    )


def ranks_of(matches: Matches, start: int) -> Iterator[tuple[int, Index]]:
    """Every valid query, from number `start` on, with the ranks of its matches."""
    for q in np.flatnonzero(np.diff(matches.starts)):
        yield start + int(q), matches.ranks(int(q))
