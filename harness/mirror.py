"""What MLflow shows of the records, as plain data; `harness.tracking` carries it there.

A finished training is one MLflow run, with the figures drawn of it, and each of its targets a child
of it; it is itself a child of its plan (`harness.plan_mirror`). Nothing here imports MLflow, and
looking for what is new (`scan`) reads files only.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness import system
from harness.texts import milliseconds, name_of, params, whole
from protocols.errors import ReIDError

if TYPE_CHECKING:
    # harness.record brings torch; whoever finds nothing new must not pay for it
    from harness.record import RunFolder, RunRecord, TargetRecord

MIRROR_VERSION = 2
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
SYSTEM_POINTS = 500
"""So many values at most of each metric of the system, however long a training took."""


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


def read(out: Path, found: Found, setting: str = "") -> Training:
    """The records as mirrors. A damaged target is named in `problems` and left out.

    `setting` is what a sweep has set for the training, in words.

    Raises ReIDError if the training's record is damaged.
    """
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
        if target is not None:
            files = (folder.target(name), folder.queries(name))
            children.append(_target(key, digest, run, target, files))
    parent = _training(found.run_id, found.digests[found.run_id], run, folder, setting)
    if found.plan:
        parent.tags[PLAN] = found.plan
    common = {RUN_ID: found.run_id, TRAINING: parent.digest}
    for mirror in (parent, *children):
        mirror.tags.update(common, **{KEY: mirror.key})
    return Training(parent, tuple(children), tuple(problems), tuple(figures), found.plan)


def _training(
    key: str, digest: str, run: RunRecord, folder: RunFolder, setting: str = ""
) -> Mirror:
    spec, end = run.spec, milliseconds(run.finished_at)
    metrics = [m for entry in run.history for m in _epoch(entry, end)]
    totals = {"train_seconds": run.seconds, "parameters": run.parameters.get("all", 0),
              "parameters_trainable": run.parameters.get("trainable", 0)}  # fmt: skip
    metrics += [Metric(name, float(value), end) for name, value in totals.items()]
    metrics += _validation(run, end)
    metrics += _system(folder.system, end)
    first = next(iter(run.history), {})
    started = 1000 * (first.get("finished_at", end / 1000) - first.get("seconds", run.seconds))
    tags = _tags(run) | {
        "kind": "training",
        "data": run.data,
        "sources": ", ".join(spec.sources),
        "source_images": spec.source_images,
        "fingerprints": ", ".join(f"{source} {mark}" for source, mark in spec.sources.items()),
        "interruptions": str(run.interruptions),
        "setting": setting,
        "holdout": "" if spec.holdout is None else f"{spec.holdout:g}",
    }
    notes = [f"{source}: {note}" for source, said in run.source_notes.items() for note in said]
    return Mirror(
        key=key,
        digest=digest,
        name=" ".join([spec.method, spec.fold_name, "seed", str(spec.seed), setting]).rstrip(),
        start=min(int(started), end),
        end=end,
        tags=whole(tags | _said(run.environment, notes)),
        params=params(spec.config),
        metrics=tuple(metrics),
        files=(folder.spec, folder.run),
    )


def _target(
    key: str, digest: str, run: RunRecord, target: TargetRecord, files: tuple[Path, ...]
) -> Mirror:
    from protocols.registry import row_name

    spec, end = run.spec, milliseconds(target.finished_at)
    protocol = row_name(tuple(spec.sources), spec.source_images, target.target)
    values = {**target.metrics, "seconds": target.seconds, "images": target.images}
    tags = _tags(run) | {
        "kind": "target",
        "data": target.data,
        "protocol": protocol,
        "target": target.target,
        "target_version": target.target_version,
        "fingerprint": target.fingerprint,
    }
    return Mirror(
        key=key,
        digest=digest,
        name=protocol,
        start=end - int(1000 * target.seconds),
        end=end,
        tags=whole(tags | _said(target.environment, target.notes)),
        params={},
        metrics=tuple(Metric(name_of(k), float(v), end) for k, v in values.items()),
        files=files,
    )


def _epoch(entry: Mapping[str, Any], end: int) -> list[Metric]:
    """The losses of one epoch; steps count the epochs of the stage."""
    at = int(1000 * entry["finished_at"]) if "finished_at" in entry else end
    values = {**entry["losses"], "lr_factor": entry.get("lr_factor", 1.0)}
    return [
        Metric(name_of(f"{entry['stage']}/{name}"), float(value), at, entry["epoch"])
        for name, value in values.items()
    ]


def _validation(run: RunRecord, end: int) -> list[Metric]:
    """How well held-out source identities are found: after epochs, each a step, and in the end."""
    found = [
        (entry["validation"], int(1000 * entry.get("finished_at", end / 1000)), entry["epoch"])
        for entry in run.history
        if "validation" in entry
    ]
    if run.validation is not None:
        last = run.history[-1]["epoch"] if run.history else 0
        found.append((run.validation, end, last))
    return [
        Metric(f"held-out/{name}", float(values[name]), at, epoch)
        for values, at, epoch in found
        for name in ("mAP", "rank1")
    ]


def _system(path: Path, end: int) -> list[Metric]:
    """What the machine did until the training's `end` in ms; steps count the points."""
    # a record tells its end in whole seconds
    samples = system.read(path, until=end / 1000 + 1)
    return [
        Metric(name_of(name), value, int(1000 * at), step)
        for step, (at, found) in enumerate(system.thinned(samples, SYSTEM_POINTS))
        for name, value in found.items()
    ]


def _tags(run: RunRecord) -> dict[str, str]:
    """What a training and its targets are both found by."""
    spec = run.spec
    tags = {name: str(getattr(spec, name)) for name in ("method", "method_version", "preset",
                                                        "seed", "precision")}  # fmt: skip
    return {**tags, "fold": spec.fold_name, "fidelity": str(spec.config.get("fidelity") or "")}


def _said(environment: Mapping[str, Any], notes: Iterable[str]) -> dict[str, str]:
    """Git commit and description, also under the names that MLflow's pages show."""
    commit = environment.get("git_commit") or ""
    clean = re.fullmatch("[0-9a-f]{40}", commit)  # one that can be checked out
    return {
        "git_commit": commit,
        "mlflow.source.git.commit": commit if clean else "",
        "mlflow.note.content": "\n\n".join(notes),
    }


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
