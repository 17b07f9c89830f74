"""How far a plan is, from how far its runs are; with several workers, and after an interruption."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from harness.lease import Holder
from harness.live import Live
from harness.speed import Speed

SLACK = 2.0
"""Seconds by which a run that was begun here may seem to be older than the tally."""


@dataclass
class _Run:
    """What is known of one run; `worked` is the work since the tally began, wasted work too."""

    done: float = 0.0
    over: bool = False
    attempt: tuple[Holder, str] | None = None
    skipped: float = 0.0
    here: float = 0.0
    base: float = 0.0
    before: float = 0.0

    @property
    def worked(self) -> float:
        return self.before + self.here - self.base


class Tally:
    """Counts the work of a plan of `runs` runs, `total` in the units of `harness.progress`."""

    def __init__(self, total: float, runs: int) -> None:
        self.total, self.runs = max(total, 1.0), runs
        self.finished = self.failed = 0
        self.active: tuple[Live, ...] = ()
        self._began = time.monotonic()
        self._runs: dict[str, _Run] = {}
        self._speed = Speed()

    def update(self, lives: Sequence[Live]) -> None:
        """`lives` are the runs being computed now, whoever computes them."""
        self.active = tuple(live for live in lives if not self._run(live.run_id).over)
        for live in self.active:
            run = self._run(live.run_id)
            here = live.done - live.skipped
            attempt = (live.writer, live.started)
            if run.attempt != attempt:
                # another attempt; work done before anybody looked is no part of the speed
                run.before, run.attempt = run.worked, attempt
                run.base = here if live.elapsed > self.elapsed + SLACK else 0.0
            run.done, run.skipped, run.here = live.done, live.skipped, here
        self._count()

    def finish(self, run_id: str, units: float, failed: bool = False) -> None:
        """A run is over, and with it `units` of the total."""
        run = self._run(run_id)
        if not run.over:
            self.finished, self.failed = self.finished + 1, self.failed + failed
        if not failed:
            # its last state may not have been seen
            run.here = max(run.here, units - run.skipped)
        run.done, run.over = units, True
        self.active = tuple(live for live in self.active if live.run_id != run_id)
        self._count()

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    @property
    def done(self) -> float:
        """Units that are done, by whomever."""
        return min(sum(run.done for run in self._runs.values()), self.total)

    @property
    def begun(self) -> bool:
        """Whether any of its runs has been heard of."""
        return bool(self._runs)

    def left(self) -> float | None:
        """Seconds that are left, None while nobody can tell.

        All workers together are taken to go on as fast as so far; but the run that takes longest
        has to end, too.
        """
        speed = self._speed.value()
        if not speed:
            return None
        together = (self.total - self.done) / speed
        return max([together, *(live.left or 0.0 for live in self.active)])

    def _count(self) -> None:
        self._speed.count(sum(run.worked for run in self._runs.values()))

    def _run(self, run_id: str) -> _Run:
        return self._runs.setdefault(run_id, _Run())
