"""Many processes, one SQLite store: each run once, each value once, whoever is killed."""

from __future__ import annotations

import shutil
import signal
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from by_hand import METRICS, Forks, make_spec, make_target, make_training

from harness import plans
from harness.tracking import default_uri, sync

SPECS = [make_spec(seed=seed) for seed in range(8)]
ONCE = ("train_seconds", "parameters", "parameters_trainable")
EPOCHS = ("identity/id", "identity/contrastive", "identity/lr_factor")


def records(out: Path) -> tuple[list[str], str]:
    """Eight trainings with a target each; ids, and that of the plan that lists them all."""
    for spec in SPECS:
        make_target(make_training(out, spec), "C3")
    ids = [spec.id for spec in SPECS]
    plan = plans.remember(out, ids, kind="plan", command="", methods=["vision-only"],
                          protocol="all", seeds=range(8))  # fmt: skip
    return ids, plan.id


def ask(out: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(out / "mlflow.db")) as connection:
        return connection.execute(query).fetchall()


def assert_each_once(out: Path, ids: Sequence[str], plan: str) -> None:
    """The plan, every training below it, every target below its training; every value once."""
    runs = {
        run: key
        for run, key, status in ask(
            out,
            "SELECT r.run_uuid, t.value, r.status FROM runs r JOIN tags t"
            " ON t.run_uuid = r.run_uuid AND t.key = 'harness.key'"
            " WHERE r.lifecycle_stage = 'active'",
        )
        if status == "FINISHED"
    }
    assert ask(out, "SELECT count(*) FROM runs WHERE lifecycle_stage = 'active'") == [(len(runs),)]
    targets = [f"{run}/C3" for run in ids]
    assert Counter(runs.values()) == Counter([f"plan:{plan}", *ids, *targets])
    up = dict(ask(out, "SELECT run_uuid, value FROM tags WHERE key = 'mlflow.parentRunId'"))
    above = {runs[run]: runs[up[run]] for run in runs if run in up}
    assert above == {
        **dict.fromkeys(ids, f"plan:{plan}"),
        **{target: target.partition("/")[0] for target in targets},
    }
    values = Counter(
        {
            (runs[run], name): count
            for run, name, count in ask(
                out, "SELECT run_uuid, key, count(*) FROM metrics GROUP BY run_uuid, key"
            )
            if run in runs
        }
    )
    names = (*METRICS, "seconds", "images")
    assert values == Counter(
        {
            **{(run, name): 1 for run in ids for name in ONCE},
            **{(run, name): 2 for run in ids for name in EPOCHS},
            **{(target, name): 1 for target in targets for name in names},
            (f"plan:{plan}", "runs"): 1,
            (f"plan:{plan}", "runs_done"): 1,
        }
    )
    marked = ask(out, "SELECT count(*) FROM tags WHERE key = 'harness.mirrored'")
    assert marked[0][0] >= len(runs)


def test_eight_processes_at_once(tmp_path: Path, forks: Forks) -> None:
    """Some of one folder and some of a copy of it, with runs in common, into one new database."""
    out, copy = tmp_path / "runs", tmp_path / "copy"
    ids, plan = records(out)
    shutil.copytree(out, copy)
    uri = default_uri(out)
    parts = [ids[:4], ids[2:6], ids[4:], ids[::2], None, ids[1::2], None, ids[5:]]
    jobs = [
        {"out": str(copy if i % 3 == 2 else out), "uri": uri, "runs": part}
        for i, part in enumerate(parts)
    ]
    assert forks(jobs) == [0] * 8
    assert_each_once(out, ids, plan)
    assert ask(out, "SELECT count(*) FROM runs WHERE lifecycle_stage = 'deleted'") == [(0,)]
    again = sync(out, uri, check=True)
    assert (again.mirrored, again.plans, again.unchanged) == ([], [], 16)


def test_processes_that_are_killed(tmp_path: Path, forks: Forks) -> None:
    out = tmp_path / "runs"
    ids, plan = records(out)
    uri = default_uri(out)
    jobs = [{"out": str(out), "uri": uri, "kill_at": count} for count in (1, 2, 5, 8, 11, 14)]
    statuses = forks(jobs)
    assert statuses == [-signal.SIGKILL] * len(jobs)
    assert sync(out, uri).problems == []
    assert_each_once(out, ids, plan)
