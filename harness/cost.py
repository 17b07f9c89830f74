"""What a method costs on this machine: parameters, time of a step, memory, images a second.

The columns of MUVA's table 13. The images are random and in memory, so no disk or decoder is
timed; weights are random too. Order: inference first, on a method that holds nothing training alone
needs; then a new method, stage after stage, each with its `prepare` and `begin_epoch`, which are
not timed but count in the peak of memory. In bf16 inference is measured in bf16 too.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from torch import Tensor

from harness.data import in_order
from harness.meter import WARM_UP, Meter
from harness.progress import EVALUATION_PASS, TRAINING_PASS, Progress
from harness.seeds import seed_everything
from methods.grounding.labels import PartLabels
from methods.interface import (
    Batch,
    Method,
    MethodConfig,
    PartNeeds,
    SourceInfo,
    Stage,
    TrainBatch,
    Transforms,
)
from protocols.errors import ReIDError

INSTANCES = 4
"""Images an identity in a training batch, for a method whose config does not say."""
SOURCES = ("MA",)
"""What the method is told that it trains on."""


@dataclass(frozen=True)
class Parameters:
    """Numbers of parameters.

    `train`: all that exist while training, frozen ones too; None for a method that trains nothing.
    `trainable`: those that some stage's optimiser updates. `infer`: those that `encode` needs.
    """

    train: int | None
    trainable: int
    infer: int


@dataclass(frozen=True)
class Timing:
    """One phase: milliseconds of every timed step, the images of a step, peak memory in bytes.

    `memory` is None where it can't be measured. On a GPU it is what torch has allocated; on a CPU
    the resident memory beyond that before the method was built.
    """

    name: str
    milliseconds: tuple[float, ...]
    images: int
    memory: int | None

    @property
    def latency(self) -> float:
        """Median milliseconds a step."""
        return statistics.median(self.milliseconds)

    @property
    def images_per_second(self) -> float:
        """At the median step."""
        return 1000 * self.images / self.latency


@dataclass(frozen=True)
class Cost:
    """What was measured: every stage of training, in order, and inference."""

    stages: tuple[Timing, ...]
    inference: Timing


@dataclass(frozen=True)
class Workload:
    """What is measured: a method as configured, its identities, its batches, how often."""

    method: type[Method]
    config: MethodConfig
    identities: int
    batch_size: int
    repeats: int

    def build(self) -> Method:
        """The method, with weights drawn from a fixed seed."""
        seed_everything(0, "initial weights")
        return self.method(self.config, SourceInfo(self.identities, SOURCES))

    def units(self, stages: int) -> float:
        """The work of `measure`, in the units of `harness.progress`."""
        steps = (WARM_UP + self.repeats) * self.batch_size
        return steps * (EVALUATION_PASS + stages * TRAINING_PASS)


def count_parameters(method: Method) -> Parameters:
    """Parameters of a method before its training, in training and in inference."""
    sizes = {name: p.numel() for name, p in method.named_parameters()}
    infer = sum(n for name, n in sizes.items() if not name.startswith(method.training_only))
    stages = method.stages()
    updated = {
        id(p): p.numel()
        for stage in stages
        for group in stage.optimizer().param_groups
        for p in group["params"]
        if p.requires_grad
    }
    train = sum(sizes.values()) if stages else None
    return Parameters(train, sum(updated.values()), infer)


def measure(work: Workload, accelerator: Accelerator, progress: Progress) -> Cost:
    """Time and memory of inference and of every stage.

    Raises ReIDError for a batch too small to train on.
    """
    meter = Meter(accelerator.device)
    method = work.build().to(accelerator.device)
    inference = _inference(method, work, accelerator, meter, progress)
    del method
    method = work.build().to(accelerator.device)
    stages = method.stages()
    if stages and work.batch_size < 2:
        raise ReIDError("--batch-size 1: training needs batches of 2 images or more.")
    data = MadeUpImages(
        work.identities,
        work.batch_size,
        getattr(work.config, "instances", INSTANCES),
        method.transforms(),
        work.method.part_needs(work.config),
        accelerator.device,
    )
    timed = tuple(_stage(s, method, data, work, accelerator, meter, progress) for s in stages)
    return Cost(timed, inference)


def _inference(
    method: Method, work: Workload, accelerator: Accelerator, meter: Meter, progress: Progress
) -> Timing:
    drop_training_only(method)
    meter.reset()
    size = method.transforms().eval.size
    batch = Batch(random_images(work.batch_size, size, accelerator.device))
    method.eval()

    def step() -> None:
        with torch.no_grad(), accelerator.autocast():
            method.encode(batch)
        progress.advance(work.batch_size * EVALUATION_PASS, "inference")

    times, memory = meter.run(step, work.repeats)
    return Timing("inference", times, work.batch_size, memory)


def _stage(
    stage: Stage,
    method: Method,
    data: MadeUpImages,
    work: Workload,
    accelerator: Accelerator,
    meter: Meter,
    progress: Progress,
) -> Timing:
    """One stage, as `harness.train` runs it: losses, backward, the optimiser's step."""
    meter.reset()
    optimizer = stage.optimizer()
    progress.advance(0, f"preparing stage {stage.name}")
    with accelerator.autocast():
        stage.prepare(data)
        stage.begin_epoch(1, data)
    method.train()
    batch = next(iter(stage.batches(1, data)), None)
    if batch is None:
        raise ReIDError(f"Stage {stage.name} makes no batch of {work.batch_size} images.")
    known = batch.known()

    def step() -> None:
        with accelerator.autocast():
            losses = stage.losses(stage.forward(batch), known)
        torch.stack([loss.float() for loss in losses.values()]).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        stage.after_step(known)
        progress.advance(work.batch_size * TRAINING_PASS, f"stage {stage.name}")

    times, memory = meter.run(step, work.repeats)
    return Timing(stage.name, times, len(batch), memory)


