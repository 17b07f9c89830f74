"""Ranked galleries are what the evaluation ranks, against a slow and readable ranking."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.galleries import Gallery, below_common, galleries
from harness.ranking import rank, ranked_gallery
from methods.interface import Method
from protocols.errors import ReIDError
from protocols.types import Image, Probe, Split


def slow(scores, query, gallery):
    """(indices, matches) of one query by the rules: first what is left out, then a stable sort."""
    kept = [
        i for i, image in enumerate(gallery)
        if image.pid != -1
        and not (query.pid > 0 and (image.pid, image.camid) == (query.pid, query.camid))
    ]  # fmt: skip
    order = [kept[i] for i in np.argsort(-scores[kept], kind="stable")]
    return order, [query.pid > 0 and gallery[i].pid == query.pid for i in order]


def columns(query, gallery):
    sides = (("query", query), ("gallery", gallery))
    return {
        f"{side}_{name}s": [getattr(image, name) for image in images]
        for side, images in sides
        for name in ("pid", "camid")
    }


images = st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 2)), min_size=1, max_size=25)


@settings(max_examples=150, deadline=None)
@given(images, images, st.integers(0, 2**31))
def test_the_order_is_the_evaluations(asked, held, seed):
    query = [Image(f"q{i}", *one) for i, one in enumerate(asked)]
    gallery = [Image(f"g{i}", *one) for i, one in enumerate(held)]
    # few values, so that many are equal
    scores = np.random.default_rng(seed).integers(0, 4, (len(query), len(gallery)))
    scores = torch.from_numpy(scores.astype(np.float32))
    known = columns(query, gallery)

    def score(start, stop):
        return scores[start:stop]

    found = [ranked_gallery(score, q, **known) for q in range(len(query))]
    for q, (order, match) in enumerate(found):
        assert (order.tolist(), match.tolist()) == slow(scores[q].numpy(), query[q], gallery)
    try:
        ranking = rank(score, **known)
    except ReIDError:
        assert not any(match.any() for _, match in found)
        return
    for q, (_, match) in enumerate(found):
        ranks = np.flatnonzero(match) + 1
        assert ranking.valid[q] == bool(len(ranks))
        if len(ranks):
            assert ranking.first_hit[q] == ranks[0]
            precision = [(i + 1) / r for i, r in enumerate(ranks)]
            assert ranking.ap[q] == pytest.approx(sum(precision) / len(ranks), abs=1e-12)


class Near(Method):
    """Scores by the distance of its one number, not by the cosine."""

    def __init__(self):
        torch.nn.Module.__init__(self)
        self.asked = []

    def score(self, queries, gallery):
        self.asked.append(len(queries["number"]))
        return -(queries["number"] - gallery["number"].T).abs()


class Known:
    """Features of images whose names are numbers."""

    def __init__(self):
        self.method, self.calls = Near(), 0

    def __call__(self, paths, doing="features", how=None):
        self.calls += 1
        return {"number": torch.tensor([[float(path[1:])] for path in paths])}


def probe(name, *pids):
    query = tuple(Image(f"q{i}", pid, 0) for i, pid in enumerate(pids))
    gallery = (Image("g0", 1, 0), Image("g1", 2, 1), Image("g3", -1, 1), Image("g4", 0, 1),
               Image("g6", 1, 1), Image("g9", 1, 2))  # fmt: skip
    return Probe(name, Split("T", "query", query), Split("T", "gallery", gallery))


def test_only_the_queries_asked_for_are_scored_and_images_are_encoded_once():
    features = Known()
    wanted = [("b", "q1"), ("a", "q0"), ("a", "q2")]
    found = galleries(features, [probe("a", 1, 2, 3), probe("b", 2, 1)], wanted, top=3)
    assert sorted(found) == sorted(wanted)
    assert features.calls == 1 and features.method.asked == [1, 1, 1]
    one = found["a", "q0"]
    assert [image.path for image in one.shown] == ["g1", "g4", "g6"]  # g0: its camera; g3: junk
    assert (one.right, one.kept, one.matches) == ((False, False, True), 4, 2)
    assert (one.first_hit, one.first_right.path) == (3, "g6")
    assert one.ap == pytest.approx((1 / 3 + 2 / 4) / 2)
    other = found["b", "q1"]
    assert [image.path for image in other.shown] == ["g1", "g4", "g6"]
    assert other.query == Image("q1", 1, 0)
    nobody = found["a", "q2"]
    assert (nobody.ap, nobody.first_hit, nobody.first_right, nobody.matches) == (None,) * 3 + (0,)
    assert [image.path for image in nobody.shown] == ["g1", "g0", "g4"]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["D/query/1.jpg", "D/query/2.jpg"], ["1.jpg", "2.jpg"]),
        (["D/a/1.jpg", "D/b/1.jpg"], ["a/1.jpg", "b/1.jpg"]),
        (["D/a/1.jpg"], ["1.jpg"]),
        (["1.jpg", "2.jpg"], ["1.jpg", "2.jpg"]),
    ],
)
def test_names_leave_out_what_all_paths_begin_with(paths, expected):
    found = [Gallery("", Image(path, 1, 0), (), (), 0, 0, None, None, None) for path in paths]
    assert below_common(found) == expected
