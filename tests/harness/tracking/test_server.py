"""A real MLflow server on a real PostgreSQL: away, back, killed, asked by several at once."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from by_hand import METRICS, Forks, client, make_spec, make_target, make_training

from harness import plans, quiet
from harness.tracking import TrackingUnavailable, sync

USER = "nobody" if os.geteuid() == 0 else None
"""PostgreSQL refuses to be run by root."""


def die_with_parent() -> None:
    """So that nothing is left where the tests themselves are killed."""
    with suppress(AttributeError):  # Linux has it
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


@contextmanager
def running(command: list[str], log: Path, stop: signal.Signals, **more: Any) -> Iterator[Any]:
    """A process in a session of its own, ended at the end with all that it has started."""
    with log.open("ab") as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=said, start_new_session=True,
            preexec_fn=die_with_parent, **more,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(stop)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> bool:
    """Whether it gets ready before it ends; a minute is more than any machine needs."""
    for _ in range(600):
        if ready():
            return True
        if process.poll() is not None:
            return False
        time.sleep(0.1)
    return False


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URI of an empty PostgreSQL database that only a socket in a folder leads to."""
    pytest.importorskip("psycopg2")
    for program in ("initdb", "postgres"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} here")
    # not below pytest's own folders, where another user may not look
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    try:
        if USER:
            shutil.chown(folder, USER)
        data = folder / "data"
        made = subprocess.run(
            ["initdb", "-D", str(data), "-U", "reid", "--auth=trust", "--no-sync", "-E", "UTF8"],
            user=USER, cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if made.returncode:
            pytest.skip(f"initdb does not work here: {made.stderr[-300:]}")
        options = ["-c", "listen_addresses=", "-c", "fsync=off", "-k", str(folder)]
        with running(
            ["postgres", "-D", str(data), *options], folder.with_suffix(".log"), signal.SIGINT,
            user=USER, cwd=folder,
        ) as process:  # fmt: skip
            if not wait_for(lambda: (folder / ".s.PGSQL.5432").exists(), process):
                pytest.skip(f"postgres does not start here: {folder.with_suffix('.log')}")
            yield f"postgresql://reid@/postgres?host={folder}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_suffix(".log").unlink(missing_ok=True)


class Server:
    """An MLflow server that can be started, killed and started again on the same data."""

    def __init__(self, database: str, folder: Path) -> None:
        self.port, self.log = free_port(), folder / "server.log"
        self.uri = f"http://127.0.0.1:{self.port}"
        self.command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"),
            *("--port", str(self.port), "--workers", "1", "--backend-store-uri", database),
            *("--artifacts-destination", str(folder / "artifacts")),
        ]

    @contextmanager
    def up(self) -> Iterator[subprocess.Popen[bytes]]:
        """Let it run."""
        environment = {
            **os.environ,
            **quiet.ENVIRONMENT,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        with running(self.command, self.log, signal.SIGTERM, env=environment) as process:
            assert wait_for(self.answers, process), self.log.read_text(encoding="utf-8")[-3000:]
            yield process

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False


def test_each_run_once_whatever_happens_to_the_server(
    tmp_path: Path, postgres: str, forks: Forks
) -> None:
    out, copy = tmp_path / "runs", tmp_path / "copy"
    ids = [make_spec(seed=seed).id for seed in range(6)]
    for seed in range(6):
        make_target(make_training(out, make_spec(seed=seed)), "C3")
    plan = plans.remember(out, ids, kind="plan", command="", methods=["vision-only"],
                          protocol="all", seeds=range(6)).id  # fmt: skip
    shutil.copytree(out, copy)
    server = Server(postgres.replace("postgresql:", "postgresql+psycopg2:"), tmp_path)

    jobs = [{"out": str(folder), "uri": server.uri} for folder in (out, copy)]

    with pytest.raises(TrackingUnavailable, match="not reachable"):
        sync(out, server.uri)
    with server.up() as process:
        killer = threading.Thread(target=kill_at, args=(process, postgres, 4))
        killer.start()
        assert 2 in forks(jobs)
        killer.join()
    with server.up():
        # nothing keeps those who mirror two folders apart; one may have to be told to come again
        forks(jobs)
        for folder in (out, copy):
            assert sync(folder, server.uri, check=True).problems == []
        again = sync(out, server.uri, check=True)
        assert (again.mirrored, again.plans, again.unchanged) == ([], [], 12)
        assert_each_once(server.uri, ids, plan)


def kill_at(process: subprocess.Popen[bytes], database: str, count: int) -> None:
    """Kill a server with all its processes once its database holds so many runs."""
    import psycopg2

    with closing(psycopg2.connect(database)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        for _ in range(10_000):
            cursor.execute("SELECT count(*) FROM runs")
            if cursor.fetchone()[0] >= count:
                break
            time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)


def assert_each_once(uri: str, ids: list[str], plan: str) -> None:
    """The plan, every training and every target once, finished, each value once."""
    store = client(uri)
    experiment = store.get_experiment_by_name("dg-reid").experiment_id
    runs = store.search_runs([experiment])
    by_key = {run.data.tags["harness.key"]: run for run in runs}
    assert len(runs) == len(by_key)
    assert by_key.keys() == {f"plan:{plan}", *ids, *(f"{run}/C3" for run in ids)}
    for key, run in by_key.items():
        assert run.info.status == "FINISHED"
        above = by_key[key.partition("/")[0]] if "/" in key else by_key[f"plan:{plan}"]
        parent = None if above is run else above.info.run_id
        assert run.data.tags.get("mlflow.parentRunId") == parent
        names = list(METRICS) if "/" in key else list(run.data.metrics)
        assert names
        for name in names:
            values = store.get_metric_history(run.info.run_id, name)
            assert len(values) == (2 if name.startswith("identity/") else 1)
