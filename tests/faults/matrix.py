"""A small matrix of runs computed by a real `harness` process, and what may be done to it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from harness.watchdog import alive

MATRIX = ("run", "--method", "vision-only", "--protocol", "C3->MA,C3->D,MA->D",
          "--set", "epochs=4", "--set", "image_size=[48,24]")  # fmt: skip
RUNS, ROWS = 2, 3
PATIENCE = 120.0


class Started:
    """A `harness` command in a session of its own; kills what is left of it when closed."""

    def __init__(self, *arguments: object, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.cli", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # also where the tests run in the background of a shell, which ignores it
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            env={k: v for k, v in os.environ.items() if k != "HARNESS_WORKERS"} | environment,
        )
        self.seen: set[psutil.Process] = set()

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *_: object) -> None:
        for process in [*self.family(), psutil.Process()]:
            if process.pid != os.getpid():
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
        deadline = time.monotonic() + PATIENCE
        while not (found := sorted(out.glob(pattern))):
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline, f"no {pattern}"
            self.family()
            time.sleep(0.01)
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


def epochs_begun(run: Path) -> list[str]:
    """Epochs in the log of a run, in the order in which they ended."""
    lines = (run / "run.log").read_text().splitlines()
    return [line.split()[2].rstrip(":") for line in lines if " images in " in line]


def interruptions(out: Path) -> dict[str, int]:
    """How often each run was interrupted, as its record says."""
    records = (json.loads(path.read_text()) for path in out.glob("*/run.json"))
    return {record["run_id"]: record["interruptions"] for record in records}


KILL = signal.SIGKILL
