"""Processes that sync at one time. MLflow takes seconds to import, so it is imported once.

Each line on standard input is a list of jobs in JSON, {out, uri, runs, kill_at}; the line answered
is each job's exit status, as `os.waitstatus_to_exitcode` has it. Jobs run at one time; but one with
`kill_at` runs alone, and is killed once the SQLite database holds so many runs.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import mlflow.store.tracking.rest_store
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

import harness.record  # noqa: F401 - brings torch
from harness.tracking import sync


def start(job: dict[str, Any]) -> int:
    """A process that syncs; exits with 1 if something was left out, with 2 if it could not."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os._exit(1 if sync(Path(job["out"]), job["uri"], job.get("runs")).problems else 0)
    except BaseException:
        traceback.print_exc()
        os._exit(2)


def kill(pid: int, job: dict[str, Any]) -> int:
    """Kill a process once it has got so far; returns the status of it."""
    database = Path(job["uri"].removeprefix("sqlite:///"))
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if rows(database) >= job["kill_at"]:
            os.kill(pid, signal.SIGKILL)
            return os.waitpid(pid, 0)[1]
        time.sleep(0.001)
    return ended[1]


def rows(database: Path) -> int:
    """How many runs a database holds, deleted ones too."""
    if not database.exists():
        return 0
    try:
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=0.01)
        try:
            return int(connection.execute("SELECT count(*) FROM runs").fetchone()[0])
        finally:
            connection.close()
    except sqlite3.Error:  # it is being written
        return 0


def main() -> None:
    """Run jobs until there are no more."""
    for line in sys.stdin:
        statuses, running = [], []
        for job in json.loads(line):
            if "kill_at" in job:
                statuses.append(kill(start(job), job))
            else:
                running.append(start(job))
        statuses += [os.waitpid(pid, 0)[1] for pid in running]
        print(json.dumps([os.waitstatus_to_exitcode(status) for status in statuses]), flush=True)


if __name__ == "__main__":
    main()
