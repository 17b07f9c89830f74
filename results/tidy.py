"""Everything that is recorded as one table: a line is one target of one training.

    df = results.collect.load("runs/")
    df[df.method == "muva"].groupby("protocol").mAP.mean()

`COLUMNS` documents every column; a Parquet file holds the same words as metadata of its columns.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import pyarrow as pa

from harness.record import QUERY_COLUMNS, target_file
from results.collect import Row, query_table

TABLE_VERSION = 1
"""Goes up when a column changes its meaning or goes away."""

TEXT, INTEGER, FLOAT = pa.string(), pa.int64(), pa.float64()
MOMENT, CURVE = pa.timestamp("us", tz="UTC"), pa.list_(pa.float64())

COLUMNS: dict[str, tuple[pa.DataType, str]] = {
    "protocol": (TEXT, "name of the protocol, such as MA->D"),
    "method": (TEXT, "name of the method"),
    "preset": (TEXT, "tiny or paper"),
    "data": (TEXT, "real or stand-in: what it was tested on"),
    "seed": (INTEGER, "seed of every random draw"),
    "mAP": (FLOAT, "mean average precision over valid queries, 0..1"),
    "rank1": (FLOAT, "share of valid queries whose first match comes first, 0..1"),
    "rank5": (FLOAT, "the same, among the first 5"),
    "rank10": (FLOAT, "the same, among the first 10"),
    "mINP": (FLOAT, "mean inverse negative penalty, 0..1"),
    "valid_queries": (INTEGER, "queries that the means are over"),
    "skipped_queries": (INTEGER, "queries without a match that is not junk"),
    "cmc": (CURVE, "cmc[k-1] is Rank-k, 0..1"),
    "single_shot_rank1": (FLOAT, "Rank-1 expected over galleries of one image a person, 0..1"),
    "single_shot_rank5": (FLOAT, "the same, Rank-5"),
    "single_shot_rank10": (FLOAT, "the same, Rank-10"),
    "tpr_at_fpr_0.1": (FLOAT, "share of a person's pairs accepted where 1 in 10 of others' is"),
    "tpr_at_fpr_0.01": (FLOAT, "the same, 1 in 100; null with fewer pairs of others"),
    "tpr_at_fpr_0.001": (FLOAT, "the same, 1 in 1,000"),
    "tpr_at_fpr_0.0001": (FLOAT, "the same, 1 in 10,000"),
    "auc": (FLOAT, "area under that curve, the ROC of verification, 0..1"),
    "eer": (FLOAT, "rate at which as many pairs are wrongly accepted as refused; lower is better"),
    "dir_at_far_0.1": (
        FLOAT,
        "share of queries whose first item is right and accepted, where 1 "
        "in 10 queries without their person is accepted, too",
    ),
    "dir_at_far_0.01": (FLOAT, "the same, 1 in 100; null with fewer queries"),
    "dir_at_far_0.001": (FLOAT, "the same, 1 in 1,000"),
    "probes": (INTEGER, "probe splits that the metrics are means over"),
    "images": (INTEGER, "images of query and gallery that were encoded, each once"),
    "run_id": (TEXT, "the training: content hash of its spec, and the name of its folder"),
    "target": (TEXT, "data set that it was tested on, and how: D, D/flip"),
    "variant": (TEXT, "that part of it, such as flip; empty where it was tested as usual"),
    "target_version": (TEXT, "which version of it, where it has several"),
    "fingerprint": (TEXT, "of the test images and their labels"),
    "notes": (TEXT, "what differs from the official target; several are parted by '; '"),
    "sources": (TEXT, "data sets that it was trained on, in order, as MA+D"),
    "source_images": (TEXT, "which of their images: train or all"),
    "source_fingerprints": (TEXT, "of their training images, in the same order, parted by '+'"),
    "source_notes": (TEXT, "what differs from the official sources"),
    "train_images": (INTEGER, "images trained on"),
    "train_identities": (INTEGER, "identities trained on"),
    "method_version": (TEXT, "version of the method's code"),
    "fidelity": (TEXT, "paper or released, where the two differ"),
    "precision": (TEXT, "fp32, bf16 or fp16"),
    "part_labels": (TEXT, "digest of the part masks that were trained with"),
    "holdout": (FLOAT, "share of source identities that was not trained on; 0 for none"),
    "weights": (TEXT, "hashes of the files of weights that training began with"),
    "config": (TEXT, "the whole config as JSON, keys sorted"),
    "epochs": (INTEGER, "epochs of all stages"),
    "last_losses": (TEXT, "mean of each loss in the last epoch of each stage, as JSON"),
    "parameters": (INTEGER, "parameters of the method while it is trained"),
    "parameters_trainable": (INTEGER, "those of them that training changes"),
    "train_seconds": (FLOAT, "seconds of training, without interruptions"),
    "test_seconds": (FLOAT, "seconds of the test"),
    "interruptions": (INTEGER, "how often training was interrupted and went on"),
    "git_commit": (TEXT, "commit of this project that trained it; -dirty: with changes"),
    "python": (TEXT, "version of Python that trained it"),
    "torch": (TEXT, "version of PyTorch that trained it"),
    "platform": (TEXT, "system that it was trained on"),
    "processor": (TEXT, "processor that it was trained on"),
    "gpus": (TEXT, "GPUs that it was trained on, parted by ', '"),
    "environment": (TEXT, "everything that is known of where it was trained, as JSON"),
    "test_environment": (TEXT, "the same, of where it was tested"),
    "finished_at": (MOMENT, "when training was done"),
    "test_finished_at": (MOMENT, "when the test was done"),
    "model_sha256": (TEXT, "of model.safetensors; empty where nothing was trained"),
    "queries_sha256": (TEXT, "of the file of per-query results"),
    "queries_file": (TEXT, "that file, below the folder of records"),
}
"""Column -> type, what it holds. Text that a record does not have is empty, a number is null.

