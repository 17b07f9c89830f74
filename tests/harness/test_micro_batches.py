"""A batch that goes through `forward` in parts: the same step, however little memory there is."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from harness.progress import Progress
from harness.step import OutOfMemory
from harness.testing import build, make_images
from harness.train import make_accelerator, train
from methods.interface import Batch, Method, MethodConfig, Stage, Transform, Transforms
from methods.muva.method import Muva
from methods.vision_only import IdentityStage, VisionOnly

_path = Path(__file__).with_name("ranks_job.py")
_spec = importlib.util.spec_from_file_location("ranks_job", _path)
job = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(job)


@pytest.mark.parametrize(
    ("cls", "config", "size"),
    [
        (VisionOnly, job.vision(identities=2, instances=2), 3),
        (Muva, job.muva(identities=2, instances=2, fidelity="released"), 3),
        (Muva, job.muva(), 1),
    ],
    ids=["vision-only", "muva", "muva one by one"],
)
def test_the_numbers_are_those_of_whole_batches(tmp_path, cls, config, size):
    whole = job.trained(cls, config, tmp_path / "whole", epochs=3)
    parts = job.trained(cls, config, tmp_path / "parts", epochs=3, micro_batch=size)
    assert len(whole["losses"]) >= 10
    assert torch.allclose(whole["losses"], parts["losses"], rtol=1e-9, atol=1e-9)
    for key, value in whole["state"].items():
        assert torch.allclose(value.double(), parts["state"][key].double(), atol=1e-9), key
    for one, other in zip(whole["memories"], parts["memories"], strict=True):
        assert torch.allclose(one, other, atol=1e-9)
    assert not any(whole["micro"])
    assert set(parts["micro"]) == {size}


def test_masks_that_nobody_knows_count_as_little_in_parts(tmp_path):
    def losses(name, **how):
        config = job.muva(identities=2, instances=2)
        return job.trained(Muva, config, tmp_path / name, epochs=2, **how)["losses"]

    whole = losses("whole", unknown=True)
    parts = losses("parts", unknown=True, micro_batch=3)
    assert torch.allclose(whole, parts, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(whole, losses("known"), rtol=1e-3)


class Narrow(IdentityStage):
    """Has memory for so many images at a time: in a pass, forward, and backward."""

    room, error, where, asked = 3, torch.OutOfMemoryError("no room"), "forward", ()

    def memory_neck(self, batch):
        self.use(len(batch), "a pass")
        return super().memory_neck(batch)

    def forward(self, batch):
        if self.where == "forward":
            self.use(len(batch), "forward")
        outputs = super().forward(batch)
        if self.where == "backward" and torch.is_grad_enabled():
            outputs["features"].register_hook(lambda grad: self.use(len(grad), "backward"))
        return outputs

    def use(self, images, doing):
        Narrow.asked = (*Narrow.asked, (doing, images))
        if images > self.room:
            raise self.error


class NarrowVision(VisionOnly):
    def stages(self):
        return [Narrow(self)]


SHORTAGES = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    MemoryError(),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
]


ROOMY = job.vision(identities=4, instances=2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a training of batches of 8 comes to that has memory for them."""
    return job.trained(VisionOnly, ROOMY, tmp_path_factory.mktemp("whole"), epochs=2)


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("error", SHORTAGES, ids=lambda error: type(error).__name__)
def test_a_step_that_runs_out_of_memory_is_taken_again(tmp_path, monkeypatch, whole, where, error):
    """8 images, room for 3: 8, 4, then 2 at a time; told once, and nothing counted twice."""
    monkeypatch.setattr(Narrow, "error", error)
    monkeypatch.setattr(Narrow, "where", where)
    monkeypatch.setattr(Narrow, "asked", ())
    short = job.trained(NarrowVision, ROOMY, tmp_path, epochs=2)
    assert torch.allclose(whole["losses"], short["losses"], rtol=1e-9, atol=1e-9)
    for key, value in whole["state"].items():  # the BN neck's running statistics among them
        assert torch.allclose(value.double(), short["state"][key].double(), atol=1e-9), key
    assert short["micro"] == [2, 2]
    (said,) = short["said"]
    assert (
        "Out of memory on 8 images at once in stage identity" in said and "with 2 at a time" in said
    )
    asked = [n for doing, n in Narrow.asked if doing == where]
    if where == "forward":
        asked = list(dict.fromkeys(asked))
        assert asked == [8, 4, 2]


