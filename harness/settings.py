"""How runs are computed and where, and what became of each; nothing here changes a number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.stopping import EarlyStopping

Report = Callable[[int, float], None]
"""Told of epochs done and the objective on held-out source identities; may raise to stop a run."""


@dataclass(frozen=True)
class Settings:
    """How runs are computed here; no number depends on it but the last digits on `threads`.

    `threads` of the processor for a run (None: all; the tiny preset always takes one);
    `processes` train one run together, each on a GPU of its own; `command` is what was typed;
    `session` names one call of it, for `force` to compute again once and not after each kill;
    `early_stopping` says which runs of a search are given up; `keep_features` leaves what a trained
    method has computed of its targets where the next variant finds it.
    """

    out: Path
    device: str = "auto"
    loader_workers: int = 0
    force: bool = False
    session: str = ""
    threads: int | None = None
    processes: int = 1
    command: str = ""
    early_stopping: EarlyStopping | None = None
    keep_features: bool = False

    def absolute(self) -> Settings:
        """The same, for a process with another working directory."""
        return replace(self, out=self.out.absolute())


@dataclass
class Outcome:
    """What became of one planned run: targets computed now, and what failed, in words.

    `busy`: another process is computing it, so it was left alone.
    """

    run_id: str
    title: str
    trained: bool = False
    computed: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    busy: bool = False


@dataclass(frozen=True)
class How:
    """How many runs are computed at a time, and on what; None leaves it to the machine.

    `workers` 0: one after the other in this process. `gpus_per_run` below 1: several runs share a
    GPU; from 2: that many processes train one run together. `cpus_per_run`: cores of a run.
    `address`: of a Ray cluster, `auto` or HOST:PORT, else this machine alone.
    """

    workers: int | None = None
    gpus_per_run: float | None = None
    cpus_per_run: int | None = None
    address: str | None = None


@dataclass(frozen=True)
class Slots:
    """`workers` runs at a time (None: as many as a cluster takes), each on `cpus` and `gpus`."""

    workers: int | None
    cpus: int
    gpus: float
    processes: int = 1
    address: str | None = None
    ray: bool = False
