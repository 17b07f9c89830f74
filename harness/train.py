"""The only training loop: every method, every stage, on accelerate.

A run killed anywhere and started again ends with the weights of one that was never interrupted,
bit for bit on a CPU: all randomness of an epoch comes from (seed, stage, epoch), and everything
an epoch starts from is in the checkpoint before it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch import Tensor, nn

from harness import checkpoint, parallel
from harness.checkpoint import Checkpoint
from harness.config import Precision
from harness.data import TrainingImages
from harness.exchange import Again, Exchange
from harness.progress import EVALUATION_PASS, GOING_ON, TRAINING_PASS, Progress
from harness.seeds import seed_everything
from harness.shared import SharedStage, StageStore
from harness.step import OutOfMemory, Step, TrainingDiverged, is_shortage
from methods.interface import Method, Stage
from protocols.errors import ReIDError, UnknownName

__all__ = ["OutOfMemory", "TrainingDiverged", "cpu_state", "make_accelerator", "train"]

DEVICES = ("auto", "cpu")
PASS = 128
"""Images at a time of a pass over all of them, as long as memory lasts."""
AfterEpoch = Callable[[Method, dict[str, Any]], None]


def require_device(device: str) -> None:
    """Raise UnknownName for what `--device` does not know."""
    if device not in DEVICES:
        raise UnknownName("--device", device, DEVICES)


def make_accelerator(precision: Precision, device: str = "auto") -> Accelerator:
    """A new Accelerator; forgets the process-wide state an earlier run may have set.

    It sees the processes of `harness.parallel`, if any. Raises ReIDError for fp16 on a CPU, which
    has no scaler for it.
    """
    for state in (AcceleratorState, PartialState):
        state._reset_state()
    GradientState._reset_state()
    threads = torch.get_num_threads()
    accelerator = Accelerator(
        mixed_precision="no" if precision == "fp32" else precision, cpu=device == "cpu"
    )
    # with several processes accelerate chooses a number of threads, and numbers depend on it
    torch.set_num_threads(threads)
    if accelerator.num_processes != parallel.processes():
        raise ReIDError(
            f"accelerate sees {accelerator.num_processes} processes where {parallel.processes()} "
            "train together. Unset ACCELERATE_*, RANK, LOCAL_RANK and WORLD_SIZE and start again."
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
    after_epoch: AfterEpoch | None = None,
    micro_batch: int | None = None,
    store: StageStore | None = None,
) -> list[dict[str, Any]]:
    """Train every stage of `method` in place; checkpoint each epoch in `folder`, go on from there.

    Inside `harness.parallel.ranks` every process calls it; only rank 0 writes, and only there
    `after_epoch(method, entry)` is called, when an epoch's checkpoint has been written.
    `micro_batch`: images at a time from the start; by itself it is as large as memory lets it.
    `store` has the stages that runs share; one that is there already is not trained again.
    Returns one dict per epoch: stage, epoch, lr_factor, losses (means), seconds, images, and
    micro_batch where it was less than a batch.
    Raises TrainingDiverged when a loss is not finite, OutOfMemory when one image is too much.
    """
    method.to(accelerator.device)
    data.exchange = parallel.exchange(accelerator)
    _require_images(data, data.exchange)
    loop = _Loop(method, data, accelerator, folder, progress, after_epoch, micro_batch)
    found = loop.load()
    stages = method.stages()
    for index, stage in enumerate(stages):
        if found and index < found.stage:
            progress.advance(epoch_units(len(data)) * stage.cost * stage.epochs, GOING_ON)
            continue
        with store.stage(stages, index) if store and not found else nullcontext() as shared:
            if shared:
                loop.shared_stage(index, stage, shared)
            else:
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
    after_epoch: AfterEpoch | None = None
    micro_batch: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)

    def load(self) -> Checkpoint | None:
        """Take up the newest checkpoint, the same in every process."""
        found, warnings = checkpoint.load_newest(self.folder)
        for warning in warnings:
            self.progress.say(warning)
        orders = self.data.exchange.agree("a checkpoint", rows=found.order if found else 0)
        if len(set(orders)) > 1:
            raise ReIDError(
                f"The processes of this run see different checkpoints in {self.folder}: after "
                f"{', '.join(map(str, orders))} epochs. Start the same command again."
            )
        if found:
            self.history = list(found.history)
            self.method.load_state_dict(found.model)
        return found

    def stage(self, index: int, stage: Stage, resumed: Checkpoint | None) -> None:
        """All epochs of a stage that `resumed` does not hold."""
        self.data.stage, self.data.at_most = stage.name, None
        self.data.exchange.copy_from_first([*self.method.parameters(), *self.method.buffers()])
        optimizer = stage.optimizer()
        base_lrs = [group["lr"] for group in optimizer.param_groups]
        optimizer = self.accelerator.prepare(optimizer)
        done = resumed.epoch if resumed else 0
        if resumed:
            doing = f"{GOING_ON} after epoch {done}"
            self.progress.advance(epoch_units(len(self.data)) * stage.cost * done, doing)
            optimizer.load_state_dict(resumed.training["optimizer"])
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(resumed.training["scaler"])
            stage.load_state_dict(_to(resumed.training["stage"], self.accelerator.device))
        else:
            self.images_pass(stage, "prepare", lambda: stage.prepare(self.data))
        step = Step(
            self.method,
            stage,
            self.accelerator,
            optimizer,
            self.data.exchange,
            self.progress.say,
            self.micro_batch,
        )
        for epoch in range(done + 1, stage.epochs + 1):
            for group, lr in zip(optimizer.param_groups, base_lrs, strict=True):
                group["lr"] = lr * stage.lr_factor(epoch)
            self.history.append(self.epoch(stage, epoch, step, optimizer))
            if self.data.exchange.index == 0:
                self.save(index, epoch, stage, optimizer)
                if self.after_epoch is not None:
                    self.after_epoch(self.method, self.history[-1])

    def shared_stage(self, index: int, stage: Stage, shared: SharedStage) -> None:
        """A stage that other runs begin with, too: what they have left of it, or trained for all.

        Its checkpoints lie with it, apart from those of this run.
        """
        known = shared.load()
        if known is None:
            before = cpu_state(self.method)
            alone = replace(self, folder=shared.checkpoints, history=[])
            alone.stage(index, stage, alone.load())
            shared.save(before, cpu_state(self.method), alone.history)
            self.history += alone.history
            return
        changed, history = known
        self.method.load_state_dict(changed, strict=False)
        self.history += [entry | {"shared": shared.folder.name} for entry in history]
        doing = f"{GOING_ON} after stage {stage.name} of another run"
        self.progress.advance(epoch_units(len(self.data)) * stage.cost * stage.epochs, doing)

    def images_pass(self, stage: Stage, purpose: str | int, work: Callable[[], None]) -> None:
        """`work` on all images, with fewer at a time as long as memory is short in any process."""
        data = self.data
        while self._short(stage, purpose, work):
            now = data.at_most or PASS
            if now == 1:
                raise OutOfMemory(
                    f"Out of memory in stage {stage.name} on a pass over the training images, one "
                    "at a time. Smaller images (--set image_size=...), --precision bf16 or a "
                    "device with more memory may help."
                )
            data.at_most = now // 2
            if data.device.type == "cuda":
                torch.cuda.empty_cache()

    def _short(self, stage: Stage, purpose: str | int, work: Callable[[], None]) -> bool:
        """Do it; whether memory was short for it, in this process or another."""
        seed_everything(self.data.seed, stage.name, purpose)
        exchange = self.data.exchange
        try:
            with self.accelerator.autocast():
                work()
            exchange.agree("a pass")
            return False
        except Again:
            return True
        except Exception as error:
            if not is_shortage(error):
                raise
        # told outside of the handler, which would hold on to every tensor
        exchange.tell_short()
        return True

    def epoch(
        self, stage: Stage, epoch: int, step: Step, optimizer: AcceleratedOptimizer
    ) -> dict[str, Any]:
        """One epoch; returns its entry in the history."""
        started = time.perf_counter()
        data, progress = self.data, self.progress
        # a GPU may round differently each time, and nothing else keeps these together
        data.exchange.copy_from_first(self.method.buffers())
        self.images_pass(stage, epoch, lambda: stage.begin_epoch(epoch, data))
        doing = f"{stage.name} {epoch}/{stage.epochs}"
        progress.advance(len(data) * EVALUATION_PASS * stage.cost, doing)
        self.method.train()
        sums: dict[str, float] = defaultdict(float)
        batches = images = 0
        for batch in stage.batches(epoch, data):
            where = f"stage {stage.name}, epoch {epoch}, batch {batches + 1}"
            values, whole = step(batch, where)
            optimizer.step()
            optimizer.zero_grad()
            stage.after_step(whole)
            batches, images = batches + 1, images + len(whole)
            for name, value in values.items():
                sums[name] += value
            loss = sum(values.values())
            progress.step(
                stage=stage.name, epoch=epoch, epochs=stage.epochs, loss=loss, images=len(whole)
            )
            progress.advance(len(whole) * TRAINING_PASS * stage.cost, f"{doing}, loss {loss:.3f}")
        data.exchange.agree("end of an epoch")
        # an epoch of the PK sampler is not exactly one pass; an estimate must not drift for it
        progress.advance((len(data) - images) * TRAINING_PASS * stage.cost, doing)
        entry = {
            "stage": stage.name,
            "epoch": epoch,
            "lr_factor": stage.lr_factor(epoch),
            "losses": {name: value / max(batches, 1) for name, value in sums.items()},
            "images": images,
            "seconds": time.perf_counter() - started,
            "finished_at": time.time(),
        }
        return entry if step.micro_batch is None else entry | {"micro_batch": step.micro_batch}

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


def _require_images(data: TrainingImages, exchange: Exchange) -> None:
    if len(data) < exchange.count:
        raise ReIDError(
            f"{len(data)} training images are too few for {exchange.count} processes that train "
            "together: each needs one. Ask for fewer GPUs a run."
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
