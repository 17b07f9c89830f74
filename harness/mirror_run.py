"""A finished training and its targets as MLflow runs: names, tags, parameters, metrics, files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness import system
from harness.mirror import Metric, Mirror, Presets
from harness.record import RunFolder, RunRecord, TargetRecord
from harness.texts import milliseconds, name_of, params, title, whole
from protocols.registry import row_name

SYSTEM_POINTS = 500
"""So many values at most of each metric of the system, however long a training took."""
CONFIG = "set."
"""What names of parameters begin with that are keys of a method's config."""


def training(digest: str, run: RunRecord, folder: RunFolder, setting: str) -> Mirror:
    """A training: its losses, cost and origin; `setting` is what was set for it, in words."""
    spec, end = run.spec, milliseconds(run.finished_at)
    metrics = [m for entry in run.history for m in _epoch(entry, end)]
    totals = {"train_seconds": run.seconds, "parameters": run.parameters.get("all", 0),
              "parameters_trainable": run.parameters.get("trainable", 0)}  # fmt: skip
    metrics += [Metric(name, float(value), end) for name, value in totals.items()]
    metrics += _validation(run, end)
    metrics += _system(folder.system, end)
    first = next(iter(run.history), {})
    started = 1000 * (first.get("finished_at", end / 1000) - first.get("seconds", run.seconds))
    tags = _tags(run, setting) | {
        "kind": "training",
        "data": run.data,
        "source_images": spec.source_images,
        "fingerprints": ", ".join(f"{source} {mark}" for source, mark in spec.sources.items()),
        "interruptions": str(run.interruptions),
        "holdout": "" if spec.holdout is None else f"{spec.holdout:g}",
    }
    notes = [f"{source}: {note}" for source, said in run.source_notes.items() for note in said]
    return Mirror(
        key=run.run_id,
        digest=digest,
        name=_name(run, spec.fold_name, setting),
        start=min(int(started), end),
        end=end,
        tags=whole(tags | _said(run.environment, notes)),
        params=_params(run),
        metrics=tuple(metrics),
        files=(folder.spec, folder.run),
    )


def target(
    key: str, digest: str, run: RunRecord, found: TargetRecord, folder: RunFolder, setting: str
) -> Mirror:
    """A target of a training: its metrics."""
    spec, end = run.spec, milliseconds(found.finished_at)
    protocol = row_name(tuple(spec.sources), spec.source_images, found.target)
    values = {**found.metrics, "seconds": found.seconds, "images": found.images}
    tags = _tags(run, setting) | {
        "kind": "target",
        "data": found.data,
        "protocol": protocol,
        "target": found.target,
        "target_version": found.target_version,
        "fingerprint": found.fingerprint,
    }
    return Mirror(
        key=key,
        digest=digest,
        name=_name(run, protocol, setting),
        start=end - int(1000 * found.seconds),
        end=end,
        tags=whole(tags | _said(found.environment, found.notes)),
        params=_params(run),
        metrics=tuple(Metric(name_of(k), float(v), end) for k, v in values.items()),
        files=(folder.target(found.target), folder.queries(found.target)),
    )


def _name(run: RunRecord, where: str, setting: str) -> str:
    """As runs are listed and compared: method, fold or protocol, seed, what was set."""
    return title(f"{run.spec.method} {where} seed {run.spec.seed} {setting}".rstrip())


def setting_of(run: RunRecord, presets: Presets) -> str:
    """What a config has other than its preset, in words; nothing where the preset is not known."""
    usual = presets(run.spec.method).get(run.spec.preset)
    if usual is None:
        return ""
    config = run.spec.config
    differ = {key: config[key] for key in sorted(config) if config[key] != usual.get(key)}
    if not differ:
        return ""
    from harness.space import label  # brings torch

    return label(differ)


def _params(run: RunRecord) -> dict[str, str]:
    """What runs are compared by: what was asked for, and the config as `--set` takes it.

    MLflow draws those that differ, the first three in the order of their names, so the config's
    come after the others.
    """
    spec = run.spec
    asked = {name: getattr(spec, name) for name in ("method", "preset", "seed")}
    return params({**asked, "fold": spec.fold_name}) | params(spec.config, CONFIG)


def _epoch(entry: Mapping[str, Any], end: int) -> list[Metric]:
    """The losses of one epoch; steps count the epochs of the stage."""
    at = int(1000 * entry["finished_at"]) if "finished_at" in entry else end
    values = {**entry["losses"], "lr_factor": entry.get("lr_factor", 1.0)}
    return [
        Metric(name_of(f"{entry['stage']}/{name}"), float(value), at, entry["epoch"])
        for name, value in values.items()
        if value is not None  # as JSON has what is no number
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
        if values.get(name) is not None  # as JSON has what is no number
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


def _tags(run: RunRecord, setting: str) -> dict[str, str]:
    """What a training and its targets are both found by."""
    spec = run.spec
    tags = {name: str(getattr(spec, name)) for name in ("method", "method_version", "preset",
                                                        "seed", "precision")}  # fmt: skip
    return {
        **tags,
        "fold": spec.fold_name,
        "sources": ", ".join(spec.sources),
        "setting": setting,
        "fidelity": str(spec.config.get("fidelity") or ""),
    }


def _said(environment: Mapping[str, Any], notes: Iterable[str]) -> dict[str, str]:
    """Git commit and description, also under the names that MLflow's pages show."""
    commit = environment.get("git_commit") or ""
    clean = re.fullmatch("[0-9a-f]{40}", commit)  # one that can be checked out
    return {
        "git_commit": commit,
        "mlflow.source.git.commit": commit if clean else "",
        "mlflow.note.content": "\n\n".join(notes),
    }
