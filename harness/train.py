"""The only training loop: every method, every stage, on accelerate.

A run killed anywhere and started again ends with the weights of one that was never interrupted,
bit for bit on a CPU: all randomness of an epoch comes from (seed, stage, epoch), and everything
an epoch starts from is in the checkpoint before it.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch import Tensor, nn

from harness import checkpoint
from harness.checkpoint import Checkpoint
from harness.config import Precision
from harness.data import TrainingImages
from harness.progress import EVALUATION_PASS, TRAINING_PASS, Progress
from harness.seeds import seed_everything
from methods.interface import Method, Stage, TrainBatch
from protocols.errors import ReIDError, UnknownName

DEVICES = ("auto", "cpu")


class TrainingDiverged(ReIDError):
    """A loss is no finite number any more."""


class _Step(nn.Module):
    """Makes `stage.losses` a forward pass, so that accelerate can wrap it."""

    def __init__(self, method: Method, stage: Stage) -> None:
        super().__init__()
        self.method = method
        self.stage = stage

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        return self.stage.losses(batch)


def require_device(device: str) -> None:
    """Raise UnknownName for what `--device` does not know."""
    if device not in DEVICES:
        raise UnknownName("--device", device, DEVICES)


def make_accelerator(precision: Precision, device: str = "auto") -> Accelerator:
    """A new Accelerator; forgets the process-wide state an earlier run may have set.

    Raises ReIDError for fp16 on a CPU, which has no scaler for it.
    """
    for state in (AcceleratorState, PartialState):
        state._reset_state()
    GradientState._reset_state()
    accelerator = Accelerator(
        mixed_precision="no" if precision == "fp32" else precision, cpu=device == "cpu"
    )
    if precision == "fp16" and accelerator.device.type == "cpu":
        raise ReIDError("--precision fp16 needs a GPU; on a CPU choose fp32 or bf16.")
    return accelerator


def epoch_units(images: int) -> float:
    """The work of an epoch: a training pass and a pass that rebuilds memories."""
    return images * (TRAINING_PASS + EVALUATION_PASS)


def train(
    method: Method,
    data: TrainingImages,
    accelerator: Accelerator,
    folder: Path,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Train every stage of `method` in place; checkpoint each epoch in `folder`, go on from there.

    Returns one dict per epoch: stage, epoch, lr_factor, losses (means), seconds, images.
    Raises TrainingDiverged when a loss is not finite.
    """
    method.to(accelerator.device)
    found, warnings = checkpoint.load_newest(folder)
    for warning in warnings:
        progress.say(warning)
    loop = _Loop(method, data, accelerator, folder, progress)
    if found:
        loop.history = list(found.history)
        method.load_state_dict(found.model)
    for index, stage in enumerate(method.stages()):
        if found and index < found.stage:
            progress.advance(epoch_units(len(data)) * stage.cost * stage.epochs, "going on")
            continue
        loop.stage(index, stage, found if found and index == found.stage else None)
    return loop.history


@dataclass
class _Loop:
    """What stays the same over all stages and epochs of one training."""

    method: Method
    data: TrainingImages
    accelerator: Accelerator
    folder: Path
    progress: Progress
    history: list[dict[str, Any]] = field(default_factory=list)

    def stage(self, index: int, stage: Stage, resumed: Checkpoint | None) -> None:
        """All epochs of a stage that `resumed` does not hold."""
        self.data.stage = stage.name
        optimizer = stage.optimizer()
        base_lrs = [group["lr"] for group in optimizer.param_groups]
        step, optimizer = self.accelerator.prepare(_Step(self.method, stage), optimizer)
        done = resumed.epoch if resumed else 0
        if resumed:
            doing = f"going on after epoch {done}"
            self.progress.advance(epoch_units(len(self.data)) * stage.cost * done, doing)
            optimizer.load_state_dict(resumed.training["optimizer"])
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(resumed.training["scaler"])
            stage.load_state_dict(_to(resumed.training["stage"], self.accelerator.device))
        else:
            seed_everything(self.data.seed, stage.name, "prepare")
            with self.accelerator.autocast():
                stage.prepare(self.data)
        for epoch in range(done + 1, stage.epochs + 1):
            for group, lr in zip(optimizer.param_groups, base_lrs, strict=True):
                group["lr"] = lr * stage.lr_factor(epoch)
            self.history.append(self.epoch(stage, epoch, step, optimizer))
            self.save(index, epoch, stage, optimizer)

    def epoch(
        self, stage: Stage, epoch: int, step: nn.Module, optimizer: AcceleratedOptimizer
    ) -> dict[str, Any]:
        """One epoch; returns its entry in the history."""
        started = time.perf_counter()
        data, progress = self.data, self.progress
        seed_everything(data.seed, stage.name, epoch)
        doing = f"{stage.name} {epoch}/{stage.epochs}"
        with self.accelerator.autocast():
            stage.begin_epoch(epoch, data)
        progress.advance(len(data) * EVALUATION_PASS * stage.cost, doing)
        self.method.train()
        sums: dict[str, float] = defaultdict(float)
        batches = images = 0
        for batch in stage.batches(epoch, data):
            losses = step(batch)
            values = {name: float(loss.detach()) for name, loss in losses.items()}
            _require_finite(values, f"stage {stage.name}, epoch {epoch}, batch {batches + 1}")
            self.accelerator.backward(torch.stack([v.float() for v in losses.values()]).sum())
            optimizer.step()
            optimizer.zero_grad()
            stage.after_step(batch)
            batches, images = batches + 1, images + len(batch)
            for name, value in values.items():
                sums[name] += value
            loss = sum(values.values())
            progress.advance(len(batch) * TRAINING_PASS * stage.cost, f"{doing}, loss {loss:.3f}")
        # an epoch of the PK sampler is not exactly one pass; an estimate must not drift for it
        progress.advance((len(data) - images) * TRAINING_PASS * stage.cost, doing)
        return {
            "stage": stage.name,
            "epoch": epoch,
            "lr_factor": stage.lr_factor(epoch),
            "losses": {name: value / max(batches, 1) for name, value in sums.items()},
            "images": images,
            "seconds": time.perf_counter() - started,
            "finished_at": time.time(),
        }

    def save(self, index: int, epoch: int, stage: Stage, optimizer: AcceleratedOptimizer) -> None:
        """Everything the next epoch starts from."""
        state = {"optimizer": optimizer.state_dict(), "stage": stage.state_dict()}
        if self.accelerator.scaler is not None:
            state["scaler"] = self.accelerator.scaler.state_dict()
        checkpoint.save(
            self.folder,
            Checkpoint(
                stage=index,
                epoch=epoch,
                history=self.history,
                model=cpu_state(self.method),
                training=_to(state, torch.device("cpu")),
            ),
        )


def _require_finite(losses: dict[str, float], where: str) -> None:
    if not all(math.isfinite(value) for value in losses.values()):
        named = ", ".join(f"{name} = {value}" for name, value in losses.items())
        raise TrainingDiverged(
            f"Training diverged in {where}: {named}. The checkpoint before it is kept. "
            "A lower learning rate or --precision fp32 may help."
        )


def cpu_state(method: nn.Module) -> dict[str, Tensor]:
    """A method's weights and buffers as contiguous CPU tensors that share no memory."""
    return {k: v.detach().cpu().clone().contiguous() for k, v in method.state_dict().items()}


def _to(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to(device)
    if isinstance(value, dict):
        return {k: _to(v, device) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_to(v, device) for v in value)
    return value
