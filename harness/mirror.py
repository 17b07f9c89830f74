"""What MLflow shows of the records, as plain data; `harness.tracking` carries it there.

A finished training is one MLflow run, with the figures drawn of it, and each of its targets a child
of it; it is itself a child of its plan (`harness.plan_mirror`). Nothing here imports MLflow, and
looking for what is new (`scan`) reads files only.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from harness.texts import name_of
from protocols.errors import ReIDError

MIRROR_VERSION = 3
"""Goes up when this file shows records differently; the next sync then shows all of them anew."""

PARENT = "mlflow.parentRunId"
"""The tag by which MLflow's pages show a run below another."""
KEY = "harness.key"
"""Tag that says whose mirror a run is: `RUN`, `RUN/TARGET` or `plan:PLAN`."""
RUN_ID = "harness.run_id"
"""Tag that the mirror of a training and those of its targets share."""
PLAN = "harness.plan"
"""Tag of a training with the id of the plan that it is shown below."""
TRAINING = "harness.training"
"""Tag with the digest of the training's record, so that targets of an older one are known."""
MIRRORED = "harness.mirrored"
"""Tag with the digest of what is mirrored, set last: a run without it is not whole."""

FIGURES = "figures"
"""Where figures lie, in the folder of a run and among the artifacts of its mirror."""
PICTURES = (".png", ".svg")
Presets = Callable[[str], Mapping[str, Mapping[str, Any]]]
"""Method -> its configs by preset; none of a method that is not known."""


def no_presets(method: str) -> Mapping[str, Mapping[str, Any]]:
    """For whoever knows no methods."""
    return {}


class Metric(NamedTuple):
    """One value of one metric; `timestamp` in ms, from the record, so that a replay is the same."""

    name: str
    value: float
    timestamp: int
    step: int = 0


@dataclass(frozen=True)
class Mirror:
    """One MLflow run to be. Times are in ms since 1970; `digest` tells the records it shows.

    `files` are its artifacts, `pictures` those below `FIGURES`.
    """

    key: str
    digest: str
    name: str
    start: int
    end: int
    tags: dict[str, str]
    params: dict[str, str]
    metrics: tuple[Metric, ...]
    files: tuple[Path, ...]
    status: str = "FINISHED"
    pictures: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Figure:
    """A picture to be shown with its training; `digest` tells the picture and the training."""

    key: str
    digest: str
    path: Path

    @property
    def tag(self) -> str:
        """The tag of its training that holds its digest, once it is there."""
        return name_of(f"harness.figure.{self.path.name}")


@dataclass(frozen=True)
class Training:
    """The mirrors of a training and of its targets, its figures, and what could not be read.

    `plan` is the id of the plan that it is shown below, if any.
    """

    parent: Mirror
    children: tuple[Mirror, ...]
    problems: tuple[str, ...]
    figures: tuple[Figure, ...] = ()
    plan: str | None = None

    @property
    def digests(self) -> dict[str, str]:
        """Key -> digest of everything that can be mirrored."""
        runs = {m.key: m.digest for m in (self.parent, *self.children)}
        return runs | {f.key: f.digest for f in self.figures}

    @property
    def marks(self) -> dict[str, str]:
        """The digests, and where the training is shown."""
        return self.digests | _place(self.parent.key, self.plan)


@dataclass(frozen=True)
class Found:
    """The files of a finished training as they lie on the disk, unread: key -> digest."""

    run_id: str
    digests: dict[str, str]
    plan: str | None = None

    @property
    def marks(self) -> dict[str, str]:
        """The digests, and where the training is to be shown."""
        return self.digests | _place(self.run_id, self.plan)


def _place(run_id: str, plan: str | None) -> dict[str, str]:
    return {f"{run_id} below": plan} if plan else {}


