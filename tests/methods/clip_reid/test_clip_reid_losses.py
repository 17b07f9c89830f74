"""L_i2t and L_t2i: each text once in the implementation, once an image in the reference."""

import clip_reid_reference as reference
import pytest
import torch
from clip_reid_small import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from methods.parts.contrastive import image_text_contrast
from methods.parts.prompts import distinct


def drawn(labels, seed=0, width=5):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(len(labels), width, generator=generator, dtype=torch.float64)
    texts = torch.randn(max(labels) + 1, width, generator=generator, dtype=torch.float64)
    return images.requires_grad_(), texts.requires_grad_()


def both(images, texts, labels):
    found, places, counts, _ = distinct(torch.tensor(labels))
    ours = image_text_contrast(images, texts[found], places, counts)
    every = texts[labels]
    plain = reference.loss_i2t(images, every, labels), reference.loss_t2i(images, every, labels)
    return ours, plain


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=9), st.integers(0, 9))
def test_each_text_once_is_as_good_as_once_an_image(labels, seed):
    images, texts = drawn(labels, seed)
    for ours, plain in zip(*both(images, texts, labels), strict=True):
        assert abs(ours - plain) < 1e-10 * max(1, abs(plain))
        one, other = (torch.autograd.grad(x, (images, texts), retain_graph=True)
                      for x in (ours, plain))  # fmt: skip
        for a, b in zip(one, other, strict=True):
            assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)


def test_by_hand():
    """Two images of identity 0, one of 1; scores 2, 0, -1 with text 0 and 1, 3, 0 with text 1."""
    scores = torch.tensor([[2.0, 1.0], [0.0, 3.0], [-1.0, 0.0]], dtype=torch.float64)
    places, counts = torch.tensor([0, 0, 1]), torch.tensor([2, 1])
    i2t, t2i = image_text_contrast(scores, torch.eye(2).double(), places, counts)
    e = scores.exp()
    rows = [e[i, places[i]] / (2 * e[i, 0] + e[i, 1]) for i in range(3)]
    columns = [e[i, places[i]] / e[:, places[i]].sum() for i in range(3)]
    assert i2t.item() == pytest.approx(-sum(r.log().item() for r in rows) / 3, rel=1e-12)
    assert t2i.item() == pytest.approx(-sum(c.log().item() for c in columns) / 3, rel=1e-12)


def test_features_are_not_normalised_and_the_temperature_divides():
    images, texts = drawn([0, 0, 1])
    _, places, counts, _ = distinct(torch.tensor([0, 0, 1]))
    plain = image_text_contrast(images, texts, places, counts)
    longer = image_text_contrast(images * 3, texts, places, counts)
    cooler = image_text_contrast(images, texts, places, counts, 1 / 3)
    assert not torch.allclose(plain[0], longer[0])
    assert torch.allclose(torch.stack(longer), torch.stack(cooler))


def test_distinct_says_where_each_identity_is():
    found, places, counts, first = distinct(torch.tensor([7, 2, 7, 7, 5]))
    assert found.tolist() == [2, 5, 7]
    assert places.tolist() == [2, 0, 2, 2, 1]
    assert counts.tolist() == [1, 1, 3]
    assert first.tolist() == [1, 4, 0]


def test_the_reference_smooths_as_torch_does():
    logits = torch.randn(4, 6, dtype=torch.float64)
    labels = [0, 3, 5, 3]
    expected = cross_entropy(logits, torch.tensor(labels), label_smoothing=0.1)
    assert_close(reference.smoothed(logits, labels, 0.1), expected)
