"""Stores and records for the tests of the MLflow mirror."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

# pytest finds no neighbours of a test file in this mode
sys.path.append(str(Path(__file__).parent))
from by_hand import (
    Forks,
    make_spec,
    make_target,
    make_training,
)

from harness import mlflow_store
from harness.quiet import quiet
from harness.record import RunFolder


@pytest.fixture(scope="module", autouse=True)
def _without_waiting_for_the_disk() -> Iterator[None]:
    from sqlalchemy import Engine, event

    def careless(*args: Any) -> None:
        mlflow_store._careless(*args)

    event.listen(Engine, "connect", careless)
    yield
    event.remove(Engine, "connect", careless)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow takes a second to make one; the tests that don't look at that share this."""
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    with quiet():
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


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Processes of their own that sync, several at a time."""
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("forks.py"))],
        env={**os.environ, "PYTHONPATH": str(Path(mlflow_store.__file__).parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def fork(jobs: Sequence[Mapping[str, Any]]) -> list[int]:
            assert process.stdin and process.stdout
            process.stdin.write(json.dumps(list(jobs)) + "\n")
            process.stdin.flush()
            return list(json.loads(process.stdout.readline()))

        yield fork
