"""Losses, memory, schedules against values worked out by hand and plain loops."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import normalize

from methods.parts.clip import resize_positions
from methods.parts.losses import identity_loss, prototypical_loss
from methods.parts.memory import centroids, update_with_hardest
from methods.parts.necks import require_batch
from methods.parts.schedules import warmup_steps
from protocols.errors import ReIDError


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_identity_loss_from_the_definition(smoothing):
    logits, labels = rows(5, 7), torch.tensor([0, 3, 3, 6, 2])
    total = 0.0
    for i in range(5):
        log_sum = math.log(sum(math.exp(v) for v in logits[i].tolist()))
        for c in range(7):
            q = smoothing / 7 + (1 - smoothing) * (c == int(labels[i]))
            total -= float(q) * (float(logits[i, c]) - log_sum)
    assert float(identity_loss(logits, labels, smoothing)) == pytest.approx(total / 5, abs=1e-10)


def test_prototypical_loss_from_the_definition():
    features, memory = normalize(rows(4, 6), dim=1), normalize(rows(3, 6, seed=1), dim=1)
    labels = torch.tensor([2, 0, 1, 2])
    total = 0.0
    for i in range(4):
        scores = [float(features[i] @ memory[c]) / 0.01 for c in range(3)]
        top = max(scores)
        log_sum = top + math.log(sum(math.exp(s - top) for s in scores))
        total -= scores[int(labels[i])] - log_sum
    found = float(prototypical_loss(features, memory, labels, 0.01))
    assert found == pytest.approx(total / 4, abs=1e-10)


def test_centroids_do_not_depend_on_the_batches():
    features, labels = rows(9, 4).float(), torch.tensor([0, 1, 2, 0, 1, 2, 0, 0, 1])
    data = SimpleNamespace(num_classes=3, device=torch.device("cpu"), summed=lambda total: total)
    whole = centroids([(features, labels)], data)
    parts = centroids([(features[i : i + 2], labels[i : i + 2]) for i in range(0, 9, 2)], data)
    expected = torch.stack([normalize(features[labels == c].mean(0), dim=0) for c in range(3)])
    assert torch.allclose(whole, expected, atol=1e-6)
    assert torch.allclose(whole, parts, atol=1e-7)


def test_the_hardest_instance_moves_the_row():
    memory = normalize(rows(4, 5), dim=1)
    features = normalize(rows(6, 5, seed=1), dim=1)
    labels = torch.tensor([2, 0, 2, 0, 2, 3])
    expected = memory.clone()
    for identity in (0, 2, 3):
        own = [i for i in range(6) if labels[i] == identity]
        hardest = min(own, key=lambda i: float(features[i] @ memory[identity]))
        moved = 0.2 * memory[identity] + 0.8 * features[hardest]
        expected[identity] = moved / moved.norm()
    update_with_hardest(memory, features, labels, 0.2)
    assert torch.allclose(memory, expected, atol=1e-12)


def test_an_identity_alone_in_the_batch_and_a_memory_of_one():
    memory = torch.tensor([[1.0, 0.0]])
    update_with_hardest(memory, torch.tensor([[0.0, 1.0]]), torch.tensor([0]), 0.2)
    length = math.hypot(0.2, 0.8)
    assert memory[0].tolist() == pytest.approx([0.2 / length, 0.8 / length])


def test_warmup_and_steps_are_the_papers():
    factors = {e: warmup_steps(e, 10, (30, 50)) for e in (1, 9, 10, 29, 30, 49, 50, 60)}
    expected = {1: 0.19, 9: 0.91, 10: 1, 29: 1, 30: 0.1, 49: 0.1, 50: 0.01, 60: 0.01}
    assert factors == pytest.approx(expected)


def test_positions_keep_cls_and_a_linear_ramp():
    # a ramp along the width stays a ramp under bilinear resampling, away from the border
    ramp = torch.arange(14.0).repeat(14)[:, None]
    positions = torch.cat([torch.tensor([[99.0]]), ramp])
    found = resize_positions(positions, (14, 14), (16, 8))
    assert found.shape == (129, 1)
    assert found[0, 0] == 99
    columns = found[1:, 0].reshape(16, 8)
    expected = (torch.arange(8) + 0.5) * 14 / 8 - 0.5
    assert torch.allclose(columns, expected.expand(16, 8), atol=1e-5)


def test_mixed_precision_does_not_round_similarities():
    """At a temperature of 0.01 the 8 bits of bfloat16 would move a loss by several per cent."""
    features, memory = normalize(rows(8, 64), dim=1).float(), normalize(rows(9, 64), dim=1).float()
    labels = torch.arange(8)
    plain = prototypical_loss(features, memory, labels, 0.01)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (features @ memory.T).dtype == torch.bfloat16
        mixed = prototypical_loss(features, memory, labels, 0.01)
    assert torch.equal(mixed, plain)


def test_a_batch_of_one_is_refused():
    require_batch(16, 1, 2)
    require_batch(1, 4, 1)
    with pytest.raises(ReIDError, match="instances=1"):
        require_batch(16, 1, 1)
