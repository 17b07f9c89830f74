"""What every method must pass: `check_method("my-method")`, or a class, in your own tests.

Each check is a function of its own, so that a failure names what is wrong. All of them run on a
few small made-up images, on the CPU, in seconds.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor

from harness.config import make_config
from harness.data import TrainingImages, training_images
from harness.progress import Progress
from harness.seeds import seed_everything
from harness.train import cpu_state, make_accelerator, train
from methods import registry
from methods.interface import (
    PARTS,
    Batch,
    Method,
    MethodCard,
    MethodConfig,
    SourceInfo,
    Stage,
    TrainBatch,
    Transform,
    Transforms,
)
from protocols.errors import UnknownName
from protocols.types import Image, Split

IDENTITIES, INSTANCES = 4, 4
EPOCHS = 2


def check_method(
    method: str | type[Method], overrides: Mapping[str, Any] | None = None, preset: str = "tiny"
) -> None:
    """Run every check on a method. Raises AssertionError saying which one it fails, and how."""
    name = method if isinstance(method, str) else method.__name__
    cls = registry.load(method) if isinstance(method, str) else method
    config = make_config(name, cls, preset if preset in cls.presets else "paper", overrides or {})
    check_card(cls)
    check_config(name, cls, config)
    with tempfile.TemporaryDirectory() as folder:
        data = make_images(Path(folder))
        check_encode(build(cls, config, data), data)
        check_weights(cls, config, data)
        if check_training(cls, config, data):
            check_micro_batches(cls, config, data, Path(folder))
        check_resume(cls, config, data, Path(folder))


def make_images(root: Path, size: tuple[int, int] = (64, 32)) -> TrainingImages:
    """A few images of two domains on disk: `IDENTITIES` noisy colours, `INSTANCES` images each."""
    rng = np.random.default_rng(0)
    splits = []
    for domain in ("A", "B"):
        images = []
        for pid in range(1, IDENTITIES // 2 + 1):
            colour = rng.integers(0, 256, 3)
            for i in range(INSTANCES):
                noisy = colour + rng.normal(0, 40, (*size, 3))
                path = f"{domain}-{pid}-{i}.png"
                PillowImage.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(root / path)
                images.append(Image(path, pid, i % 2))
        splits.append(Split(domain, "train", tuple(images)))
    # `build` sets the transforms, which are the method's
    plain = Transform(size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    transforms = Transforms(train=plain, eval=plain)
    return training_images(root, splits, transforms, seed=0, device=torch.device("cpu"))


def build(cls: type[Method], config: MethodConfig, data: TrainingImages, seed: int = 0) -> Method:
    """A method with initial weights drawn from `seed`; `data` gets its transforms and masks."""
    seed_everything(seed, "initial weights")
    method = cls(config, SourceInfo(data.num_classes, ("A", "B")))
    data.transforms = method.transforms()
    needs = cls.part_needs(config)
    data.part_masks = make_masks(len(data), needs.grid) if needs else None
    return method


def make_masks(images: int, grid: tuple[int, int]) -> Tensor:
    """Part masks [N, R, h, w] bool: bands of rows, one patch in ten wrong."""
    h, w = grid
    band = torch.arange(h) * len(PARTS) // h
    bands = (band == torch.arange(len(PARTS))[:, None])[:, :, None]
    wrong = np.random.default_rng(0).random((images, len(PARTS), h, w)) < 0.1
    return bands ^ torch.from_numpy(wrong)


def check_card(cls: type[Method]) -> None:
    """It says who it is."""
    card = getattr(cls, "card", None)
    assert isinstance(card, MethodCard), f"{cls.__name__}.card is no MethodCard"
    for field in ("name", "summary", "paper", "licence", "modality", "version"):
        assert getattr(card, field), f"{cls.__name__}.card.{field} is empty"


def check_config(name: str, cls: type[Method], config: MethodConfig) -> None:
    """The config is frozen, survives JSON, and refuses a key it does not have."""
    again = cls.Config(**json.loads(json.dumps(config.model_dump(mode="json"))))
    assert again == config, f"{name}: its config does not survive a round trip through JSON"
    assert config.model_config.get("frozen"), f"{name}: its config is not frozen"
    try:
        make_config(name, cls, "paper" if "paper" in cls.presets else "tiny", {"no_such_key": 1})
    except UnknownName:
        return
    raise AssertionError(f"{name}: its config takes keys that it does not have")


def check_encode(method: Method, data: TrainingImages) -> None:
    """Features are finite, repeatable, one row an image, and do not depend on batch mates."""
    method.eval()
    images = torch.cat([b.images for b in data.in_order()])
    with torch.no_grad():
        whole = method.encode(Batch(images))
        again = method.encode(Batch(images))
        flipped = method.encode(Batch(images.flip(0)))
        alone = [method.encode(Batch(images[i : i + 1])) for i in range(3)]
        scores = method.score(whole, whole)
    assert whole, "encode returns no features"
    for key, value in whole.items():
        assert value.shape[0] == len(images), f"encode: {key} has no leading B"
        assert torch.isfinite(value).all(), f"encode: {key} is not finite"
        assert torch.equal(value, again[key]), f"encode: {key} differs when encoded again"
        _same(value, flipped[key].flip(0), f"encode: {key} depends on the order of the batch")
        for i, one in enumerate(alone):
            _same(value[i : i + 1], one[key], f"encode: {key} depends on the other images")
    assert scores.shape == (len(images), len(images)), "score is not [Q, G]"
    assert torch.isfinite(scores).all(), "score is not finite"


def check_weights(cls: type[Method], config: MethodConfig, data: TrainingImages) -> None:
    """The state dict holds all that a trained method is."""
    one, other = build(cls, config, data, seed=0), build(cls, config, data, seed=1)
    other.load_state_dict(cpu_state(one))
    batch = Batch(next(iter(data.in_order())).images)
    with torch.no_grad():
        features, copied = one.eval().encode(batch), other.eval().encode(batch)
    for key, value in features.items():
        _same(value, copied[key], f"{key} is not determined by the state dict")


def check_training(cls: type[Method], config: MethodConfig, data: TrainingImages) -> bool:
    """Every stage gives named, finite scalar losses that reach something that trains.

    Returns whether no `forward` draws at random.
    """
    method, repeatable = build(cls, config, data), True
    for stage in method.stages():
        data.stage = stage.name
        stage.prepare(data)
        stage.begin_epoch(1, data)
        method.train()
        optimizer = stage.optimizer()
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        batch = next(iter(stage.batches(1, data)))
        repeatable &= check_forward(method, stage, batch)
        losses = stage.losses(stage.forward(batch), batch.known())
        assert losses, f"stage {stage.name} has no losses"
        for name, loss in losses.items():
            assert loss.ndim == 0, f"stage {stage.name}: loss {name} is no scalar"
            assert torch.isfinite(loss), f"stage {stage.name}: loss {name} is {loss}"
        torch.stack(list(losses.values())).sum().backward()
        reached = [p for p in trained if p.grad is not None and p.grad.abs().sum() > 0]
        assert reached, f"stage {stage.name}: no gradient reaches what it trains"
    return repeatable


def check_forward(method: Method, stage: Stage, batch: TrainBatch) -> bool:
    """A stage's outputs are one row an image, do not depend on batch mates, and change nothing.

    Returns whether they are not random.
    """
    name = f"stage {stage.name}: forward"
    before = {k: v.clone() for k, v in method.state_dict().items()}
    with torch.no_grad():
        whole, again = stage.forward(batch), stage.forward(batch)
        repeatable = all(torch.equal(value, again[key]) for key, value in whole.items())
        if not repeatable:
            method.eval()  # what is drawn at random can't be compared otherwise
            whole = stage.forward(batch)
        cut = len(batch) // 3 or 1
        parts = [stage.forward(batch.rows(at)) for at in (slice(cut), slice(cut, None))]
    for key, value in whole.items():
        assert value.shape[0] == len(batch), f"{name}: {key} has no leading B"
        together = torch.cat([part[key] for part in parts])
        _same(value, together, f"{name}: {key} depends on the other images")
    for key, value in method.state_dict().items():
        assert torch.equal(value, before[key]), f"{name} changes {key}; that belongs in losses"
    method.train()
    return repeatable


def check_micro_batches(
    cls: type[Method], config: MethodConfig, data: TrainingImages, folder: Path
) -> None:
    """A batch whose images go through `forward` a few at a time has the losses of a whole one."""
    accelerator = make_accelerator("fp32", "cpu")
    found = []
    for size in (None, 3):
        method = _short(build(cls, config, data), 1)
        found.append(
            train(method, data, accelerator, folder / f"at-{size}", Progress(), micro_batch=size)
        )
    for whole, parts in zip(*found, strict=True):
        for name, loss in whole["losses"].items():
            other = parts["losses"][name]
            assert abs(loss - other) <= 1e-3 * max(abs(loss), 1), (
                f"stage {whole['stage']}: loss {name} is {other}, not {loss}, when the batch goes "
                "through forward in parts"
            )


def check_resume(
    cls: type[Method], config: MethodConfig, data: TrainingImages, folder: Path
) -> None:
    """Training stopped in the second epoch of each stage and started again ends bit-identical."""
    straight = _short(build(cls, config, data))
    if not straight.stages():
        return
    accelerator = make_accelerator("fp32", "cpu")
    train(straight, data, accelerator, folder / "straight", Progress())
    for index, stage in enumerate(straight.stages()):
        checkpoints = folder / f"stopped-{index}"
        stopped = _short(build(cls, config, data))
        try:
            train(stopped, data, accelerator, checkpoints, _StopAt(stage.name))
            raise AssertionError(f"stage {stage.name} has no second epoch to stop in")
        except _Stopped:
            pass
        resumed = _short(build(cls, config, data))
        train(resumed, data, accelerator, checkpoints, Progress())
        for key, value in cpu_state(straight).items():
            assert torch.equal(value, cpu_state(resumed)[key]), (
                f"stopped in stage {stage.name} and resumed, {key} differs"
            )


class _Stopped(Exception):
    pass


class _StopAt(Progress):
    """Interrupts training in the middle of the second epoch of a stage."""

    def __init__(self, stage: str) -> None:
        self.doing = f"{stage} {EPOCHS}/{EPOCHS}"

    def advance(self, units: float, doing: str) -> None:
        if doing.startswith(self.doing) and "loss" in doing:
            raise _Stopped


def _short(method: Method, epochs: int = EPOCHS) -> Method:
    stages = method.stages

    def short() -> list[Stage]:
        made = stages()
        for stage in made:
            stage.epochs = epochs
        return made

    method.stages = short  # type: ignore[method-assign]
    return method


def _same(one: Tensor, other: Tensor, otherwise: str, tolerance: float = 1e-4) -> None:
    """Equal but for the rounding of a product whose shape differs."""
    assert one.shape == other.shape, otherwise
    one, other = one.double(), other.double()
    scale = one.abs().max().clamp_min(1e-12)
    worst = float((one - other).abs().max() / scale)
    assert worst <= tolerance, f"{otherwise} (by {worst:.2g} of the largest value)"
