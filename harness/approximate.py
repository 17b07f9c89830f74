"""Approximate ranks through FAISS, and how far they are from the exact ones.

An inverted-file index (Sivic and Zisserman, ICCV 2003; as in Johnson et al., IEEE Trans. Big Data
2021) sorts the gallery's unit vectors into cells around k-means centres; of a query only the items
in the `probes` nearest cells are compared, by their float32 inner product, and the `neighbours`
best are its list. Everything else counts as not found: a match outside the list adds nothing to the
AP, which is still divided by all matches; a query's INP is 0 unless all of its matches are in the
list; and a query without a match in its list is beyond every rank of the CMC. So AP, INP and CMC
are at most what they would be if the list went on.

Sizes: Q queries, G gallery items, D feature dimensions, K neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from harness.cosine import Features, Floats, part_rows
from harness.labelled import Labelled
from harness.matches import Index
from harness.progress import Progress
from harness.ranking import Ranking, rank_features
from harness.scores import NotFinite, unit
from protocols.errors import ReIDError
from protocols.types import JUNK_PID

SEED = 0
"""Of the centres, and of the sample of queries."""
TRAINED_ON = 39
"""Items a cell that the centres are made from; with fewer FAISS itself warns."""
PROBED = 16
"""By default one of so many cells is looked through."""
RECALLED = (1, 10)


@dataclass(frozen=True)
class Approximation:
    """What is asked for. `probes` None: a sixteenth of the cells.

    `sample` queries are ranked exactly, too; 0 for all.
    """

    neighbours: int = 1000
    probes: int | None = None
    sample: int = 200


@dataclass(frozen=True)
class Approximate:
    """A ranking, the index it is from, and on the queries of the sample how good it is.

    `recall[k]` is the mean share of the exact list's first k that are in the approximate list's
    first k, before anything is removed from either; `mAP` and `exact_mAP` are of the sample.
    """

    ranking: Ranking
    cells: int
    probes: int
    neighbours: int
    queries: int
    recall: dict[int, float]
    mAP: float  # noqa: N815 (the field's name)
    exact_mAP: float  # noqa: N815

    def as_json(self) -> dict[str, Any]:
        """As `harness eval --json` has it."""
        return {
            "cells": self.cells,
            "probes": self.probes,
            "neighbours": self.neighbours,
            "sampled_queries": self.queries,
            **{f"recall@{k}": value for k, value in self.recall.items()},
            "mAP": self.mAP,
            "exact_mAP": self.exact_mAP,
            "mAP_difference": self.mAP - self.exact_mAP,
        }


def approximate(
    files: Labelled, how: Approximation, max_rank: int, progress: Progress
) -> Approximate:
    """Rank through an index, and a sample of the queries exactly, too.

    Progress counts items of the gallery, twice. Raises ReIDError without FAISS, for options that
    make no sense, where the index does not fit into memory, and as `rank_features` does.
    """
    faiss = _faiss()
    query, gallery, people = files.engine()
    counts = people.counts()
    with files.placed():
        index, cells = _index(faiss, gallery, progress)
        probes = min(how.probes or -(-cells // PROBED), cells)
        index.nprobe = probes
        neighbours = min(how.neighbours, gallery.N)
        found = np.concatenate([_search(index, rows, neighbours) for _, rows in _units(query)])
        del index
        ranking = _ranking(files, found, counts, max_rank)
        valid = np.flatnonzero(counts)
        size = min(how.sample or len(valid), len(valid))
        sample = np.sort(np.random.default_rng(SEED).choice(valid, size, replace=False))
        lists = _exact_lists(query, gallery, sample, neighbours, progress)
        exact = rank_features(
            query.read(sample, np.float64 if query.wide else np.float32),
            gallery.values,
            query_pids=people.query_pids[sample],
            query_camids=people.query_camids[sample],
            gallery_pids=people.gallery_pids,
            gallery_camids=people.gallery_camids,
        )
    recall = {
        k: float(np.mean([len(np.intersect1d(a[:k], e[:k])) / k
                          for a, e in zip(found[sample], lists, strict=True)]))
        for k in sorted({*RECALLED, neighbours})
        if k <= neighbours
    }  # fmt: skip
    mean = float(ranking.ap[sample].mean())
    return Approximate(ranking, cells, probes, neighbours, len(sample), recall, mean, exact.mAP)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ReIDError(
            f"--approximate needs FAISS, which can't be imported ({error}): "
            "pip install 'dg-reid-harness[faiss]', or pip install faiss-cpu."
        ) from error
    faiss.omp_set_num_threads(torch.get_num_threads())
    return faiss


def _index(faiss: Any, gallery: Features, progress: Progress) -> tuple[Any, int]:
    """An index of the gallery, and how many cells it has."""
    needs, free = 4 * gallery.N * gallery.D, psutil.virtual_memory().available
    if needs > free:
        raise ReIDError(
            f"The index of {gallery.N} items takes {needs / 2**30:.1f} GB of memory and "
            f"{free / 2**30:.1f} GB are free. The exact ranks need little: leave out --approximate."
        )
    cells = max(1, min(round(gallery.N**0.5), gallery.N // TRAINED_ON))
    index = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(gallery.D), gallery.D, cells, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.seed = SEED
    size = min(gallery.N, TRAINED_ON * cells)
    chosen = np.random.default_rng(SEED).choice(gallery.N, size, replace=False)
    index.train(_unit(gallery, np.sort(chosen)))
    for _, rows in _units(gallery):
        index.add(rows)
        progress.advance(len(rows), "indexing")
    return index, cells


def _search(index: Any, rows: Floats, neighbours: int) -> Index:
    """The nearest items of some queries, [n, K], equal ones by index; -1 where there are fewer."""
    scores, items = index.search(rows, neighbours)
    order = np.lexsort((items, -scores), axis=1)
    return np.take_along_axis(items, order, axis=1)


def _ranking(files: Labelled, found: Index, counts: Index, max_rank: int) -> Ranking:
    """What the lists are worth, as the head of this file says."""
    known = files.known
    Q, G = len(found), len(known["gallery_pids"])
    ap, inp = np.full(Q, np.nan), np.full(Q, np.nan)
    first_hit = np.zeros(Q, dtype=np.int64)
    for q in np.flatnonzero(counts):
        items = found[q][found[q] >= 0]
        pids, camids = known["gallery_pids"][items], known["gallery_camids"][items]
        same = pids == known["query_pids"][q]
        kept = (pids != JUNK_PID) & ~(same & (camids == known["query_camids"][q]))
        ranks = np.flatnonzero(same[kept]) + 1
        ap[q] = (np.arange(1, len(ranks) + 1) / ranks).sum() / counts[q]
        first_hit[q] = ranks[0] if len(ranks) else G + 1
        inp[q] = counts[q] / ranks[-1] if len(ranks) == counts[q] else 0.0
    return Ranking(ap, first_hit, inp, counts, counts > 0, max_rank)


def _exact_lists(
    query: Features, gallery: Features, sample: Index, neighbours: int, progress: Progress
) -> Index:
    """The nearest items of some queries by float64 cosines, [n, K], equal ones by index."""
    rows = _unit(query, sample, np.float64).T
    scores: Floats = np.empty((len(sample), 0))
    items: Index = np.empty((len(sample), 0), dtype=np.int64)
    for start, part in _units(gallery, np.float64):
        index = np.broadcast_to(np.arange(start, start + len(part)), (len(sample), len(part)))
        scores = np.concatenate([scores, (part @ rows).T], axis=1)
        items = np.concatenate([items, index], axis=1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :neighbours]
        scores = np.take_along_axis(scores, best, axis=1)
        items = np.take_along_axis(items, best, axis=1)
        progress.advance(len(part), "ranking exactly")
    return items


def _units(
    side: Features, dtype: type[np.floating] = np.float32
) -> Iterator[tuple[int, NDArray[Any]]]:
    """The rows of one side at unit length, a part at a time, each with its first row."""
    step = part_rows(side.D)
    for start in range(0, side.N, step):
        yield start, _unit(side, np.arange(start, min(start + step, side.N)), dtype)


def _unit(side: Features, rows: Index, dtype: type[np.floating] = np.float32) -> NDArray[Any]:
    values = side.read(rows, np.float64 if side.wide else dtype)
    try:
        found: NDArray[Any] = unit(side.side, torch.from_numpy(values)).numpy()
    except NotFinite as error:
        raise NotFinite(side.side, int(rows[error.row])) from error
    return found.astype(dtype, copy=False)
