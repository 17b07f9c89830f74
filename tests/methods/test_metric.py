"""The batch-hard triplet loss against values worked out by hand and a plain loop."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.parts.metric import batch_hard_triplet


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(features, labels, margin):
    """The definition, an anchor at a time, in Python's own floats."""
    points, names = features.tolist(), labels.tolist()
    total = 0.0
    for anchor, name in zip(points, names, strict=True):
        distances = [math.dist(anchor, other) for other in points]
        far = max(d for d, n in zip(distances, names, strict=True) if n == name)
        others = [d for d, n in zip(distances, names, strict=True) if n != name]
        gap = far - min(others, default=math.inf)
        total += math.log1p(math.exp(gap)) if margin is None else max(0.0, margin + gap)
    return total / len(points)


@pytest.mark.parametrize("margin", [0.0, 0.3, 5.0, None])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_a_plain_loop_finds_the_same(margin, scale):
    features, labels = rows(12, 5) * scale, torch.tensor([4, 1, 4, 1, 7, 7, 7, 4, 1, 2, 2, 2])
    found = float(batch_hard_triplet(features, labels, margin))
    assert found == pytest.approx(by_hand(features, labels, margin), rel=1e-12, abs=1e-12)


def test_points_on_a_line():
    """0 and 3 are one person, 5 and 6 another; negatives are 5, 2, 2, 3 away, positives 3, 3, 1, 1.

    The hinges at margin 0.3 are max(0, -1.7), 1.3, max(0, -0.7) and max(0, -1.7).
    """
    features = torch.tensor([[0.0], [3.0], [5.0], [6.0]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 1])
    assert float(batch_hard_triplet(features, labels, 0.3)) == pytest.approx(1.3 / 4, abs=1e-15)
    soft = sum(math.log1p(math.exp(gap)) for gap in (-2, 1, -1, -2)) / 4
    assert float(batch_hard_triplet(features, labels, None)) == pytest.approx(soft, abs=1e-15)


def test_gradient_on_a_line():
    """Only the anchor at 3 loses: away from 5, towards 0; those two are moved as well."""
    features = torch.tensor([[0.0], [3.0], [5.0], [6.0]], requires_grad=True)
    batch_hard_triplet(features, torch.tensor([0, 0, 1, 1]), 0.3).backward()
    assert features.grad[:, 0].tolist() == pytest.approx([-0.25, 0.5, -0.25, 0.0])


@pytest.mark.parametrize("margin", [5.0, None])
def test_gradient_is_that_of_differences(margin):
    labels = torch.tensor([0, 1, 0, 1, 2, 2])
    features = rows(6, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: batch_hard_triplet(f, labels, margin), features)


@pytest.mark.parametrize("margin", [0.3, None])
@pytest.mark.parametrize("labels", [[0, 0, 1, 1], [0, 1, 2, 3], [5, 5, 5, 5]])
def test_equal_images_have_a_finite_gradient(labels, margin):
    features = torch.ones(4, 8, requires_grad=True)
    loss = batch_hard_triplet(features, torch.tensor(labels), margin)
    loss.backward()
    alone = len(set(labels)) == 1
    expected = 0.0 if alone else math.log(2) if margin is None else margin
    assert float(loss.detach()) == pytest.approx(expected)
    assert torch.equal(features.grad, torch.zeros(4, 8))


@pytest.mark.parametrize("margin", [0.3, None])
def test_one_identity_has_nothing_to_be_pushed_from(margin):
    features = rows(4, 3).requires_grad_()
    loss = batch_hard_triplet(features, torch.zeros(4, dtype=torch.long), margin)
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.equal(features.grad, torch.zeros_like(features))


def test_an_image_alone_with_its_identity_is_pushed_only():
    """The anchor at 0 has itself as positive, and a negative at 0.1: 0.3 + 0 - 0.1."""
    features = torch.tensor([[0.0], [0.1], [0.1]], dtype=torch.float64, requires_grad=True)
    loss = batch_hard_triplet(features, torch.tensor([0, 1, 1]), 0.3)
    assert float(loss.detach()) == pytest.approx(0.2, abs=1e-15)
    loss.backward()
    # a third from each of three anchors
    assert features.grad[0, 0] == pytest.approx(1.0)


def test_a_batch_of_one():
    assert float(batch_hard_triplet(torch.ones(1, 3), torch.tensor([4]), 0.3)) == 0


def test_mixed_precision_does_not_round_distances():
    features, labels = rows(8, 64).float(), torch.arange(8) // 2
    plain = batch_hard_triplet(features, labels, 0.3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(batch_hard_triplet(features, labels, 0.3), plain)
    half = batch_hard_triplet(features.bfloat16(), labels, 0.3)
    assert half.dtype == torch.float32
    assert torch.equal(half, batch_hard_triplet(features.bfloat16().float(), labels, 0.3))
    assert batch_hard_triplet(features.double(), labels, 0.3).dtype == torch.float64


def test_near_images_far_from_the_origin_keep_their_distances():
    """Where |a|^2 + |b|^2 - 2 ab would leave nothing in float32."""
    near = rows(6, 16) * 1e-2
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    features = (near + 100).float()
    expected = by_hand(features.double(), labels, 0.3)
    assert float(batch_hard_triplet(features, labels, 0.3)) == pytest.approx(expected, rel=1e-6)


def test_the_order_of_the_batch_does_not_matter():
    features, labels = rows(9, 4), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2])
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    one, other = (batch_hard_triplet(features[at], labels[at], 0.3) for at in (slice(None), order))
    assert float(one) == pytest.approx(float(other), abs=1e-12)


coordinates = st.integers(-3, 3).map(float)
people = st.lists(
    st.tuples(st.integers(0, 3), st.tuples(coordinates, coordinates)), min_size=1, max_size=8
)


@settings(max_examples=60, deadline=None)
@given(people, st.sampled_from([0.0, 0.3, 2.0, None]))
def test_any_batch_with_ties_too(batch, margin):
    """On a grid of few points many are equal, and many distances tie."""
    labels = torch.tensor([label for label, _ in batch])
    features = torch.tensor([at for _, at in batch], dtype=torch.float64, requires_grad=True)
    loss = batch_hard_triplet(features, labels, margin)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(by_hand(features, labels, margin), abs=1e-12)
    assert torch.isfinite(features.grad).all()