def drop_training_only(method: Method) -> None:
    """Free what `encode` does not need: parameters and buffers under `training_only`."""
    for name, tensor in [*method.named_parameters(), *method.named_buffers()]:
        if name.startswith(method.training_only):
            tensor.data = tensor.data.new_empty(0)


def random_images(count: int, size: tuple[int, int], device: torch.device) -> Tensor:
    """[count, 3, H, W] of noise, as a transform would have normalised it."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, *size, generator=generator).to(device)


@dataclass
class MadeUpImages:
    """One batch of noise as `methods.interface.SourceData`: an epoch is that batch.

    Of `num_classes` identities those are in it that a P x K sampler would put there.
    """

    num_classes: int
    count: int
    instances: int
    transforms: Transforms
    parts: PartNeeds | None
    device: torch.device
    labels: Tensor = field(init=False)
    domains: Tensor = field(init=False)

    def __post_init__(self) -> None:
        rows = torch.arange(self.count, device=self.device)
        self.labels = rows // self.instances % self.num_classes
        self.domains = torch.zeros_like(rows)

    def __len__(self) -> int:
        return self.count

    def pk_batches(
        self, epoch: int, identities: int, instances: int, decode: bool = True
    ) -> Iterator[TrainBatch]:
        """The one batch, however many identities and instances are asked for."""
        size = self.transforms.train.size if decode else None
        yield self._batch(torch.arange(self.count, device=self.device), size)

    def in_order(self, batch_size: int = 128) -> Iterator[TrainBatch]:
        """The images once, in order."""
        for rows in in_order(self.count, batch_size):
            yield self._batch(torch.tensor(rows, device=self.device), self.transforms.eval.size)

    def share(self, rows: int) -> slice:
        """All: one process is measured."""
        return slice(rows)

    def summed(self, values: Tensor) -> Tensor:
        """As they are."""
        return values

    def _batch(self, rows: Tensor, size: tuple[int, int] | None) -> TrainBatch:
        count, none = len(rows), torch.zeros_like(rows)
        images = torch.empty(count, 0, device=self.device)
        masks = None
        if size:
            images = random_images(count, size, self.device)
            masks = self._bands(count) if self.parts else None
        return TrainBatch(images, self.labels[rows], none, none, rows, masks)

    def _bands(self, count: int) -> Tensor:
        """Part masks [B, R, h, w]: equal horizontal bands from top to bottom."""
        assert self.parts is not None
        masks = PartLabels.stripes(["any"]).masks_for(["any"], self.parts.grid)
        return torch.from_numpy(masks).to(self.device).expand(count, -1, -1, -1)
