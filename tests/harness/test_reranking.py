"""k-reciprocal re-ranking against a dense, readable implementation of the paper's equations."""

import numpy as np
import pytest
import torch

from harness import reranking
from harness.reranking import reranked_score
from protocols.errors import ReIDError
from protocols.variants import Rerank


def dense(query, gallery, k1, k2, weight):
    """Minus the final distance [Q, G], with every matrix written out."""
    both = np.concatenate([query, gallery])
    both = both / np.linalg.norm(both, axis=1, keepdims=True)
    distance = np.maximum(2 - 2 * both @ both.T, 0)
    distance = distance / distance.max(axis=1, keepdims=True)
    order = np.argsort(distance, axis=1, kind="stable")

    def reciprocal(i, k):
        return [j for j in order[i, : k + 1] if i in order[j, : k + 1]]

    v = np.zeros_like(distance)
    for i in range(len(both)):
        mine = reciprocal(i, k1)
        members = set(mine)
        for j in mine:
            theirs = reciprocal(j, round(k1 / 2))
            if len(set(theirs) & set(mine)) > 2 / 3 * len(theirs):
                members |= set(theirs)
        for j in members:
            v[i, j] = np.exp(-distance[i, j])
        v[i] /= v[i].sum()
    if k2 > 1:
        v = np.stack([v[order[i, :k2]].mean(axis=0) for i in range(len(both))])
    q = len(query)
    final = np.empty((q, len(gallery)))
    for i in range(q):
        for j in range(len(gallery)):
            low = np.minimum(v[i], v[q + j]).sum()
            high = np.maximum(v[i], v[q + j]).sum()
            final[i, j] = (1 - weight) * (1 - low / high) + weight * distance[i, q + j]
    return -final


def people(count, size, seed):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(6, size))
    return (centres[rng.integers(0, 6, count)] + 0.8 * rng.normal(size=(count, size))).astype("f4")


@pytest.mark.parametrize(
    ("k1", "k2", "weight"),
    [(20, 6, 0.3), (5, 1, 0.3), (7, 3, 0.0), (3, 2, 1.0), (200, 6, 0.3), (4, 15, 0.3)],
)
def test_equals_the_dense_equations(k1, k2, weight, monkeypatch):
    query, gallery = people(9, 8, 0), people(50, 8, 1)
    expected = dense(query.astype("f8"), gallery.astype("f8"), k1, k2, weight)
    for rows in (3, 1000):
        monkeypatch.setattr(reranking, "block_rows", lambda n, rows=rows: rows)
        how = Rerank(k1, k2, weight)
        score = reranked_score(torch.tensor(query), torch.tensor(gallery), how)
        found = torch.cat([score(0, 4), score(4, 9)]).numpy()
        np.testing.assert_allclose(found, expected, atol=2e-6)


def test_neighbours_at_equal_distance_are_taken_by_index():
    same = torch.ones(8, 3)
    near = reranking._neighbours(same, 4)
    np.testing.assert_array_equal(near.index, np.tile(np.arange(4), (8, 1)))


def test_a_re_ranked_gallery_is_better_where_people_are_clusters():
    from harness.ranking import rank
    from harness.scores import cosine_score

    rng = np.random.default_rng(3)
    centres = rng.normal(size=(12, 6))
    pids = np.repeat(np.arange(12), 8)
    features = torch.tensor(centres[pids] + 0.9 * rng.normal(size=(96, 6)), dtype=torch.float32)
    query = np.arange(0, 96, 8)
    rest = np.setdiff1d(np.arange(96), query)
    sides = {"query_pids": pids[query], "gallery_pids": pids[rest],
             "query_camids": np.zeros(12, int), "gallery_camids": np.ones(84, int)}  # fmt: skip
    plain, better = (
        rank(score(features[query], features[rest]), **sides).mAP
        for score in (cosine_score, lambda q, g: reranked_score(q, g, Rerank(7, 3)))
    )
    assert better > plain + 0.02


def test_parameters_that_make_no_sense():
    with pytest.raises(ReIDError, match="k1 and k2"):
        Rerank(k1=0)
