"""The authors' stage-2 checkpoint: its names, and that features come out of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.trained import load_checkpoint
from methods.interface import Batch, SourceInfo
from methods.muva.config import MuvaConfig
from methods.muva.method import Muva
from protocols.errors import ReIDError


def in_the_authors_names(method: Muva) -> dict[str, torch.Tensor]:
    """What the released code would have saved of these weights, written down name by name."""
    state, named = method.state_dict(), {}
    for name, value in state.items():
        if name == "encoder.local_tokens":
            named["local_token"] = value[None]
        elif name.startswith("encoder.visual."):
            named["image_encoder." + name[len("encoder.visual.") :]] = value
        elif name.startswith("encoder.mask_predictor."):
            rest = name[len("encoder.mask_predictor.") :]
            named["residual_mask_predictor.blocks." + rest] = value
        elif name.startswith("bn_neck."):
            named["bnneck." + name[len("bn_neck.") :]] = value
        elif name == "classifier.weight":
            named["fc.weight"] = value
        elif name == "text.prompts":
            named["prompt_learner.learnable_ctx"] = value
        else:
            assert name.startswith("text.encoder."), name
            named["text_encoder." + name[len("text.encoder.") :]] = value
    return named


@pytest.fixture(scope="module")
def trained() -> Muva:
    torch.manual_seed(3)
    method = Muva(MuvaConfig(**Muva.presets["tiny"]), SourceInfo(7, ("MA",)))
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
        method.bn_neck.running_mean.normal_()
        method.bn_neck.running_var.uniform_(0.5, 2)
    return method.eval()


def test_its_names_are_those_of_the_release(trained):
    names = set(in_the_authors_names(trained))
    assert {
        "image_encoder.conv1.weight",
        "image_encoder.class_embedding",
        "image_encoder.positional_embedding",
        "image_encoder.transformer.resblocks.0.attn.in_proj_weight",
        "image_encoder.transformer.resblocks.3.mlp.c_proj.bias",
        "image_encoder.proj",
        "local_token",
        "residual_mask_predictor.blocks.0.cross_attn.to_q.weight",
        "residual_mask_predictor.blocks.3.cross_attn.to_out.0.bias",
        "residual_mask_predictor.blocks.1.mlp.0.weight",
        "residual_mask_predictor.blocks.1.mlp.2.bias",
        "residual_mask_predictor.blocks.2.ln_attn1.weight",
        "residual_mask_predictor.blocks.2.ln_attn2.bias",
        "residual_mask_predictor.blocks.2.ln_mlp.weight",
        "prompt_learner.learnable_ctx",
        "fc.weight",
        "bnneck.running_var",
    } <= names
    assert "residual_mask_predictor.blocks.0.cross_attn.to_q.bias" not in names


def without_the_count(state):
    return {k: v for k, v in state.items() if k != "bnneck.num_batches_tracked"}


def with_more_of_the_text_side(state):
    more = {name: torch.zeros(2, 3) for name in ("prompt_learner.token_prefix", "logit_scale")}
    return {**state, **more, "token_embedding.weight": torch.zeros(5, 4)}


def from_several_devices(state):
    return {f"module.{k}": v for k, v in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        dict,
        lambda state: {"state_dict": state},
        lambda state: {"model": state, "epoch": 60},
        without_the_count,
        with_more_of_the_text_side,
        from_several_devices,
    ],
)
def test_a_released_checkpoint_gives_the_same_features(trained, tmp_path: Path, wrap):
    file = tmp_path / "stage2.pth"
    half = {k: v.half() if v.is_floating_point() else v for k, v in
            in_the_authors_names(trained).items()}  # fmt: skip
    torch.save(wrap(half), file)
    loaded = load_checkpoint("muva", "tiny", {}, file).eval()
    images = torch.randn(3, 3, 96, 48)
    with torch.no_grad():
        there = loaded.encode(Batch(images))["features"]
        here = trained.encode(Batch(images))["features"]
    # half precision keeps 11 bits of every weight
    assert torch.allclose(there, here, atol=1e-3)
    assert not torch.allclose(there, here.flip(0), atol=1e-3)


def test_an_unknown_name_of_the_image_side_is_refused(trained, tmp_path: Path):
    state = {**in_the_authors_names(trained), "image_encoder.adapter.weight": torch.zeros(2)}
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(ReIDError, match="adapter"):
        load_checkpoint("muva", "tiny", {}, tmp_path / "other.pth")


def test_what_a_checkpoint_does_not_tell_is_said(trained):
    assert trained.assumed()[0].startswith("rmp_heads=2 ")


def test_our_own_names_are_left_alone(trained):
    state = trained.state_dict()
    assert list(Muva.translate(state)) == list(state)


def test_a_checkpoint_without_mask_predictors_is_told_apart(trained, tmp_path: Path):
    state = {k: v for k, v in in_the_authors_names(trained).items() if "residual" not in k}
    torch.save(state, tmp_path / "half.pth")
    with pytest.raises(ReIDError, match="mask_predictor"):
        load_checkpoint("muva", "tiny", {}, tmp_path / "half.pth")
