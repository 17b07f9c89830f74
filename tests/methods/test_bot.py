"""The plain strong baselines: recipe, losses from the definition, numbers of parameters."""

import math

import pytest
import torch
from pydantic import ValidationError

from harness.testing import build, make_images
from methods.bot import BotResNet50, BotResNetConfig, BotStage, BotVit, BotVitConfig
from methods.bot import WholeBatchStage as WholeBatch
from methods.interface import Batch, SourceInfo

BOTH = (BotResNet50, BotVit)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_images(tmp_path_factory.mktemp("images"))


def tiny(cls, **changes):
    return cls.Config(**{**cls.presets["tiny"], **changes})


def first_batch(method, data):
    """The method's stage in training, and its first batch."""
    stage = method.stages()[0]
    data.stage = stage.name
    stage.prepare(data)
    stage.begin_epoch(1, data)
    method.train()
    return stage, next(iter(stage.batches(1, data)))


def factors(config, epochs):
    return [config.lr_factor(epoch) for epoch in epochs]


def test_rates_of_the_released_code():
    """Epoch t of the warm-up: 0.01 + 0.99 t / 10."""
    found = factors(BotResNetConfig(), [1, 5, 9, 10, 39, 40, 69, 70, 120])
    assert found == pytest.approx([0.109, 0.505, 0.901, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_rates_of_the_paper():
    """3.5e-4 t / 10 up to 10, 3.5e-4 up to 40, 3.5e-5 up to 70, 3.5e-6 up to 120."""
    config = BotResNetConfig(fidelity="paper")
    found = [config.lr * factor for factor in factors(config, [1, 10, 40, 41, 70, 71, 120])]
    assert found == pytest.approx([3.5e-5, 3.5e-4, 3.5e-4, 3.5e-5, 3.5e-5, 3.5e-6, 3.5e-6])


def test_a_switch_alone_overrides_fidelity():
    config = BotResNetConfig(fidelity="paper", lr_milestones=(40, 70))
    assert factors(config, [1, 40]) == pytest.approx([0.1, 0.1])


def test_rates_of_the_vision_transformer():
    """From 8e-5, a fifth of the way to 8e-3 each epoch; then 8e-3 down to 1.6e-5."""
    config = BotVitConfig()
    found = [config.lr * factor for factor in factors(config, [1, 4, 5, 60, 120])]
    middle = (8e-3 + 1.6e-5) / 2
    fifth = 1.6e-5 + (8e-3 - 1.6e-5) * (1 + math.cos(math.pi * 5 / 120)) / 2
    expected = [8e-5 + 7.92e-3 / 5, 8e-5 + 7.92e-3 * 0.8, fifth, middle, 1.6e-5]
    assert found == pytest.approx(expected)


def test_defaults_are_the_recipes():
    resnet, vit = BotResNetConfig(), BotVitConfig()
    same = {"image_size": (256, 128), "epochs": 120, "identities": 16, "instances": 4,
            "flip": 0.5, "pad": 10, "erase": 0.5, "weights": "imagenet"}  # fmt: skip
    for key, value in same.items():
        assert getattr(resnet, key) == getattr(vit, key) == value
    assert (resnet.backbone, resnet.last_stride) == ("resnet50", 1)
    assert (resnet.margin, resnet.label_smoothing, resnet.test_on) == (0.3, 0.1, "neck")
    assert vit.backbone == "vit_base_patch16_224"
    assert (vit.margin, vit.label_smoothing, vit.test_on) == (None, 0.0, "backbone")


def bare(cls, config, identities=751):
    with torch.device("meta"):
        return cls(config, SourceInfo(identities, ("MA",)))


def count(method):
    return sum(p.numel() for p in method.parameters())


def test_parameters_of_resnet50_to_the_unit():
    """Convolutions without bias, each with a batch norm of two numbers a channel."""
    total = 3 * 64 * 49 + 2 * 64
    before = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        out = 4 * width
        for block in range(blocks):
            total += before * width + 9 * width * width + width * out + 2 * (2 * width + out)
            total += (before * out + 2 * out) if block == 0 else 0
            before = out
    method = bare(BotResNet50, BotResNetConfig(weights="random"))
    assert count(method) == total + 2 * 2048 + 2048 * 751 == 25_050_176
    frozen = [name for name, p in method.named_parameters() if not p.requires_grad]
    assert frozen == ["bn_neck.bias"]


def test_parameters_of_the_vision_transformer_to_the_unit():
    """Patches, CLS, 129 positions, twelve blocks, the last norm; nothing of the classifier."""
    d = 768
    block = 4 * d * d + 4 * d + 2 * 4 * d * d + 4 * d + d + 2 * 2 * d
    backbone = (3 * 16 * 16 * d + d) + d + (1 + 16 * 8) * d + 12 * block + 2 * d
    method = bare(BotVit, BotVitConfig(weights="random"))
    assert count(method) == backbone + 2 * d + d * 751 == 86_324_736


def by_definition(features, weight, gamma, labels, smoothing, margin):
    """L_id behind the BN neck and L_tri before it, a number at a time."""
    columns = list(zip(*features, strict=True))
    means = [sum(c) / len(c) for c in columns]
    variances = [sum((v - m) ** 2 for v in c) / len(c) for c, m in zip(columns, means, strict=True)]
    identity = triplet = 0.0
    for f, y in zip(features, labels, strict=True):
        neck = [g * (v - m) / math.sqrt(s + 1e-5)
                for g, v, m, s in zip(gamma, f, means, variances, strict=True)]  # fmt: skip
        logits = [sum(w * n for w, n in zip(row, neck, strict=True)) for row in weight]
        log_sum = math.log(sum(math.exp(z) for z in logits))
        targets = [(1 - smoothing) * (c == y) + smoothing / len(weight) for c in range(len(weight))]
        identity -= sum(q * (z - log_sum) for q, z in zip(targets, logits, strict=True))
        distances = [(math.dist(f, g), other) for g, other in zip(features, labels, strict=True)]
        gap = max(d for d, o in distances if o == y) - min(d for d, o in distances if o != y)
        triplet += math.log1p(math.exp(gap)) if margin is None else max(0.0, margin + gap)
    return identity / len(labels), triplet / len(labels)


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize(("smoothing", "margin"), [(0.1, 0.3), (0.0, None)])
def test_losses_from_the_definition(data, cls, smoothing, margin):
    config = tiny(cls, label_smoothing=smoothing, margin=margin, drop_path=0.0)
    method = build(cls, config, data).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        # apart from what they start as, so that each counts
        method.classifier.weight.normal_(generator=generator)
        method.bn_neck.weight.uniform_(0.5, 2, generator=generator)
    stage, batch = first_batch(method, data)
    batch.images.data = batch.images.double()
    with torch.no_grad():
        features = method.backbone(batch.images)
        found = stage.losses(stage.forward(batch), batch.known())
    expected = by_definition(
        features.tolist(),
        method.classifier.weight.tolist(),
        method.bn_neck.weight.tolist(),
        batch.labels.tolist(),
        smoothing,
        margin,
    )
    assert list(found) == ["id", "triplet"]
    assert [float(v) for v in found.values()] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("cls", BOTH)
def test_everything_moves_but_the_bias_of_the_neck(data, cls):
    method = build(cls, tiny(cls), data)
    before = {k: v.clone() for k, v in method.named_parameters()}
    stage, batch = first_batch(method, data)
    optimizer = stage.optimizer()
    # a residual branch begins at zero, so what is inside it gets its first gradient in step two
    for _ in range(2):
        optimizer.zero_grad()
        sum(stage.losses(stage.forward(batch), batch.known()).values()).backward()
        optimizer.step()
    still = [k for k, v in method.named_parameters() if torch.equal(v, before[k])]
    assert still == ["bn_neck.bias"]


def test_optimisers():
    adam = BotStage(bare(BotResNet50, BotResNetConfig(weights="random"))).optimizer()
    assert isinstance(adam, torch.optim.Adam)
    assert {(g["lr"], g["weight_decay"]) for g in adam.param_groups} == {(3.5e-4, 5e-4)}
    vit = bare(BotVit, BotVitConfig(weights="random"))
    sgd = BotStage(vit).optimizer()
    assert isinstance(sgd, torch.optim.SGD)
    weights, biases = sgd.param_groups
    assert (weights["lr"], biases["lr"]) == (8e-3, 1.6e-2)
    assert all((g["momentum"], g["weight_decay"]) == (0.9, 1e-4) for g in sgd.param_groups)
    names = {id(p): name for name, p in vit.named_parameters()}
    assert all(names[id(p)].endswith("bias") for p in biases["params"])
    assert len(weights["params"]) + len(biases["params"]) == len(names) - 1


def test_transforms():
    method = bare(BotResNet50, BotResNetConfig(weights="random"))
    train, test = method.transforms().train, method.transforms().eval
    assert (train.size, train.flip, train.pad, train.erase) == ((256, 128), 0.5, 10, 0.5)
    assert (train.mean, train.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (test.size, test.flip, test.pad, test.erase) == ((256, 128), 0, 0, 0)
    assert (train.interpolation, test.interpolation) == ("bilinear", "bilinear")
    vit = bare(BotVit, BotVitConfig(weights="random")).transforms()
    assert vit.train.mean == vit.eval.std == (0.5, 0.5, 0.5)
    assert (vit.train.interpolation, vit.eval.interpolation) == ("bicubic", "bilinear")


@pytest.mark.parametrize("test_on", ["neck", "backbone"])
def test_what_is_tested_on(data, test_on):
    method = build(BotResNet50, tiny(BotResNet50, test_on=test_on), data).eval()
    with torch.no_grad():
        method.bn_neck.running_mean.normal_()
        images = next(iter(data.in_order())).images
        features = method.backbone(images)
        if test_on == "neck":
            features = features - method.bn_neck.running_mean
            features = features / (method.bn_neck.running_var + 1e-5).sqrt()
        found = method.encode(Batch(images))["features"]
    assert torch.allclose(found, features / features.norm(dim=1, keepdim=True), atol=1e-5)


def test_the_map_of_the_method_has_last_stride_one():
    images = torch.empty(1, 3, 256, 128, device="meta")
    for stride, shape in ((1, (16, 8)), (2, (8, 4))):
        method = bare(BotResNet50, BotResNetConfig(weights="random", last_stride=stride))
        assert method.backbone.forward_features(images).shape == (1, 2048, *shape)


def test_batch_normalisation_is_behind_the_cut():
    """Statistics of a part of a batch would not be those of the batch."""
    assert isinstance(bare(BotResNet50, tiny(BotResNet50)).stages()[0], WholeBatch)
    assert not isinstance(bare(BotVit, tiny(BotVit)).stages()[0], WholeBatch)
    other = tiny(BotResNet50, backbone="test_convnext", last_stride=2)
    assert not isinstance(bare(BotResNet50, other).stages()[0], WholeBatch)


def test_what_weights_alone_do_not_tell():
    assert bare(BotResNet50, tiny(BotResNet50)).assumed() == ["last_stride=1", "test_on=neck"]
    assert bare(BotVit, tiny(BotVit)).assumed() == ["test_on=backbone"]


def test_stochastic_depth_reaches_the_backbone():
    method = bare(BotVit, BotVitConfig(weights="random"))
    assert method.backbone.blocks[-1].drop_path1.drop_prob == pytest.approx(0.1)
    assert method.backbone.blocks[0].drop_path1.__class__.__name__ == "Identity"


def test_a_batch_of_one_is_refused():
    with pytest.raises(ValidationError, match="a BN neck needs a batch"):
        tiny(BotResNet50, identities=1, instances=1)


@pytest.mark.parametrize("cls", BOTH)
def test_one_identity_trains(cls, tmp_path):
    """No negative for any anchor, and nothing to classify: finite all the same."""
    from PIL import Image as PillowImage

    from harness.data import training_images
    from harness.progress import Progress
    from harness.train import make_accelerator, train
    from protocols.types import Image, Split

    for i in range(2):
        PillowImage.new("RGB", (32, 64), (90, 20 * i, 7)).save(tmp_path / f"{i}.png")
    split = Split("A", "train", tuple(Image(f"{i}.png", 1, i) for i in range(2)))
    transforms = bare(cls, tiny(cls)).transforms()
    one = training_images(tmp_path, [split], transforms, seed=0, device=torch.device("cpu"))
    method = build(cls, tiny(cls, epochs=1), one)
    history = train(method, one, make_accelerator("fp32", "cpu"), tmp_path / "c", Progress())
    assert history[0]["losses"]["triplet"] == 0
    assert all(torch.isfinite(v).all() for v in method.state_dict().values())
