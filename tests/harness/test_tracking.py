"""The MLflow mirror, against a real SQLite store, from records made by hand."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import mirror, mlflow_store, record, tracking
from harness.config import RunSpec
from harness.files import file_digest
from harness.record import RunFolder, RunRecord, TargetRecord
from harness.tracking import TrackingUnavailable, default_uri, sync
from protocols.errors import ReIDError

FINISHED = "2026-01-02T03:04:05+00:00"
FINISHED_MS = 1767323045000
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ENVIRONMENT = {"git_commit": COMMIT, "threads": 2}
METRICS = {"mAP": 0.25, "rank1": 0.5, "rank5": 0.75, "rank10": 0.875, "mINP": 0.125,
           "valid_queries": 40, "skipped_queries": 2}  # fmt: skip


def make_spec(seed: int = 0, sources: tuple[str, ...] = ("MA", "D"), **config: Any) -> RunSpec:
    return RunSpec(
        method="vision-only",
        method_version="1",
        preset="tiny",
        config={"epochs": 2, "milestones": [1, 2], "erase": 0.5, "fidelity": "printed", **config},
        weights=(),
        sources={source: f"print-{source}" for source in sources},
        source_images="train",
        seed=seed,
        precision="fp32",
    )


def make_training(
    out: Path, spec: RunSpec, *, loss: float = 2.0, epochs: int = 2, finished: str = FINISHED
) -> RunFolder:
    """The files a finished training leaves."""
    folder = RunFolder(out, spec.id)
    history = [
        {
            "stage": "identity",
            "epoch": epoch,
            "lr_factor": 1.0,
            "losses": {"id": loss / epoch, "contrastive": 1.0},
            "images": 64,
            "seconds": 2.0,
            "finished_at": FINISHED_MS / 1000 - 2.0 * (epochs - epoch),
        }
        for epoch in range(1, epochs + 1)
    ]
    record.write_text(folder.spec, spec.model_dump_json(indent=1))
    done = RunRecord(
        run_id=spec.id,
        spec=spec,
        data="stand-in",
        source_counts={source: {"images": 10, "identities": 3} for source in spec.sources},
        source_notes={"MA": ["version stand-in", "drawn, not photographed"]},
        history=history,
        parameters={"all": 1234, "trainable": 1000},
        model_sha256=None,
        seconds=2.0 * epochs,
        interruptions=1,
        environment=ENVIRONMENT,
        finished_at=finished,
    )
    record.write(folder.run, done)
    return folder


def make_target(folder: RunFolder, name: str, *, mean_ap: float = 0.25) -> None:
    """The files a finished target leaves."""
    folder.targets.mkdir(exist_ok=True)
    folder.queries(name).write_bytes(b"PAR1 queries PAR1")
    done = TargetRecord(
        run_id=folder.run_id,
        target=name,
        target_version="stand-in",
        fingerprint=f"print-{name}",
        data="stand-in",
        notes=[],
        metrics={**METRICS, "mAP": mean_ap},
        cmc=[0.5, 0.75],
        probes=[{"name": "0", **METRICS}],
        images=80,
        queries_sha256=file_digest(folder.queries(name)),
        seconds=3.0,
        environment=ENVIRONMENT,
        finished_at=FINISHED,
    )
    record.write(folder.target(name), done)


@pytest.fixture(scope="module", autouse=True)
def _without_waiting_for_the_disk() -> Iterator[None]:
    from sqlalchemy import Engine, event

    def careless(*args: Any) -> None:
        mlflow_store._careless(*args)

    event.listen(Engine, "connect", careless)
    yield
    event.remove(Engine, "connect", careless)


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow takes a second to make one; the tests that don't look at that share this."""
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    with mlflow_store._quiet():
        mlflow_store._make_database(path, f"sqlite:///{path}", path.parent.as_uri())
    return path


@pytest.fixture
def out(tmp_path: Path, empty_database: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    shutil.copyfile(empty_database, folder / "mlflow.db")
    return folder


@pytest.fixture
def training(out: Path) -> RunFolder:
    """One training with two targets."""
    folder = make_training(out, make_spec())
    make_target(folder, "MS")
    make_target(folder, "C3")
    return folder


def client(uri: str) -> Any:
    with mlflow_store._quiet():
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=uri)


def mirrored(out: Path) -> list[Any]:
    """Every MLflow run that is not deleted, by name."""
    store = client(default_uri(out))
    experiment = store.get_experiment_by_name("dg-reid")
    assert experiment is not None
    return sorted(store.search_runs([experiment.experiment_id]), key=lambda run: run.info.run_name)