Behind these come `metric.NAME` (floats: metrics that are not among these) and `config.KEY` for
every key of some method's config: its value as text, what is no text as JSON; null for a method
without that key.
"""

QUERIES_OF = {
    "run_id": "the training",
    "protocol": "name of the protocol",
    "method": "name of the method",
    "seed": "its seed",
    "target": "data set that it was tested on, and how",
}
"""What a per-query table says of each query's row, before QUERY_COLUMNS."""


def table(rows: Sequence[Row]) -> pa.Table:
    """The rows as an Arrow table, its schema with words for every column."""
    extra = sorted({name for row in rows for name in row.target.metrics} - COLUMNS.keys())
    keys = sorted({key for row in rows for key in row.run.spec.config})
    lines = [_line(row) for row in rows]
    fields = [_field(name, kind, words) for name, (kind, words) in COLUMNS.items()]
    columns = [pa.array([line[f.name] for line in lines], f.type) for f in fields]
    for name in extra:
        fields.append(_field(f"metric.{name}", FLOAT, f"metric {name}"))
        columns.append(pa.array([row.target.metrics.get(name) for row in rows], FLOAT))
    for key in keys:
        fields.append(_field(f"config.{key}", TEXT, f"{key} of the config, as text or JSON"))
        columns.append(pa.array([_values(line["config"]).get(key) for line in lines], TEXT))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, _about("rows")))


def queries(row: Row) -> pa.Table:
    """The per-query results of a row, a line each; columns as `query_schema`.

    Raises ReIDError if they can't be read.
    """
    found = query_table(row.queries_file)
    said = {
        "run_id": row.run.run_id,
        "protocol": row.protocol,
        "method": row.run.spec.method,
        "seed": row.run.spec.seed,
        "target": row.target.target,
    }
    columns = [pa.repeat(said[name], len(found)) for name in QUERIES_OF]
    return pa.Table.from_arrays([*columns, *found.columns], schema=query_schema())


