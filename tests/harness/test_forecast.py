"""`harness run --dry-run`: what is left of a plan, how long it takes, how much disk."""

import io
import json
import os

import pytest
from rich.console import Console

from harness import forecast
from harness.catalog import DataCatalog
from harness.files import file_digest
from harness.forecast import show_plan
from harness.live import LiveRun
from harness.pending import work
from harness.plan import choose, plan
from harness.record import RunFolder
from harness.settings import Settings
from harness.train import epoch_units
from protocols.registry import select

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def catalog(standins):
    return DataCatalog(standins)


@pytest.fixture
def planned(catalog):
    """Trainings on MA and on D with two seeds each, each tested on the other and on MS."""
    chosen = choose(["vision-only"], "tiny", {"epochs": 4})
    return plan(chosen, select("MA->D,MA->MS,D->MA,D->MS"), [0, 1], catalog)


def images_of(one, catalog):
    return sum(len(catalog.source(s, "train").images) for s in one.fold.sources)


def finish(one, catalog, out, seconds=0.0, targets=None, testing=0.0, method=None):
    """The files of a finished run whose training took `seconds` a unit, a test `testing`."""
    folder = RunFolder(out, one.spec.id)
    folder.targets.mkdir(parents=True)
    folder.model.write_bytes(b"\0" * MEGABYTE)
    images, epochs = images_of(one, catalog), one.config.epochs
    spec = {**one.spec.model_dump(mode="json"), "method": method or one.spec.method}
    history = [{"stage": "identity", "epoch": e, "seconds": 0} for e in range(epochs)]
    run = {"spec": spec, "source_counts": {"MA": {"images": images}}, "history": history,
           "seconds": seconds * epoch_units(images) * epochs}  # fmt: skip
    folder.run.write_text(json.dumps(run))
    for target in one.fold.targets if targets is None else targets:
        folder.queries(target).write_text(target)
        tested = len(catalog.target_paths(target))
        record = {
            "record_version": 1, "fingerprint": catalog.target_fingerprint(target),
            "queries_sha256": file_digest(folder.queries(target)),
            "images": tested, "seconds": testing * tested,
        }  # fmt: skip
        folder.target(target).write_text(json.dumps(record))


def interrupt(one, out, seconds):
    """The checkpoint of a training that was stopped after its second epoch."""
    path = RunFolder(out, one.spec.id).checkpoints / "epoch-00002" / "checkpoint.json"
    path.parent.mkdir(parents=True)
    history = [{"stage": "identity", "epoch": e, "seconds": seconds / 2} for e in (1, 2)]
    path.write_text(json.dumps({"history": history}))


def shown(planned, catalog, out, slots=1, **settings):
    printed = io.StringIO()
    show_plan(planned, catalog, Settings(out, **settings), slots, Console(file=printed, width=80))
    return printed.getvalue()


def line(text, begin):
    return next(line for line in text.splitlines() if line.strip().startswith(begin))


def test_the_state_of_every_run(planned, catalog, tmp_path):
    done, half, resumed, failed = planned
    finish(done, catalog, tmp_path)
    finish(half, catalog, tmp_path, targets=["MS"])
    interrupt(resumed, tmp_path, 3)
    RunFolder(tmp_path, failed.spec.id).path.mkdir()
    RunFolder(tmp_path, failed.spec.id).failed.write_text("{}")
    before = sorted(tmp_path.rglob("*"))
    text = shown(planned, catalog, tmp_path, slots=3)
    row = line(text, done.spec.id).split(maxsplit=4)
    assert row[:4] == [done.spec.id, "vision-only", "MA", "0"]
    assert row[4].rstrip() == "D, MS     done"
    assert line(text, half.spec.id).rstrip().endswith("1 of 2 targets left")
    assert line(text, resumed.spec.id).rstrip().endswith("resumes after identity 2")
    assert line(text, failed.spec.id).rstrip().endswith("to do, failed before")
    assert line(text, "4 runs") == (
        "4 runs: 1 done, 1 to test, 1 resumes, 1 to do. "
        "2 trainings and 5 tests to compute, 3 at a time."
    )
    assert sorted(tmp_path.rglob("*")) == before, "nothing is written"
    forced = shown(planned, catalog, tmp_path, force=True)
    assert "done, to do again" in line(forced, done.spec.id)
    assert "4 trainings and 8 tests to compute" in forced


def test_a_run_that_somebody_computes_is_said_to_be_running(planned, catalog, tmp_path):
    folder = RunFolder(tmp_path, planned[0].spec.id).path
    interrupt(planned[0], tmp_path, 3)
    with LiveRun(folder, planned[0].title, "vision-only", "MA", 0, 100.0):
        text = shown(planned, catalog, tmp_path)
        assert f"running (process {os.getpid()} on " in line(text, planned[0].spec.id)
    assert "resumes" in shown(planned, catalog, tmp_path)


