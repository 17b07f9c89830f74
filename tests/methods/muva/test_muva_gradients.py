"""Which loss reaches which weights, and what stays as it was, bit for bit."""

import pytest
import torch
from muva_source import SmallSource, losses_of, tiny_muva

from methods.muva.stages import EncoderStage, PromptStage

OF = [0, 0, 1, 2, 2, 2, 3, 3]


def ready():
    method, data = tiny_muva(), SmallSource(OF)
    stage = EncoderStage(method)
    stage.prepare(data)
    stage.begin_epoch(1, data)
    return method.train(), stage, data


def reached(loss: str) -> set[str]:
    """Names of the parameters in which one loss of stage 2 has a gradient that is not 0."""
    method, stage, data = ready()
    losses_of(stage, data.batch(range(8)))[loss].backward()
    given = {n: p.grad for n, p in method.named_parameters() if p.grad is not None}
    assert all(torch.isfinite(g).all() for g in given.values())
    return {name for name, grad in given.items() if grad.abs().sum() > 0}


def names(prefix: str) -> set[str]:
    return {
        n for n, p in tiny_muva().named_parameters() if n.startswith(prefix) and p.requires_grad
    }


@pytest.mark.parametrize("loss", ["id", "imp", "i2t"])
def test_identity_and_text_losses_reach_no_mask_predictor(loss):
    found = reached(loss)
    expected = names("encoder.") - names("encoder.mask_predictor.")
    if loss != "i2t":
        expected |= {"bn_neck.weight"}
    if loss == "id":
        expected |= {"classifier.weight"}
    assert found == expected


@pytest.mark.parametrize("loss", ["bce", "dice"])
def test_mask_losses_reach_the_predictors_and_the_encoder_below(loss):
    """All but what comes after the last layer's prediction: its block, ln_post, proj, the heads."""
    above = names("encoder.visual.transformer.resblocks.3.")
    above |= names("encoder.visual.ln_post.") | {"encoder.visual.proj"}
    assert reached(loss) == names("encoder.") - above


def state(method):
    return {k: v.clone() for k, v in method.state_dict().items()}


def step(stage, batch, optimizer):
    torch.stack(list(losses_of(stage, batch).values())).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    stage.after_step(batch)


def changed(before, after):
    return {k for k in before if not torch.equal(before[k], after[k])}


def test_stage_1_changes_the_prompts_and_nothing_else():
    method, data = tiny_muva(), SmallSource(OF)
    stage = PromptStage(method)
    stage.prepare(data)
    stage.begin_epoch(1, data)
    before, memory = state(method.train()), stage.memory.clone()
    optimizer = stage.optimizer()
    for _ in range(2):
        for batch in stage.batches(1, data):
            step(stage, batch, optimizer)
    assert changed(before, state(method)) == {"text.prompts"}
    assert torch.equal(memory, stage.memory)


def test_stage_2_changes_neither_text_nor_patch_convolution():
    method, stage, data = ready()
    before, texts = state(method), stage.text_memory.clone()
    optimizer = stage.optimizer()
    for _ in range(3):
        for batch in stage.batches(1, data):
            step(stage, batch, optimizer)
    after = state(method)
    frozen = {k for k in before if k.startswith("text.")}
    frozen |= {"encoder.visual.conv1.weight", "bn_neck.bias"}
    assert changed(before, after) == set(before) - frozen
    assert not after["bn_neck.bias"].any()
    assert torch.equal(texts, stage.text_memory)


def test_the_predictors_learn_the_masks():
    """A few steps on one batch bring the mask losses down."""
    _, stage, data = ready()
    optimizer, batch, seen = stage.optimizer(), data.batch(range(8)), []
    for _ in range(8):
        losses = losses_of(stage, batch)
        seen.append((losses["bce"] + losses["dice"]).item())
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert seen[-1] < 0.97 * seen[0]