def assert_whole(out: Path, *keys: str) -> None:
    """Each key once, whole, finished, below its training; nothing else."""
    runs = mirrored(out)
    by_key = {run.data.tags["harness.key"]: run for run in runs}
    assert Counter(run.data.tags["harness.key"] for run in runs) == Counter(keys)
    for key, run in by_key.items():
        assert run.info.status == "FINISHED"
        assert run.data.tags["harness.mirrored"]
        assert run.data.metrics
        store = client(default_uri(out))
        assert len(store.list_artifacts(run.info.run_id)) == 2
        parent = by_key[key.partition("/")[0]].info.run_id if "/" in key else None
        assert run.data.tags.get("mlflow.parentRunId") == parent


def test_a_training_shows_config_losses_and_origin(out: Path, training: RunFolder) -> None:
    sync(out, default_uri(out))
    run = mirrored(out)[-1]
    assert run.info.run_name == "vision-only MA+D seed 0"
    assert run.data.params == {
        "epochs": "2",
        "milestones": "[1, 2]",
        "erase": "0.5",
        "fidelity": "printed",
    }
    tags = {k: v for k, v in run.data.tags.items() if not k.startswith(("harness.", "mlflow."))}
    assert tags == {
        "kind": "training",
        "method": "vision-only",
        "method_version": "1",
        "preset": "tiny",
        "seed": "0",
        "precision": "fp32",
        "fold": "MA+D",
        "fidelity": "printed",
        "data": "stand-in",
        "sources": "MA, D",
        "source_images": "train",
        "fingerprints": "MA print-MA, D print-D",
        "interruptions": "1",
        "git_commit": COMMIT,
    }
    assert run.data.tags["harness.run_id"] == training.run_id
    assert run.data.tags["mlflow.source.git.commit"] == COMMIT
    assert "MA: drawn, not photographed" in run.data.tags["mlflow.note.content"]
    assert run.data.metrics["parameters"] == 1234
    assert run.data.metrics["parameters_trainable"] == 1000
    assert run.data.metrics["train_seconds"] == 4.0
    assert (run.info.start_time, run.info.end_time) == (FINISHED_MS - 4000, FINISHED_MS)

    history = client(default_uri(out)).get_metric_history(run.info.run_id, "identity/id")
    assert [(m.step, m.value, m.timestamp) for m in history] == [
        (1, 2.0, FINISHED_MS - 2000),
        (2, 1.0, FINISHED_MS),
    ]


def test_a_target_shows_its_metrics_below_its_training(out: Path, training: RunFolder) -> None:
    sync(out, default_uri(out))
    target, _, parent = mirrored(out)
    assert target.info.run_name == "MA+D->C3"
    assert target.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert target.data.metrics == {**METRICS, "seconds": 3.0, "images": 80}
    expected = {"protocol": "MA+D->C3", "target": "C3", "target_version": "stand-in",
                "fingerprint": "print-C3", "preset": "tiny", "data": "stand-in", "seed": "0",
                "git_commit": COMMIT, "kind": "target"}  # fmt: skip
    assert expected.items() <= target.data.tags.items()
    assert (target.info.start_time, target.info.end_time) == (FINISHED_MS - 3000, FINISHED_MS)


def test_records_can_be_downloaded_and_lie_below_out(
    out: Path, training: RunFolder, tmp_path: Path
) -> None:
    sync(out, default_uri(out))
    target, _, parent = mirrored(out)
    store = client(default_uri(out))
    for run, files in (
        (parent, [training.spec, training.run]),
        (target, [training.target("C3"), training.queries("C3")]),
    ):
        for file in files:
            fetched = store.download_artifacts(run.info.run_id, file.name, str(tmp_path))
            assert Path(fetched).read_bytes() == file.read_bytes()
        assert run.info.artifact_uri.startswith((out / "mlflow-artifacts").as_uri())


def test_names_of_group_rows_are_those_of_the_tables(out: Path) -> None:
    folder = make_training(out, make_spec(sources=("MA",)))
    make_target(folder, "MA")
    sync(out, default_uri(out))
    assert mirrored(out)[0].info.run_name == "source-domain->MA"


def test_long_values_are_cut_where_one_sees_it() -> None:
    cut = mirror.params({"names": {"all": "x" * 9000}, "none": None, "empty": {}})
    assert cut.keys() == {"names.all", "none", "empty"}
    assert len(cut["names.all"]) == mirror.MAX_TEXT
    assert cut["names.all"].endswith(
        "[cut: 9000 characters, all of them in the JSON among the artifacts]"
    )
    assert (cut["none"], cut["empty"]) == ("null", "{}")


def test_many_values_and_strange_names_arrive(out: Path) -> None:
    config = {f"key{i}": i for i in range(150)} | {"loss@k=1": 1}
    folder = make_training(out, make_spec(**config), epochs=700)
    sync(out, default_uri(out))
    (run,) = mirrored(out)
    assert len(run.data.params) == 155
    assert run.data.params["loss_k_1"] == "1"
    history = client(default_uri(out)).get_metric_history(run.info.run_id, "identity/contrastive")
    assert [m.step for m in history] == list(range(1, 701))
    assert folder.run.exists()


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


