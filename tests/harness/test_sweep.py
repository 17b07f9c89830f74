"""`harness sweep` as a user types it: grids, searches, what is refused."""

import itertools
import json
import re
import shlex
import sys

import pytest

from harness.commands import launching as command
from harness.commands.sweep_settings import Accept
from harness.config import parse_overrides
from harness.record import RunFolder

HERE = ("--tracking", "off", "--workers", 0)
PRINTED = re.compile(r"^ +(harness run .*)$", re.MULTILINE)


def runs(out):
    return {path.parent.name: json.loads(path.read_text()) for path in out.glob("*/run.json")}


def lines(printed, start):
    """Lines of a printed table from the one that starts so, without their outer blanks."""
    rows = [line.replace("\N{NO-BREAK SPACE}", " ").strip() for line in printed.splitlines()]
    return rows[rows.index(start) + 1 :]


def test_a_grid_is_a_line_a_setting_and_computed_once(harness, tmp_path):
    out = tmp_path / "runs"
    sweep = ("sweep", "stripes=1,6", "bins=[8,4,4],[2,2,2]", "--out", out, *HERE)
    status, printed = harness(*sweep, "--protocol", "MA->D,MA->C3")
    assert status == 0
    assert "4 trainings and 8 tests computed" in printed
    settings = [line.split("  ")[0] for line in lines(printed, "Settings")[:4]]
    assert settings == [
        "stripes=1 bins=[8,4,4]",
        "stripes=1 bins=[2,2,2]",
        "stripes=6 bins=[8,4,4]",
        "stripes=6 bins=[2,2,2]",
    ]
    first = re.findall(r"\d+\.\d", lines(printed, "Settings")[0])
    done = {
        target: RunFolder(out, run_id).read_target(target).metrics
        for run_id, run in runs(out).items()
        if run["spec"]["config"]["stripes"] == 1 and run["spec"]["config"]["bins"] == [8, 4, 4]
        for target in ("D", "C3")
    }
    wanted = [done[target][name] for target in ("D", "C3") for name in ("mAP", "rank1")]
    wanted += [(wanted[0] + wanted[2]) / 2, (wanted[1] + wanted[3]) / 2]
    assert [float(cell) for cell in first] == pytest.approx([100 * v for v in wanted], abs=0.06)
    assert "An ablation: every setting was tested on the targets" in printed
    (kept,) = (out / "tables").glob("sweep-*.md")
    assert "stripes=6 bins=[2,2,2]" in kept.read_text()
    status, again = harness(*sweep, "--protocol", "MA->D,MA->C3")
    assert "0 trainings and 0 tests computed" in again
    assert lines(again, "Settings")[:4] == lines(printed, "Settings")[:4]


def test_a_setting_that_makes_no_config_is_left_out_and_said(harness, tmp_path):
    status, printed = harness(
        *("sweep", "stripes=1,6", "image_size=[64,32],[4,4]", "--protocol", "MA->D"),
        *("--out", tmp_path, *HERE),
    )
    assert status == 0
    assert "Left out: stripes=6 image_size=[4,4]. Config of colour-histogram: stripes=6" in printed
    assert "3 trainings and 3 tests computed" in printed


def test_a_random_search_sees_no_target_and_says_how_to_train_the_best(harness, tmp_path):
    out = tmp_path / "runs"
    search = ("sweep", "lr=log:1e-5..1e-3", "--method", "vision-only", "--set", "epochs=1")
    search += ("--search", "random", "--trials", 2, "--protocol", "MA->D", "--out", out, *HERE)
    status, printed = harness(*search)
    assert status == 0
    assert "2 trainings and 0 tests computed" in printed
    assert not list(out.glob("*/targets/*"))
    found = runs(out)
    assert len(found) == 2
    objective = {}
    for run_id, run in found.items():
        assert run["spec"]["holdout"] == 0.2
        objective[run["spec"]["config"]["lr"]] = run["validation"]["mAP"]
        trained = set(RunFolder(out, run_id).labels.read_text().splitlines()[1:])
        assert len(trained) == 48 - 10
        assert set(run["validation"]["sources"]) == {"MA"}
    rows = [re.split(r"\s{2,}", line) for line in lines(printed, "Trials, best first")[:2]]
    assert [float(row[2]) for row in rows] == pytest.approx(
        sorted((100 * value for value in objective.values()), reverse=True), abs=0.051
    )
    words = shlex.split(PRINTED.search(printed)[1])
    best = parse_overrides([text for flag, text in itertools.pairwise(words) if flag == "--set"])
    assert best == {"epochs": 1, "lr": max(objective, key=objective.get)}
    assert words[:6] == ["harness", "run", "--method", "vision-only", "--protocol", "MA->D"]
    assert "No target was looked at" in printed
    status, again = harness(*search)
    assert "0 trainings and 0 tests computed" in again
    assert PRINTED.search(again)[1] == PRINTED.search(printed)[1]


def test_a_search_needs_no_target_at_all(harness, tmp_path, standins):
    data = tmp_path / "data"
    data.mkdir()
    (data / "Market-1501-v15.09.15").symlink_to(standins / "Market-1501-v15.09.15")
    search = ("sweep", "stripes=1..8", "--search", "random", "--trials", 1, "--data", data)
    status, printed = harness(*search, "--protocol", "MA->D", "--out", tmp_path / "runs", *HERE)
    assert status == 0, printed
    assert "1 training and 0 tests computed" in printed


