"""Parts of which nobody knows where they are: an empty mask that no loss looks at."""

import muva_reference_losses as reference
import pytest
import torch
from muva_small import assert_same, assert_same_gradients, gradients, normal
from muva_source import SmallSource, tiny_muva

from methods.interface import TrainBatch
from methods.muva.losses import mask_bce, mask_dice
from methods.muva.stages import EncoderStage

LAYERS, PATCHES = 3, 5
KNOWN = torch.tensor([[True, False, True], [False, False, True]])


def mask_loss(kind, logits, truth, known=None):
    if kind == "bce":
        return mask_bce(logits, truth, known)
    return mask_dice(logits, truth, kind, known)


def reference_loss(kind, logits, truth):
    if kind == "bce":
        return reference.loss_bce(logits, truth.double())
    return reference.loss_dice(logits, truth.double(), kind)


@pytest.mark.parametrize("kind", ["bce", "soft", "per-patch"])
def test_a_loss_is_the_mean_over_known_masks(kind):
    logits = normal(LAYERS, 2, 3, PATCHES).requires_grad_()
    truth = normal(2, 3, PATCHES, seed=1) > 0
    truth[..., 0] = True  # the paper's dice has no gradient where nothing is true
    each = [
        reference_loss(kind, logits[:, i : i + 1, j : j + 1], truth[i : i + 1, j : j + 1])
        for i, j in KNOWN.nonzero().tolist()
    ]
    found = mask_loss(kind, logits, truth, KNOWN)
    assert_same_gradients(found, sum(each) / len(each), {"logits": logits})
    (gradient,) = gradients(mask_loss(kind, logits, truth, KNOWN), [logits])
    assert not gradient[:, ~KNOWN].any()
    assert gradient[:, KNOWN].any(-1).all()


@pytest.mark.parametrize("kind", ["bce", "soft", "per-patch"])
def test_all_known_is_as_if_nobody_had_asked(kind):
    logits, truth = normal(LAYERS, 2, 3, PATCHES), normal(2, 3, PATCHES, seed=1) > 0
    everything = torch.ones(2, 3, dtype=torch.bool)
    assert_same(mask_loss(kind, logits, truth, everything), mask_loss(kind, logits, truth))


@pytest.mark.parametrize("kind", ["bce", "soft", "per-patch"])
def test_where_nothing_is_known_nothing_is_learned(kind):
    logits = normal(LAYERS, 2, 3, PATCHES).requires_grad_()
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    loss = mask_loss(kind, logits, nothing[..., None].expand(2, 3, PATCHES), nothing)
    assert loss == 0
    assert not gradients(loss, [logits])[0].any()


def test_the_stage_looks_at_known_masks_of_chosen_parts_only():
    data = SmallSource([0, 0, 1, 1])
    method = tiny_muva(classes=2, parts=("head", "legs"))
    stage = EncoderStage(method)
    stage.prepare(data)
    stage.begin_epoch(1, data)
    batch = data.batch([0, 1, 2, 3])
    known = torch.ones(4, 3, dtype=torch.bool)
    known[:, 1] = False  # a part that was not chosen
    known[2, 2] = False

    def losses(part_known, masks=batch.part_masks):
        told = TrainBatch(
            batch.images,
            batch.labels,
            batch.domains,
            batch.camids,
            batch.indices,
            masks,
            part_known,
        )
        return stage.losses(stage.forward(told), told)

    changed = batch.part_masks.clone()
    changed[2, 2] = ~changed[2, 2]
    for name in ("bce", "dice"):
        assert losses(known)[name] == losses(known, changed)[name]
        assert losses(None)[name] != losses(None, changed)[name]
        assert losses(known)[name] != losses(None)[name]


def test_rows_of_a_batch_keep_what_is_known():
    data = SmallSource([0, 0, 1, 1])
    batch = data.batch([0, 1, 2, 3])
    known = torch.arange(12).view(4, 3) % 2 == 0
    whole = TrainBatch(
        batch.images, batch.labels, batch.domains, batch.camids, batch.indices, None, known
    )
    assert torch.equal(whole.rows(slice(1, 3)).part_known, known[1:3])
    assert batch.rows(slice(1, 3)).part_known is None
