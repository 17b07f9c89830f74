"""Stores that are away or can't be used, and the pages of those that can."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from by_hand import (
    make_spec,
    make_training,
)

from harness import tracking
from harness.record import RunFolder
from harness.tracking import TrackingUnavailable, default_uri, sync
from protocols.errors import ReIDError


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
