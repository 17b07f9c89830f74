from types import SimpleNamespace

import pytest
import torch

from harness.testing import build, make_images
from methods.interface import Batch
from methods.vision_only import VisionOnly, VisionOnlyConfig


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_images(tmp_path_factory.mktemp("images"))


def tiny(**changes):
    return VisionOnlyConfig(**{**VisionOnly.presets["tiny"], **changes})


def both(config):
    return config.chosen("label_smoothing"), config.chosen("bn_momentum")


def test_released_bn_momentum_is_two_updates_with_the_same_batch():
    features = torch.randn(8, 5, generator=torch.Generator().manual_seed(0)) + 3
    twice = torch.nn.BatchNorm1d(5, momentum=0.1)
    twice(features)
    twice(features)
    once = torch.nn.BatchNorm1d(5, momentum=tiny().chosen("bn_momentum"))
    once(features)
    assert torch.allclose(once.running_mean, twice.running_mean, atol=1e-6)
    assert torch.allclose(once.running_var, twice.running_var, atol=1e-6)


def test_fidelity_switches_and_each_alone():
    assert both(tiny()) == (0.1, 0.19)
    paper = tiny(fidelity="paper")
    assert both(paper) == (0.0, 0.1)
    mixed = tiny(fidelity="paper", label_smoothing=0.2)
    assert both(mixed) == (0.2, 0.1)


def test_frozen_parts_stay_and_the_rest_moves(data):
    method = build(VisionOnly, tiny(), data)
    before = {k: v.clone() for k, v in method.state_dict().items()}
    stage = method.stages()[0]
    data.stage = stage.name
    stage.begin_epoch(1, data)
    method.train()
    optimizer = stage.optimizer()
    batch = next(iter(stage.batches(1, data)))
    sum(stage.losses(stage.forward(batch), batch.known()).values()).backward()
    optimizer.step()
    stage.after_step(batch)
    after = method.state_dict()
    for frozen in ("image_encoder.conv1.weight", "bn_neck.bias"):
        assert torch.equal(before[frozen], after[frozen])
    for trained in ("image_encoder.proj", "bn_neck.weight", "classifier.weight"):
        assert not torch.equal(before[trained], after[trained])


def test_features_are_unit_length(data):
    method = build(VisionOnly, tiny(), data).eval()
    batch = Batch(next(iter(data.in_order())).images)
    with torch.no_grad():
        lengths = method.encode(batch)["features"].norm(dim=1)
    assert torch.allclose(lengths, torch.ones_like(lengths), atol=1e-5)


@pytest.mark.parametrize("people", [1, 3])
def test_few_identities(tmp_path, people):
    """One identity, and an identity with a single image, train without NaN."""
    from PIL import Image as PillowImage

    from harness.data import training_images
    from harness.progress import Progress
    from harness.train import make_accelerator, train
    from protocols.types import Image, Split

    images = []
    for pid in range(1, people + 1):
        for i in range(1 if pid == 1 else 2):
            name = f"{pid}-{i}.png"
            PillowImage.new("RGB", (32, 64), (50 * pid, 90, 20 * i)).save(tmp_path / name)
            images.append(Image(name, pid, i))
    transforms = VisionOnly.transforms(SimpleNamespace(config=tiny()))
    few = training_images(
        tmp_path,
        [Split("A", "train", tuple(images))],
        transforms,
        seed=0,
        device=torch.device("cpu"),
    )
    method = build(VisionOnly, tiny(epochs=1), few)
    history = train(method, few, make_accelerator("fp32", "cpu"), tmp_path / "c", Progress())
    assert len(history) == 1
    assert all(torch.isfinite(v).all() for v in method.state_dict().values())
