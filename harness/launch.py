"""From a plan to outcomes: every run that is not done yet, on every core or GPU there is.

A plan is worked through in rounds: what is finished is skipped, what another process is computing
is left for the next round, which waits for it; what died is tried again. With one slot the runs are
computed in this process, with more in Ray's (`harness.ray_engine`); the numbers are the same.
"""

from __future__ import annotations

import math
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import torch
from rich.console import Console

from harness import drivers
from harness.catalog import DataCatalog
from harness.failures import leave_failure
from harness.live import read_live
from harness.pending import is_finished, work
from harness.plan import PlannedRun
from harness.record import RunFolder
from harness.run import run
from harness.screen import Screen, many
from harness.settings import How, Outcome, Settings, Slots
from harness.stopping import Halving, group, read_curve
from harness.worker import Ticket
from protocols.errors import ReIDError

REFRESH = 1.0
"""Seconds between two looks at what the workers write."""
ROUNDS = 3
"""So many rounds in which nothing ends are begun, before what is left has failed."""

Finished = Callable[[Outcome], None]


def find_slots(
    how: How, planned: Sequence[PlannedRun], device: str, compared: bool = False
) -> Slots:
    """What runs are computed on here; Ray where they are `compared` while they run.

    Raises ReIDError for more than there is.
    """
    # asked for in so many words, this process it is
    address = how.address or (os.environ.get("RAY_ADDRESS") if how.workers != 0 else None)
    if address and how.workers == 0:
        raise ReIDError(
            "--workers 0 computes in this process and --address on a cluster: take one."
        )
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    here = 0 if device == "cpu" else torch.cuda.device_count()
    asked = how.gpus_per_run
    if asked is not None and (asked < 0 or (asked > 1 and asked != int(asked))):
        raise ReIDError(
            f"--gpus-per-run {asked:g}: expected a part of 1, such as 0.5, or a number."
        )
    processes = int(asked) if asked and asked >= 2 else 1
    gpus = 0.0 if device == "cpu" else float(here > 0) if asked is None else asked
    if gpus > here and not address:
        instead = " With --device cpu, as many processes train on the CPU." if gpus >= 2 else ""
        raise ReIDError(f"--gpus-per-run {gpus:g}: this machine has {here} GPUs.{instead}")
    room = cores
    if gpus:
        room = math.floor(1 / gpus + 1e-9) * here if gpus < 1 else here // int(gpus)
    if gpus and not address and (how.workers or 0) > room:
        raise ReIDError(
            f"--workers {how.workers} with --gpus-per-run {gpus:g}: this machine has {here} GPUs, "
            f"room for {room} at a time. A smaller part of a GPU lets more of them share one."
        )
    per_process = how.cpus_per_run
    if per_process is None:
        small = all(one.spec.preset == "tiny" for one in planned)
        at_once = how.workers or (room if gpus else 1)
        per_process = 1 if small else max(1, cores // max(at_once, 1) // processes)
    cpus = per_process * processes
    if address:
        return Slots(how.workers, cpus, gpus, processes, address, ray=True)
    if cpus > cores and how.cpus_per_run:
        raise ReIDError(f"--cpus-per-run {how.cpus_per_run}: this machine has {cores} cores.")
    fit = min(max(1, cores // cpus), room)
    workers = fit if how.workers is None else how.workers
    # asked for by number, Ray does it even where it is one
    several = workers > 1 and len(planned) > 1
    ray = workers > 0 and (how.workers is not None or several or compared)
    return Slots(min(workers, max(len(planned), 1)), cpus, gpus, processes, None, ray)


def launch(
    planned: Sequence[PlannedRun],
    catalog: DataCatalog,
    settings: Settings,
    how: How,
    console: Console,
    finished: Finished = lambda outcome: None,
    beside: Sequence[PlannedRun] = (),
) -> list[Outcome]:
    """Compute what is missing; one run's failure does not stop the others.

    `finished` is called after each run. Runs that are complete are not touched. With early
    stopping, runs are compared with those `beside`, too, which the search has computed before.
    """
    pending = [
        one
        for one in planned
        if settings.force or not is_finished(one, catalog, settings.out, settings.early_stopping)
    ]
    done = len(planned) - len(pending)
    if done:
        console.print(f"{done} of {many(len(planned), 'run')} done already.", highlight=False)
    drivers.sweep(settings.out)
    if not pending:
        return []
    slots = find_slots(how, pending, settings.device, settings.early_stopping is not None)
    settings = replace(
        settings,
        session=uuid.uuid4().hex,
        threads=max(1, slots.cpus // slots.processes),
        processes=slots.processes,
        # without a GPU of its own a run would take any that it sees
        device="cpu" if not slots.gpus and _gpus_there(slots) else settings.device,
    )
    units = {one.spec.id: work(one, catalog, settings.out, settings.force) for one in pending}
    with Screen(
        console, sum(units.values()), len(pending), settings.out, settings.command
    ) as screen:
        launched = _Launch(catalog, settings, screen, units, finished)
        new = {one.spec.id for one in pending}
        launched.beside = [one for one in (*beside, *planned) if one.spec.id not in new]
        engine = _ray(slots, launched) if slots.ray else _in_process(launched)
        with engine as compute:
            launched.rounds({one.spec.id: one for one in pending}, compute)
    return list(launched.outcomes.values())


def _gpus_there(slots: Slots) -> bool:
    return bool(slots.address) or torch.cuda.is_available()


Compute = Callable[[Sequence[PlannedRun], bool], None]
"""Works through runs, and waits, or does not, for those that another process is computing."""


class _Launch:
    """What is known of a plan while it is worked through."""

    def __init__(
        self,
        catalog: DataCatalog,
        settings: Settings,
        screen: Screen,
        units: dict[str, float],
        finished: Finished,
    ) -> None:
        self.catalog, self.settings, self.screen = catalog, settings, screen
        self.units, self.tell = units, finished
        self.outcomes: dict[str, Outcome] = {}
        self.dead: set[str] = set()
        self.beside: list[PlannedRun] = []
        self.trouble: str | None = None

    def rounds(self, left: dict[str, PlannedRun], compute: Compute) -> None:
        """Until each run has an outcome that is its own."""
        tried = dict.fromkeys(left, 0)
        wait = False
        while left:
            # busy, the round before
            busy = [run_id for run_id in left if self.outcomes.pop(run_id, None)]
            if busy:
                self.screen.say(f"Waiting for {many(len(busy), 'run')} of another command.")
            before = len(self.outcomes)
            compute(list(left.values()), wait)
            stuck = len(self.outcomes) == before
            for run_id, one in list(left.items()):
                tried[run_id] += stuck and run_id not in self.outcomes
                if run_id in self.dead or tried[run_id] == ROUNDS:
                    self.note(self.lost(one))
                if run_id in self.outcomes and not self.outcomes[run_id].busy:
                    del left[run_id]
            wait = True

    def note(self, outcome: Outcome) -> None:
        """A run has ended, well or badly, or was left alone."""
        self.outcomes[outcome.run_id] = outcome
        if outcome.busy:
            return
        for failure in outcome.failures:
            self.screen.say(f"FAILED {failure}")
        failed = bool(outcome.failures)
        self.screen.finished(outcome.run_id, self.units[outcome.run_id], failed)
        self.tell(outcome)

    def lost(self, one: PlannedRun) -> Outcome:
        """The outcome of a run whose process died each time without a word."""
        folder = RunFolder(self.settings.out, one.spec.id)
        text = (
            f"{one.title}: its process died whenever it was started: killed from outside, out of "
            f"memory, or by a crash below Python. Its log: {folder.log}"
        )
        text += f"; Ray said: {self.trouble}" if self.trouble else ""
        outcome = Outcome(one.spec.id, one.title, failures=[text])
        leave_failure(folder, outcome, self.settings)
        return outcome


@contextmanager
def _in_process(launched: _Launch) -> Iterator[Compute]:
    """One run after the other, here."""
    catalog, settings, screen = launched.catalog, launched.settings, launched.screen

    def compute(left: Sequence[PlannedRun], wait: bool) -> None:
        for one in left:
            together = settings.processes > 1
            payload = Ticket.of(one, catalog, settings).model_dump_json() if together else ""
            launched.note(
                run(
                    one,
                    catalog,
                    settings,
                    payload=payload,
                    show=lambda live: screen.update([live]),
                    say=screen.say,
                    wait=wait,
                )
            )

    yield compute


def _halving(left: Sequence[PlannedRun], launched: _Launch) -> Halving | None:
    """What decides which runs are given up, if any are."""
    out, rule = launched.settings.out, launched.settings.early_stopping
    if rule is None:
        return None
    ended = {one.spec.id: one for one in (*launched.beside, *left)}
    return Halving(
        rule,
        out,
        {run_id: group(one.spec) for run_id, one in ended.items()},
        {run_id: read_curve(RunFolder(out, run_id), rule) for run_id in ended},
    )


@contextmanager
def _ray(slots: Slots, launched: _Launch) -> Iterator[Compute]:
    """As many at a time as there are slots, each in a process of Ray's."""
    from harness.ray_engine import Listener, session

    catalog, settings, screen = launched.catalog, launched.settings, launched.screen
    active: set[str] = set()
    noted: list[Future[None]] = []
    end = threading.Event()

    def look() -> None:
        while not end.wait(REFRESH):
            found = (read_live(RunFolder(settings.out, run_id).path) for run_id in sorted(active))
            screen.update([live for live in found if live is not None])

    def ended(outcome: Outcome) -> None:
        active.discard(outcome.run_id)
        # mirroring takes a while, and the engine must hand out the next run at once
        noted.append(pool.submit(launched.note, outcome))

    def compute(left: Sequence[PlannedRun], wait: bool) -> None:
        tickets = {one.spec.id: Ticket.of(one, catalog, settings).model_dump_json() for one in left}
        listener = Listener(active.add, launched.dead.add, ended)
        launched.trouble = engine(tickets, wait, listener, _halving(left, launched))
        if launched.trouble:
            screen.say(f"Ray stopped: {launched.trouble}. What is left is begun again.")
        while noted:
            noted.pop(0).result()
        active.clear()

    looking = threading.Thread(target=look, daemon=True)
    with ThreadPoolExecutor(1) as pool, session(slots, settings.out) as engine:
        looking.start()
        try:
            yield compute
        finally:
            end.set()
            looking.join()
