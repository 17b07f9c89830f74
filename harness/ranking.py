"""Ranking metrics: AP, first hit and INP per query, and their means.

`rank` takes blocks of scores, so a method with a score of its own is measured like any other;
`rank_features` takes features and ranks by their cosine. Nothing is sorted in the usual case: the
rank of a match is one more than the number of gallery items placed before it. Large problems are
counted by compiled code (`harness.counting`), small ones here, with the same result.

Sizes: Q queries, G gallery items, D feature dimensions. Ranks count from 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.cosine import Features, Floats, Rows, exact_scores
from harness.matches import Index, Labels, People
from harness.scores import Score, block_rows, cosine_score
from protocols.errors import ReIDError

__all__ = [
    "Ranking",
    "Score",
    "block_rows",
    "cosine_score",
    "exact_score",
    "rank",
    "rank_features",
    "ranked_gallery",
    "ranking_of",
]

COMPILED_PAIRS, COMPILED_TERMS = 2**24, 2**27
"""From this many pairs of query and gallery item on, or this many terms of their products, loading
the compiled code pays."""

FEW = 8
"""Of fewer queries, too, a large gallery is read a part at a time, as compiled code does."""

COUNT_UP_TO = 256
"""With many more matches than this for one query, one sort of its row is faster than counting."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """What one ranking gave for each of Q queries, and the means over the valid ones, in 0..1.

    `ap` is the mean of the precision at every match and `inp` matches / rank of the last match
    (Ye et al., TPAMI 2021), both nan where skipped; `first_hit` is the rank of the first match,
    0 where skipped; `matches` counts the matches the gallery keeps. A query is `valid` when that
    is at least one. `cmc` goes to `max_rank`.
    """

    ap: NDArray[np.float64]
    first_hit: NDArray[np.int64]
    inp: NDArray[np.float64]
    matches: NDArray[np.int64]
    valid: NDArray[np.bool_]
    max_rank: int

    @property
    def mAP(self) -> float:  # noqa: N802 (the field's name)
        """Mean average precision."""
        return float(self.ap[self.valid].mean())

    @property
    def mINP(self) -> float:  # noqa: N802 (the field's name)
        """Mean inverse negative penalty."""
        return float(self.inp[self.valid].mean())

    @property
    def cmc(self) -> NDArray[np.float64]:
        """[max_rank] at k - 1: the share of queries whose first match is among the first k.

        Defined for every k, also past the number of items a query keeps.
        """
        return np.array([self._hit_within(k) for k in range(1, self.max_rank + 1)])

    @property
    def rank1(self) -> float:
        """The share of queries whose first match comes first."""
        return self._hit_within(1)

    @property
    def rank5(self) -> float:
        """CMC at 5, whatever `max_rank` is; so is `rank10`."""
        return self._hit_within(5)

    @property
    def rank10(self) -> float:
        """CMC at 10."""
        return self._hit_within(10)

    @property
    def valid_queries(self) -> int:
        """How many queries the means are over."""
        return int(self.valid.sum())

    @property
    def skipped_queries(self) -> int:
        """How many queries were left out: junk, or without a match in the gallery."""
        return len(self.valid) - self.valid_queries

    def _hit_within(self, k: int) -> float:
        return float((self.first_hit[self.valid] <= k).mean())


def rank(
    score: Score,
    *,
    query_pids: Labels,
    query_camids: Labels,
    gallery_pids: Labels,
    gallery_camids: Labels,
    max_rank: int = 50,
    block: int | None = None,
) -> Ranking:
    """Rank the gallery for every query, `block` queries at a time (default: `block_rows`).

    For each query, gallery items of its person in its camera are removed; items with pid -1 are
    removed for all; items with pid 0 stay and match nobody. A query that is junk itself or keeps
    no match is skipped. Items are ordered by score, equal scores by gallery index, so the result
    is a function of the scores alone, whatever the block.

    Raises ReIDError for labels that are empty, not integers or of unequal length, when no query
    is valid, and for scores of the wrong shape or type, or not finite.
    """
    people = People(query_pids, query_camids, gallery_pids, gallery_camids)
    block = block_rows(people.shape[1]) if block is None else block
    if block < 1 or max_rank < 1:
        raise ReIDError(f"block and max_rank must be at least 1, not {block} and {max_rank}.")
    counts = people.counts()
    blocks = _blocks(score, people, block)
    Q, G = people.shape
    if Q * G < COMPILED_PAIRS:
        return ranking_of(_plain_ranks(blocks, people), counts, max_rank)
    from harness.counting import score_ranks  # loads numba

    return ranking_of(score_ranks(blocks, people), counts, max_rank)


def rank_features(
    query_features: Tensor | Rows,
    gallery_features: Tensor | Rows,
    *,
    query_pids: Labels,
    query_camids: Labels,
    gallery_pids: Labels,
    gallery_camids: Labels,
    max_rank: int = 50,
    tile: int | None = None,
) -> Ranking:
    """Rank the gallery by cosine for every query, by the rules of `rank`.

    Features are [Q, D] and [G, D] in any float type, tensors or arrays; of a memory-mapped
    gallery, `tile` rows are read at a time. Every rank is that of the float64 cosines, equal ones
    by gallery index; a zero vector scores 0 with everything. So the result is a function of the
    features alone, whatever the tiles, threads, library or device.

    Raises ReIDError as `rank` does, and for features of the wrong shape or type, or not finite
    (side and row named).
    """
    query, gallery = Features("query", query_features), Features("gallery", gallery_features)
    people = People(query_pids, query_camids, gallery_pids, gallery_camids)
    require_fit(query, gallery, people)
    if max_rank < 1 or (tile is not None and tile < 1):
        raise ReIDError(f"tile and max_rank must be at least 1, not {tile} and {max_rank}.")
    counts = people.counts()
    if is_small(query, gallery):
        blocks = _blocks(exact_scores(query, gallery), people, block_rows(2 * gallery.N))
        return ranking_of(_plain_ranks(blocks, people), counts, max_rank)
    from harness.counting import feature_ranks  # loads numba

    return ranking_of(feature_ranks(query, gallery, people, tile), counts, max_rank)


def require_fit(query: Features, gallery: Features, people: People) -> None:
    """Raise ReIDError unless both sides have one row a label, and one width."""
    if people.shape != (query.N, gallery.N) or query.D != gallery.D:
        raise ReIDError(
            f"Query and gallery features must have one row a label and one width, not "
            f"{[query.N, query.D]} and {[gallery.N, gallery.D]} for {people.shape[0]} and "
            f"{people.shape[1]} labels."
        )


def is_small(query: Features, gallery: Features) -> bool:
    """Whether every score is computed in float64, without compiled code."""
    return max(query.N, FEW) * gallery.N * query.D < COMPILED_TERMS


def ranking_of(ranked: Iterable[tuple[int, Index]], matches: Index, max_rank: int) -> Ranking:
    """A ranking from the ranks of every valid query's matches, ascending."""
    Q = len(matches)
    ap, inp = np.full(Q, np.nan), np.full(Q, np.nan)
    first_hit = np.zeros(Q, dtype=np.int64)
    for q, ranks in ranked:
        ap[q] = (np.arange(1, len(ranks) + 1) / ranks).mean()
        inp[q] = len(ranks) / ranks[-1]
        first_hit[q] = ranks[0]
    return Ranking(ap, first_hit, inp, matches, matches > 0, max_rank)


