"""Methods with something wrong, for tests that a matrix survives them."""

from __future__ import annotations

import os
import signal

import torch

from methods.interface import Batch
from methods.vision_only import VisionOnly


class Fails(VisionOnly):
    """Can't train."""

    def stages(self) -> list:
        raise RuntimeError("no stage of this method can be made")


class Dies(VisionOnly):
    """Kills its process whenever it encodes, as a crash below Python would."""

    def encode(self, batch: Batch) -> dict[str, torch.Tensor]:
        os.kill(os.getpid(), signal.SIGKILL)
        return {}
