"""Runs and rows as the plain data that the page's script shows; nothing here is markup."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from results.collect import Row
from results.entries import Entry

RANKS = 20
"""Ranks of a CMC curve that the page draws."""


class Column(NamedTuple):
    """A column of the table of all runs; `kind` says how the script shows and sorts it."""

    key: str
    title: str
    kind: str = "text"


COLUMNS = (
    Column("protocol", "Protocol"),
    Column("method", "Method"),
    Column("settings", "Settings"),
    Column("seed", "Seed", "number"),
    Column("mAP", "mAP", "percent"),
    Column("rank1", "Rank-1", "percent"),
    Column("rank5", "Rank-5", "percent"),
    Column("mINP", "mINP", "percent"),
    Column("data", "Data"),
    Column("preset", "Preset"),
    Column("fidelity", "Fidelity"),
    Column("precision", "Precision"),
    Column("seconds", "Training time", "seconds"),
    Column("parameters", "Parameters", "count"),
    Column("finished", "Finished", "time"),
    Column("run", "Run"),
)


class Picture(NamedTuple):
    """A picture drawn of a run: its file's name and where the page finds it."""

    name: str
    source: str


def table(entries: Sequence[Entry], order: Mapping[str, int]) -> dict[str, Any]:
    """Every row of the entries as a list in the order of `COLUMNS`; protocols in that `order`."""
    found = [(entry, row) for entry in entries for row in entry.rows]
    found.sort(key=lambda pair: order[pair[1].protocol])
    return {
        "columns": [column._asdict() for column in COLUMNS],
        "rows": [_line(entry, row) for entry, row in found],
    }


def _line(entry: Entry, row: Row) -> list[Any]:
    run, spec = row.run, row.run.spec
    metrics = [percent(row.target.metrics.get(key)) for key in ("mAP", "rank1", "rank5", "mINP")]
    return [
        row.protocol,
        entry.method,
        settings(entry),
        spec.seed,
        *metrics,
        row.target.data,
        spec.preset,
        str(spec.config.get("fidelity") or ""),
        spec.precision,
        plain(round(run.seconds, 1)),
        run.parameters.get("all"),
        row.target.finished_at,
        run.run_id,
    ]


def settings(entry: Entry) -> str:
    """What is other than usual of an entry, as its name says it."""
    return ", ".join([*entry.settings, *(one.name for one in entry.differs if one.name)])


def details(
    entries: Sequence[Entry],
    pictures: Mapping[str, Sequence[Picture]],
    mlflow: Mapping[str, str],
) -> dict[str, Any]:
    """What the pages of single runs show, by run id.

    Configs, environments and notes are in `pool`, each once, for most runs share them. `mlflow`
    has addresses of runs.
    """
    pool = _Pool()
    runs: dict[str, dict[str, Any]] = {}
    for entry in entries:
        for row in entry.rows:
            run_id = row.run.run_id
            if run_id not in runs:
                runs[run_id] = {
                    **_training(entry, row, pool),
                    "pictures": [list(one) for one in pictures.get(run_id, ())],
                    "mlflow": mlflow.get(run_id),
                }
            runs[run_id]["targets"].append(_target(row, pool))
    return {"runs": runs, "pool": pool.values}


def _training(entry: Entry, row: Row, pool: _Pool) -> dict[str, Any]:
    run, spec = row.run, row.run.spec
    facts = spec.model_dump(mode="json", exclude={"config"})
    notes = [f"{key}: {text}" for key, said in run.source_notes.items() for text in said]
    return {
        "entry": entry.name,
        "method": entry.method,
        "fold": spec.fold_name,
        "folder": str(row.folder),
        "data": run.data,
        "spec": plain(facts),
        "config": pool.add(spec.config),
        "settings": list(entry.settings),
        "environment": pool.add(run.environment),
        "sources": pool.add(run.source_counts),
        "notes": pool.add(notes),
        "losses": losses(run.history),
        "parameters": run.parameters,
        "seconds": plain(round(run.seconds, 1)),
        "interruptions": run.interruptions,
        "finished": run.finished_at,
        "validation": plain(run.validation),
        "shared": run.shared,
        "model": run.model_sha256,
        "targets": [],
    }


def _target(row: Row, pool: _Pool) -> dict[str, Any]:
    target = row.target
    return {
        "protocol": row.protocol,
        "target": target.target,
        "version": target.target_version,
        "fingerprint": target.fingerprint,
        "data": target.data,
        "notes": pool.add(target.notes),
        "metrics": {key: plain(short(value)) for key, value in target.metrics.items()},
        "cmc": [plain(short(value)) for value in target.cmc[:RANKS]],
        "probes": len(target.probes),
        "images": target.images,
    }


def losses(history: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Per stage: its name, its epochs, and of each loss a value an epoch, None for no number."""
    stages: dict[str, dict[int, Mapping[str, Any]]] = {}
    for epoch in history:
        stages.setdefault(epoch["stage"], {})[epoch["epoch"]] = epoch["losses"]
    shown = []
    for stage, epochs in stages.items():
        names = dict.fromkeys(name for found in epochs.values() for name in found)
        values = {
            name: [plain(short(found.get(name))) for found in epochs.values()] for name in names
        }
        shown.append({"stage": stage, "epochs": list(epochs), "losses": values})
    return shown


class _Pool:
    """Values that many runs share, each once."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[str, int] = {}

    def add(self, value: Any) -> int:
        """The value's place among the others."""
        key = json.dumps(value, sort_keys=True, default=str)
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append(plain(value))
        return self._places[key]


def percent(value: float | None) -> float | None:
    """A fraction in per cent, rounded to what a page shows and sorts by."""
    return None if value is None or not math.isfinite(value) else round(100 * value, 2)


def short(value: Any) -> Any:
    """A number with four digits that count, whatever else as it is."""
    return float(f"{value:.4g}") if isinstance(value, float) and math.isfinite(value) else value


def plain(value: Any) -> Any:
    """The value as strict JSON has it: NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def embedded(value: Any) -> Markup:
    """JSON that may stand in a <script> element: no character of it can end one."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