def exact_score(query_features: Tensor | Rows, gallery_features: Tensor | Rows) -> Score:
    """The float64 cosines that `rank_features` ranks by, for a few queries: all are not kept.

    Raises ReIDError for features of the wrong shape or type, or not finite.
    """
    return exact_scores(Features("query", query_features), Features("gallery", gallery_features))


def ranked_gallery(
    score: Score,
    query: int,
    *,
    query_pids: Labels,
    query_camids: Labels,
    gallery_pids: Labels,
    gallery_camids: Labels,
) -> tuple[Index, NDArray[np.bool_]]:
    """The gallery of one query as `rank` orders it: indices [K], and which of them match, [K].

    K is what is left of the gallery without what `rank` removes for this query; a query that is
    skipped there matches nothing. Raises what `rank` raises for labels and scores.
    """
    people = People(query_pids, query_camids, gallery_pids, gallery_camids)
    matches = people.matches(query, query + 1)
    kept, match = ~people.junk, np.zeros(people.shape[1], dtype=bool)
    kept[matches.of(0)] = False
    kept[matches.index] = match[matches.index] = True
    row = checked_scores(score, query, query + 1, people.shape[1])[0]
    order = np.argsort(-row, kind="stable")
    order = order[kept[order]]
    return order, match[order]


def _plain_ranks(
    blocks: Iterable[tuple[int, Floats]], people: People
) -> Iterator[tuple[int, Index]]:
    """Every valid query with the ranks of its matches, from exact scores, with numpy alone."""
    for start, scores in blocks:
        matches = people.matches(start, start + len(scores))
        for q in range(len(scores)):
            hits = matches.index[matches.starts[q] : matches.starts[q + 1]]
            if not len(hits):
                continue
            row = scores[q].copy()  # ours to change; the block may be the method's own memory
            best = row[hits]
            row[people.junk] = row[matches.of(q)] = -np.inf  # scores are finite: after all the rest
            row[hits] = best
            yield start + q, _ranks(row, hits)


def _ranks(row: NDArray[np.floating], hits: NDArray[np.int64]) -> NDArray[np.int64]:
    """The ranks of the items `hits` in a row of scores, ascending; ties go by index."""
    if len(hits) > COUNT_UP_TO:
        is_hit = np.zeros(len(row), dtype=bool)
        is_hit[hits] = True
        return np.flatnonzero(is_hit[np.argsort(-row, kind="stable")]) + 1
    # An item of equal score is placed before a match only if its index is lower.
    before = [
        np.count_nonzero(row[:i] >= row[i]) + np.count_nonzero(row[i:] > row[i]) for i in hits
    ]
    return np.sort(np.array(before, dtype=np.int64)) + 1


def _blocks(score: Score, people: People, block: int) -> Iterator[tuple[int, Floats]]:
    """Blocks of scores, [b, G], checked, each with its first query."""
    for start, stop in people.blocks(block):
        yield start, checked_scores(score, start, stop, people.shape[1])


def checked_scores(score: Score, start: int, stop: int, gallery_size: int) -> Floats:
    """The scores of queries `start` to `stop`, [stop - start, G]."""
    scores = score(start, stop)
    if tuple(scores.shape) != (stop - start, gallery_size):
        raise ReIDError(
            f"The score of queries {start} to {stop - 1} has shape {list(scores.shape)}; "
            f"expected one row a query and one column a gallery item, "
            f"{[stop - start, gallery_size]}."
        )
    if scores.dtype not in (torch.float32, torch.float64):
        raise ReIDError(f"Scores must be float32 or float64, not {scores.dtype}.")
    rows: Floats = scores.detach().cpu().numpy()
    for q, row in enumerate(rows, start):
        if not np.isfinite(row).all():
            column = int(np.flatnonzero(~np.isfinite(row))[0])
            raise ReIDError(
                f"The score of query row {q} is not finite: {row[column]} for gallery row "
                f"{column}. Look for nan or inf in the method's features or its score."
            )
    return rows
