"""Groundings in MLflow: one run a record, brought up to date in its place, whoever is killed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from by_hand import FINISHED_MS, Forks, client, make_spec, make_training, mirrored, run_python

from harness.grounding import mirror as ground_mirror
from harness.grounding.record import (
    GroundRecord,
    PartCounts,
    figure_folder,
    ground_file,
    ground_folder,
    record_file,
)
from harness.tracking import default_uri, sync

COUNTS = PartCounts(found=90, missing=8, unparsable=2, replaced=7, discarded=1)


def keep(out: Path, key: str = "MA", expert: str = "grounding-dino", **changed: Any) -> Path:
    """The record and two pictures of a grounding; returns the record's file."""
    labels = ground_file(out, key, "0123456789abcdef", expert, "89abcdef")
    values = {
        "labels": labels.name,
        "dataset": key,
        "images": "train",
        "fingerprint": "0123456789abcdef",
        "data": "real",
        "expert": expert,
        "model": "some/model",
        "revision": "f" * 40,
        "wording": {"head": "the head of the person", "prompt": ""},
        "options": {"rule": "half", "calibration": {"floor": 0.15}, "double_check": False},
        "count": 100,
        "damaged": 1,
        "parts": dict.fromkeys(("head", "upper", "legs"), COUNTS),
        "device": "NVIDIA H100",
        "precision": "bf16",
        "seconds": 40.0,
        "created_at": "2026-01-02T03:04:05+00:00",
        **changed,
    }
    path = record_file(labels)
    GroundRecord(**values).write(path)
    draw(path, "boxes", b"a picture")
    draw(path, "masks", b"another")
    return path


def draw(record: Path, name: str, content: bytes) -> None:
    folder = figure_folder(record.with_suffix(".safetensors"))
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.png").write_bytes(content)


def shown(out: Path) -> dict[str, Any]:
    """Every MLflow run by its key; each is there once, whole and finished."""
    runs = mirrored(out)
    by_key = {run.data.tags["harness.key"]: run for run in runs}
    assert len(by_key) == len(runs)
    assert all(run.info.status == "FINISHED" for run in runs)
    assert all(run.data.tags["harness.mirrored"] for run in runs)
    return by_key


def artifacts(out: Path, run: Any) -> dict[str, bytes]:
    store, run_id = client(default_uri(out)), run.info.run_id
    names = [file.path for folder in (None, "figures")
             for file in store.list_artifacts(run_id, folder) if not file.is_dir]  # fmt: skip
    return {name: Path(store.download_artifacts(run_id, name)).read_bytes() for name in names}


def history(out: Path, run: Any, name: str) -> list[float]:
    values = client(default_uri(out)).get_metric_history(run.info.run_id, name)
    return [value.value for value in values]


def test_the_folder_is_where_groundings_are() -> None:
    assert ground_folder(Path("runs")) == Path("runs") / ground_mirror.FOLDER


def test_a_grounding_shows_what_was_asked_and_what_came_out(out: Path) -> None:
    path = keep(out)
    key = f"grounding:{path.stem}"
    assert sync(out, default_uri(out)).mirrored == [key]
    run = shown(out)[key]
    assert run.info.run_name == "grounding MA grounding-dino"
    assert (run.info.start_time, run.info.end_time) == (FINISHED_MS - 40000, FINISHED_MS)
    assert run.data.params == {
        "expert": "grounding-dino",
        "model": "some/model",
        "revision": "f" * 40,
        "images": "train",
        "wording.head": "the head of the person",
        "wording.prompt": "",
        "options.rule": "half",
        "options.calibration.floor": "0.15",
        "options.double_check": "false",
    }
    counts = {f"{part}/{name}": value for part in ("head", "upper", "legs")
              for name, value in COUNTS.model_dump().items()}  # fmt: skip
    assert run.data.metrics == {**counts, "images": 100, "damaged": 1, "crowded": 0,
                                "seconds": 40, "images_per_second": 2.5}  # fmt: skip
    tags = run.data.tags
    assert (tags["kind"], tags["dataset"], tags["data"]) == ("grounding", "MA", "real")
    assert artifacts(out, run) == {
        path.name: path.read_bytes(),
        "figures/boxes.png": b"a picture",
        "figures/masks.png": b"another",
    }


