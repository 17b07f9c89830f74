"""Records that are damaged or made again meanwhile: named, and the rest is shown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from by_hand import (
    assert_whole,
    make_spec,
    make_training,
    mirrored,
)

from harness import mirror_run
from harness.record import RunFolder
from harness.tracking import default_uri, sync


def test_damaged_records_are_named_and_the_rest_is_shown(out: Path, training: RunFolder) -> None:
    training.target("MS").write_text('{"record_version": 1, "run_id"', encoding="utf-8")
    torn = make_training(out, make_spec(seed=1))
    torn.run.write_text("", encoding="utf-8")
    newer = make_training(out, make_spec(seed=2))
    value = {**json.loads(newer.run.read_text(encoding="utf-8")), "record_version": 99}
    newer.run.write_text(json.dumps(value), encoding="utf-8")
    copy = out / "a copy's copy"
    shutil.copytree(training.path, copy)

    for _ in range(2):
        problems = "\n".join(sync(out, default_uri(out)).problems)
        assert problems.count("\n") == 3
        for path in (training.target("MS"), torn.run, newer.run, copy / "run.json"):
            assert str(path) in problems
        assert_whole(out, training.run_id, f"{training.run_id}/C3")


def test_a_target_damaged_later_stays_as_it_was(out: Path, training: RunFolder) -> None:
    sync(out, default_uri(out))
    training.target("MS").write_text("{", encoding="utf-8")
    assert str(training.target("MS")) in sync(out, default_uri(out), check=True).problems[0]
    assert_whole(out, training.run_id, f"{training.run_id}/C3", f"{training.run_id}/MS")


@pytest.mark.parametrize("vanishes", [False, True])
def test_records_made_again_meanwhile(
    out: Path, training: RunFolder, monkeypatch: pytest.MonkeyPatch, vanishes: bool
) -> None:
    from mlflow import MlflowClient

    real = MlflowClient.log_artifact

    def slow(self: Any, run_id: str, path: str) -> None:
        if path == str(training.run):
            make_training(out, make_spec(), loss=8.0)
            if vanishes:
                training.run.unlink()
        real(self, run_id, path)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifact", slow)
        (problem,) = sync(out, default_uri(out)).problems
    assert training.run_id in problem
    make_training(out, make_spec(), loss=6.0)
    assert sync(out, default_uri(out)).problems == []
    assert_whole(out, training.run_id, f"{training.run_id}/C3", f"{training.run_id}/MS")
    assert mirrored(out)[-1].data.metrics["identity/id"] == 3.0


def test_one_refused_record_does_not_hold_up_the_others(
    out: Path, training: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_training(out, make_spec(seed=1))
    real = mirror_run.name_of
    monkeypatch.setattr(mirror_run, "name_of", lambda text: "a=b" if text == "mAP" else real(text))
    (problem,) = sync(out, default_uri(out)).problems
    assert training.run_id in problem
    shown = mirrored(out)
    assert other.run_id in {run.data.tags["harness.key"] for run in shown}
    assert {run.info.status for run in shown} == {"FINISHED"}
