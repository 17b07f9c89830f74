"""What the processes that train one run tell each other: shares, sums, rows, gradients.

Every process goes through the same calls in the same order; `agree` finds out where one does not,
because it ran out of memory or because a stage makes other batches there.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn

from protocols.errors import ReIDError

Spec = list[tuple[str, torch.dtype, tuple[int, ...]]]
"""Name, kind and shape behind the leading B of every tensor."""


class Severed(ReIDError):
    """A process that trains along is gone or does not answer."""


class Again(Exception):
    """Another process ran out of memory: what is being computed has to be computed again."""


def _nothing() -> None: ...


@dataclass
class Exchange:
    """This process among those that train one run together; alone unless told otherwise.

    `device` holds what is sent. `check` raises Severed where a process is known to be gone.
    """

    index: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    check: Callable[[], None] = _nothing

    def share(self, rows: int) -> slice:
        """Which of the `rows` of a batch are this process's: even shares, in order."""
        return slice(rows * self.index // self.count, rows * (self.index + 1) // self.count)

    def agree(self, doing: str, *, fine: bool = True, rows: int = 0) -> list[int]:
        """Everybody's `rows`. Raises Again unless all are fine.

        Raises ReIDError where one is doing something else.
        """
        if self.count == 1:
            if not fine:
                raise Again
            return [rows]
        mine = torch.tensor([int(fine), rows, *_fixed(doing)], device=self.device)
        all_of = [torch.empty_like(mine) for _ in range(self.count)]
        self._call(partial(dist.all_gather, all_of, mine))
        told = torch.stack(all_of).tolist()
        self.check()
        if not all(each[0] for each in told):
            raise Again
        if any(each[2:] != told[0][2:] for each in told):
            names = ", ".join(bytes(each[2:]).decode().strip() for each in told)
            raise ReIDError(
                f"The processes that train this run together are not in step ({names}): its method "
                "makes other batches in each. A stage draws batches from torch's global generator, "
                "equally many in every process."
            )
        return [each[1] for each in told]

    def tell_short(self) -> None:
        """Memory is short here: all the others find out where they `agree` next, with Again."""
        with contextlib.suppress(Again):
            self.agree("out of memory", fine=False)

    def summed(self, values: Tensor) -> Tensor:
        """The sum of `values` over all processes, the same in each."""
        if self.count == 1:
            return values
        total = values.clone()
        self.agree("a sum")
        self._call(partial(dist.all_reduce, total))
        return total

    def gather(self, tensors: Mapping[str, Tensor], counts: Sequence[int]) -> dict[str, Tensor]:
        """Everybody's rows of named tensors [B, ...], in order; `counts` says who has how many.

        One without rows need not know what the others have. Raises Again.
        """
        if self.count == 1:
            return dict(tensors)
        spec = [(name, t.dtype, tuple(t.shape[1:])) for name, t in tensors.items()]
        everybody = 0 not in counts
        if everybody:
            packet = self._packet(tensors, spec, counts)
        self.agree("rows")  # from here on nobody is short of memory for what is sent
        if not everybody:
            boxes: list[Spec] = [spec]
            first = next((i for i, n in enumerate(counts) if n), 0)
            self._call(partial(dist.broadcast_object_list, boxes, first, device=self.device))
            spec = boxes[0]
            packet = self._packet(tensors, spec, counts)
        mine, all_of = packet
        self._call(partial(dist.all_gather, all_of, mine))
        rows = torch.cat([each[:n] for each, n in zip(all_of, counts, strict=True)])
        found, at = {}, 0
        for name, kind, shape in spec:
            end = at + _size(kind, shape)
            found[name] = rows[:, at:end].contiguous().view(kind).reshape(len(rows), *shape)
            at = end
        return found

    def _packet(
        self, tensors: Mapping[str, Tensor], spec: Spec, counts: Sequence[int]
    ) -> tuple[Tensor, list[Tensor]]:
        """This process's rows as bytes, as long as the longest, and room for everybody's."""
        width = sum(_size(kind, shape) for _, kind, shape in spec)
        mine = torch.zeros(max(counts), width, dtype=torch.uint8, device=self.device)
        own = counts[self.index]
        if own:
            mine[:own] = torch.cat([_bytes(tensors[name].detach(), own) for name, _, _ in spec], 1)
        return mine, [torch.empty_like(mine) for _ in counts]

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace every gradient by its sum over all processes; None where all have none."""
        if self.count == 1:
            return
        for group in _alike(parameters):
            reached = torch.tensor([p.grad is not None for p in group]).to(group[0])
            parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in group]
            flat = torch.cat([reached, *(part.flatten() for part in parts)])
            self.agree("gradients")
            self._call(partial(dist.all_reduce, flat))
            counted, *sums = flat.split([len(group), *(p.numel() for p in group)])
            for p, total, n in zip(group, sums, counted.tolist(), strict=True):
                p.grad = total.view_as(p) if n else None

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Put what process 0 has into every process's `tensors`."""
        if self.count == 1:
            return
        for tensor in tensors:
            if tensor.numel():
                sent = _bytes(tensor.detach().to(self.device), 1)
                self._call(partial(dist.broadcast, sent, 0))
                if self.index:
                    tensor.detach().copy_(sent.view(tensor.dtype).reshape(tensor.shape))

    def _call(self, send: Callable[[], object]) -> None:
        self.check()
        try:
            send()
        except RuntimeError as error:
            self.check()
            raise Severed(
                f"A process that trains this run does not answer: {str(error).splitlines()[0]}"
            ) from error


FIXED = 16


def _fixed(doing: str) -> bytes:
    """A short word as `FIXED` bytes."""
    return doing.encode()[:FIXED].ljust(FIXED)


def _size(kind: torch.dtype, shape: tuple[int, ...]) -> int:
    """Bytes of a row."""
    return kind.itemsize * math.prod(shape)


def _bytes(tensor: Tensor, rows: int) -> Tensor:
    """[rows, bytes of a row]: any kind of number travels the same way."""
    return tensor.reshape(rows, tensor.numel() // rows).contiguous().view(torch.uint8)


def _alike(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Parameters of one kind of number together, in order."""
    groups: dict[torch.dtype, list[nn.Parameter]] = {}
    for p in parameters:
        groups.setdefault(p.dtype, []).append(p)
    return list(groups.values())
