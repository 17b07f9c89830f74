"""The training loop: precision, schedules, divergence, what a resumed run starts from."""

import pytest
import torch

from harness.progress import Progress
from harness.testing import build, make_images
from harness.train import TrainingDiverged, make_accelerator, train
from methods.vision_only import IdentityStage, VisionOnly, VisionOnlyConfig
from protocols.errors import ReIDError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_images(tmp_path_factory.mktemp("images"))


def tiny(**changes):
    return VisionOnlyConfig(**{**VisionOnly.presets["tiny"], "epochs": 2, **changes})


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_precisions_train_and_keep_float32_weights(data, tmp_path, precision):
    method = build(VisionOnly, tiny(), data)
    history = train(method, data, make_accelerator(precision, "cpu"), tmp_path, Progress())
    assert [e["epoch"] for e in history] == [1, 2]
    assert all(p.dtype == torch.float32 for p in method.parameters())
    assert all(0 < e["losses"]["id"] < 10 for e in history)


def test_a_later_run_in_the_same_process_has_its_own_precision(data, tmp_path):
    seen = []
    for i, precision in enumerate(("bf16", "fp32", "bf16", "fp32")):
        method = build(VisionOnly, tiny(epochs=1), data)
        accelerator = make_accelerator(precision, "cpu")
        assert accelerator.mixed_precision == ("no" if precision == "fp32" else precision)
        seen.append(train(method, data, accelerator, tmp_path / str(i), Progress())[0]["losses"])
    assert seen[0] == seen[2] != seen[1] == seen[3]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can do it")
def test_a_precision_the_device_lacks_is_told():
    with pytest.raises(ReIDError, match="--precision fp16"):
        make_accelerator("fp16", "cpu")


def test_the_schedule_reaches_the_optimiser(data, tmp_path):
    rates = []

    class Watching(IdentityStage):
        def optimizer(self):
            self.made = super().optimizer()
            return self.made

        def after_step(self, batch):
            super().after_step(batch)
            rates.append(self.made.param_groups[0]["lr"])

    class Watched(VisionOnly):
        def stages(self):
            return [Watching(self)]

    config = tiny(epochs=4, lr=1e-3, warmup_epochs=2, lr_milestones=(3,))
    method = build(Watched, config, data)
    train(method, data, make_accelerator("fp32", "cpu"), tmp_path, Progress())
    assert sorted({round(r, 9) for r in rates}) == [1e-4, 5.5e-4, 1e-3]
    assert rates == sorted(rates[:-2]) + rates[-2:]


class SaysOnce(Progress):
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def test_divergence_names_stage_epoch_and_losses_and_keeps_the_checkpoint(data, tmp_path):
    class Breaks(IdentityStage):
        epoch = 0

        def begin_epoch(self, epoch, images):
            super().begin_epoch(epoch, images)
            self.epoch = epoch

        def losses(self, outputs, batch):
            return {
                "id": super().losses(outputs, batch)["id"] * (1 if self.epoch == 1 else torch.nan)
            }

    class Broken(VisionOnly):
        def stages(self):
            return [Breaks(self)]

    method = build(Broken, tiny(), data)
    with pytest.raises(TrainingDiverged, match="stage identity, epoch 2, batch 1: id = nan"):
        train(method, data, make_accelerator("fp32", "cpu"), tmp_path, Progress())
    assert [p.name for p in tmp_path.iterdir()] == ["epoch-00001"]


def test_a_damaged_checkpoint_costs_an_epoch_and_no_number(data, tmp_path):
    def trained(folder, progress=None):
        method = build(VisionOnly, tiny(epochs=3), data)
        train(method, data, make_accelerator("fp32", "cpu"), folder, progress or Progress())
        return method.state_dict()

    straight = trained(tmp_path / "straight")
    again = tmp_path / "again"
    trained(again)
    (again / "epoch-00003" / "training.pt").write_bytes(b"torn")
    says = SaysOnce()
    resumed = trained(again, says)
    assert any("epoch-00003 is damaged" in line for line in says.lines)
    assert all(torch.equal(straight[k], resumed[k]) for k in straight)
