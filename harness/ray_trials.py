"""Runs as trials of Ray Tune: the process beside a driver that holds its Ray session.

Only this file and `harness.ray_shards`, which shares `hold`, import ray. `harness.ray_engine`
starts `main` and talks to it in lines of JSON; what is said here otherwise, by Ray too, goes into a
log. Ray may end this process at any moment, as it does when one of its own is killed, so nothing
that matters is only here.
"""

from __future__ import annotations

import json
import logging
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil

from harness.settings import Slots
from harness.stopping import Curve, Halving, halving_of
from harness.watchdog import alive
from protocols.errors import ReIDError

OBJECT_STORE = 80 * 2**20
"""Bytes; only tickets and outcomes travel, and Ray would take 30 % of the memory."""
RETRIES = 2
"""A trial whose worker died is begun again so often, on another worker."""
VITAL = ("raylet", "gcs_server")
"""Processes of a local session without which Tune waits for ever."""


class Speaker:
    """Tells the driver, a line of JSON at a time, on what was standard output."""

    def __init__(self) -> None:
        self.file = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)  # from here on, whatever is printed is for the log

    def __call__(self, event: str, value: Any = None) -> None:
        self.file.write(json.dumps([event, value]) + "\n")
        self.file.flush()

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles all it is given, to be restored by calls that are never made
        return {}


Work = Callable[[Slots, Path, dict[str, Any], Speaker], None]
"""Does a task: slots, storage, the task, whom to tell."""


def main() -> None:
    """Hold a session that computes runs, a round of them a task."""
    hold(_fit)


def hold(work: Work) -> None:
    """Hold a session: its slots are the first line of standard input, a task each further one."""
    say = Speaker()
    opening = json.loads(sys.stdin.readline())
    slots = Slots(**opening["slots"])
    try:
        ray = _start(slots)
    except ReIDError as error:
        say("refused", str(error))
        return
    if not slots.address:
        threading.Thread(target=_look_after, args=(say,), daemon=True).start()
    say("ready")
    for line in sys.stdin:
        trouble = None
        try:
            work(slots, Path(opening["storage"]), json.loads(line), say)
        except Exception as error:  # Ray's memory monitor ends the whole of it, for example
            trouble = _last_line(error)
        say("over", trouble)
    ray.shutdown()


def _look_after(say: Speaker) -> None:
    """End this process when one of Ray's own has ended: Tune would wait for it for ever."""
    below = psutil.Process().children(recursive=True)
    vital = {process: process.name() for process in below if process.name() in VITAL}
    while True:
        time.sleep(1)
        for process, name in vital.items():
            if not alive(process):
                say("over", f"its {name} (process {process.pid}) died")
                os._exit(1)


def _start(slots: Slots) -> Any:
    """The module ray, with a session."""
    try:
        import ray
    except ImportError as error:
        raise ReIDError(
            f"Ray can't be imported ({error}). pip install 'ray[tune]', or --workers 0 to compute "
            "in this process."
        ) from error
    logging.getLogger("ray").setLevel(logging.CRITICAL + 1)
    quiet: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": "ERROR",
        "configure_logging": False,
    }
    try:
        if slots.address:
            _require_answer(slots.address)
            ray.init(address=slots.address, **quiet)
            _require_room(slots, ray.nodes())
            return ray
        workers = slots.workers or 1
        ray.init(
            # not a cluster that somebody has started here, nor one that is gone
            address="local",
            num_cpus=workers * slots.cpus,
            num_gpus=_gpus(workers, slots.gpus),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE,
            **quiet,
        )
        return ray
    except ReIDError:
        raise
    except Exception as error:
        where = f"The Ray cluster at {slots.address}" if slots.address else "Ray"
        raise ReIDError(
            f"{where} did not answer ({_last_line(error)}). --workers 0 computes in this process."
        ) from error


def _require_answer(address: str) -> None:
    """Knock first: Ray itself waits for minutes. Raises ReIDError where nobody answers."""
    if "://" in address:
        return
    from ray._private import services

    found = services.canonicalize_bootstrap_address(address)
    host, _, port = (found or "").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        at = f"{address} ({found})" if found and found != address else address
        raise ReIDError(
            f"No Ray cluster answers at {at}: {error}. `ray start --head` begins one; --workers 0 "
            "computes in this process."
        ) from error


def _gpus(workers: int, each: float) -> int:
    """Whole GPUs for so many workers; parts of two GPUs make no worker's."""
    return math.ceil(workers / math.floor(1 / each + 1e-9)) if 0 < each < 1 else int(workers * each)


