"""Records of several machines joined in one folder. Nothing is overwritten, what differs is named.

A run is a training and its targets. What is not there yet is copied: a whole run beside its place
and then renamed, a target of a run that is there with its record last. So a merge can be killed and
repeated at will.

Two trainings are the same if their weights are, two results if their metrics and queries are: when,
where and in how many seconds they were computed does not count. What is there stays.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.files import locked
from harness.lease import at_work, hold
from harness.merge_files import copy, irregular, merge_files, merge_plans
from harness.mirror import FIGURES, PICTURES
from harness.plans import FOLDER as PLANS
from harness.record import RunFolder, RunRecord, TargetRecord, names_in
from protocols.errors import ReIDError

RUN_ID = re.compile("[0-9a-f]{12}")
STAGING = ".merge"
"""The folder below `out` in which a run is put together."""
WEIGHTS = "weights"
"""How they are called beside the names of targets that are added."""


@dataclass
class Merged:
    """What a merge did or, if it was a dry run, would do.

    Ids of runs that are new (`added`), that got targets or weights (`joined`, with their names) or
    that were there as they are (`same`); names of new plans, reports and labels (`other`).
    In words: results that differ (`conflicts`), what is damaged, unfinished or being computed
    (`left`), and what could not be copied (`failed`).
    """

    added: list[str] = field(default_factory=list)
    joined: dict[str, list[str]] = field(default_factory=dict)
    same: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@dataclass
class _Run:
    """A finished run, and of each target and of the weights the folder that holds them."""

    folder: RunFolder
    run: RunRecord
    targets: dict[str, tuple[TargetRecord, RunFolder]]
    weights: RunFolder | None


def merge(
    folders: Sequence[Path], out: Path, *, models: bool = True, dry_run: bool = False
) -> Merged:
    """Join the records below `folders` with those below `out`; the first of several counts.

    `models`: copy trained weights, too. With `dry_run` nothing is written.

    Raises ReIDError, before anything is done, for a folder that holds no records or lies in `out`
    or around it.
    """
    named = list({_records(folder, out): folder for folder in folders}.values())
    work = _Merge(out, models, dry_run)
    if dry_run:
        work.all(named)
    else:
        with locked(out / STAGING / "lock"):
            for left in (out / STAGING).iterdir():
                if left.is_dir():
                    shutil.rmtree(left)  # of a merge that was killed
            work.all(named)
    return work.result


class _Merge:
    def __init__(self, out: Path, models: bool, dry_run: bool) -> None:
        self.out, self.models, self.dry_run = out, models, dry_run
        self.result = Merged()

    def all(self, folders: Sequence[Path]) -> None:
        """Every run of the folders, one after the other; then what else they hold."""
        holders: dict[str, list[RunFolder]] = {}
        for folder in folders:
            for name in filter(RUN_ID.fullmatch, names_in(folder, self.result.left)):
                holders.setdefault(name, []).append(RunFolder(folder, name))
        for run_id in sorted(holders):
            self.run(RunFolder(self.out, run_id), holders[run_id])
        for folder in folders:
            for other in (merge_plans, merge_files):
                done = other(folder, self.out, self.dry_run)
                self.result.other += [name for name in done.new if name not in self.result.other]
                self.result.conflicts += done.conflicts
                self.result.left += done.left

    def run(self, mine: RunFolder, holders: Sequence[RunFolder]) -> None:
        """One run, of all folders that hold it."""
        there = mine.path.exists()
        known = self.read(mine) if there else None
        if there and known is None:
            return
        for folder in holders:
            found = self.read(folder)
            if known is None:
                known = found
            elif found is not None:
                self.take(found, known)
        if known is None:
            return
        missing = [name for name, (_, folder) in known.targets.items() if folder is not mine]
        weights = known.weights if self.models else None
        if weights is mine:
            weights = None
        try:
            if not there:
                self.add(mine, known, missing, weights)
            elif missing or weights:
                self.join(mine, known, missing, weights)
            else:
                self.result.same.append(mine.run_id)
        except ReIDError as error:
            self.result.failed.append(str(error))

    def read(self, folder: RunFolder) -> _Run | None:
        """A finished run; None for what is to be left alone, which is named."""
        wrong = irregular(folder.path)
        if not wrong and (holder := at_work(folder.lease)):
            wrong = f"{folder.path} is being computed by {holder}; it is left alone."
        if wrong:
            self.result.left.append(wrong)
            return None
        found = folder.read_finished()
        self.result.left += found.problems
        if found.run is None:
            if not found.problems:
                self.result.left.append(f"{folder.path} is not finished; it is left alone.")
            return None
        targets = {record.target: (record, folder) for record in found.targets}
        return _Run(folder, found.run, targets, folder if folder.model.exists() else None)

    def take(self, found: _Run, known: _Run) -> None:
        """Add to what is `known` of a run what another folder has besides; name what differs."""
        differ = list(_trainings_differ(found.run, known.run))
        same_training = not differ
        for name, (record, folder) in found.targets.items():
            if name in known.targets:
                differ += _results_differ(record, folder, *known.targets[name])
            elif same_training:
                known.targets[name] = record, folder
        if same_training:
            known.weights = known.weights or found.weights
        if differ:
            spec = known.run.spec
            self.result.conflicts.append(
                f"{found.folder.path} ({spec.method} {spec.fold_name}, seed {spec.seed}) is not as "
                f"{known.folder.path}, which is kept: {'; '.join(differ)}."
            )

    def add(
        self, mine: RunFolder, known: _Run, targets: Sequence[str], weights: RunFolder | None
    ) -> None:
        """Copy a run that is not there."""
        if not self.dry_run:
            ready = RunFolder(self.out / STAGING, mine.run_id)
            for place in ("spec", "labels", "log", "system", "run"):
                source = getattr(known.folder, place)
                if source.exists():
                    copy(source, getattr(ready, place))
            self.copy_results(ready, known, targets, weights)
            whole = ready.read_finished()
            if (whole.run, len(whole.targets)) != (known.run, len(targets)):
                raise ReIDError(f"{known.folder.path} has changed meanwhile: merge once more.")
            ready.path.rename(mine.path)
        self.result.added.append(mine.run_id)

    def join(
        self, mine: RunFolder, known: _Run, targets: Sequence[str], weights: RunFolder | None
    ) -> None:
        """Add to a run that is there what it lacks."""
        if not self.dry_run:
            with hold(mine.lease, wait=False):
                if any(mine.target(name).exists() for name in targets):
                    raise ReIDError(f"{mine.path} has changed meanwhile: merge once more.")
                self.copy_results(mine, known, targets, weights)
        self.result.joined[mine.run_id] = [*targets, *([WEIGHTS] if weights else [])]

    def copy_results(
        self, place: RunFolder, known: _Run, targets: Sequence[str], weights: RunFolder | None
    ) -> None:
        """Copy weights, targets and figures into a run's folder; a figure that is there stays."""
        if weights:
            copy(weights.model, place.model, known.run.model_sha256)
        for name in targets:
            record, folder = known.targets[name]
            copy(folder.queries(name), place.queries(name), record.queries_sha256)
            copy(folder.target(name), place.target(name))
        holders = [known.folder, *(known.targets[name][1] for name in targets)]
        for path in dict.fromkeys(holder.path for holder in holders):
            for picture in sorted((path / FIGURES).glob("*")):
                to = place.path / FIGURES / picture.name
                if picture.suffix in PICTURES and not to.exists():
                    copy(picture, to)


