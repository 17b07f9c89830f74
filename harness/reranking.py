"""k-reciprocal re-ranking (Zhong et al., CVPR 2017) without a matrix of all distances.

Of the (Q + G)^2 distances only each row's nearest k1 + 1 and its largest are kept, and the weights
V of section 3.3 are sparse; they are made in blocks of rows. Memory grows with Q + G, not with its
square. It uses every query and gallery image at once, so it is no score of a pair: results are of
this query set and gallery only.

Sizes: Q queries, G gallery items, N = Q + G, D feature dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from harness.scores import Score, block_rows, unit
from protocols.variants import Rerank


def reranked_score(query: Tensor, gallery: Tensor, how: Rerank = Rerank()) -> Score:
    """A score for `rank`: minus the final distance, equation 12, of [Q, D] and [G, D] features.

    d is the squared Euclidean distance of features at unit length, divided by the row's largest as
    the authors' code does. Neighbours at equal distance are taken by index. Raises ReIDError as
    `cosine_score` does.
    """
    features = torch.cat([unit("query", query), unit("gallery", gallery)]).float()
    near = _neighbours(features, max(how.k1 + 1, how.k2))
    weights = _expanded(_weights(features, near, how.k1), near.index, how.k2)
    count = len(query)
    by_column = sp.csc_matrix(weights[count:])

    def score(start: int, stop: int) -> Tensor:
        distance = _distances(features[start:stop], features[count:])
        distance = distance / near.largest[start:stop, None]
        jaccard = np.stack([_jaccard(weights[i], by_column) for i in range(start, stop)])
        final = (1 - how.weight) * jaccard + how.weight * distance
        return torch.from_numpy(-final)

    return score


@dataclass(frozen=True)
class _Near:
    """The nearest images of each, equals by index, and the largest d.

    index: [N, k] int64; largest: [N] float64.
    """

    index: np.ndarray
    largest: np.ndarray


def _neighbours(features: Tensor, k: int) -> _Near:
    count = len(features)
    k = min(k, count)
    index = np.empty((count, k), dtype=np.int64)
    largest = np.empty(count)
    step = block_rows(count)
    for start in range(0, count, step):
        distance = _distances(features[start : start + step], features)
        largest[start : start + step] = distance.max(axis=1)
        for i, row in enumerate(distance, start):
            edge = np.partition(row, k - 1)[k - 1]
            inside = np.flatnonzero(row <= edge)  # more than k where several are at the edge
            index[i] = inside[np.argsort(row[inside], kind="stable")[:k]]
    return _Near(index, np.maximum(largest, np.finfo(float).tiny))


def _distances(rows: Tensor, others: Tensor) -> np.ndarray:
    """Squared Euclidean distances of features at unit length, float64 [n, m], none below 0."""
    distances = (rows @ others.T).double().mul_(-2).add_(2)
    return distances.clamp_min_(0).numpy()


def _weights(features: Tensor, near: _Near, k1: int) -> sp.csr_matrix:
    """V, equation 7: of each image, exp(-d) to its expanded reciprocal neighbours, sum 1."""
    indices, values, lengths = [], [], [0]
    half = round(k1 / 2)
    reciprocal = [_reciprocal(near.index, i, k1) for i in range(len(features))]
    closer = [_reciprocal(near.index, i, half) for i in range(len(features))]
    for i, mine in enumerate(reciprocal):
        members = np.unique(np.concatenate([mine, *_expansions(mine, closer)]))
        distance = _distances(features[i : i + 1], features[members])[0] / near.largest[i]
        weight = np.exp(-distance)
        indices.append(members)
        values.append(weight / weight.sum())
        lengths.append(lengths[-1] + len(members))
    shape = (len(features), len(features))
    return sp.csr_matrix((np.concatenate(values), np.concatenate(indices), lengths), shape)


def _reciprocal(index: np.ndarray, i: int, k: int) -> np.ndarray:
    """R(i, k), equation 3: the k nearest of `i` that have it among their own k nearest."""
    forward = index[i, : k + 1]
    return forward[(index[forward, : k + 1] == i).any(axis=1)]


def _expansions(mine: np.ndarray, closer: list[np.ndarray]) -> Iterator[np.ndarray]:
    """The half-size sets of one's neighbours that are mostly one's own too, equation 5."""
    for candidate in mine:
        theirs = closer[candidate]
        if len(np.intersect1d(theirs, mine)) > 2 / 3 * len(theirs):
            yield theirs


def _expanded(weights: sp.csr_matrix, index: np.ndarray, k2: int) -> sp.csr_matrix:
    """Local query expansion, equation 11: the mean of V over the k2 nearest."""
    if k2 == 1:
        return weights
    near = index[:, :k2]
    count, k = near.shape
    mean = sp.csr_matrix((np.full(near.size, 1 / k), near.ravel(), np.arange(count + 1) * k))
    mean.resize(weights.shape)
    return sp.csr_matrix(mean @ weights)


def _jaccard(row: sp.csr_matrix, by_column: sp.csc_matrix) -> np.ndarray:
    """The Jaccard distance of a query to all of the gallery, equation 10: [G]."""
    shared = np.zeros(by_column.shape[0])
    for column, value in zip(row.indices, row.data, strict=True):
        at = slice(by_column.indptr[column], by_column.indptr[column + 1])
        shared[by_column.indices[at]] += np.minimum(value, by_column.data[at])
    return 1 - shared / (2 - shared)
