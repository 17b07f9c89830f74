"""A small matrix of runs computed by a real `harness` process, and what may be done to it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
from forked import Forked
from plain import PAUSE

from harness.watchdog import alive

METHOD = "plain:Plain"
MATRIX = ("run", "--method", METHOD, "--protocol", "C3->MA,C3->D,MA->D")
RUNS, ROWS = 2, 3
PATIENCE = 120.0


def popen(*arguments: object, env: Mapping[str, str]) -> subprocess.Popen[str]:
    """A command as a user starts it, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "harness.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=env,
    )


class Started:
    """A `harness` command in a session of its own; kills what is left of it when closed.

    It is forked from one that has everything imported, if nothing else is said.
    """

    def __init__(self, *arguments: object, how: Callable = Forked, **environment: str) -> None:
        inherited = {k: v for k, v in os.environ.items() if k != "HARNESS_WORKERS"}
        self.process = how(*arguments, env=inherited | {PAUSE: "0.1"} | environment)
        self.seen: set[psutil.Process] = set()

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *_: object) -> None:
        for process in [*self.family(), psutil.Process()]:
            if process.pid != os.getpid():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def family(self) -> list[psutil.Process]:
        """Every process this command has been seen with that still runs."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.seen |= set(psutil.Process(self.process.pid).children(recursive=True))
        return [one for one in self.seen if alive(one)]

    def until(self, out: Path, pattern: str) -> Path:
        """Wait until a file of that pattern is there."""
        deadline, look = time.monotonic() + PATIENCE, 0.0
        while not (found := sorted(out.glob(pattern))):
            assert self.process.poll() is None, self.process.communicate()[0]
            now = time.monotonic()
            assert now < deadline, f"no {pattern}"
            if now > look:  # it reads of every process of the machine, which takes a while
                self.family()
                look = now + 0.5
            time.sleep(0.01)
        self.family()
        return found[0]

    def end(self) -> tuple[int, str]:
        """Wait for its end; status and what it printed."""
        printed, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, printed

    def require_no_orphans(self) -> None:
        """Nothing it has started runs on."""
        deadline = time.monotonic() + 15
        while left := self.family():
            assert time.monotonic() < deadline, [" ".join(one.cmdline()) for one in left]
            time.sleep(0.1)


def worker_of(run: Path) -> int:
    """The process that computes a run."""
    return json.loads((run / "live.json").read_text())["writer"]["pid"]


def results(out: Path) -> dict[str, object]:
    """The numbers of every finished run: hash of its weights, losses, metrics, queries."""
    found: dict[str, object] = {}
    for path in sorted(out.glob("*/run.json")):
        record = json.loads(path.read_text())
        losses = [(e["stage"], e["epoch"], e["losses"]) for e in record["history"]]
        found[path.parent.name] = (record["model_sha256"], losses)
    for path in sorted(out.glob("*/targets/*.json")):
        record = json.loads(path.read_text())
        found[f"{path.parents[1].name}/{path.stem}"] = record["metrics"], record["cmc"]
    return found


def epochs_kept(out: Path) -> int:
    """The newest epoch that any run goes on after; 0 where there is none."""
    kept = [int(path.name.removeprefix("epoch-")) for path in out.glob("*/checkpoint/epoch-*")]
    return max(kept, default=0)


def epochs_begun(run: Path) -> list[str]:
    """Epochs in the log of a run, in the order in which they ended."""
    lines = (run / "run.log").read_text().splitlines()
    return [line.split()[2].rstrip(":") for line in lines if " images in " in line]


def interruptions(out: Path) -> dict[str, int]:
    """How often each run was interrupted, as its record says."""
    records = (json.loads(path.read_text()) for path in out.glob("*/run.json"))
    return {record["run_id"]: record["interruptions"] for record in records}


KILL = signal.SIGKILL
