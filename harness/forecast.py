"""What a plan will cost before it is begun: what is left of it, how long, how much disk."""

from __future__ import annotations

import heapq
import json
import shutil
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from harness.catalog import DataCatalog
from harness.checkpoint import KEPT, MANIFEST
from harness.live import read_live
from harness.pending import is_finished, missing_targets, work
from harness.plan import PlannedRun
from harness.progress import EVALUATION_PASS, duration
from harness.record import RunFolder
from harness.screen import many, unbroken
from harness.settings import Settings
from harness.train import epoch_units
from methods import registry as methods
from protocols.errors import ReIDError

SHOWN = 30
"""Lines of a plan; of a longer one the beginning is shown."""
LATEST = 200
"""Finished runs, the latest, that an estimate is made from."""
GUESS = {"tiny": 1 / 700, "paper": 1 / 1000}
"""Seconds a unit of work: the tiny models on one core, the paper's on one GPU. Very rough."""
CHECKPOINT = 3
"""A checkpoint in sizes of the model: the weights and two moments of each."""

Key = tuple[str, str]
"""A method and its preset."""


def show_plan(
    planned: Sequence[PlannedRun],
    catalog: DataCatalog,
    settings: Settings,
    slots: int,
    console: Console,
) -> None:
    """Print the plan as a table, what of it is left, and an estimate of its time and disk.

    `slots` is how many runs are computed at a time. Computes nothing and writes nothing.
    """
    coming = [_look(one, catalog, settings) for one in planned]
    console = unbroken(console)
    console.print(_table(coming))
    if len(coming) > SHOWN:
        console.print(f"... and {len(coming) - SHOWN} more.", highlight=False)
    for line in _totals(coming, settings.out, max(slots, 1)):
        console.print(Text(line), soft_wrap=True)


@dataclass(frozen=True)
class _Coming:
    """A planned run and what is left of it: units of training, images to test on, in words.

    `spent` are the seconds that finished epochs of an unfinished training have taken.
    """

    planned: PlannedRun
    kind: str
    state: str
    targets: int
    training: float
    images: float
    spent: float = 0.0

    @property
    def key(self) -> Key:
        return self.planned.spec.method, self.planned.spec.preset


def _look(planned: PlannedRun, catalog: DataCatalog, settings: Settings) -> _Coming:
    out, force, wanted = settings.out, settings.force, planned.fold.targets
    folder = RunFolder(out, planned.spec.id)
    if not force and is_finished(planned, catalog, out, settings.early_stopping):
        given_up = not folder.run.exists()
        return _Coming(planned, "done", "given up by a search" if given_up else "done", 0, 0, 0)
    left = wanted if force else missing_targets(planned, catalog, out)
    images = EVALUATION_PASS * sum(len(catalog.target_paths(target)) for target in left)
    training = max(work(planned, catalog, out, force) - images, 0.0)
    kind, state, spent = "to do", "to do", 0.0
    live = read_live(folder.path)
    if live and live.writer.gone() is not True:
        kind, state = "running", f"running ({live.writer})"
    elif force and folder.run.exists():
        state = "done, to do again"
    elif folder.run.exists():
        kind, state = "to test", f"{len(left)} of {many(len(wanted), 'target')} left"
    elif not force and (history := _history(folder)):
        kind, state = "resumes", f"resumes after {history[-1]['stage']} {history[-1]['epoch']}"
        spent = sum(float(entry["seconds"]) for entry in history)
    if folder.failed.exists() and kind != "running":
        state += ", failed before"
    return _Coming(planned, kind, state, len(left), training, images, spent)


def _history(folder: RunFolder) -> list[dict[str, Any]]:
    """Finished epochs of a training that is to go on; nothing of a checkpoint that is damaged."""
    for path in sorted(folder.checkpoints.glob(f"epoch-*/{MANIFEST}"), reverse=True):
        with suppress(OSError, ValueError, KeyError, TypeError):
            history: list[dict[str, Any]] = json.loads(path.read_bytes())["history"]
            if all({"stage", "epoch", "seconds"} <= entry.keys() for entry in history):
                return history
    return []


def _table(coming: Sequence[_Coming]) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    settings = any(one.planned.setting for one in coming)
    grid.add_column("run", no_wrap=True)
    for name in ("method", "fold", *(["setting"] if settings else [])):
        grid.add_column(name, overflow="fold")
    grid.add_column("seed", justify="right", no_wrap=True)
    for name in ("targets", "state"):
        grid.add_column(name, overflow="fold")
    for one in coming[:SHOWN]:
        planned = one.planned
        grid.add_row(
            planned.spec.id,
            Text(planned.spec.method),
            Text(planned.fold.name),
            *([Text(planned.setting)] if settings else []),
            str(planned.spec.seed),
            Text(", ".join(planned.fold.targets) or "held-out identities"),
            Text(one.state, "dim" if one.kind == "done" else ""),
        )
    return grid


