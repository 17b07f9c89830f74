"""Plans in MLflow: each once, its trainings below it, each training below one of them only."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from by_hand import client, make_spec, make_target, make_training, mirrored

from harness import plan_mirror, plans
from harness.config import RunSpec
from harness.tracking import default_uri, sync

SPECS = [make_spec(seed=seed) for seed in range(4)]
PARENT = "mlflow.parentRunId"


def keep(out: Path, specs: Sequence[RunSpec], **changed: Any) -> str:
    values = {"kind": "plan", "command": "harness run --tracking http://me:word@host",
              "methods": ["vision-only", "pat"], "protocol": "all", "seeds": [0, 1]}  # fmt: skip
    return plans.remember(out, [spec.id for spec in specs], **{**values, **changed}).id


def shown(out: Path) -> dict[str, Any]:
    """Every MLflow run by its key; each is there once."""
    runs = mirrored(out)
    by_key = {run.data.tags["harness.key"]: run for run in runs}
    assert len(by_key) == len(runs)
    assert all(run.info.status in ("FINISHED", "SCHEDULED") for run in runs)
    return by_key


def parents(out: Path) -> dict[str, str | None]:
    """Key of every run -> key of the one that it is shown below; None for the top."""
    runs = shown(out)
    keys = {run.info.run_id: key for key, run in runs.items()}
    up = {key: run.data.tags.get(PARENT) for key, run in runs.items()}
    return {key: keys[parent] if parent else None for key, parent in up.items()}


def counts(out: Path, plan: str) -> tuple[str, float, float]:
    run = shown(out)[f"plan:{plan}"]
    return run.info.status, run.data.metrics["runs_done"], run.data.metrics["runs"]


def history(out: Path, plan: str) -> list[float]:
    run = shown(out)[f"plan:{plan}"]
    values = client(default_uri(out)).get_metric_history(run.info.run_id, "runs_done")
    assert [value.timestamp for value in values] == sorted({value.timestamp for value in values})
    return [value.value for value in values]


def test_a_training_of_a_sweep_is_named_by_what_was_set_for_it(out: Path) -> None:
    keep(out, SPECS[:2], kind="sweep", settings={SPECS[0].id: "lr=0.1", SPECS[1].id: "lr=0.2"})
    for spec in SPECS[:2]:
        make_training(out, spec)
    sync(out, default_uri(out))
    runs = shown(out)
    for spec, setting in zip(SPECS, ("lr=0.1", "lr=0.2"), strict=False):
        run = runs[spec.id]
        assert run.info.run_name.endswith(f"seed {spec.seed} {setting}")
        assert run.data.tags["setting"] == setting


def test_a_plan_shows_what_was_asked_for(out: Path) -> None:
    plan = keep(out, SPECS[:2])
    for spec in SPECS[:2]:
        make_training(out, spec)
    assert sync(out, default_uri(out)).plans == [f"plan:{plan}"]
    run = shown(out)[f"plan:{plan}"]
    assert run.info.run_name == "plan vision-only, pat on all"
    assert run.data.params == {
        "command": "harness run --tracking http://***@host",
        "protocol": "all",
        "methods": "vision-only, pat",
        "seeds": "0, 1",
    }
    assert run.data.metrics == {"runs": 2, "runs_done": 2}
    assert run.data.tags["kind"] == "plan"
    assert run.info.status == "FINISHED"
    assert run.info.start_time <= run.info.end_time
    store = client(default_uri(out))
    assert [file.path for file in store.list_artifacts(run.info.run_id)] == [f"{plan}.json"]


def test_it_is_brought_up_to_date_in_its_place(out: Path) -> None:
    uri, plan = default_uri(out), keep(out, SPECS[:2])
    sync(out, uri)
    assert counts(out, plan) == ("SCHEDULED", 0, 2)
    first = shown(out)[f"plan:{plan}"].info.run_id
    for done, spec in enumerate(SPECS[:2], 1):
        make_training(out, spec)
        sync(out, uri, [spec.id])
        assert counts(out, plan) == ("SCHEDULED" if done == 1 else "FINISHED", done, 2)
    assert shown(out)[f"plan:{plan}"].info.run_id == first
    assert history(out, plan) == [0, 1, 2]
    for check in (False, True):
        again = sync(out, uri, check=check)
        assert (again.mirrored, again.plans, again.unchanged) == ([], [], 2)
    assert history(out, plan) == [0, 1, 2]

    (out / SPECS[0].id / "run.json").rename(out / "aside")  # --force is computing it again
    sync(out, uri)
    assert counts(out, plan) == ("SCHEDULED", 1, 2)
    (out / "aside").rename(out / SPECS[0].id / "run.json")
    sync(out, uri)
    assert counts(out, plan) == ("FINISHED", 2, 2)


def test_a_run_of_several_plans_is_shown_once_below_the_earliest(out: Path) -> None:
    uri = default_uri(out)
    for spec in SPECS:
        make_training(out, spec)
    make_target(make_training(out, SPECS[0]), "C3")
    early = keep(out, SPECS[:2])
    sync(out, uri)
    top = {f"plan:{early}": None}
    below = {SPECS[0].id: f"plan:{early}", SPECS[1].id: f"plan:{early}"}
    rest = {f"{SPECS[0].id}/C3": SPECS[0].id}
    alone = {SPECS[2].id: None, SPECS[3].id: None}
    assert parents(out) == {**top, **below, **rest, **alone}

    late = keep(out, SPECS[1:3], kind="sweep")
    result = sync(out, uri, [SPECS[2].id])
    assert (result.mirrored, result.plans) == ([], [f"plan:{late}"])
    more = {f"plan:{late}": None, SPECS[2].id: f"plan:{late}", SPECS[3].id: None}
    assert parents(out) == {**top, **below, **rest, **more}
    sync(out, uri, check=True)
    assert parents(out) == {**top, **below, **rest, **more}
    assert counts(out, late) == ("FINISHED", 2, 2)
    assert shown(out)[f"plan:{late}"].data.tags["kind"] == "sweep"


def test_what_a_search_gave_up_is_not_waited_for(out: Path) -> None:
    plan = keep(out, SPECS[:2], kind="sweep", search="lr")
    make_training(out, SPECS[0])
    (out / SPECS[1].id).mkdir()
    sync(out, default_uri(out))
    assert counts(out, plan) == ("SCHEDULED", 1, 2)
    (out / SPECS[1].id / "stopped.json").write_text("{}", encoding="utf-8")
    sync(out, default_uri(out))
    assert counts(out, plan) == ("FINISHED", 1, 2)
    assert shown(out)[f"plan:{plan}"].data.metrics["runs_stopped"] == 1

    assert keep(out, SPECS[1:3], kind="sweep", search="lr") == plan
    sync(out, default_uri(out))
    assert counts(out, plan) == ("SCHEDULED", 1, 3)


def test_only_plans_with_the_runs_asked_for(out: Path) -> None:
    for spec in SPECS:
        make_training(out, spec)
    one, other = keep(out, SPECS[:2]), keep(out, SPECS[2:])
    assert sync(out, default_uri(out), [SPECS[0].id]).plans == [f"plan:{one}"]
    assert sync(out, default_uri(out)).plans == [f"plan:{other}"]


def test_what_users_delete_or_double_is_mended(out: Path) -> None:
    uri, plan = default_uri(out), keep(out, SPECS[:3])
    for spec in SPECS[:2]:
        make_training(out, spec)
    sync(out, uri)
    expected, store = parents(out), client(uri)
    run = shown(out)[f"plan:{plan}"]
    store.create_run(run.info.experiment_id, tags=run.data.tags)  # running
    assert sync(out, uri, check=True).plans == []
    assert parents(out) == expected

    # without asking the store about everything, too: what is below it is found
    store.delete_run(shown(out)[f"plan:{plan}"].info.run_id)
    make_training(out, SPECS[2])
    sync(out, uri)
    assert parents(out) == {**expected, SPECS[2].id: f"plan:{plan}"}
    store.delete_run(shown(out)[f"plan:{plan}"].info.run_id)
    sync(out, uri, check=True)
    assert parents(out) == {**expected, SPECS[2].id: f"plan:{plan}"}
    shutil.rmtree(out / ".mlflow")
    assert sync(out, uri).mirrored == []
    assert parents(out) == {**expected, SPECS[2].id: f"plan:{plan}"}


def test_a_damaged_plan_is_named_and_the_rest_is_shown(out: Path) -> None:
    good, bad = keep(out, SPECS[:1]), keep(out, SPECS[1:2])
    for spec in SPECS[:2]:
        make_training(out, spec)
    path = out / ".plans" / f"{bad}.json"
    path.write_text("{", encoding="utf-8")
    (problem,) = sync(out, default_uri(out)).problems
    assert str(path) in problem
    top = {f"plan:{good}": None, SPECS[0].id: f"plan:{good}"}
    assert parents(out) == {**top, SPECS[1].id: None}
    keep(out, SPECS[1:2])
    assert sync(out, default_uri(out)).problems == []
    assert parents(out)[SPECS[1].id] == f"plan:{bad}"


def test_a_refused_plan_does_not_hold_up_its_runs(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = keep(out, SPECS[:1])
    make_training(out, SPECS[0])
    with monkeypatch.context() as patch:
        patch.setattr(plan_mirror, "params", lambda asked: {"a=b": "1"})
        (problem,) = sync(out, default_uri(out)).problems
    assert f"plan:{plan}" in problem
    assert parents(out)[SPECS[0].id] is None
    assert sync(out, default_uri(out)).problems == []
    assert parents(out) == {f"plan:{plan}": None, SPECS[0].id: f"plan:{plan}"}


class Killed(BaseException):
    """Like a kill: nothing may catch it."""


CALLS = ("create_run", "log_batch", "log_artifact", "set_terminated", "set_tag")


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("grown", [False, True])
def test_killed_anywhere_then_again(
    out: Path, monkeypatch: pytest.MonkeyPatch, call: str, after: bool, grown: bool
) -> None:
    """The process ends before or after the first call of each kind, on a plan new or grown."""
    from mlflow import MlflowClient

    plan = keep(out, SPECS[:2])
    make_training(out, SPECS[0])
    if grown:
        sync(out, default_uri(out))
        make_training(out, SPECS[1])
    real = getattr(MlflowClient, call)

    def dying(*args: Any, **kwargs: Any) -> Any:
        if after:
            real(*args, **kwargs)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, call, dying)
        with pytest.raises(Killed):
            sync(out, default_uri(out))
    sync(out, default_uri(out))
    runs = [spec.id for spec in SPECS[: 1 + grown]]
    assert parents(out) == {f"plan:{plan}": None, **dict.fromkeys(runs, f"plan:{plan}")}
    assert history(out, plan) == [1, 2][: 1 + grown]
    assert counts(out, plan)[1] == 1 + grown


def test_another_experiment_is_another_mirror(out: Path) -> None:
    keep(out, SPECS[:1])
    make_training(out, SPECS[0])
    uri = default_uri(out)
    sync(out, uri)
    assert len(sync(out, uri, experiment="mine").mirrored) == 1
    store = client(uri)
    experiment = store.get_experiment_by_name("mine")
    assert len(store.search_runs([experiment.experiment_id])) == len(shown(out)) == 2