def _require_room(slots: Slots, nodes: Sequence[Mapping[str, Any]]) -> None:
    """Raise ReIDError where no node could ever take a run: Ray waits for one without a word."""
    there = [node["Resources"] for node in nodes if node["Alive"]]
    if not any(r.get("CPU", 0) >= slots.cpus and r.get("GPU", 0) >= slots.gpus for r in there):
        raise ReIDError(
            f"No node of the Ray cluster at {slots.address} has the {slots.cpus} cores and "
            f"{slots.gpus:g} GPUs that a run is to have. --cpus-per-run and --gpus-per-run say how "
            "many that are."
        )


def _fit(slots: Slots, storage: Path, task: dict[str, Any], say: Speaker) -> None:
    from ray import tune

    tickets, wait, halving = task["tickets"], task["wait"], halving_of(task["halving"])

    class Watch(tune.Callback):
        def __init__(self, say: Speaker) -> None:
            self.say = say

        def on_trial_start(self, iteration: int, trials: list, trial: Any, **_: Any) -> None:
            self.say("began", _run_id(trial))

        def on_trial_error(self, iteration: int, trials: list, trial: Any, **_: Any) -> None:
            self.say("died", _run_id(trial))

        def on_trial_complete(self, iteration: int, trials: list, trial: Any, **_: Any) -> None:
            outcome = trial.last_result.get("outcome")
            self.say("ended", json.loads(outcome) if outcome else {"given up": _run_id(trial)})

    # as text: Tune would expand the lists in an object, and a key named grid_search
    trials = [
        json.dumps(
            {"run_id": run_id, "ticket": ticket, "wait": wait, "watched": halving is not None}
        )
        for run_id, ticket in tickets.items()
    ]
    tune.Tuner(
        # makes a new function, where with_resources would change _trial itself for later calls
        tune.with_resources(partial(_trial), {"CPU": slots.cpus, "GPU": slots.gpus}),
        param_space={"trial": tune.grid_search(trials)},
        tune_config=tune.TuneConfig(
            reuse_actors=True,
            max_concurrent_trials=slots.workers,
            scheduler=_scheduler(halving) if halving else None,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="runs",
            storage_path=str(storage),
            verbose=0,
            callbacks=[Watch(say)],
            failure_config=tune.FailureConfig(max_failures=RETRIES),
        ),
    ).fit()


def _trial(config: dict[str, str]) -> None:
    """One run, in a process of Ray's."""
    from ray import tune

    from harness.worker import compute

    def report(epoch: int, objective: float) -> None:
        tune.report({"epoch": epoch, "objective": objective})

    trial = json.loads(config["trial"])
    outcome = compute(trial["ticket"], trial["wait"], report if trial["watched"] else None)
    tune.report({"outcome": json.dumps(asdict(outcome))})


def _scheduler(halving: Halving) -> Any:
    """ASHA within each group of runs; a run that is given up leaves a note."""
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

    class GiveUp(FIFOScheduler):
        def __init__(self) -> None:
            super().__init__()
            self.groups: dict[str, ASHAScheduler] = {}
            self.curves: dict[str, Curve] = {}
            for run_id, curve in halving.curves.items():
                old: Any = SimpleNamespace(trial_id=run_id)
                asha: Any = self.group(run_id)
                asha.on_trial_add(None, old)
                for epoch, objective in curve:
                    asha.on_trial_result(None, old, {"epoch": epoch, "objective": objective})

        def group(self, run_id: str) -> ASHAScheduler:
            name, rule = halving.groups[run_id], halving.rule
            if name not in self.groups:
                self.groups[name] = ASHAScheduler(
                    time_attr="epoch",
                    metric="objective",
                    mode="max",
                    # the last epoch is not reported, so there is no end that it must know
                    max_t=1_000_000,
                    grace_period=rule.grace,
                    reduction_factor=rule.reduction,
                    stop_last_trials=False,
                )
            return self.groups[name]

        def on_trial_add(self, controller: Any, trial: Any) -> None:
            self.group(_run_id(trial)).on_trial_add(controller, trial)

        def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
            if "objective" not in result:
                return TrialScheduler.CONTINUE
            run_id = _run_id(trial)
            curve = self.curves.setdefault(run_id, [])
            curve.append((result["epoch"], result["objective"]))
            action = self.group(run_id).on_trial_result(controller, trial, result)
            if action == TrialScheduler.STOP:
                halving.give_up(run_id, curve)
            return action

        def on_trial_complete(self, controller: Any, trial: Any, result: dict[str, Any]) -> None:
            self.group(_run_id(trial)).on_trial_complete(controller, trial, result)

        def on_trial_remove(self, controller: Any, trial: Any) -> None:
            self.group(_run_id(trial)).on_trial_remove(controller, trial)

        def save(self, checkpoint_path: str) -> None:
            """Never restored, so never saved."""

    return GiveUp()


def _run_id(trial: Any) -> str:
    run_id: str = json.loads(trial.config["trial"])["run_id"]
    return run_id


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1][:300] if lines else type(error).__name__
