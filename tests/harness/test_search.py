"""Searches: the same proposals again from the same results, and never a look at a target."""

import json
import math

import pytest

from harness import record
from harness.config import RunSpec
from harness.record import RunFolder, RunRecord
from harness.search import ROUND, Result, make_search, require_objective, result_of
from harness.space import Choices, Range
from harness.stopping import EarlyStopping, Stopped, group, read_curve, read_stopped
from protocols.errors import ReIDError, UnknownName

SPACE = {
    "lr": Range(1e-6, 1e-3, log=True),
    "epochs": Range(2, 9, whole=True),
    "prompt": Choices(("original", ["a", "b"], None)),
}
RULE = EarlyStopping("mAP", grace=1)


def unseen():
    """Accepts every setting once."""
    seen = set()

    def accept(setting):
        text = json.dumps(setting)
        new = text not in seen
        seen.add(text)
        return new

    return accept


def good(setting):
    """Best at lr=1e-4."""
    return Result(1 - abs(math.log10(setting["lr"]) + 4) / 5, {"mAP": 0.5, "rank1": 0.5})


def follow(kind, trials, seed=0, space=SPACE, accept=None, result=good, rounds=None):
    """All that a search asks for, round by round, or for the first `rounds`."""
    asked = []
    found = make_search(kind, space, trials, seed, accept or unseen())
    while (rounds is None or len(asked) < rounds) and (settings := found.ask()):
        asked.append(settings)
        found.tell([result(setting) for setting in settings])
    return asked


def flat(rounds):
    return [setting for settings in rounds for setting in settings]


@pytest.mark.parametrize("kind", ["random", "optuna"])
def test_a_search_asks_the_same_again(kind):
    asked = follow(kind, 14)
    assert sum(map(len, asked)) == 14
    assert asked == follow(kind, 14)
    assert asked != follow(kind, 14, seed=1)
    for setting in flat(asked):
        assert 1e-6 <= setting["lr"] <= 1e-3
        assert setting["epochs"] in range(2, 10)
        assert setting["prompt"] in SPACE["prompt"].values


def test_more_trials_keep_the_first_ones():
    assert follow("random", 9)[0][:5] == follow("random", 5)[0]
    assert follow("optuna", 12, rounds=2) == follow("optuna", 8)


def test_optunas_rounds_do_not_depend_on_who_computes():
    assert [len(settings) for settings in follow("optuna", 10)] == [ROUND, ROUND, 10 - 2 * ROUND]


def test_optuna_learns_from_what_it_is_told():
    asked = flat(follow("optuna", 40))
    assert asked != flat(follow("optuna", 40, result=lambda setting: Result(0.5)))
    off = [abs(math.log10(setting["lr"]) + 4) for setting in asked]
    assert sum(off[-10:]) < sum(off[:10])


@pytest.mark.parametrize("result", [Result(), Result(0.1, None, stopped=2)])
def test_optuna_goes_on_after_what_failed_or_was_given_up(result):
    asked = follow("optuna", 9, result=lambda setting: result)
    assert sum(map(len, asked)) == 9


@pytest.mark.parametrize("kind", ["random", "optuna"])
def test_a_small_space_is_used_up_and_each_setting_asked_for_once(kind):
    space = {"prompt": Choices(("a", "b", "c")), "parts": Choices(([], ["x"]))}
    asked = flat(follow(kind, 50, space=space, result=lambda setting: Result(0.5)))
    assert sorted(map(json.dumps, asked)) == sorted(
        json.dumps({"prompt": p, "parts": q}) for p in "abc" for q in ([], ["x"])
    )


@pytest.mark.parametrize("kind", ["random", "optuna"])
def test_settings_that_make_no_config_are_passed_over(kind):
    asked = follow(kind, 8, accept=lambda setting: setting["prompt"] is None)
    assert [setting["prompt"] for setting in flat(asked)] == [None] * 8
    assert follow(kind, 8, accept=lambda setting: False) in ([], [[]])


