"""A sync that is repeated, killed, or finds the store changed: each run once, whole."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from by_hand import (
    assert_whole,
    client,
    make_spec,
    make_target,
    make_training,
    mirrored,
    run_python,
)

from harness.record import RunFolder
from harness.tracking import default_uri, sync


def test_again_does_nothing_and_says_so(out: Path, training: RunFolder) -> None:
    uri, keys = (
        default_uri(out),
        [training.run_id, f"{training.run_id}/C3", f"{training.run_id}/MS"],
    )
    first = sync(out, uri)
    assert (sorted(first.mirrored), first.unchanged, first.problems) == (keys, 0, [])
    before = {run.info.run_id for run in mirrored(out)}
    for check in (False, True):
        again = sync(out, uri, check=check)
        assert (again.mirrored, again.unchanged, again.problems) == ([], 3, [])
    shutil.rmtree(out / ".mlflow")  # what is in the store is found without the memory of it
    assert sync(out, uri).unchanged == 3
    assert {run.info.run_id for run in mirrored(out)} == before
    assert_whole(out, *keys)


def test_what_was_computed_again_replaces_what_was_shown(out: Path, training: RunFolder) -> None:
    sync(out, default_uri(out))
    make_training(out, make_spec(), loss=8.0)
    make_target(training, "C3", mean_ap=0.75)
    training.target("MS").unlink()  # --force removes everything; this target is not back yet
    sync(out, default_uri(out))
    assert_whole(out, training.run_id, f"{training.run_id}/C3")
    target, parent = mirrored(out)
    assert parent.data.metrics["identity/id"] == 4.0
    assert target.data.metrics["mAP"] == 0.75


class Killed(BaseException):
    """Like a kill: nothing may catch it."""


CALLS = ("create_run", "log_batch", "log_artifact", "set_terminated", "set_tag")


@pytest.mark.parametrize(("nth", "after"), [(1, True), (2, False)])
@pytest.mark.parametrize("call", CALLS)
def test_killed_anywhere_then_again(
    out: Path,
    training: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    nth: int,
    after: bool,
) -> None:
    """The process ends before or after the nth call of each kind."""
    from mlflow import MlflowClient

    real, calls = getattr(MlflowClient, call), []

    def dying(*args: Any, **kwargs: Any) -> Any:
        calls.append(call)
        if len(calls) < nth:
            return real(*args, **kwargs)
        if after:
            real(*args, **kwargs)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, call, dying)
        with pytest.raises(Killed):
            sync(out, default_uri(out))
    sync(out, default_uri(out))
    run = training.run_id
    assert_whole(out, run, f"{run}/C3", f"{run}/MS")
    for shown in mirrored(out):
        history = client(default_uri(out)).get_metric_history(shown.info.run_id, "identity/id")
        assert len(history) == (0 if "/" in shown.data.tags["harness.key"] else 2)


def test_what_users_delete_or_double_in_mlflow_is_mended(out: Path, training: RunFolder) -> None:
    uri, run = default_uri(out), training.run_id
    sync(out, uri)
    store, shown = client(uri), mirrored(out)
    store.delete_run(shown[-1].info.run_id)  # the parent
    store.create_run(shown[0].info.experiment_id, tags=shown[0].data.tags)  # a double, running
    assert sync(out, uri).mirrored == []
    assert sync(out, uri, check=True).mirrored == [run]
    assert_whole(out, run, f"{run}/C3", f"{run}/MS")

    store.delete_experiment(shown[0].info.experiment_id)
    sync(out, uri, check=True)
    assert_whole(out, run, f"{run}/C3", f"{run}/MS")

    (out / "mlflow.db").unlink()
    assert len(sync(out, uri).mirrored) == 3
    assert_whole(out, run, f"{run}/C3", f"{run}/MS")


def test_from_nothing_quietly_and_no_import_when_nothing_is_new(tmp_path: Path) -> None:
    """A new process, no database: MLflow says nothing, leaves nothing where one stands."""
    out, cwd = tmp_path / "runs", tmp_path / "cwd"
    cwd.mkdir()
    folder = make_training(out, make_spec())
    make_target(folder, "C3")
    code = f"""
        import sys
        from pathlib import Path
        from harness.tracking import default_uri, sync
        out = Path({str(out)!r})
        done = sync(out, default_uri(out))
        heavy = sorted({{"mlflow", "torch", "pandas", "pydantic"}} & set(sys.modules))
        print(len(done.mirrored), done.unchanged, "mlflow" in heavy, len(heavy))
    """
    first, second = run_python(code, cwd), run_python(code, cwd)
    assert first.stdout.startswith("2 0 True ")
    assert second.stdout == "0 2 False 0\n"
    assert first.stderr == second.stderr == ""
    assert list(cwd.iterdir()) == []
    assert_whole(out, folder.run_id, f"{folder.run_id}/C3")