def test_no_room_for_one_image_fails_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(Narrow, "room", 0)
    with pytest.raises(OutOfMemory, match="a pass over the training images"):
        job.trained(NarrowVision, job.vision(), tmp_path / "pass")
    monkeypatch.setattr(Narrow, "memory_neck", IdentityStage.memory_neck)
    with pytest.raises(OutOfMemory, match=r"stage identity, epoch 1, batch 1, with one image"):
        job.trained(NarrowVision, job.vision(), tmp_path / "step")


def test_an_error_that_is_no_shortage_is_raised_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(Narrow, "error", RuntimeError("shape mismatch"))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        job.trained(NarrowVision, job.vision(), tmp_path)


class Dropping(Method):
    """Random in `forward`; its loss is right only if both passes drop the same."""

    def __init__(self, config, sources):
        super().__init__(config, sources)
        self.weight = nn.Parameter(torch.ones(64))
        self.sums = []

    def transforms(self):
        plain = Transform((8, 8), (0.0,) * 3, (1.0,) * 3)
        return Transforms(train=plain, eval=plain)

    def stages(self):
        return [DropStage(self)]

    def encode(self, batch: Batch):
        return {"features": batch.images.flatten(1)}


class DropStage(Stage):
    epochs = 3

    def __init__(self, method):
        self.method, self.sums = method, method.sums

    def optimizer(self):
        return torch.optim.SGD([self.method.weight], lr=0.0)

    def batches(self, epoch, data):
        return data.pk_batches(epoch, 4, 2)

    def forward(self, batch):
        ones = torch.ones(len(batch), 64)
        return {"dropped": nn.functional.dropout(self.method.weight * ones, 0.5)}

    def losses(self, outputs, batch):
        self.seen = outputs["dropped"].detach()
        return {"sum": outputs["dropped"].sum()}

    def after_step(self, batch):
        self.sums.append(self.seen.sum(0))


def test_both_passes_draw_the_same(tmp_path):
    data = make_images(tmp_path)
    method = build(Dropping, MethodConfig(), data)
    gradients = []
    method.weight.register_hook(lambda grad: gradients.append(grad.clone()))
    accelerator = make_accelerator("fp32", "cpu")
    train(method, data, accelerator, tmp_path / "c", Progress(), micro_batch=3)
    # 8 images, 3 at a time; the gradient of a weight: 2 for each image that it is not dropped in
    seen, parts = method.sums, 3
    assert len(gradients) == parts * len(seen) > 0
    for i, dropped in enumerate(seen):
        total = sum(gradients[parts * i : parts * (i + 1)])
        assert torch.equal(total, dropped)
    assert len({tuple(dropped.tolist()) for dropped in seen}) == len(seen)


class NarrowDropStage(DropStage):
    def forward(self, batch):
        outputs = super().forward(batch)  # it has drawn before memory is short
        if len(batch) > 4:
            raise torch.OutOfMemoryError("no room")
        return outputs


class NarrowDropping(Dropping):
    def stages(self):
        return [NarrowDropStage(self)]


def test_a_step_taken_again_draws_what_it_would_have_drawn(tmp_path):
    data, found = make_images(tmp_path), []
    for i, (cls, size) in enumerate([(NarrowDropping, None), (Dropping, 4)]):
        method = build(cls, MethodConfig(), data)
        accelerator = make_accelerator("fp32", "cpu")
        train(method, data, accelerator, tmp_path / str(i), Progress(), micro_batch=size)
        found.append(torch.stack(method.sums))
    assert torch.equal(*found)