def test_a_dry_run_of_a_search_shows_what_is_known_of_it(harness, tmp_path):
    search = ("sweep", "stripes=1..12", "--search", "optuna", "--trials", 6, "--protocol", "MA->D")
    search += ("--out", tmp_path / "runs", *HERE)
    status, printed = harness(*search, "--dry-run")
    assert status == 0
    assert "4 runs: 4 to do." in printed
    assert "What is tried after trial 4 depends on what these reach." in printed
    assert harness(*search, "--trials", 4)[0] == 0
    status, printed = harness(*search, "--dry-run")
    assert "6 runs: 4 done, 2 to do." in printed
    assert "depends" not in printed
    assert harness(*search)[0] == 0
    assert "6 runs: 6 done. Nothing is left to compute." in harness(*search, "--dry-run")[1]


def test_searches_of_two_methods_are_two_plans(harness, tmp_path):
    for method in ("muva", "vision-only"):
        search = ("sweep", "lr=1e-5", "--method", method, "--search", "random", "--trials", 1)
        search += ("--set", "epochs=1", "--protocol", "MA->D", "--out", tmp_path, *HERE)
        more = ("--set", "stage1_epochs=1") if method == "muva" else ()
        status, printed = harness(*search, *more)
        assert status == 0, printed
    found = [json.loads(path.read_text()) for path in tmp_path.glob(".plans/*.json")]
    assert sorted((plan["methods"], len(plan["runs"])) for plan in found) == [
        (["muva"], 1),
        (["vision-only"], 1),
    ]


def test_a_space_that_is_used_up_is_said(harness, tmp_path):
    search = ("sweep", "stripes=1,6", "image_size=[64,32],[4,4]", "--search", "random")
    status, printed = harness(
        *search, "--trials", 9, "--protocol", "MA->D", "--out", tmp_path, *HERE
    )
    assert status == 0
    said = "3 trials of 9: no further setting was found; 1 setting that made no config passed over."
    assert said in re.sub(r"\s+", " ", printed)


def test_an_interrupted_optuna_search_asks_the_same_again(harness, tmp_path, monkeypatch):
    search = ("sweep", "stripes=1..12", "bins=[8,4,4],[4,2,2],[2,2,2]", "--search", "optuna")
    search += ("--trials", 6, "--search-seed", 3, "--protocol", "MA->D", *HERE)
    status, printed = harness(*search, "--out", tmp_path / "whole")
    assert status == 0
    assert "6 trials." in printed

    real, calls = command.launch, []

    def dies_in_the_second_round(planned, *rest):
        calls.append(planned)
        if len(calls) == 2:
            real(planned[:1], *rest)
            raise KeyboardInterrupt
        return real(planned, *rest)

    monkeypatch.setattr(command, "launch", dies_in_the_second_round)
    assert harness(*search, "--out", tmp_path / "cut")[0] == 130
    assert len(runs(tmp_path / "cut")) == 5
    monkeypatch.setattr(command, "launch", real)
    status, again = harness(*search, "--out", tmp_path / "cut")
    assert status == 0
    assert "1 training and 0 tests computed" in again
    assert set(runs(tmp_path / "cut")) == set(runs(tmp_path / "whole"))
    assert lines(again, "Trials, best first")[:6] == lines(printed, "Trials, best first")[:6]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("lr=1e-5,1e-6",), "muva, vision-only; say which with --method"),
        (("lrr=1e-5",), "Unknown config key 'lrr'. Did you mean 'lr'"),
        (("stripes=1", "rmp_heads=2"), "No method has all of stripes, rmp_heads"),
        (("stripes=1", "--search", "grit"), "Unknown --search 'grit'. Did you mean 'grid'"),
        (("stripes=1", "--trials", 3), "--trials: for --search random or optuna"),
        (("stripes=1", "--objective", "source-mAP", "--asha"), "--objective, --asha: for --search"),
        (("stripes=1..6",), "a range is for --search random or optuna"),
        (("stripes=1,6", "--set", "image_size=[2,2]"), "stripes=6 is more than the image has rows"),
        (
            ("stripes=1..6", "--search", "random", "--objective", "MA->D"),
            "--objective MA->D: this looks at a target.",
        ),
        (
            ("stripes=1..6", "--search", "random", "--holdout", 1.5),
            "--holdout 1.5: expected a share",
        ),
        (("stripes=1..6", "--search", "random", "--objective", ""), "Unknown --objective ''"),
        (("stripes=1..6", "--search", "random", "--grace", 2), "--grace says when --asha"),
        (("stripes=1..6", "--search", "optuna", "--asha"), "--asha gives up runs that fall behind"),
        (
            ("lr=1e-5", "--search", "random", "--method", "muva,vision-only"),
            "--search random takes one method, not muva, vision-only",
        ),
    ],
)
def test_what_is_refused_before_anything_is_computed(harness, tmp_path, options, message):
    status, printed = harness("sweep", *options, "--out", tmp_path / "runs", *HERE)
    assert status == 1
    assert message in printed
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").glob("*/spec.json"))


def test_where_optuna_is_missing_it_is_said(harness, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    status, printed = harness(
        "sweep", "stripes=1..6", "--search", "optuna", "--out", tmp_path, *HERE
    )
    assert status == 1
    assert "pip install optuna, or take --search random" in printed


def test_a_config_is_accepted_once_and_only_if_it_is_one():
    accept = Accept("colour-histogram", "tiny", {"image_size": [4, 4]})
    assert accept({"stripes": 2})
    assert not accept({"stripes": 2.0})
    assert accept.left_out == []
    assert not accept({"stripes": 6})
    assert accept.left_out[0].startswith("Left out: stripes=6. Config of colour-histogram:")
    assert accept.choice({"stripes": 2}).setting == "stripes=2"
