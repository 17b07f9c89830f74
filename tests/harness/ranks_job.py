"""What every process of the tests of `harness.parallel` does; as a script, a further rank.

In float64, so that what is left of a difference is no rounding.
"""

import os
import signal
import sys
import tempfile
from pathlib import Path

import torch

from harness.parallel import join
from harness.progress import Progress
from harness.testing import build, make_images
from harness.train import cpu_state, make_accelerator, train
from methods.muva.method import Muva
from methods.vision_only import IdentityStage, VisionOnly

EPOCHS = 5
"""Of about five steps: batches of 3 images, of which one process gets 1 and the other 2."""
SMALL = {"image_size": (24, 12), "identities": 3, "instances": 1, "epochs": EPOCHS}


def vision(**changes):
    return VisionOnly.Config(**{**VisionOnly.presets["tiny"], **SMALL, **changes})


def muva(**changes):
    changes = {"stage1_epochs": 5, "epochs": 4, "fidelity": "paper", **changes}
    return Muva.Config(**{**Muva.presets["tiny"], **SMALL, **changes})


class Short(IdentityStage):
    """Has memory for one image at a time in the second process, after its first step."""

    steps = 0

    def forward(self, batch):
        if os.environ.get("RANK") == "1" and self.steps and len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(batch)

    def memory_neck(self, batch):
        if os.environ.get("RANK") == "1" and len(batch) > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return super().memory_neck(batch)

    def after_step(self, batch):
        super().after_step(batch)
        self.steps += 1


class ShortVision(VisionOnly):
    def stages(self):
        return [Short(self)]


class Dies(IdentityStage):
    """The second process is killed in its second epoch."""

    steps = 0

    def after_step(self, batch):
        self.steps += 1
        if os.environ.get("RANK") == "1" and self.steps == 7:
            print("so far, so good", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)


class DyingVision(VisionOnly):
    def stages(self):
        return [Dies(self)]


class Loud(Progress):
    def __init__(self):
        self.said, self.losses, self.images = [], [], 0

    def say(self, text):
        self.said.append(text)

    def step(self, *, stage, epoch, epochs, loss, images):
        self.losses.append(loss)
        self.images += images


def trained(cls, config, folder, epochs=None, micro_batch=None, after_epoch=None, unknown=False):
    """Weights, memories, losses of every step and what was said of a training in float64.

    With `unknown`, of some images nobody knows where the first part is, of some the others.
    """
    with tempfile.TemporaryDirectory() as images:
        data = make_images(Path(images))
        method = build(cls, config, data).double()
        if unknown:
            first = torch.arange(len(data)) % 3 > 0
            data.part_known = torch.stack([first, ~first, ~first], dim=1)
        double(data)
        stages = method.stages()
        for stage in stages:
            stage.epochs = epochs or stage.epochs
        method.stages = lambda: stages
        accelerator, loud = make_accelerator("fp32", "cpu"), Loud()
        history = train(method, data, accelerator, folder, loud, after_epoch, micro_batch)
    return {
        "state": cpu_state(method),
        "memories": [stage.memory for stage in stages],
        "losses": torch.tensor(loud.losses, dtype=torch.float64),
        "means": torch.tensor([v for e in history for v in e["losses"].values()]),
        "images": loud.images,
        "said": loud.said,
        "micro": [entry.get("micro_batch") for entry in history],
    }


def double(data):
    """Make the images of batches float64."""
    make = data._batch

    def batch(rows, images, masks=None):
        return make(rows, images.double(), masks)

    data._batch = batch


def everything(folder):
    """All trainings that one and two processes are compared on; one is taken up again."""
    found = {
        "muva": trained(Muva, muva(), folder / "muva"),
        "short": trained(ShortVision, vision(), folder / "short", epochs=2),
    }
    before = trained(VisionOnly, vision(), folder / "vision", epochs=2)
    found["vision"] = trained(VisionOnly, vision(), folder / "vision")
    found["vision"]["losses"] = torch.cat([before["losses"], found["vision"]["losses"]])
    return found


def dies(folder, after_epoch=None):
    """The training in which the second process is killed."""
    trained(DyingVision, vision(), folder, after_epoch=after_epoch)


def main():
    folder = Path(sys.stdin.read())
    torch.set_num_threads(1)
    with join():
        everything(folder)
        dies(folder / "dies")


if __name__ == "__main__":
    main()
