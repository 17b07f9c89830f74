"""Records made by hand, and what MLflow shows of them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import mirror, record
from harness.config import RunSpec
from harness.files import file_digest
from harness.quiet import quiet
from harness.record import RunFolder, RunRecord, TargetRecord
from harness.tracking import default_uri

Forks = Callable[[Sequence[Mapping[str, Any]]], list[int]]
"""Runs the jobs of forks.py; returns their exit statuses."""
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


def client(uri: str) -> Any:
    with quiet():
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=uri)


def mirrored(out: Path) -> list[Any]:
    """Every MLflow run that is not deleted: targets by name, then all others by name."""
    store = client(default_uri(out))
    experiment = store.get_experiment_by_name("dg-reid")
    assert experiment is not None
    runs = store.search_runs([experiment.experiment_id])
    return sorted(runs, key=lambda run: (run.data.tags["kind"] != "target", run.info.run_name))


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