def test_an_unknown_search():
    with pytest.raises(UnknownName, match="Did you mean 'optuna'"):
        make_search("optunna", SPACE, 3, 0, unseen())


OF_TARGETS = ("MA->D", "MA:D", "D", "d", "mAP@MS", "rank1@D", "target", "target-mAP", "oracle")
GROUPS = ("single-source", "all", "P1", "P1+D", "test_mAP", "Mine-mAP")


@pytest.mark.parametrize("text", [*OF_TARGETS, *GROUPS])
def test_an_objective_of_a_target_is_refused_with_the_reason(text):
    with pytest.raises(ReIDError, match=r"looks at a target.*no domain generalisation"):
        require_objective(text, ["Mine"])


def test_objectives():
    assert require_objective("source-mAP") == "mAP"
    assert require_objective("source-rank1") == "rank1"
    with pytest.raises(UnknownName, match=r"Did you mean 'source-mAP'.*held-out identities"):
        require_objective("source-map")


def leave(out, name, validation=None, history=()):
    """A finished run below `out`."""
    spec = RunSpec(
        method="m",
        method_version="1",
        preset="tiny",
        config={},
        weights=(),
        sources={"MA": name},
        source_images="train",
        seed=3,
        precision="fp32",
        holdout=0.2,
    )
    folder = RunFolder(out, name)
    done = RunRecord(
        run_id=name,
        spec=spec,
        data="stand-in",
        source_counts={},
        source_notes={},
        history=list(history),
        validation=validation,
        parameters={},
        model_sha256=None,
        seconds=0.0,
        interruptions=0,
        environment={},
        finished_at="2025-01-01T00:00:00+00:00",
    )
    record.write(folder.run, done)
    return folder


def test_a_result_is_the_mean_of_a_trials_runs(tmp_path):
    leave(tmp_path, "one", {"mAP": 0.5, "rank1": 0.25, "sources": {}})
    leave(tmp_path, "two", {"mAP": 0.75, "rank1": 0.75, "sources": {}})
    found = result_of(tmp_path, ["one", "two"], "rank1")
    assert found == Result(0.5, {"mAP": 0.625, "rank1": 0.5})
    assert result_of(tmp_path, ["one", "missing"], "mAP") == Result()
    (tmp_path / "two" / "run.json").write_text("{")
    assert result_of(tmp_path, ["one", "two"], "mAP") == Result()


def test_what_was_given_up_counts_under_the_same_rule_only(tmp_path):
    leave(tmp_path, "one", {"mAP": 0.5, "rank1": 0.25, "sources": {}})
    path = RunFolder(tmp_path, "two").stopped
    Stopped([(1, 0.125), (3, 0.25)], RULE).write(path)
    assert result_of(tmp_path, ["one", "two"], "mAP", RULE) == Result(0.25, None, 3)
    assert result_of(tmp_path, ["one", "two"], "mAP") == Result()
    assert read_stopped(path, EarlyStopping("mAP", grace=2)) is None
    assert read_stopped(path, EarlyStopping("rank1", grace=1)) is None
    for damaged in ("", "{}", '{"curve": [], "rule": {"metric": "mAP", "grace": 1}}', "[]"):
        path.write_text(damaged)
        assert read_stopped(path, RULE) is None


def test_the_curves_that_a_run_is_compared_with(tmp_path):
    first, last = ({"stage": "one", "epoch": epoch, "losses": {}} for epoch in (1, 2))
    history = [{**first, "validation": {"mAP": 0.5, "rank1": 0.25}}, last]
    folder = leave(tmp_path, "one", {"mAP": 1.0, "rank1": 1.0, "sources": {}}, history)
    assert read_curve(folder, RULE) == [(1, 0.5)]
    other = RunFolder(tmp_path, "two")
    assert read_curve(other, RULE) == []
    Stopped([(1, 0.125), (3, 0.25)], RULE).write(other.stopped)
    assert read_curve(other, RULE) == [(1, 0.125), (3, 0.25)]
    done = folder.read_run()
    assert group(done.spec) == "MA, seed 3"