def test_again_does_nothing_and_says_so(out: Path) -> None:
    keep(out), keep(out, "MS")
    (ground_folder(out) / "boxes of mine.json").write_text("{")
    uri = default_uri(out)
    assert len(sync(out, uri).mirrored) == 2
    before = {run.info.run_id for run in mirrored(out)}
    for check in (False, True):
        again = sync(out, uri, check=check)
        assert (again.mirrored, again.unchanged, again.problems) == ([], 2, [])
    shutil.rmtree(out / ".mlflow")
    again = sync(out, uri)
    assert (again.mirrored, again.unchanged) == ([], 2)
    assert {run.info.run_id for run in mirrored(out)} == before


def test_a_new_picture_or_count_is_shown_in_its_place(out: Path) -> None:
    path, uri = keep(out), default_uri(out)
    key = f"grounding:{path.stem}"
    sync(out, uri)
    first = shown(out)[key]
    draw(path, "boxes", b"drawn again")
    draw(path, "heights", b"a third")
    assert sync(out, uri).mirrored == [key]
    run = shown(out)[key]
    found = artifacts(out, run)
    assert (found["figures/boxes.png"], found["figures/heights.png"]) == (
        b"drawn again",
        b"a third",
    )
    more = COUNTS.model_copy(update={"replaced": 9})
    keep(out, parts={"head": more, "upper": COUNTS, "legs": COUNTS}, device="NVIDIA H200")
    sync(out, uri)
    run = shown(out)[key]
    assert run.info.run_id == first.info.run_id
    assert run.data.metrics["head/replaced"] == 9 and history(out, run, "head/replaced") == [7, 9]
    assert history(out, run, "legs/replaced") == [7]
    assert run.data.tags["device"] == "NVIDIA H200"
    assert artifacts(out, run)[path.name] == path.read_bytes()


def test_other_options_are_another_run_in_its_stead(out: Path) -> None:
    path, uri = keep(out), default_uri(out)
    key = f"grounding:{path.stem}"
    sync(out, uri)
    first = shown(out)[key].info.run_id
    keep(out, options={"rule": "centre"})
    sync(out, uri)
    run = shown(out)[key]
    assert run.info.run_id != first
    assert run.data.params["options.rule"] == "centre"
    assert sync(out, uri, check=True).mirrored == []


def test_only_groundings_or_runs_that_are_asked_for(out: Path) -> None:
    one, other = keep(out), keep(out, "MS")
    training, uri = make_training(out, make_spec()), default_uri(out)
    assert sync(out, uri, [training.run_id]).mirrored == [training.run_id]
    assert sync(out, uri, (), groundings=[other.stem]).mirrored == [f"grounding:{other.stem}"]
    assert sync(out, uri).mirrored == [f"grounding:{one.stem}"]
    assert len(shown(out)) == 3


def test_a_damaged_record_or_a_copy_is_named_and_the_rest_is_shown(out: Path) -> None:
    good, torn = keep(out), keep(out, "MS")
    torn.write_text('{"version": 1')
    copy = good.with_name(f"D-{good.name.partition('-')[2]}")
    shutil.copy(good, copy)
    odd = keep(out, "C3", created_at="yesterday")
    for _ in range(2):
        problems = "\n".join(sync(out, default_uri(out)).problems)
        assert problems.count("\n") == 2
        for path in (torn, copy, odd):
            assert str(path) in problems
        assert list(shown(out)) == [f"grounding:{good.stem}"]


