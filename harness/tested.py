"""The record of one target, and of every query, from its rankings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from harness import record
from harness.catalog import DataCatalog
from harness.environment import environment
from harness.evaluate import TargetResult, probe_metrics, query_table
from harness.files import file_digest, write_atomic
from harness.record import RunFolder, TargetRecord
from harness.signs import utc


def write_target(
    folder: RunFolder,
    catalog: DataCatalog,
    target: str,
    result: TargetResult,
    notes: Sequence[str] = (),
    check: Callable[[], object] = lambda: None,
) -> None:
    """Leave the queries of a target and its record in a run's folder; `notes` are said first.

    `check` is called right before the record is written, and raises where somebody else may.
    """
    table = pa.table(query_table(result))
    write_atomic(folder.queries(target), lambda temporary: pq.write_table(table, temporary))
    done = TargetRecord(
        run_id=folder.run_id,
        target=target,
        target_version=catalog.dataset(target).version,
        fingerprint=catalog.target_fingerprint(target),
        data=catalog.kind,
        notes=[*notes, *catalog.notes(target)],
        metrics=result.metrics,
        cmc=result.cmc,
        probes=[{"name": p.name, **probe_metrics(r)} for p, r in result.probes],
        images=result.images,
        queries_sha256=file_digest(folder.queries(target)),
        seconds=result.seconds,
        environment=environment(),
        finished_at=utc(),
        curves=result.curves,
    )
    check()
    record.write(folder.target(target), done)