def _totals(coming: Sequence[_Coming], out: Path, slots: int) -> Iterable[str]:
    kinds = Counter(one.kind for one in coming)
    said = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    left = [one for one in coming if one.kind != "done"]
    trainings, tests = sum(one.training > 0 for one in left), sum(one.targets for one in left)
    if not left:
        yield f"{many(len(coming), 'run')}: {said}. Nothing is left to compute."
    else:
        yield (
            f"{many(len(coming), 'run')}: {said}. {many(trainings, 'training')} and "
            f"{many(tests, 'test')} to compute, {slots} at a time."
        )
        past = _Past(out, {one.key: one.planned for one in coming})
        yield _time(left, past, slots)
        yield _disk(left, past, slots)


def _time(left: Sequence[_Coming], past: _Past, slots: int) -> str:
    seconds, sources = [], set()
    for one in left:
        train, trained_from = past.training(one.key)
        test, tested_from = past.testing(one.key)
        seconds.append(max(one.training * train - one.spent, 0.0) + one.images * test)
        sources |= {trained_from} if one.training else {tested_from}
    about = duration(_makespan(seconds, slots))
    if _GUESSED in sources:
        return (
            f"Time: no finished run to estimate from yet; a rough guess is {about} "
            "(it may be wrong by a factor of ten)."
        )
    others = ", some of them of other methods" if _OTHERS in sources else ""
    return f"Time: about {about}, judging by {many(past.runs, 'finished run')}{others}."


def _makespan(seconds: Sequence[float], slots: int) -> float:
    """When the last of these jobs ends, each given to the first of `slots` that is free."""
    free = [0.0] * slots
    for one in seconds:
        heapq.heapreplace(free, free[0] + one)
    return max(free)


def _disk(left: Sequence[_Coming], past: _Past, slots: int) -> str:
    sizes = [past.model_bytes(one) for one in left if one.training]
    if not sizes:
        return "Disk: next to nothing; no model is trained."
    models = sum(sizes)
    # one is written before the oldest is removed
    checkpoints = sum(sorted(sizes)[-slots:]) * CHECKPOINT * (KEPT + 1)
    folder = next((f for f in (past.out, *past.out.absolute().parents) if f.is_dir()), Path())
    free = shutil.disk_usage(folder).free
    short = " THAT IS NOT ENOUGH." if free < models + checkpoints else ""
    return (
        f"Disk: about {decimal(models)} for {many(len(sizes), 'model')}, and up to "
        f"{decimal(checkpoints)} of checkpoints meanwhile; {decimal(free)} are free.{short}"
    )


_SAME, _OTHERS, _GUESSED = "same method", "other methods", "a guess"


class _Past:
    """What finished runs below `out` took; `known` is a planned run of each method and preset."""

    def __init__(self, out: Path, known: dict[Key, PlannedRun]) -> None:
        self.out, self.known, self.runs = out, known, 0
        self._training: dict[Key, list[float]] = defaultdict(list)
        self._testing: dict[Key, list[float]] = defaultdict(list)
        self._bytes: dict[Key, list[int]] = defaultdict(list)
        found = sorted(out.glob("*/run.json"), key=_modified)
        for path in found[-LATEST:]:
            # what can't be read is told of when its run is
            with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, ReIDError):
                self._read(path)

    def training(self, key: Key) -> tuple[float, str]:
        """Seconds a unit of training, and what is behind them."""
        return self._rate(key, self._training)

    def testing(self, key: Key) -> tuple[float, str]:
        """Seconds an image of a test, and what is behind them."""
        return self._rate(key, self._testing)

    def model_bytes(self, one: _Coming) -> int:
        """Of one trained model: as finished ones have, else as its initial weights."""
        if not self._bytes[one.key]:
            planned = one.planned
            files = planned.method.weights_files(planned.config)
            self._bytes[one.key] = [sum(path.stat().st_size for path in files)]
        return int(statistics.median(self._bytes[one.key]))

    def _rate(self, key: Key, rates: dict[Key, list[float]]) -> tuple[float, str]:
        if rates[key]:
            return statistics.median(rates[key]), _SAME
        others = [
            rate for (_, preset), found in rates.items() if preset == key[1] for rate in found
        ]
        if others:
            return statistics.median(others), _OTHERS
        return GUESS.get(key[1], GUESS["paper"]), _GUESSED

    def _read(self, path: Path) -> None:
        run = json.loads(path.read_bytes())
        spec = run["spec"]
        key = (spec["method"], spec["preset"])
        planned = self.known.get(key)
        method = planned.method if planned else methods.load(spec["method"])
        # not validated: weights are named by their hash in a record
        epochs = method.planned_epochs(method.Config.model_construct(**spec["config"]))
        images = sum(counts["images"] for counts in run["source_counts"].values())
        if epochs and run["history"]:
            self._training[key].append(run["seconds"] / (epoch_units(images) * epochs))
        self.runs += 1
        model = path.parent / "model.safetensors"
        if model.exists():
            self._bytes[key].append(model.stat().st_size)
        for target in sorted((path.parent / "targets").glob("*.json")):
            tested = json.loads(target.read_bytes())
            self._testing[key].append(tested["seconds"] / tested["images"])


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
