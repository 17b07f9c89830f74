"""Runs as trials of Ray Tune, on this machine or on a cluster. The only file that imports ray.

Ray is disposable here: it hands out tickets and brings back outcomes. What a run is, whether it is
done and where it goes on is in its folder; no state of Ray's or Tune's is ever read again.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from harness.settings import Outcome
from harness.stopping import Curve, Halving
from protocols.errors import ReIDError

if TYPE_CHECKING:
    from harness.launch import Slots

LOCAL = {
    # every socket on 127.0.0.1
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Ctrl-C is ours
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # its state is never read, so it need not be written
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
OBJECT_STORE = 80 * 2**20
"""Bytes; only tickets and outcomes travel, and Ray would take 30 % of the memory."""
RETRIES = 2
"""A trial whose worker died is begun again so often, on another worker."""


@dataclass
class Listener:
    """Who is told of a trial that begins, of one whose workers all died, and of each outcome."""

    began: Callable[[str], object]
    died: Callable[[str], object]
    ended: Callable[[Outcome], object]

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles all it is given, to be restored by calls that are never made
        return {}


Engine = Callable[[Mapping[str, str], bool, Listener, Halving | None], str | None]
"""Computes tickets (run id -> JSON), waits for those computed elsewhere or does not, and returns
what Ray had to say where it did not come to an end. `Halving` gives up what falls behind."""


@contextmanager
def session(slots: Slots, out: Path) -> Iterator[Engine]:
    """One Ray session: of this machine, ended with the block, or a cluster's that goes on."""
    os.environ.update(QUIET if slots.address else QUIET | LOCAL)
    try:
        import ray
    except ImportError as error:
        raise ReIDError(
            f"Ray can't be imported ({error}). pip install 'ray[tune]', or --workers 0 to compute "
            "in this process."
        ) from error
    logging.getLogger("ray").setLevel(logging.CRITICAL + 1)
    _start(ray, slots)
    shared = out.absolute() / ".tune" if slots.address else Path(tempfile.gettempdir())
    shared.mkdir(parents=True, exist_ok=True)
    storage = Path(tempfile.mkdtemp(dir=shared, prefix="harness-tune-"))

    def engine(
        tickets: Mapping[str, str], wait: bool, listener: Listener, halving: Halving | None = None
    ) -> str | None:
        try:
            _fit(slots, storage, tickets, wait, listener, halving)
        except Exception as error:  # Ray's memory monitor ends the whole of it, for example
            return _last_line(error)
        return None

    try:
        if slots.address:
            _require_room(slots, ray.nodes())
        yield engine
    finally:
        ray.shutdown()
        shutil.rmtree(storage, ignore_errors=True)


def _start(ray: Any, slots: Slots) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    try:
        if slots.address:
            ray.init(address=slots.address, **quiet)
            return
        workers = slots.workers or 1
        ray.init(
            # not a cluster that somebody has started here, nor one that is gone
            address="local",
            num_cpus=workers * slots.cpus,
            num_gpus=-(-workers * slots.gpus // 1),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE,
            **quiet,
        )
    except Exception as error:
        where = f"The Ray cluster at {slots.address}" if slots.address else "Ray"
        raise ReIDError(
            f"{where} did not answer ({_last_line(error)}). --workers 0 computes in this process."
        ) from error


def _require_room(slots: Slots, nodes: Sequence[Mapping[str, Any]]) -> None:
    """Raise ReIDError where no node could ever take a run: Ray waits for one without a word."""
    there = [node["Resources"] for node in nodes if node["Alive"]]
    if not any(r.get("CPU", 0) >= slots.cpus and r.get("GPU", 0) >= slots.gpus for r in there):
        raise ReIDError(
            f"No node of the Ray cluster at {slots.address} has the {slots.cpus} cores and "
            f"{slots.gpus:g} GPUs that a run is to have. --cpus-per-run and --gpus-per-run say how "
            "many that are."
        )


def _fit(
    slots: Slots,
    storage: Path,
    tickets: Mapping[str, str],
    wait: bool,
    listener: Listener,
    halving: Halving | None,
) -> None:
    from ray import tune

    class Watch(tune.Callback):
        def __init__(self, listener: Listener) -> None:
            self.listener = listener

        def on_trial_start(self, iteration: int, trials: list, trial: Any, **_: Any) -> None:
            self.listener.began(_run_id(trial))

        def on_trial_error(self, iteration: int, trials: list, trial: Any, **_: Any) -> None:
            self.listener.died(_run_id(trial))

        def on_trial_complete(self, iteration: int, trials: list, trial: Any, **_: Any) -> None:
            run_id = _run_id(trial)
            if "outcome" in trial.last_result:
                self.listener.ended(Outcome(**json.loads(trial.last_result["outcome"])))
            elif halving:
                self.listener.ended(Outcome(run_id, f"{run_id}, given up"))
            else:  # the run has ended its own thread
                self.listener.died(run_id)

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
            callbacks=[Watch(listener)],
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
