"""The gradients of one optimiser step: at once, in parts where memory is short, over processes.

A loss L is a function of the outputs o_i = forward(x_i) of every image and of what `losses` itself
uses (a classifier): dL/dw = (dL/dw at fixed o) + sum_i (dL/do_i) (do_i/dw). The first term and all
dL/do_i follow from the outputs alone. So: outputs of every image, part after part and without what
a backward pass needs; L and its gradients at them; then part after part again, forward and
backward from dL/do_i. Nothing but rounding tells it from one batch.

Over processes each computes o_i and the last sum for its share. All know all outputs, so all find
the same L, the same first term and the same dL/do_i: the gradient is the sum over processes of
their shares of the second term, and the first term once, that of process 0. No mean is taken, so
uneven shares count as they should.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn

from harness.exchange import Again, Exchange
from methods.interface import Stage, TrainBatch
from protocols.errors import ReIDError

KNOWN = ("labels", "domains", "camids", "indices")
SHORTAGES = ("DefaultCPUAllocator", "CUDA out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What torch says in a RuntimeError of no class of its own."""


class TrainingDiverged(ReIDError):
    """A loss is no finite number any more."""


class OutOfMemory(ReIDError):
    """A single image is too much."""


def is_shortage(error: BaseException) -> bool:
    """Whether memory was short."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in SHORTAGES)


@dataclass
class Step:
    """Computes the gradients of a stage's losses on batch after batch.

    `micro_batch`: images that go through `forward` at a time in this process; None for all. It is
    halved, which `say` is told, whenever memory turns out to be short here or in another process.
    """

    method: nn.Module
    stage: Stage
    accelerator: Accelerator
    optimizer: AcceleratedOptimizer
    exchange: Exchange
    say: Callable[[str], None]
    micro_batch: int | None = None

    def __call__(self, batch: TrainBatch, where: str) -> tuple[dict[str, float], TrainBatch]:
        """Leave gradients; returns the losses and what `losses` knew of the whole batch.

        batch: this process's share. Raises TrainingDiverged for a loss that is not finite, naming
        `where`, and OutOfMemory for want of memory for a single image.
        """
        counts = self.exchange.agree("a batch", rows=len(batch))
        before, tried = _State.of(self.method, batch.images.device), self.micro_batch
        while (found := self._attempt(batch, counts, where)) is None:
            self.optimizer.zero_grad()
            before.restore(self.method)
            if batch.images.is_cuda:
                torch.cuda.empty_cache()
            self._take_less(max(counts), where)
        if self.micro_batch != tried:
            self.say(
                f"Out of memory on {max(counts)} images at once in stage {self.stage.name}; it "
                f"goes on with {self.micro_batch} at a time, to the same losses."
            )
        return found

    def _attempt(
        self, batch: TrainBatch, counts: list[int], where: str
    ) -> tuple[dict[str, float], TrainBatch] | None:
        """None where memory was short, here or in another process."""
        try:
            if self.exchange.count == 1 and self.micro_batch is None:
                return self._at_once(batch, where)
            return self._in_parts(batch, counts, where)
        except Again:
            return None
        except Exception as error:
            if not is_shortage(error):
                raise
        # told outside of the handler, which would hold on to every tensor
        self.exchange.tell_short()
        return None

    def _take_less(self, rows: int, where: str) -> None:
        now = self.micro_batch or rows
        if now <= 1:
            raise OutOfMemory(
                f"Out of memory in {where}, with one image at a time. Smaller images "
                "(--set image_size=...), --precision bf16 or a device with more memory may help."
            )
        self.micro_batch = now // 2

    def _at_once(self, batch: TrainBatch, where: str) -> tuple[dict[str, float], TrainBatch]:
        known = batch.known()
        with self.accelerator.autocast():
            losses = self.stage.losses(self.stage.forward(batch), known)
        values = _finite(losses, where)
        self.accelerator.backward(_total(losses))
        return values, known

    def _in_parts(
        self, batch: TrainBatch, counts: list[int], where: str
    ) -> tuple[dict[str, float], TrainBatch]:
        device = batch.images.device
        parts = self._forward(batch, self.micro_batch or max(counts))
        leaves, everyone = self._everybody(batch, parts, counts)
        with self.accelerator.autocast():
            losses = self.stage.losses(leaves, everyone)
        values = _finite(losses, where)
        self.accelerator.backward(_total(losses))
        trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        if self.exchange.index:
            for parameter in trained:
                parameter.grad = None
        after = _random(device)
        at = sum(counts[: self.exchange.index])
        for part in parts:
            rows = slice(at, at + len(part.batch))
            at = rows.stop
            self._backward(part, {k: v.grad[rows] for k, v in leaves.items() if v.grad is not None})
        _set_random(after, device)
        self.exchange.sum_gradients(trained)
        return values, everyone

    def _forward(self, batch: TrainBatch, size: int) -> list[_Part]:
        """Outputs of `size` images at a time; a backward pass can follow if that is all of them."""
        device, parts = batch.images.device, []
        common = None
        if self.exchange.count > 1:
            # shares differ in size, and what `losses` draws must be the same in every process
            seed = int(torch.randint(2**62, ()))
            common = _random(device)
            torch.manual_seed(seed + self.exchange.index)
        for start in range(0, len(batch), size):
            rows, drawn = batch.rows(slice(start, start + size)), _random(device)
            with torch.set_grad_enabled(size >= len(batch)), self.accelerator.autocast():
                parts.append(_Part(rows, drawn, self.stage.forward(rows)))
        if common is not None:
            _set_random(common, device)
        return parts

    def _everybody(
        self, batch: TrainBatch, parts: list[_Part], counts: list[int]
    ) -> tuple[dict[str, Tensor], TrainBatch]:
        """All outputs, as what gradients are taken at, and what is known of all images."""
        names = parts[0].outputs if parts else {}
        mine = {k: torch.cat([part.outputs[k].detach() for part in parts]) for k in names}
        known = {f"batch.{k}": getattr(batch, k) for k in KNOWN}
        whole = self.exchange.gather(mine | known, counts)
        images = batch.images.new_empty(sum(counts), 0)
        everyone = TrainBatch(images, *(whole.pop(f"batch.{k}") for k in KNOWN))
        return {k: v.requires_grad_(v.is_floating_point()) for k, v in whole.items()}, everyone

    def _backward(self, part: _Part, gradients: dict[str, Tensor]) -> None:
        """Add the gradients of a part, from those at its outputs."""
        if not gradients:
            return
        outputs = part.outputs
        if not any(o.requires_grad for o in outputs.values()):
            _set_random(part.drawn, part.batch.images.device)
            with self.accelerator.autocast():
                outputs = self.stage.forward(part.batch)
        reached = [k for k in gradients if outputs[k].requires_grad]
        if reached:
            torch.autograd.backward([outputs[k] for k in reached], [gradients[k] for k in reached])


@dataclass
class _Part:
    """Some images of a batch, the generators before their `forward`, and its outputs."""

    batch: TrainBatch
    drawn: list[Tensor]
    outputs: dict[str, Tensor]


@dataclass
class _State:
    """What a step that has to be taken again may have changed."""

    drawn: list[Tensor]
    buffers: list[Tensor]
    device: torch.device

    @classmethod
    def of(cls, method: nn.Module, device: torch.device) -> _State:
        return cls(_random(device), [b.detach().clone() for b in method.buffers()], device)

    def restore(self, method: nn.Module) -> None:
        _set_random(self.drawn, self.device)
        for buffer, before in zip(method.buffers(), self.buffers, strict=True):
            buffer.detach().copy_(before)


def _random(device: torch.device) -> list[Tensor]:
    """The states of torch's generators."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def _set_random(states: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)


def _total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack([loss.float() for loss in losses.values()]).sum()


def _finite(losses: dict[str, Tensor], where: str) -> dict[str, float]:
    """The losses as numbers. Raises TrainingDiverged."""
    values = {name: float(loss.detach()) for name, loss in losses.items()}
    if not all(math.isfinite(value) for value in values.values()):
        named = ", ".join(f"{name} = {value}" for name, value in values.items())
        raise TrainingDiverged(
            f"Training diverged in {where}: {named}. The checkpoint before it is kept. "
            "A lower learning rate or --precision fp32 may help."
        )
    return values
