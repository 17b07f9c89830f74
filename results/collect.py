"""From record files to rows."""

from __future__ import annotations

import contextlib
import gc
import math
import re
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.record import (
    QUERY_COLUMNS,
    RunFolder,
    RunRecord,
    TargetRecord,
    names_in,
    target_file,
)
from protocols.errors import ReIDError
from protocols.registry import row_name

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

NEEDED = ("mAP", "rank1", "valid_queries", "skipped_queries")
"""Metrics that every test writes and tables rely on."""
WARNED = 10
"""So many problems at most in the warning of `load`; all are in the frame's attributes."""
_RUN_ID = re.compile("[0-9a-f]{12}")


@dataclass(frozen=True)
class Row:
    """One target of one finished training, with the name of its protocol; `folder` is the run's."""

    protocol: str
    run: RunRecord
    target: TargetRecord
    folder: Path

    @property
    def queries_file(self) -> Path:
        """Its per-query results (`harness.record.QUERY_COLUMNS`)."""
        return self.folder / "targets" / f"{target_file(self.target.target)}.parquet"


@dataclass(frozen=True)
class Queries:
    """Per-query results of a row, columns as in `harness.record.QUERY_COLUMNS`, [Q] each.

    `ap` and `inp` are NaN and `first_hit` 0 where not `valid`.
    """

    probe: np.ndarray
    query: np.ndarray
    pid: np.ndarray
    camid: np.ndarray
    valid: np.ndarray
    ap: np.ndarray
    first_hit: np.ndarray
    inp: np.ndarray
    matches: np.ndarray


def queries(row: Row) -> Queries:
    """Read the per-query results of a row.

    Raises ReIDError if the file can't be read or lacks a number where there must be one.
    """
    table = query_table(row.queries_file)
    columns = {name: table[name].to_numpy() for name in QUERY_COLUMNS}
    first = np.nan_to_num(columns["first_hit"].astype(np.float64)).astype(np.int64)
    found = Queries(**{**columns, "first_hit": first})
    numbers = np.isfinite(found.ap) & np.isfinite(found.inp) & (found.first_hit > 0)
    lacking = found.query[found.valid & ~numbers]
    if len(lacking):
        raise ReIDError(f"{row.queries_file} has no numbers for {lacking[0]}, a valid query.")
    return found


def query_table(path: Path) -> pa.Table:
    """A file of per-query results as an Arrow table, columns as QUERY_COLUMNS.

    Raises ReIDError if it can't be read, lacks a column or has one of another type.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"probe": pa.string(), "query": pa.string(), "valid": pa.bool_(),
             "ap": pa.float64(), "inp": pa.float64()}  # fmt: skip
    wanted = pa.schema([(name, kinds.get(name, pa.int64())) for name in QUERY_COLUMNS])
    try:
        found = pq.ParquetFile(path).read()
        missing = [name for name in QUERY_COLUMNS if name not in found.column_names]
        if missing:
            raise ReIDError(f"{path} has no column {', '.join(missing)}.")
        return found.select(list(QUERY_COLUMNS)).cast(wanted)
    except (OSError, ValueError, NotImplementedError) as error:
        problem = str(error).splitlines()[0]
        raise ReIDError(f"{path} can't be read ({problem}).") from error


def rows(out: Path, run_ids: Collection[str] | None = None) -> tuple[list[Row], list[str]]:
    """Every finished row below `out` (of `run_ids`, if given), and what is wrong with the others.

    A record is named and left out if it is damaged, of another version, a copy, changed by hand,
    or has a metric that is no number; so is what should be a folder or a file and isn't. The rest
    is returned, sorted by run and target. A run that is not finished is no problem.
    """
    found, problems = everything(out, run_ids)
    sound = [row for row in found if not _no_numbers(row)]
    return sound, problems


def everything(out: Path, run_ids: Collection[str] | None = None) -> tuple[list[Row], list[str]]:
    """As `rows`, with the rows that have a metric that is no number, which are named as well."""
    found: list[Row] = []
    problems: list[str] = []
    with _no_collection():
        for name in names_in(out, problems):
            if not name.startswith(".") and (run_ids is None or name in run_ids):
                found += _run(RunFolder(out, name), problems)
    for row in found:
        wrong = _no_numbers(row)
        if wrong:
            path = row.queries_file.with_suffix(".json")
            problems.append(f"{path}: {' and '.join(wrong)} is no number; no table counts it.")
    return found, problems


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """No search for cycles, which takes a third of the time: records are a million objects."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _run(folder: RunFolder, problems: list[str]) -> Iterator[Row]:
    """The rows of one folder below `out`, which need not be a run's."""
    if not _RUN_ID.fullmatch(folder.run_id) and folder.path.is_file():
        return  # the database of MLflow and the like
    found = folder.read_finished()
    problems += found.problems
    for result in found.targets:
        assert found.run is not None
        yield Row(_protocol(found.run, result), found.run, result, folder.path)


def _no_numbers(row: Row) -> list[str]:
    """Names of the metrics that are NaN or infinite, or needed and not there."""
    metrics = dict.fromkeys(NEEDED, math.nan) | row.target.metrics
    wrong = [name for name, value in metrics.items() if not math.isfinite(value)]
    return wrong if all(map(math.isfinite, row.target.cmc)) else [*wrong, "cmc"]


def _protocol(run: RunRecord, result: TargetRecord) -> str:
    return row_name(tuple(run.spec.sources), run.spec.source_images, result.target)


def load(out: str | Path) -> pd.DataFrame:
    """Every finished row below `out` as a data frame, with the columns of `results.tidy.COLUMNS`.

    A line is one target of one training; metrics are fractions in 0..1, NaN where a record has no
    number. What could not be read is left out, told by a warning, and listed in
    `frame.attrs["problems"]`. An empty folder gives a frame without lines.

    Raises ReIDError if there is no folder `out`.
    """
    import pandas as pd
    import pyarrow as pa

    from results import tidy

    if not Path(out).is_dir():
        raise ReIDError(f"There is no folder {out}; expected one that `harness run` has written.")
    found, problems = everything(Path(out))
    if not found and not problems:
        problems = [f"{out} holds no finished run."]
    if problems:
        more = len(problems) - WARNED
        said = [*problems[:WARNED], *([f"... and {more} more"] if more > 0 else [])]
        warnings.warn("\n".join(said), stacklevel=2)
    frame = tidy.table(found).to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    frame.attrs["problems"] = problems
    return frame
