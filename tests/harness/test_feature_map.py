"""Maps of features: which images are drawn, that alike is near, and that it is the same again."""

import sys

import numpy as np
import pytest
import torch

from harness import feature_map
from harness.feature_map import OF_A_PERSON, place, require_method, sample
from methods.interface import Method
from protocols.errors import ReIDError, UnknownName
from protocols.types import Image


def people(count, each, first=1):
    return [Image(f"{pid:03}_{i:02}.jpg", pid, i % 3) for pid in range(first, first + count)
            for i in range(each)]  # fmt: skip


def test_data_sets_are_drawn_from_evenly_and_people_as_a_whole():
    splits = [people(40, 6), people(3, 2), people(9, 30)]
    drawn = sample(splits, 100, seed=0)
    assert [len(images) for images in drawn] == [47, 6, 47]
    for images, split in zip(drawn, splits, strict=True):
        assert images == sorted(set(images)) and set(images) <= set(split)
    sizes = [[sum(i.pid == pid for i in images) for pid in {i.pid for i in images}]
             for images in drawn]  # fmt: skip
    assert sorted(sizes[0]) == [5, *[6] * 7]
    assert max(sizes[2]) == OF_A_PERSON and len(sizes[2]) == 4
    assert sample(splits, 100, seed=0) == drawn != sample(splits, 100, seed=1)
    assert [len(images) for images in sample(splits, 9999, seed=0)] == [240, 6, 9 * OF_A_PERSON]


def test_junk_distractors_and_copies_are_left_out():
    split = [Image("a", -1, 0), Image("b", 0, 0), Image("c", 1, 0), Image("c", 1, 1)]
    assert [image.path for image in sample([split], 9, seed=0)[0]] == ["c"]
    assert sample([split[:2]], 9, seed=0) == [[]]


class Cosine(Method):
    def __init__(self):
        torch.nn.Module.__init__(self)


class Near(Cosine):
    def score(self, queries, gallery):
        return -torch.cdist(queries["features"], gallery["features"])


def groups():
    """Three groups of 12, apart for the cosine and for the distance."""
    rng = np.random.default_rng(0)
    rows = np.repeat(np.eye(3, 8), 12, axis=0) + rng.normal(0, 0.05, (36, 8))
    return {"features": torch.from_numpy(rows.astype(np.float32))}


@pytest.mark.parametrize("method", [Cosine(), Near()], ids=["cosine", "own score"])
def test_alike_is_near_and_the_same_again(method):
    """The length of a feature says nothing to the cosine, and changes nothing."""
    points, said = place(method, groups(), "tsne", 0)
    assert points.shape == (36, 2)
    assert said.startswith("t-SNE, perplexity 11.7")
    assert ("own score" in said) == isinstance(method, Near)
    apart = np.linalg.norm(points[:, None] - points, axis=-1)
    np.fill_diagonal(apart, np.inf)
    assert (apart.argmin(1) // 12 == np.arange(36) // 12).all()
    longer = {"features": groups()["features"] * 2.0 ** (torch.arange(36)[:, None] % 5)}
    again = longer if isinstance(method, Cosine) and not isinstance(method, Near) else groups()
    assert np.array_equal(points, place(method, again, "tsne", 0)[0])


@pytest.mark.parametrize("method", [Cosine(), Near()], ids=["cosine", "own score"])
def test_what_can_not_be_mapped_is_said(method):
    with pytest.raises(ReIDError, match="4 images are too few"):
        place(method, {"features": torch.eye(4)}, "tsne", 0)
    with pytest.raises(ReIDError, match="All 9 images have the same features"):
        place(method, {"features": torch.ones(9, 4)}, "tsne", 0)


def test_a_method_that_is_none_or_not_installed(monkeypatch):
    with pytest.raises(UnknownName, match="Did you mean 'tsne'"):
        require_method("t-sne")
    monkeypatch.setattr(feature_map, "find_spec", lambda name: None)
    with pytest.raises(ReIDError, match="`pip install umap-learn`"):
        require_method("umap")


def test_umap_where_it_is_installed(monkeypatch):
    asked = {}

    class Umap:
        def __init__(self, **options):
            asked.update(options)

        def fit_transform(self, rows):
            asked["rows"] = rows
            return rows[:, :2]

    module = type(sys)("umap")
    module.UMAP, module.__spec__ = Umap, object()
    monkeypatch.setitem(sys.modules, "umap", module)
    _, said = place(Cosine(), groups(), "umap", 7)
    assert said == "UMAP, 15 neighbours"
    assert (asked["metric"], asked["n_jobs"], asked["n_neighbors"]) == ("cosine", 1, 15)
    first = asked["random_state"]
    place(Near(), {"features": groups()["features"][:8]}, "umap", 7)
    assert asked["random_state"] == first
    assert (asked["metric"], asked["n_neighbors"]) == ("precomputed", 7)
    assert np.allclose(asked["rows"], asked["rows"].T) and not asked["rows"].diagonal().any()