def query_schema() -> pa.Schema:
    """Types and words of a per-query table's columns."""
    types = dict.fromkeys(("run_id", "protocol", "method", "target", "probe", "query"), TEXT)
    types |= {"valid": pa.bool_(), "ap": FLOAT, "inp": FLOAT}
    words = {**QUERIES_OF, **QUERY_COLUMNS}
    fields = [_field(name, types.get(name, INTEGER), said) for name, said in words.items()]
    return pa.schema(fields, _about("queries"))


def _line(row: Row) -> dict[str, Any]:
    run, target, spec = row.run, row.target, row.run.spec
    where = run.environment
    counts = run.source_counts.values()
    return {
        **dict.fromkeys(name for name, (kind, _) in COLUMNS.items() if kind == FLOAT),
        **{name: value for name, value in target.metrics.items() if name in COLUMNS},
        "valid_queries": _whole(target.metrics.get("valid_queries")),
        "skipped_queries": _whole(target.metrics.get("skipped_queries")),
        "protocol": row.protocol,
        "method": spec.method,
        "preset": spec.preset,
        "data": target.data,
        "seed": spec.seed,
        "cmc": target.cmc,
        "probes": len(target.probes),
        "images": target.images,
        "run_id": run.run_id,
        "target": target.target,
        "variant": target.target.partition("/")[2],
        "target_version": target.target_version,
        "fingerprint": target.fingerprint,
        "notes": "; ".join(target.notes),
        "sources": "+".join(spec.sources),
        "source_images": spec.source_images,
        "source_fingerprints": "+".join(spec.sources.values()),
        "source_notes": "; ".join(f"{k}: {note}" for k, said in run.source_notes.items()
                                  for note in said),
        "train_images": sum(count.get("images", 0) for count in counts),
        "train_identities": sum(count.get("identities", 0) for count in counts),
        "method_version": spec.method_version,
        "fidelity": _text(spec.config.get("fidelity")),
        "precision": spec.precision,
        "part_labels": spec.part_labels or "",
        "holdout": spec.holdout or 0.0,
        "weights": ", ".join(spec.weights),
        "config": json.dumps(spec.config, sort_keys=True),
        "epochs": len(run.history),
        "last_losses": json.dumps(_last_losses(run.history)),
        "parameters": run.parameters.get("all"),
        "parameters_trainable": run.parameters.get("trainable"),
        "train_seconds": run.seconds,
        "test_seconds": target.seconds,
        "interruptions": run.interruptions,
        **{name: _text(where.get(name)) for name in ("git_commit", "python", "platform",
                                                     "processor")},
        "torch": _text(dict(where.get("packages") or {}).get("torch")),
        "gpus": ", ".join(map(str, where.get("gpus") or ())),
        "environment": json.dumps(where, sort_keys=True),
        "test_environment": json.dumps(target.environment, sort_keys=True),
        "finished_at": _moment(run.finished_at),
        "test_finished_at": _moment(target.finished_at),
        "model_sha256": run.model_sha256 or "",
        "queries_sha256": target.queries_sha256,
        "queries_file": f"{run.run_id}/targets/{target_file(target.target)}.parquet",
    }  # fmt: skip


def _last_losses(history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Stage/loss -> its mean in the stage's last epoch."""
    last = {entry["stage"]: entry["losses"] for entry in history}
    return {
        f"{stage}/{name}": None if value is None or not math.isfinite(value) else value
        for stage, losses in last.items()
        for name, value in losses.items()
    }


@lru_cache(maxsize=4096)
def _values(config: str) -> dict[str, str]:
    """Key -> value as text, of a config as JSON; many runs have the same."""
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in json.loads(config).items()
    }


def _whole(value: float | None) -> int | None:
    return int(value) if value is not None and value == value // 1 else None


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _moment(text: str) -> datetime | None:
    """A time as records have it; None for what is none."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None


def _field(name: str, kind: pa.DataType, words: str) -> pa.Field:
    return pa.field(name, kind, metadata={"description": words})


def _about(what: str) -> dict[str, str]:
    return {"harness.table": what, "harness.table_version": str(TABLE_VERSION)}
