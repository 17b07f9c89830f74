"""From record files to rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.record import RunFolder, RunRecord, TargetRecord
from protocols.errors import ReIDError
from protocols.registry import row_name

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Row:
    """One target of one finished training, under the name of its protocol."""

    protocol: str
    run: RunRecord
    target: TargetRecord


def rows(out: Path, run_ids: Collection[str] | None = None) -> tuple[list[Row], list[str]]:
    """Every finished row below `out` (of `run_ids`, if given), and what could not be read.

    A damaged record, or one of another version, is named and left out; the rest is returned.
    """
    found, problems = [], []
    for path in sorted(out.glob("*/run.json")):
        folder = RunFolder(out, path.parent.name)
        if run_ids is not None and folder.run_id not in run_ids:
            continue
        try:
            run = folder.read_run()
        except ReIDError as error:
            problems.append(str(error))
            continue
        if run is not None and run.run_id != folder.run_id:
            problems.append(f"{folder.path} is a copy of run {run.run_id}; it is left out.")
        elif run is not None:
            for result in _targets(folder, problems):
                found.append(Row(_protocol(run, result), run, result))
    return found, problems


def _targets(folder: RunFolder, problems: list[str]) -> Iterator[TargetRecord]:
    for path in sorted(folder.targets.glob("*.json")):
        try:
            result = folder.read_target(path.stem)
        except ReIDError as error:
            problems.append(str(error))
            continue
        if result is not None:
            yield result


def _protocol(run: RunRecord, result: TargetRecord) -> str:
    return row_name(tuple(run.spec.sources), run.spec.source_images, result.target)


def load(out: str | Path) -> pd.DataFrame:
    """Every finished row below `out` as a data frame.

    Columns: protocol, method, preset, data (real or stand-in), seed, run_id, target,
    target_version, fingerprint, then every metric (fractions in 0..1) and `train_seconds`.
    """
    import pandas as pd

    found, _ = rows(Path(out))
    return pd.DataFrame(
        [
            {
                "protocol": row.protocol,
                "method": row.run.spec.method,
                "preset": row.run.spec.preset,
                "data": row.target.data,
                "seed": row.run.spec.seed,
                "run_id": row.run.run_id,
                "target": row.target.target,
                "target_version": row.target.target_version,
                "fingerprint": row.target.fingerprint,
                **row.target.metrics,
                "train_seconds": row.run.seconds,
            }
            for row in found
        ]
    )
