"""The table by backbone, what is refused, and which keys stage 1 does not see."""

import pytest
import torch

from harness.config import make_config
from harness.progress import Progress
from harness.testing import build, make_images
from harness.train import make_accelerator, train
from methods.clip_reid.config import ClipReidConfig
from methods.clip_reid.method import ClipReid
from methods.clip_reid.stages import PromptStage
from protocols.errors import ReIDError

TABLE = {
    "ViT-B-16": {"lr": 5e-6, "weight_decay": 1e-4, "epochs": 60, "lr_milestones": (30, 50),
                 "warmup_start": 0.1, "stage1_epochs": 120, "id_weight": 0.25, "batch_norm": None},
    "RN50": {"lr": 3.5e-4, "weight_decay": 5e-4, "epochs": 120, "lr_milestones": (40, 70),
             "warmup_start": 0.01, "stage1_epochs": 60, "id_weight": 1.0, "batch_norm": "batch"},
}  # fmt: skip


@pytest.mark.parametrize("backbone", TABLE)
def test_what_the_backbone_decides(backbone):
    config = ClipReidConfig(backbone=backbone)
    assert {key: config.chosen(key) for key in ClipReidConfig.by_backbone} == TABLE[backbone]
    assert ClipReidConfig(backbone=backbone, lr=1.0).chosen("lr") == 1.0
    assert ClipReidConfig(backbone=backbone, language=False).chosen("id_weight") == 1.0
    assert ClipReidConfig(backbone=backbone, id_weight=0.0).chosen("id_weight") == 0.0


def test_batches_of_both_backbones():
    config = ClipReidConfig()
    assert (config.identities, config.instances, config.stage1_batch) == (16, 4, 64)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sie": True}, "sie=on: it adds an embedding of an image's camera"),
        ({"olp": True, "backbone": "RN50"}, "RN50 has no patches"),
        ({"batch_norm": "frozen"}, "does nothing with backbone=ViT-B-16"),
        ({"identities": 1, "instances": 1}, "2 or more"),
    ],
)
def test_refusals(changes, said):
    with pytest.raises(ReIDError, match=said):
        make_config("clip-reid", ClipReid, "paper", changes)


@pytest.mark.parametrize("backbone", TABLE)
def test_transforms(backbone):
    method = ClipReid.__new__(ClipReid)
    torch.nn.Module.__init__(method)
    method.config = ClipReidConfig(backbone=backbone)
    both = method.transforms()
    mean = (0.485, 0.456, 0.406) if backbone == "RN50" else (0.5, 0.5, 0.5)
    std = (0.229, 0.224, 0.225) if backbone == "RN50" else (0.5, 0.5, 0.5)
    train = both.train
    assert (train.mean, train.std, train.size) == (mean, std, (256, 128))
    assert (train.interpolation, train.flip, train.pad, train.erase) == ("bicubic", 0.5, 10, 0.5)
    plain = both.eval
    assert (plain.mean, plain.std, plain.size) == (mean, std, (256, 128))
    assert (plain.interpolation, plain.flip, plain.pad, plain.erase) == ("bilinear", 0, 0, 0)


SMALL = {"image_size": (24, 24), "stage1_epochs": 2, "stage1_batch": 8}
FREE = {
    "epochs": 2, "lr": 1e-3, "bias_lr_scale": 1.0, "weight_decay": 0.1, "warmup_epochs": 0,
    "warmup_start": 0.5, "lr_milestones": [1], "identities": 2, "instances": 2, "id_weight": 2.0,
    "label_smoothing": 0.3, "margin": 0.1, "flip": 0.0, "pad": 0, "erase": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_images(tmp_path_factory.mktemp("images"))


def prompts_after_stage_1(data, folder, **changes):
    """The prompts that stage 1 alone leaves."""
    config = make_config("clip-reid", ClipReid, "tiny", {**SMALL, **changes})
    method = build(ClipReid, config, data)
    stages = method.stages
    method.stages = lambda: stages()[:1]
    before = {k: v.clone() for k, v in method.state_dict().items()}
    train(method, data, make_accelerator("fp32", "cpu"), folder, Progress())
    changed = {k for k, v in method.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"text.prompts"}
    return method.text.prompts.detach().clone()


@pytest.fixture(scope="module")
def prompts(data, tmp_path_factory):
    return prompts_after_stage_1(data, tmp_path_factory.mktemp("prompts"))


def test_every_key_that_is_said_to_be_free_is_tried_here():
    """But `batch_norm`, which this backbone does not have: see the test of a ResNet."""
    assert set(PromptStage.unaffected_by) == {*FREE, "batch_norm"}


def test_keys_that_are_said_to_be_free_change_nothing_of_stage_1(data, prompts, tmp_path):
    """All at once: one that counted would show."""
    assert torch.equal(prompts, prompts_after_stage_1(data, tmp_path, **FREE))


def test_nor_do_the_statistics_of_a_resnet(data, small_resnet, tmp_path):
    one, other = (
        prompts_after_stage_1(data, tmp_path / kind, **{**small_resnet, "batch_norm": kind})
        for kind in ("batch", "frozen")
    )
    assert torch.equal(one, other)


@pytest.mark.parametrize("change", [{"stage1_lr": 1e-2}, {"stage1_batch": 4}, {"olp": True}])
def test_other_keys_do_change_it(data, prompts, tmp_path, change):
    assert not torch.equal(prompts, prompts_after_stage_1(data, tmp_path, **change))
