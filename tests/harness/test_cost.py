"""`harness cost`: exact parameter counts, and clocks and gauges that show what was spent."""

import json
import sys
import time

import pytest
import torch
from torch import nn

from harness import cli
from harness.cost import MadeUpImages, Workload, count_parameters, measure
from harness.meter import WARM_UP
from harness.progress import Progress
from harness.train import make_accelerator
from methods.interface import (
    Method,
    MethodConfig,
    PartNeeds,
    SourceInfo,
    Stage,
    Transform,
    Transforms,
)
from results import costs

MIB = 2**20
# ViT-B-16 with 8 x 16 patches: patches 768 x 3 x 16 x 16, CLS, 129 positions, two LayerNorms of
# 2 x 768, the projection to 512; a block has q, k, v and the output (4 x 768 x 769), two
# LayerNorms, and an MLP of 3072
BLOCK = 4 * 768 * 769 + 2 * 2 * 768 + 768 * 3072 + 3072 + 3072 * 768 + 768
VIT_B16 = 768 * 3 * 256 + 768 + 129 * 768 + 2 * 2 * 768 + 768 * 512 + 12 * BLOCK
NECK = 2 * 512


@pytest.fixture
def harness(monkeypatch, capsys, tmp_path):
    """Runs the command in this process; returns (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)  # where its report is kept
    for console in (cli.console, cli.stderr):
        monkeypatch.setattr(console, "width", 400, raising=False)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return stopped.value.code or 0, *capsys.readouterr()

    return call


def test_parameters_of_vision_only_to_the_unit(harness):
    status, printed, _ = harness("cost", "--method", "vision-only", "--params-only", "--json")
    assert status == 0
    report = json.loads(printed)
    assert report["params_infer"] == VIT_B16 + NECK == 86_141_440
    assert report["params_train"] == VIT_B16 + NECK + 512 * 751
    # the patch convolution and the neck's bias are frozen
    assert report["params_trainable"] == report["params_train"] - 768 * 3 * 256 - 512
    assert "stages" not in report


@pytest.mark.parametrize(
    ("overrides", "infer", "train"),
    [
        ((), 115_904_512, 161_725_952),
        (("--set", "parts="), 86_141_440, 126_195_200),
        (("--set", "language=off"), 115_904_512, 117_442_560),
    ],
)
def test_parameters_of_muva_to_the_unit(harness, overrides, infer, train):
    """Table 13."""
    status, printed, errors = harness(
        "cost", "--method", "muva", "--params-only", "--json", *overrides
    )
    assert status == 0, errors
    report = json.loads(printed)
    assert (report["params_infer"], report["params_train"]) == (infer, train)


def test_every_phase_is_measured(harness):
    status, printed, errors = harness(
        "cost", "--method", "vision-only", "--preset", "tiny", "--json", "--batch-size", "6",
        "--identities", "5", "--repeats", "2", "--device", "cpu", "--precision", "bf16",
    )  # fmt: skip
    assert status == 0, errors
    report = json.loads(printed)
    assert report["params_train"] - report["params_infer"] == 5 * 128
    (stage,) = report["stages"]
    assert stage["name"] == "identity"
    for phase in (stage, report["inference"]):
        assert 0 < phase["latency_ms_min"] <= phase["latency_ms"] <= phase["latency_ms_max"]
        assert phase["batch_size"] == 6
        assert phase["images_per_second"] == pytest.approx(6000 / phase["latency_ms"])
    assert stage["latency_ms"] > report["inference"]["latency_ms"]
    assert (report["precision"], report["threads"]) == ("bf16", 1)


def test_the_report_is_kept_where_tables_find_it(harness, tmp_path):
    command = ("cost", "--method", "colour-histogram", "--batch-size", "2", "--device", "cpu",
               "--json", "--repeats", "1", "--out", "kept")  # fmt: skip
    reports = [json.loads(harness(*command)[1]) for _ in range(2)]
    (kept,) = (tmp_path / "kept" / "costs").iterdir()  # the second in place of the first
    assert json.loads(kept.read_text()) == reports[1]
    (found,) = costs.load(tmp_path / "kept")
    assert (found.method, found.on_gpu, found.stages) == ("colour-histogram", False, [])
    assert found.inference.batch_size == 2
    _, _, errors = harness(*command, "--params-only")
    assert "Kept: kept/costs/colour-histogram-" in errors
    assert len(costs.load(tmp_path / "kept")) == 2


def test_a_method_that_trains_nothing_has_no_training_columns(harness):
    command = ("cost", "--method", "colour-histogram", "--batch-size", "2", "--device", "cpu")
    report = json.loads(harness(*command, "--json")[1])
    assert (report["params_train"], report["params_trainable"], report["params_infer"]) == (
        None, 0, 0,
    )  # fmt: skip
    assert report["stages"] == []
    status, printed, _ = harness(*command)
    assert status == 0
    assert "colour-histogram trains nothing" in printed
    (row,) = (line.split() for line in printed.splitlines() if line.split()[:1] == ["train"])
    assert row == ["train", *"-----"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "vision-onyl"), "Did you mean 'vision-only'"),
        (("--method", "vision-only", "--precision", "fp16"), "bf16"),
        (("--method", "vision-only", "--device", "tpu"), "Unknown --device"),
        (("--method", "vision-only", "--preset", "tiny", "--batch-size", "1"), "2 images or more"),
        (("--method", "vision-only", "--set", "epoch=1"), "Did you mean 'epochs'"),
    ],
)
def test_bad_input_is_told(harness, arguments, message):
    status, _, errors = harness("cost", *arguments)
    assert status == 1
    assert message in errors
    assert "Traceback" not in errors


PAUSES = {"inference": 0.01, "one": 0.03, "two": 0.05}
HEAVY = {"inference": 48, "one": 96, "two": 64}
"""MiB that a step of each phase asks for on top of the weights."""


class TwoStages(Method):
    """8 parameters of each kind; every phase takes a known time and a known space."""

    training_only = ("head.",)

    def __init__(self, config, sources):
        super().__init__(config, sources)
        self.body = nn.Parameter(torch.zeros(8))
        self.frozen = nn.Parameter(torch.zeros(8), requires_grad=False)
        self.shared = nn.Parameter(torch.zeros(8))
        # big enough to be seen where it should not be
        self.head = nn.ParameterList([nn.Parameter(torch.ones(32 * MIB), requires_grad=False)])

    def transforms(self):
        plain = Transform((8, 4), (0.5,) * 3, (0.5,) * 3)
        return Transforms(train=plain, eval=plain)

    def stages(self):
        return [Counted("one", [self.shared]), Counted("two", [self.shared, self.body])]

    def spend(self, phase):
        time.sleep(PAUSES[phase])
        return torch.ones(HEAVY[phase] * MIB // 4).sum() * 0

    def encode(self, batch):
        return {"features": batch.images.flatten(1) + self.spend("inference")}


class Counted(Stage):
    epochs = 1
    calls: dict = {}  # noqa: RUF012

    def __init__(self, name, trained):
        self.name, self.trained = name, trained
        self.calls = Counted.calls.setdefault(name, [])
        self.calls.clear()

    def prepare(self, data):
        self.calls.append("prepare")

    def optimizer(self):
        return torch.optim.SGD(self.trained, lr=1.0)

    def begin_epoch(self, epoch, data):
        self.calls.append("begin_epoch")

    def batches(self, epoch, data):
        return data.pk_batches(epoch, 16, 4)

    def losses(self, outputs, batch):
        self.calls.append("losses")
        weights = torch.cat(list(self.trained))
        return {"sum": weights.sum() + TwoStages.spend(None, self.name)}

    def after_step(self, batch):
        self.calls.append(f"after_step at {float(self.trained[0].detach()[0]):g}")


def test_parameters_count_once_over_stages_and_without_what_only_training_needs():
    counted = count_parameters(TwoStages(MethodConfig(), SourceInfo(3, ())))
    assert counted.train == 24 + 32 * MIB
    assert counted.trainable == 16
    assert counted.infer == 24


class Sums(Progress):
    units = 0.0

    def advance(self, units, doing):
        self.units += units


def test_time_and_memory_are_those_that_each_phase_spends():
    work = Workload(TwoStages, MethodConfig(), identities=3, batch_size=4, repeats=3)
    # libraries that are loaded late are no cost of the method's
    count_parameters(work.build())
    cost = measure(work, make_accelerator("fp32", "cpu"), told := Sums())
    assert told.units == work.units(stages=2)
    timings = {t.name: t for t in (*cost.stages, cost.inference)}
    assert list(timings) == ["one", "two", "inference"]
    for name, timing in timings.items():
        assert len(timing.milliseconds) == 3
        assert 1000 * PAUSES[name] <= timing.latency < 1000 * PAUSES[name] + 1000
        assert timing.images == 4
        if timing.memory is not None:
            weights = 0 if name == "inference" else 128
            # resident memory is counted in pages, and of libraries loaded on the way
            assert -1 < timing.memory / MIB - HEAVY[name] - weights < 24
    steps = WARM_UP + 3
    for name, calls in Counted.calls.items():
        assert calls[:2] == ["prepare", "begin_epoch"]
        assert calls[2::2] == ["losses"] * steps
        # `after_step` comes after the optimiser's, gradients do not pile up
        start = 0 if name == "one" else -steps
        assert calls[3::2] == [f"after_step at {start - i - 1:g}" for i in range(steps)]


def test_made_up_images_are_what_a_stage_expects():
    plain = Transform((8, 4), (0.5,) * 3, (0.5,) * 3)
    other = Transform((6, 2), (0.5,) * 3, (0.5,) * 3)
    data = MadeUpImages(3, 10, 4, Transforms(other, plain), PartNeeds((6, 2)), torch.device("cpu"))
    (batch,) = data.pk_batches(1, 16, 4)
    assert batch.images.shape == (10, 3, 6, 2)
    assert batch.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
    assert batch.part_masks.shape == (10, 3, 6, 2)
    rows = batch.part_masks[0, :, :, 0].int().tolist()
    assert rows == [[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]]
    (light,) = data.pk_batches(1, 16, 4, decode=False)
    assert light.images.shape == (10, 0) and light.part_masks is None
    parts = list(data.in_order(4))
    assert [b.images.shape for b in parts] == [(4, 3, 8, 4), (4, 3, 8, 4), (2, 3, 8, 4)]
    assert torch.cat([b.indices for b in parts]).tolist() == list(range(10))
    assert torch.equal(torch.cat([b.labels for b in parts]), data.labels)
    # more people than identities, as one identity alone
    assert MadeUpImages(
        1, 10, 4, Transforms(other, plain), None, torch.device("cpu")
    ).labels.unique().tolist() == [0]