def test_a_new_target_joins_its_training(out: Path, training: RunFolder) -> None:
    sync(out, default_uri(out))
    make_target(training, "VIPeR")
    run = training.run_id
    assert sync(out, default_uri(out)).mirrored == [f"{run}/VIPeR"]
    assert_whole(out, run, f"{run}/C3", f"{run}/MS", f"{run}/VIPeR")


def test_only_the_runs_asked_for(out: Path, training: RunFolder) -> None:
    other = make_training(out, make_spec(seed=1))
    sync(out, default_uri(out), run_ids=[other.run_id])
    assert_whole(out, other.run_id)
    assert other.run_id not in sync(out, default_uri(out)).mirrored


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
    real = mirror._name
    monkeypatch.setattr(mirror, "_name", lambda text: "a=b" if text == "mAP" else real(text))
    (problem,) = sync(out, default_uri(out)).problems
    assert training.run_id in problem
    assert other.run_id in {run.data.tags["harness.key"] for run in mirrored(out)}


def run_python(code: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(mirror.__file__).parents[1]), **more}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=cwd,
        env=environment,
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )


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


def test_two_processes_at_once(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    folders = [make_training(out, make_spec(seed=seed)) for seed in range(3)]
    for folder in folders:
        make_target(folder, "C3")
    code = (
        "import sys; from pathlib import Path; from harness.tracking import *\n"
        "out = Path(sys.argv[1]); sync(out, default_uri(out))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(mirror.__file__).parents[1])}
    command = [sys.executable, "-c", code, str(out)]
    running = [subprocess.Popen(command, env=environment) for _ in range(2)]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    assert_whole(out, *(key for f in folders for key in (f.run_id, f"{f.run_id}/C3")))


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as held:  # bound but not listening: nobody else gets it, none can connect
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_a_server_that_is_away(out: Path, training: RunFolder, closed_port: int) -> None:
    started = time.perf_counter()
    with pytest.raises(TrackingUnavailable) as caught:
        sync(out, f"http://me:secret@127.0.0.1:{closed_port}")
    assert time.perf_counter() - started < 8
    server = f"http://***@127.0.0.1:{closed_port}"
    assert str(caught.value) == (
        f"The tracking server {server} is not reachable (Connection refused). The records in {out} "
        f"are complete; `harness sync --out {out} --tracking '{server}'` brings it up to date."
    )
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ
    assert len(sync(out, default_uri(out)).mirrored) == 3


def test_a_file_that_is_no_database(out: Path, training: RunFolder) -> None:
    (out / "mlflow.db").write_bytes(b"these are no tables, and more of them " * 50)
    started = time.perf_counter()
    with pytest.raises(TrackingUnavailable, match=r"can't be used .file is not a database"):
        sync(out, default_uri(out))
    assert time.perf_counter() - started < 8


@pytest.mark.parametrize(
    "uri", ["postgresql://me:secret@127.0.0.1/none", "foo://me:secret@bar", "./mlruns", "nothing"]
)
def test_stores_that_cannot_be_used(out: Path, training: RunFolder, uri: str) -> None:
    with pytest.raises(TrackingUnavailable, match=r"can't be used .*records .* are complete") as e:
        sync(out, uri)
    assert "secret" not in str(e.value)


def test_without_mlflow(out: Path, training: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == "mlflow"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(TrackingUnavailable, match=r"pip install mlflow.*records .* are complete"):
        sync(out, default_uri(out))


def test_off_and_nothing_there(tmp_path: Path) -> None:
    make_training(tmp_path / "runs", make_spec())
    assert sync(tmp_path / "runs", "off") == tracking.SyncResult()
    assert not (tmp_path / "runs" / ".mlflow").exists()
    assert sync(tmp_path / "none", default_uri(tmp_path)) == tracking.SyncResult()
    assert not (tmp_path / "none").exists()


def test_a_relative_database_is_one_database(
    out: Path, training: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(out)
    assert len(sync(Path(), "sqlite:///mlflow.db").mirrored) == 3
    assert sync(out, default_uri(out)).unchanged == 3


def test_ui_listens_on_loopback_alone(out: Path) -> None:
    command = tracking.ui_command(out, default_uri(out), 5055)
    assert command[: command.index("--host")] == [sys.executable, "-m", "mlflow", "server"]
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "5055"
    assert default_uri(out) in command


def test_ui_says_what_is_wrong(out: Path) -> None:
    with pytest.raises(ReIDError, match="no MLflow database at"):
        tracking.ui(out / "none", default_uri(out / "none"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ReIDError, match=f"Port {port} of 127.0.0.1 can't be used"):
            tracking.ui(out, default_uri(out), port)
    said: list[str] = []
    assert tracking.ui(out, "https://me:secret@mlflow.example", say=said.append) == 0
    assert "secret" not in said[0]
