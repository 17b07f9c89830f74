"""Runs of a search that fall behind are given up: the rule, and what such a run leaves."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.config import RunSpec
from harness.files import write_json
from harness.record import RunFolder
from protocols.errors import ReIDError

Curve = list[tuple[int, float]]
"""(epochs done in the last stage, objective after them), in order."""


@dataclass(frozen=True)
class EarlyStopping:
    """Asynchronous successive halving (ASHA) on the objective after each epoch of the last stage.

    After `grace` epochs, then after `reduction` times as many, and so on, a run goes on only if its
    `metric` (mAP or rank1) is among the best 1 / `reduction` of those that got as far. Compared are
    runs of one `group`.
    """

    metric: str
    grace: int
    reduction: float = 3.0


def group(spec: RunSpec) -> str:
    """Runs on one fold with one seed: on other people, numbers say nothing of each other."""
    return f"{spec.fold_name}, seed {spec.seed}"


@dataclass(frozen=True)
class Stopped:
    """A training that was given up, and how good it was up to then."""

    curve: Curve
    rule: EarlyStopping

    @property
    def epoch(self) -> int:
        """Epochs of the last stage that were done."""
        return self.curve[-1][0]

    @property
    def objective(self) -> float:
        """What it had reached."""
        return self.curve[-1][1]

    def write(self, path: Path) -> None:
        """Leave it as JSON in `path`, whole or not at all."""
        write_json(path, asdict(self))


def read_stopped(path: Path, rule: EarlyStopping | None) -> Stopped | None:
    """What `Stopped.write` has left; None if nothing was, or under another rule, or damaged.

    A search without early stopping (`rule` None), or with another, goes on with such a run.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        curve = [(int(epoch), float(objective)) for epoch, objective in value["curve"]]
        found = Stopped(curve, EarlyStopping(**value["rule"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return found if found.rule == rule and curve else None


def read_curve(folder: RunFolder, rule: EarlyStopping) -> Curve:
    """The objective of a run that has ended, epoch by epoch; empty where it was not measured."""
    stopped = read_stopped(folder.stopped, rule)
    try:
        record = folder.read_run()
    except ReIDError:
        record = None  # the run itself has said so
    if record is None:
        return stopped.curve if stopped else []
    entries = [entry for entry in record.history if "validation" in entry]
    return [(entry["epoch"], entry["validation"][rule.metric]) for entry in entries]


@dataclass(frozen=True)
class Halving:
    """All that a scheduler needs: the rule, who is compared with whom, and what is known already.

    `groups` and `curves` are by run id; `curves` are of runs that have ended. A run that is given
    up leaves a note below `out`.
    """

    rule: EarlyStopping
    out: Path
    groups: dict[str, str]
    curves: dict[str, Curve]

    def as_json(self) -> dict[str, Any]:
        """For another process; `halving_of` takes it back."""
        return {**asdict(self), "out": str(self.out)}

    def give_up(self, run_id: str, curve: Curve) -> None:
        """Leave the note of a run that is given up."""
        Stopped(curve, self.rule).write(RunFolder(self.out, run_id).stopped)


def halving_of(value: dict[str, Any] | None) -> Halving | None:
    """What `Halving.as_json` has made plain."""
    if value is None:
        return None
    curves = {
        run_id: [(int(epoch), float(objective)) for epoch, objective in curve]
        for run_id, curve in value["curves"].items()
    }
    rule = EarlyStopping(**value["rule"])
    return Halving(rule, Path(value["out"]), value["groups"], curves)
