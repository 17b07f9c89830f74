"""Methods with something wrong, for tests that a matrix survives them."""

from __future__ import annotations

import os
import signal

import torch
from plain import Plain, PlainStage

from methods.interface import Batch, TrainBatch


class Bad(Plain):
    """On C3 it can't train; elsewhere it kills its process at each test, as a crash would."""

    def stages(self) -> list:
        if self.sources.domains == ("C3",):
            raise RuntimeError("no stage of this method can be made")
        return []

    def encode(self, batch: Batch) -> dict[str, torch.Tensor]:
        os.kill(os.getpid(), signal.SIGKILL)
        return {}


class HungryStage(PlainStage):
    """Runs out of memory on more than `most` images."""

    most = 4

    def forward(self, batch: TrainBatch) -> dict[str, torch.Tensor]:
        if len(batch) > self.most:
            raise torch.OutOfMemoryError(f"{len(batch)} images are too many")
        return super().forward(batch)


class StarvingStage(HungryStage):
    """Runs out of memory on anything."""

    most = 0


class Hungry(Plain):
    """Has memory for few images at a time."""

    def stages(self) -> list:
        return [HungryStage(self)]


class Starving(Plain):
    """Has memory for none."""

    def stages(self) -> list:
        return [StarvingStage(self)]
