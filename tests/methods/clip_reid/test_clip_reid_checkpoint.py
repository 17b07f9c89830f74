"""The authors' checkpoints: their names, and that features come out of them."""

import pytest
import torch

from harness.trained import load_checkpoint
from methods.clip_reid.config import ClipReidConfig
from methods.clip_reid.method import ClipReid
from methods.interface import Batch, SourceInfo
from protocols.errors import ReIDError

THEIRS = {
    "encoder.visual.": "image_encoder.",
    "bn_neck.": "bottleneck.",
    "bn_neck_p.": "bottleneck_proj.",
    "classifier.": "classifier.",
    "classifier_p.": "classifier_proj.",
    "text.encoder.": "text_encoder.",
}


def in_the_authors_names(method):
    """What the released code would have saved of these weights."""
    named = {}
    for name, value in method.state_dict().items():
        if name == "text.prompts":
            named["prompt_learner.cls_ctx"] = value[:, 0]
            continue
        ours = next(prefix for prefix in THEIRS if name.startswith(prefix))
        named[THEIRS[ours] + name.removeprefix(ours)] = value
    fixed = torch.zeros(1, 5, method.text.prompts.shape[-1])
    return {**named, "prompt_learner.token_prefix": fixed, "prompt_learner.token_suffix": fixed}


def trained(**changes):
    torch.manual_seed(3)
    config = ClipReidConfig(**{**ClipReid.presets["tiny"], **changes})
    method = ClipReid(config, SourceInfo(7, ("MA",)))
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
        for name, buffer in method.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
    return method.eval()


@pytest.fixture(scope="module")
def vit():
    return trained()


@torch.no_grad()
def same_features(method, file, **changes):
    loaded = load_checkpoint("clip-reid", "tiny", changes, file)
    images = torch.randn(3, 3, *method.config.image_size)
    here, there = (m.encode(Batch(images))["features"] for m in (method, loaded))
    return torch.equal(here, there)


def test_names_of_the_release(vit):
    assert {
        "image_encoder.class_embedding",
        "image_encoder.conv1.weight",
        "image_encoder.transformer.resblocks.3.attn.in_proj_weight",
        "image_encoder.ln_post.weight",
        "image_encoder.proj",
        "bottleneck.running_var",
        "bottleneck_proj.weight",
        "classifier.weight",
        "classifier_proj.weight",
        "prompt_learner.cls_ctx",
        "prompt_learner.token_prefix",
        "text_encoder.text_projection",
        "text_encoder.transformer.resblocks.0.ln_1.weight",
    } <= set(in_the_authors_names(vit))


def test_a_released_checkpoint_gives_the_same_features(vit, tmp_path):
    """Of 7 identities, where nothing says how many there were."""
    state = {f"module.{k}": v for k, v in in_the_authors_names(vit).items()}
    torch.save(state, tmp_path / "vit.pth")
    assert same_features(vit, tmp_path / "vit.pth")


def test_one_of_a_resnet(small_resnet, tmp_path):
    """Counts of batches, which its batch norms have, may be missing."""
    method = trained(**small_resnet)
    state = in_the_authors_names(method)
    assert {"image_encoder.layer4.0.downsample.0.weight", "image_encoder.bn1.running_mean",
            "image_encoder.attnpool.positional_embedding"} <= set(state)  # fmt: skip
    torch.save({k: v for k, v in state.items() if "num_batches" not in k}, tmp_path / "rn.pth")
    assert same_features(method, tmp_path / "rn.pth", **small_resnet)


def test_all_of_it_comes_back_and_round_trips(vit):
    again = trained()
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.zero_()
    translated = ClipReid.translate(in_the_authors_names(vit))
    missing, unknown = again.load_state_dict(translated, strict=False)
    assert not missing
    assert sorted(unknown) == [f"text.token_{n}" for n in ("prefix", "suffix")]
    for key, value in again.state_dict().items():
        assert torch.equal(value, vit.state_dict()[key]), key


def test_our_own_names_are_left_alone(vit):
    state = vit.state_dict()
    assert list(ClipReid.translate(state)) == list(state)


def test_the_baseline_has_no_text_and_is_read_too(vit, tmp_path):
    state = {k: v for k, v in in_the_authors_names(vit).items()
             if not k.startswith(("prompt_learner", "text_encoder"))}  # fmt: skip
    torch.save(state, tmp_path / "baseline.pth")
    assert same_features(vit, tmp_path / "baseline.pth", language=False)


def test_cameras_are_refused_by_name(vit, tmp_path):
    state = {**in_the_authors_names(vit), "cv_embed": torch.zeros(6, 128)}
    torch.save(state, tmp_path / "sie.pth")
    with pytest.raises(ReIDError, match="SIE, an embedding of 6 cameras"):
        load_checkpoint("clip-reid", "tiny", {}, tmp_path / "sie.pth")


def test_what_the_release_does_not_have_is_not_passed_over(vit, tmp_path):
    """It would be another model."""
    state = {**in_the_authors_names(vit), "adapter.weight": torch.zeros(2)}
    torch.save(state, tmp_path / "more.pth")
    with pytest.raises(ReIDError, match=r"unknown: adapter\.weight"):
        load_checkpoint("clip-reid", "tiny", {}, tmp_path / "more.pth")


def test_overlapping_patches_have_to_be_told(vit, tmp_path):
    method = trained(olp=True)
    torch.save(in_the_authors_names(method), tmp_path / "olp.pth")
    with pytest.raises(ReIDError, match="positional_embedding is"):
        load_checkpoint("clip-reid", "tiny", {}, tmp_path / "olp.pth")
    assert same_features(method, tmp_path / "olp.pth", olp=True)