def test_one_that_mlflow_refuses_does_not_hold_up_the_others(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, training = keep(out), make_training(out, make_spec())
    with monkeypatch.context() as patch:
        patch.setattr(ground_mirror, "params", lambda asked: {"a=b": "1"})
        (problem,) = sync(out, default_uri(out)).problems
    assert str(path) in problem and "refused" in problem
    assert list(shown(out)) == [training.run_id]
    assert sync(out, default_uri(out)).mirrored == [f"grounding:{path.stem}"]


class Killed(BaseException):
    """Like a kill: nothing may catch it."""


CALLS = ("create_run", "log_batch", "log_artifact", "set_terminated", "set_tag")


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("grown", [False, True])
def test_killed_anywhere_then_again(
    out: Path, monkeypatch: pytest.MonkeyPatch, call: str, after: bool, grown: bool
) -> None:
    """The process ends before or after the first call of each kind, on a record new or changed."""
    from mlflow import MlflowClient

    path = keep(out)
    if grown:
        sync(out, default_uri(out))
        path = keep(out, damaged=2)
        draw(path, "boxes", b"drawn again")
    real = getattr(MlflowClient, call)

    def dying(*args: Any, **kwargs: Any) -> Any:
        if after:
            real(*args, **kwargs)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, call, dying)
        if (call, grown) != ("create_run", True):  # nothing is made where something is
            with pytest.raises(Killed):
                sync(out, default_uri(out))
    sync(out, default_uri(out))
    run = shown(out)[f"grounding:{path.stem}"]
    assert history(out, run, "damaged") == [1, 2][: 1 + grown]
    picture = b"drawn again" if grown else b"a picture"
    assert artifacts(out, run)["figures/boxes.png"] == picture
    assert artifacts(out, run)[path.name] == path.read_bytes()
    assert sync(out, default_uri(out), check=True).mirrored == []


@pytest.mark.parametrize("new", [True, False])
def test_a_record_made_again_meanwhile_is_not_taken_for_the_old_one(
    out: Path, monkeypatch: pytest.MonkeyPatch, new: bool
) -> None:
    from mlflow import MlflowClient

    path = keep(out)
    if not new:
        sync(out, default_uri(out))
        draw(path, "boxes", b"drawn again")
    real = MlflowClient.log_artifact

    def slow(self: Any, run_id: str, local: str, *more: str) -> None:
        if local.endswith("masks.png"):
            draw(path, "masks", b"meanwhile")
        real(self, run_id, local, *more)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifact", slow)
        (problem,) = sync(out, default_uri(out)).problems
    assert "sync once more" in problem
    assert sync(out, default_uri(out)).problems == []
    run = shown(out)[f"grounding:{path.stem}"]
    assert artifacts(out, run)["figures/masks.png"] == b"meanwhile"


def test_four_processes_at_once(out: Path, forks: Forks) -> None:
    paths = [keep(out, key) for key in ("MA", "MS", "C3")]
    copy = out.with_name("copy")
    shutil.copytree(out, copy, ignore=shutil.ignore_patterns("mlflow.db", ".mlflow"))
    uri = default_uri(out)
    jobs = [{"out": str(where), "uri": uri} for where in (out, copy, out, copy)]
    assert forks(jobs) == [0] * 4
    runs = shown(out)
    assert set(runs) == {f"grounding:{path.stem}" for path in paths}
    assert all(history(out, run, "images") == [100] for run in runs.values())


def test_nothing_heavy_is_imported_when_nothing_is_new(out: Path, tmp_path: Path) -> None:
    keep(out)
    sync(out, default_uri(out))
    code = f"""
        import sys
        from pathlib import Path
        from harness.tracking import default_uri, sync
        out = Path({str(out)!r})
        done = sync(out, default_uri(out))
        heavy = {{"mlflow", "torch", "pandas", "pydantic"}} & set(sys.modules)
        print(done.unchanged, sorted(heavy))
    """
    assert run_python(code, tmp_path).stdout == "1 []\n"


def test_what_is_drawn_is_mirrored_by_sync(out: Path, harness: Any) -> None:
    path = keep(out)
    status, printed = harness("sync", "--out", out)
    assert status == 0 and "1 mirrored, 0 up to date" in printed
    assert json.loads(artifacts(out, shown(out)[f"grounding:{path.stem}"])[path.name])