def scan(
    out: Path, run_ids: Iterable[str] | None = None, owners: Mapping[str, str] | None = None
) -> Iterator[Found]:
    """Every finished training below `out` (or those of `run_ids`), sorted by run id.

    `owners` maps run ids to the plans that they are shown below.
    """
    chosen = None if run_ids is None else set(run_ids)
    for path in sorted(out.glob("*/run.json")):
        run_id = path.parent.name
        if chosen is None or run_id in chosen:
            found = look(out, run_id)
            if found:
                yield replace(found, plan=(owners or {}).get(run_id))


def look(out: Path, run_id: str) -> Found | None:
    """The digests of one training's records as they are now; None while it is not finished.

    What the system did meanwhile is in none of them: the file goes on growing with every target,
    but what it says of a training is settled by the time at which the record says it finished.
    """
    folder = out / run_id
    try:
        run = _digested((folder / "run.json").read_bytes())
        targets, figures = _names(folder / "targets"), _names(folder / FIGURES)
        parts = {
            name.removesuffix(".json"): folder / "targets" / name
            for name in targets
            if name.endswith(".json") and f"{name[:-5]}.parquet" in targets
        } | {f"{FIGURES}/{n}": folder / FIGURES / n for n in figures if n.endswith(PICTURES)}
        digests = {
            f"{run_id}/{name}": _digested(path.read_bytes(), run) for name, path in parts.items()
        }
    except FileNotFoundError:  # made again at this moment
        return None
    shown = {run_id: run, **digests}
    return Found(run_id, {key: digest.hexdigest()[:16] for key, digest in shown.items()})


def read(out: Path, found: Found, setting: str = "", presets: Presets = no_presets) -> Training:
    """The records as mirrors. A damaged target is named in `problems` and left out.

    `setting` is what a sweep has set for the training, in words; without, what its config has other
    than its preset.

    Raises ReIDError if the training's record is damaged.
    """
    from harness import mirror_run
    from harness.record import RunFolder

    folder = RunFolder(out, found.run_id)
    run = folder.read_run()
    if run is None:
        raise ReIDError(f"{folder.run} has just been removed; what belongs to it was left out.")
    if run.run_id != found.run_id:
        raise ReIDError(
            f"{folder.run} is the record of {run.run_id} in a folder of another name, so a copy; "
            "it is left out. Rename the folder or move it elsewhere."
        )
    setting = setting or mirror_run.setting_of(run, presets)
    children, figures, problems = [], [], []
    for key, digest in found.digests.items():
        if key == found.run_id:
            continue
        name = key.partition("/")[2]
        if name.startswith(f"{FIGURES}/"):
            figures.append(Figure(key, digest, folder.path / name))
            continue
        try:
            target = folder.read_target(name)
        except ReIDError as error:
            problems.append(str(error))
            continue
        if target is None:
            problems.append(f"{folder.queries(name)} is not as it was written; it is left out.")
        else:
            children.append(mirror_run.target(key, digest, run, target, folder, setting))
    parent = mirror_run.training(found.digests[found.run_id], run, folder, setting)
    if found.plan:
        parent.tags[PLAN] = found.plan
    common = {RUN_ID: found.run_id, TRAINING: parent.digest}
    for mirror in (parent, *children):
        mirror.tags.update(common, **{KEY: mirror.key})
    return Training(parent, tuple(children), tuple(problems), tuple(figures), found.plan)


def _names(folder: Path) -> dict[str, None]:
    """The files of a folder in order, none if it is not there; faster than by paths."""
    try:
        return dict.fromkeys(sorted(entry.name for entry in os.scandir(folder)))
    except FileNotFoundError:
        return {}


def _digested(content: bytes, after: hashlib._Hash | None = None) -> hashlib._Hash:
    """The digest of a record, of one that belongs to another `after` that one's."""
    hashed = after.copy() if after else hashlib.sha256(f"mirror {MIRROR_VERSION}".encode())
    hashed.update(hashlib.sha256(content).digest())
    return hashed