def _trainings_differ(found: RunRecord, kept: RunRecord) -> Iterator[str]:
    """What two trainings of the same spec do not have in common, in words."""
    for name, words in (
        ("model_sha256", "weights"),
        ("data", "data"),
        ("validation", "validation"),
    ):
        one, other = getattr(found, name), getattr(kept, name)
        if one != other:
            yield f"{words} {one}, not {other}"


def _results_differ(
    found: TargetRecord, folder: RunFolder, kept: TargetRecord, kept_folder: RunFolder
) -> list[str]:
    """What two results of the same training on the same target do not have in common, in words."""
    name = found.target
    values = {"test images": (found.fingerprint, kept.fingerprint)}
    for metric in sorted({*found.metrics, *kept.metrics}):
        values[metric] = repr(found.metrics.get(metric)), repr(kept.metrics.get(metric))
    differ = [f"{name}: {what} {a}, not {b}" for what, (a, b) in values.items() if a != b]
    if differ or found.queries_sha256 == kept.queries_sha256:
        return differ
    # versions of pyarrow write the same table as other bytes
    same = _table(folder.queries(name)).equals(_table(kept_folder.queries(name)))
    return [] if same else [f"{name}: per-query results"]


def _table(path: Path) -> Any:
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path).read()
    except (OSError, ValueError) as error:
        raise ReIDError(f"{path} can't be read ({str(error).splitlines()[0]}).") from error


def _records(folder: Path, out: Path) -> Path:
    """Where a folder of records really is. Raises ReIDError for one that can't be merged."""
    real, place = folder.resolve(), out.resolve()
    if not real.is_dir():
        raise ReIDError(
            f"There is no folder {folder}; expected one that `harness run` has written."
        )
    if real == place or real in place.parents or place in real.parents:
        raise ReIDError(f"{folder} and --out {out} are one folder, or one lies in the other.")
    if not any(RUN_ID.fullmatch(name) or name == PLANS for name in names_in(real, [])):
        raise ReIDError(
            f"{folder} holds no records; expected a folder that `harness run` has written "
            "(--out, with a folder for each run)."
        )
    return real
