"""Ranks through FAISS beside the exact ones; without FAISS, how to install it."""

import json
import sys

import numpy as np
import pytest

from harness.approximate import Approximation, approximate
from harness.labelled import open_labelled
from harness.progress import Progress
from protocols.errors import DataError
from protocols.variants import Variant

Q, G, D = 30, 400, 16


@pytest.fixture
def texts(tmp_path):
    """Two files of people that overlap; pids -1 and 0 among them."""
    draw = np.random.default_rng(0)
    centres = draw.standard_normal((20, D))
    for name, count in (("q", Q), ("g", G)):
        pids = draw.integers(-1, 19, count)
        rows = centres[pids] + 1.2 * draw.standard_normal((count, D))
        np.savez(tmp_path / name, features=rows.astype(np.float32), pids=pids,
                 camids=draw.integers(0, 3, count))  # fmt: skip
    return [str(tmp_path / "q.npz")], [str(tmp_path / "g.npz")]


def test_without_faiss_it_is_said_how_to_get_it(harness, texts, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    (query,), (gallery,) = texts
    status, said = harness("eval", "--query", query, "--gallery", gallery, "--approximate")
    assert status == 1
    assert "pip install faiss-cpu" in said


def found_with(texts, **options):
    pytest.importorskip("faiss")
    files = open_labelled(*texts, Variant())
    return approximate(files, Approximation(**options), 50, Progress()), files


def test_all_cells_and_all_neighbours_are_exact(texts):
    from harness.ranking import rank_features

    found, files = found_with(texts, neighbours=G, probes=10**6, sample=0)
    exact = rank_features(files.query.features, files.gallery.features, **files.known)
    for name in ("ap", "inp", "first_hit", "matches", "valid"):
        np.testing.assert_allclose(getattr(found.ranking, name), getattr(exact, name), rtol=1e-12)
    assert (found.queries, found.mAP) == (exact.valid_queries, pytest.approx(exact.mAP))
    assert set(found.recall.values()) == {1.0}
    assert found.exact_mAP == exact.mAP


def test_what_is_not_among_the_neighbours_is_not_found(texts):
    """By the definitions, from the exact order of each query, cut off after K."""
    K = 25
    found, files = found_with(texts, neighbours=K, probes=10**6)
    known = files.known
    unit = [rows[:] / np.linalg.norm(rows[:], axis=1, keepdims=True)
            for rows in (files.query.features, files.gallery.features)]  # fmt: skip
    scores, checked = unit[0] @ unit[1].T, 0
    for q in np.flatnonzero(found.ranking.valid):
        same = known["gallery_pids"] == known["query_pids"][q]
        near = known["gallery_camids"] == known["query_camids"][q]
        order = [i for i in np.argsort(-scores[q])[:K]
                 if known["gallery_pids"][i] != -1 and not (same[i] and near[i])]  # fmt: skip
        ranks = [r for r, i in enumerate(order, 1) if same[i]]
        matches = int((same & ~near).sum())
        ap = sum(k / r for k, r in enumerate(ranks, 1)) / matches
        assert found.ranking.ap[q] == pytest.approx(ap)
        assert found.ranking.inp[q] == (matches / ranks[-1] if len(ranks) == matches else 0)
        assert found.ranking.first_hit[q] == (ranks[0] if ranks else G + 1)
        checked += len(ranks) < matches
    assert checked


def test_fewer_cells_find_less_and_say_so(texts, harness):
    found, _ = found_with(texts, neighbours=50, probes=1, sample=7)
    assert (found.cells, found.probes, found.queries) == (10, 1, 7)
    assert list(found.recall) == [1, 10, 50]
    assert found.recall[50] < found.recall[1] <= 1
    assert found.as_json() == found_with(texts, neighbours=50, probes=1, sample=7)[0].as_json()
    (query,), (gallery,) = texts
    command = ["eval", "--query", query, "--gallery", gallery, "--approximate", "--probes", "1",
               "--neighbours", "50", "--sample", "7"]  # fmt: skip
    status, said = harness(*command, "--json")
    said = json.loads(said[said.index("{") : said.rindex("}") + 1])
    assert status == 0
    assert said["approximate"] == found.as_json()
    assert said["mAP"] == found.ranking.mAP
    assert "recall@10" in harness(*command)[1]


def test_rows_that_are_not_finite_are_placed(texts):
    (gallery,) = texts[1]
    with np.load(gallery) as file:
        arrays = dict(file)
    arrays["features"][300, 2] = np.inf
    np.savez(gallery, **arrays)
    with pytest.raises(DataError, match=r"g.npz, row 300: the features hold nan"):
        found_with(texts)
