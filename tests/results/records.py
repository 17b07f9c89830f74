"""Finished runs written by hand: as `harness run` leaves them, with whatever numbers a test wants.

    from records import write_run
    run_id = write_run(tmp_path, "muva", ("MA",), ("D", "MS"), seed=1, ap={"D": [0.5, 1.0, nan]})

tests/conftest.py has put this folder where tests of `harness` and `results` can import from it.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness import record
from harness.config import RunSpec
from harness.files import file_digest, write_bytes, write_text
from harness.record import QUERY_COLUMNS, RunFolder, RunRecord, TargetRecord
from protocols.types import SourceImages

FINISHED = "2026-01-02T03:04:05+00:00"
ENVIRONMENT = {
    "python": "3.11.7",
    "platform": "Linux",
    "processor": "a processor",
    "cores": 2,
    "threads": 1,
    "gpus": [],
    "git_commit": "0123456789abcdef0123456789abcdef01234567",
    "packages": {"torch": "2.6.0", "numpy": "2.0.0"},
}
QUERIES, PEOPLE, RANKS = 12, 4, 50

PerTarget = Mapping[str, Any]
"""By target; anything else stands for every target."""


def write_run(
    out: Path,
    method: str = "muva",
    sources: Sequence[str] = ("MA",),
    targets: Sequence[str] = ("D",),
    seed: int = 0,
    *,
    config: Mapping[str, Any] | None = None,
    preset: str = "tiny",
    data: str = "stand-in",
    ap: Sequence[float] | PerTarget | None = None,
    first_hit: Sequence[int] | PerTarget | None = None,
    inp: Sequence[float] | PerTarget | None = None,
    pids: Sequence[int] | PerTarget | None = None,
    camids: Sequence[int] | PerTarget | None = None,
    probes: Sequence[str] | PerTarget = ("test",),
    metrics: PerTarget | None = None,
    curves: PerTarget | None = None,
    fingerprints: Mapping[str, str] | None = None,
    target_fingerprints: Mapping[str, str] | None = None,
    target_version: str | PerTarget = "",
    notes: Sequence[str] | PerTarget = (),
    source_notes: Sequence[str] | PerTarget = (),
    losses: Sequence[Mapping[str, float]] | None = None,
    history: Sequence[Mapping[str, Any]] | None = None,
    parameters: Mapping[str, int] | None = None,
    model: bytes | None = None,
    seconds: float = 10.0,
    target_seconds: float = 1.0,
    environment: Mapping[str, Any] | None = None,
    finished_at: str = FINISHED,
    **spec: Any,
) -> str:
    """One finished training below `out` and its targets; returns the run's id.

    `ap` [Q] holds NaN for a query that is not valid; where it is left out it is drawn from the
    run and the target. `first_hit`, `inp`, `pids` and `camids` [Q] follow from it by default; with
    several `probes` the queries are dealt to them in equal parts. The means are computed from
    these; `metrics` by target replaces some of them, `curves` by target are as given. `config` is
    what differs from nothing: `{}` is an entry without settings. `losses` is one dict an epoch.
    `spec` holds further fields of RunSpec: method_version, weights, source_images, precision,
    part_labels, holdout.
    """
    images: SourceImages = spec.pop("source_images", "train")
    prints = {key: f"{zlib.crc32(key.encode()):016x}" for key in (*sources, *targets)}
    what = RunSpec(
        method=method,
        method_version=spec.pop("method_version", "1"),
        preset=preset,
        config=dict(config or {}),
        weights=tuple(spec.pop("weights", ())),
        sources={key: (fingerprints or {}).get(key, prints[key]) for key in sources},
        source_images=images,
        seed=seed,
        precision=spec.pop("precision", "fp32"),
        **spec,
    )
    folder = RunFolder(out, what.id)
    common = {
        "run_id": what.id,
        "data": data,
        "environment": {**ENVIRONMENT, **(environment or {})},
        "finished_at": finished_at,
    }
    if model is not None:
        write_bytes(folder.model, model)
    write_text(folder.spec, what.model_dump_json(indent=1) + "\n")
    done = RunRecord(
        **common,
        spec=what,
        source_counts={key: {"images": 264, "identities": 44} for key in sources},
        source_notes={key: list(_of(source_notes, key, ())) for key in sources},
        history=list(history if history is not None else _history(losses)),
        parameters=dict(parameters or {"all": 1_500_000, "trainable": 1_400_000}),
        model_sha256=None if model is None else file_digest(folder.model),
        seconds=seconds,
        interruptions=0,
    )
    record.write(folder.run, done)
    for target in targets:
        columns = _columns(
            f"{what.id} {target}",
            *(_of(values, target, None) for values in (ap, first_hit, inp, pids, camids)),
            _of(probes, target, ("test",)),
        )
        write_bytes(folder.queries(target), _parquet(columns))
        lines = [{"name": name, **_means(columns, name)} for name in _of(probes, target, ("test",))]
        means = {key: _over_probes(key, lines) for key in lines[0] if key != "name"}
        hits = np.array([hit for hit in columns["first_hit"] if hit is not None])
        print_of_target = (target_fingerprints or fingerprints or {}).get(target, prints[target])
        result = TargetRecord(
            **common,
            target=target,
            target_version=_of(target_version, target, ""),
            fingerprint=print_of_target,
            notes=list(_of(notes, target, ())),
            metrics={**means, **_of(metrics or {}, target, {})},
            cmc=[float((hits <= k).mean()) for k in range(1, RANKS + 1)],
            probes=lines,
            images=3 * len(columns["ap"]),
            queries_sha256=file_digest(folder.queries(target)),
            seconds=target_seconds,
            curves=_of(curves or {}, target, {}),
        )
        record.write(folder.target(target), result)
    return what.id


def _of(value: Any, target: str, default: Any) -> Any:
    return value.get(target, default) if isinstance(value, Mapping) else value


def _columns(name: str, ap: Any, first_hit: Any, inp: Any, pids: Any, camids: Any,
             probes: Sequence[str]) -> dict[str, list[Any]]:  # fmt: skip
    if ap is None:
        ap = np.random.default_rng(zlib.crc32(name.encode())).uniform(0.05, 1.0, QUERIES)
    ap = np.asarray(ap, dtype=float)
    number = np.arange(len(ap))
    if first_hit is None:
        first_hit = np.where(ap >= 0.5, 1, np.ceil(1 / np.maximum(np.nan_to_num(ap), 0.01)))
    inp = ap / 2 if inp is None else inp
    pids = number % PEOPLE + 1 if pids is None else pids
    camids = number // PEOPLE % 2 if camids is None else camids
    known = ~np.isnan(ap)

    def where_valid(values: Any, kind: type) -> list[Any]:
        return [kind(value) if ok else None for value, ok in zip(values, known, strict=True)]

    return {
        "probe": [probes[i * len(probes) // len(ap)] for i in number],
        "query": [f"query/{pid:04d}_c{cam + 1}_{i:04d}.jpg" for pid, cam, i in
                  zip(pids, camids, number, strict=True)],
        "pid": [int(pid) for pid in pids],
        "camid": [int(camid) for camid in camids],
        "valid": known.tolist(),
        "ap": where_valid(ap, float),
        "first_hit": where_valid(np.nan_to_num(first_hit), int),
        "inp": where_valid(inp, float),
        "matches": [3 if ok else 0 for ok in known],
    }  # fmt: skip


def _parquet(columns: Mapping[str, list[Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({name: columns[name] for name in QUERY_COLUMNS}), sink)
    return bytes(sink.getvalue().to_pybytes())


def _means(columns: Mapping[str, list[Any]], probe: str) -> dict[str, Any]:
    rows = [i for i, name in enumerate(columns["probe"]) if name == probe]
    valid = [i for i in rows if columns["valid"][i]]
    hits = np.array([columns["first_hit"][i] for i in valid])
    return {
        "mAP": float(np.mean([columns["ap"][i] for i in valid])),
        **{f"rank{k}": float((hits <= k).mean()) for k in (1, 5, 10)},
        "mINP": float(np.mean([columns["inp"][i] for i in valid])),
        "valid_queries": len(valid),
        "skipped_queries": len(rows) - len(valid),
    }


def _over_probes(key: str, lines: Sequence[Mapping[str, Any]]) -> float:
    values = [line[key] for line in lines]
    return float(sum(values) if key.endswith("_queries") else np.mean(values))


def _history(losses: Sequence[Mapping[str, float]] | None) -> list[dict[str, Any]]:
    given = losses if losses is not None else [{"id": 2.0}, {"id": 1.0}]
    return [
        {
            "stage": "identity",
            "epoch": epoch,
            "lr_factor": 1.0,
            "losses": dict(values),
            "images": 64,
            "seconds": 2.0,
            "finished_at": 1767323000.0 + epoch,
        }
        for epoch, values in enumerate(given, start=1)
    ]