def test_all_done_needs_no_estimate(planned, catalog, tmp_path):
    finish(planned[0], catalog, tmp_path)
    text = shown(planned[:1], catalog, tmp_path)
    assert "1 run: 1 done." in text and "Time" not in text and "Disk" not in text


def seconds_of(one, catalog, out, train, test):
    tested = sum(len(catalog.target_paths(t)) for t in one.fold.targets)
    return (work(one, catalog, out) - tested) * train + tested * test


@pytest.mark.parametrize("slots", [1, 2, 8])
def test_time_is_that_of_finished_runs_of_the_method(planned, catalog, tmp_path, slots):
    done, *left = planned
    finish(done, catalog, tmp_path, seconds=0.5, testing=2.0)
    each = [seconds_of(one, catalog, tmp_path, 0.5, 2.0) for one in left]
    interrupt(left[0], tmp_path, seconds=600)
    each[0] -= 600
    free = [0.0] * slots
    for one in each:
        free[free.index(min(free))] += one
    said = line(shown(planned, catalog, tmp_path, slots), "Time")
    assert said == f"Time: about {forecast.duration(max(free))}, judging by 1 finished run."


def test_another_method_will_do_where_there_is_none_of_the_same(planned, catalog, tmp_path):
    done, left = planned[:2]
    finish(done, catalog, tmp_path, seconds=0.5, testing=2.0, method="clip-reid-not-here")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.json").write_text("{")
    text = shown([left], catalog, tmp_path)
    assert "a rough guess" in text, "nobody knows what that method does in an epoch"
    finish(planned[2], catalog, tmp_path, seconds=1.0, testing=4.0, method="muva")
    # vision-only has as many epochs as this muva was given
    run = RunFolder(tmp_path, planned[2].spec.id).run
    config = {"epochs": planned[2].config.epochs, "language": False}
    values = json.loads(run.read_text())
    values["spec"]["config"] = config
    run.write_text(json.dumps(values))
    about = forecast.duration(seconds_of(left, catalog, tmp_path, 1.0, 4.0))
    assert line(shown([left], catalog, tmp_path), "Time") == (
        f"Time: about {about}, judging by 1 finished run, some of them of other methods."
    )


def test_without_any_finished_run_a_guess_is_called_one(planned, catalog, tmp_path):
    said = line(shown(planned, catalog, tmp_path / "none"), "Time")
    assert said.startswith("Time: no finished run to estimate from yet; a rough guess is ")
    assert not (tmp_path / "none").exists()


def test_disk_is_models_and_checkpoints_of_what_runs_at_once(
    planned, catalog, tmp_path, monkeypatch
):
    done, *left = planned
    finish(done, catalog, tmp_path)
    said = line(shown(planned, catalog, tmp_path, slots=2), "Disk")
    # two checkpoints and one being written, each of weights and two moments, for each of two runs
    assert "about 3.0 MB for 3 models, and up to 18.0 MB of checkpoints" in said
    assert "NOT ENOUGH" not in said
    monkeypatch.setattr(forecast.shutil, "disk_usage", lambda path: type("D", (), {"free": 1})())
    assert "THAT IS NOT ENOUGH" in line(shown(planned, catalog, tmp_path), "Disk")
    for one in left:
        finish(one, catalog, tmp_path, targets=[])
    assert "no model is trained" in line(shown(planned, catalog, tmp_path), "Disk")


def test_a_first_model_is_as_large_as_its_weights(planned, catalog, tmp_path):
    (weights,) = planned[0].method.weights_files(planned[0].config)
    size = forecast.decimal(4 * weights.stat().st_size)
    assert f"about {size} for 4 models" in line(shown(planned, catalog, tmp_path), "Disk")


def test_finished_runs_whose_models_were_removed_are_no_trouble(planned, catalog, tmp_path):
    finish(planned[0], catalog, tmp_path, seconds=0.01)
    RunFolder(tmp_path, planned[0].spec.id).model.unlink()
    assert "judging by 1 finished run" in shown(planned, catalog, tmp_path)


def test_a_long_plan_is_cut(planned, catalog, tmp_path, monkeypatch):
    monkeypatch.setattr(forecast, "SHOWN", 3)
    text = shown(planned, catalog, tmp_path)
    assert "... and 1 more." in text and planned[3].spec.id not in text
    assert "4 runs: 4 to do. 4 trainings and 8 tests" in text
