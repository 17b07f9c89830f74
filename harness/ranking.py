"""Ranking metrics from blocks of scores: AP, first hit and INP per query, and their means.

Only scores and labels come in, so a method with a score of its own is measured like any other.
Nothing is sorted in the usual case: the rank of a match is one more than the number of gallery
items placed before it, and counting those takes two passes over one row of scores.

Sizes: Q queries, G gallery items, D feature dimensions. Ranks count from 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.scores import Score, block_rows, cosine_score
from protocols.errors import ReIDError
from protocols.types import DISTRACTOR_PID, JUNK_PID

__all__ = ["Ranking", "Score", "block_rows", "cosine_score", "rank", "ranked_gallery"]

Labels = Sequence[int] | NDArray[np.integer] | Tensor

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
    q_pids, q_camids = _labels("query", query_pids, query_camids)
    g_pids, g_camids = _labels("gallery", gallery_pids, gallery_camids)
    Q, G = len(q_pids), len(g_pids)
    block = block_rows(G) if block is None else block
    if block < 1 or max_rank < 1:
        raise ReIDError(f"block and max_rank must be at least 1, not {block} and {max_rank}.")

    people = _People(g_pids, g_camids)
    junk = people.of(JUNK_PID)
    counts = [len(people.matches(*query)[0]) for query in zip(q_pids, q_camids, strict=True)]
    matches = np.array(counts, dtype=np.int64)
    valid = matches > 0
    if not valid.any():
        raise ReIDError(
            f"None of the {Q} queries has a match among the {G} gallery items: a match has the "
            f"query's pid and another camid, and a pid other than {JUNK_PID} (junk) and "
            f"{DISTRACTOR_PID} (distractor). Check the pids and camids of query and gallery."
        )

    ap, inp = np.full(Q, np.nan), np.full(Q, np.nan)
    first_hit = np.zeros(Q, dtype=np.int64)
    for q, row in _rows(score, range(Q), G, block):
        if not valid[q]:
            continue
        hits, same_camera = people.matches(q_pids[q], q_camids[q])
        row[junk] = row[same_camera] = -np.inf  # scores are finite: these come after all the rest
        ranks = _ranks(row, hits)
        ap[q] = (np.arange(1, len(ranks) + 1) / ranks).mean()
        inp[q] = len(ranks) / ranks[-1]
        first_hit[q] = ranks[0]
    return Ranking(ap, first_hit, inp, matches, valid, max_rank)


def ranked_gallery(
    score: Score,
    query: int,
    *,
    query_pids: Labels,
    query_camids: Labels,
    gallery_pids: Labels,
    gallery_camids: Labels,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The gallery of one query as `rank` orders it: indices [K], and which of them match, [K].

    K is what is left of the gallery without what `rank` removes for this query; a query that is
    skipped there matches nothing. Raises what `rank` raises for labels and scores.
    """
    q_pids, q_camids = _labels("query", query_pids, query_camids)
    g_pids, g_camids = _labels("gallery", gallery_pids, gallery_camids)
    people = _People(g_pids, g_camids)
    hits, same_camera = people.matches(q_pids[query], q_camids[query])
    kept, match = np.ones(len(g_pids), dtype=bool), np.zeros(len(g_pids), dtype=bool)
    kept[people.of(JUNK_PID)] = kept[same_camera] = False
    match[hits] = True
    ((_, row),) = _rows(score, range(query, query + 1), len(g_pids), 1)
    order = np.argsort(-row, kind="stable")
    order = order[kept[order]]
    return order, match[order]


class _People:
    """The gallery's indices by person, ascending."""

    def __init__(self, pids: NDArray[np.int64], camids: NDArray[np.int64]) -> None:
        self.camids = camids
        self.order = np.argsort(pids, kind="stable")
        self.pids = pids[self.order]

    def of(self, pid: int) -> NDArray[np.int64]:
        """The indices of a person's items."""
        start = np.searchsorted(self.pids, pid, side="left")
        stop = np.searchsorted(self.pids, pid, side="right")
        return self.order[start:stop]

    def matches(self, pid: int, camid: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """A query's matches, and the items of the same person in the same camera."""
        if pid in (JUNK_PID, DISTRACTOR_PID):
            return self.order[:0], self.order[:0]
        same = self.of(pid)
        elsewhere = self.camids[same] != camid
        return same[elsewhere], same[~elsewhere]


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


def _rows(
    score: Score, queries: range, gallery_size: int, block: int
) -> Iterator[tuple[int, NDArray[np.floating]]]:
    """Each of `queries` with a copy of its row of scores, [gallery_size], checked."""
    for start in range(queries.start, queries.stop, block):
        stop = min(start + block, queries.stop)
        scores = score(start, stop)
        if tuple(scores.shape) != (stop - start, gallery_size):
            raise ReIDError(
                f"The score of queries {start} to {stop - 1} has shape {list(scores.shape)}; "
                f"expected one row a query and one column a gallery item, "
                f"{[stop - start, gallery_size]}."
            )
        if scores.dtype not in (torch.float32, torch.float64):
            raise ReIDError(f"Scores must be float32 or float64, not {scores.dtype}.")
        rows = scores.detach().cpu().numpy()
        for q in range(start, stop):
            row = rows[q - start].copy()  # ours to change; the block may be the method's own memory
            if not np.isfinite(row).all():
                column = int(np.flatnonzero(~np.isfinite(row))[0])
                raise ReIDError(
                    f"The score of query row {q} is not finite: {row[column]} for gallery row "
                    f"{column}. Look for nan or inf in the method's features or its score."
                )
            yield q, row


def _labels(side: str, pids: Labels, camids: Labels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pids and camids of one side as int64 [N], checked."""
    arrays = []
    for name, values in (("pids", pids), ("camids", camids)):
        array = np.asarray(values.cpu() if isinstance(values, Tensor) else values)
        if array.ndim != 1 or array.size == 0:
            raise ReIDError(f"The {side} {name} must be a list of at least one, not {array.shape}.")
        if array.dtype.kind not in "iu":
            raise ReIDError(f"The {side} {name} must be integers, not {array.dtype}.")
        arrays.append(array.astype(np.int64))
    if len(arrays[0]) != len(arrays[1]):
        raise ReIDError(f"{len(arrays[0])} {side} pids but {len(arrays[1])} camids: one each.")
    return arrays[0], arrays[1]
