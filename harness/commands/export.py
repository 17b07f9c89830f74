"""`harness export`: everything that is recorded as one tidy table, as Parquet and CSV."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa
from pyarrow import csv, parquet
from rich.console import Console

from harness.commands.known import known_methods
from harness.commands.problems import show_problems
from harness.files import require_place, write_atomic
from harness.screen import many, say
from protocols.errors import ReIDError
from results import collect, tidy
from results.collect import Row

GROUP = 100_000
"""Lines of per-query results that are gathered before they are written."""


@dataclass(frozen=True)
class ExportRequest:
    """Where the records are and where they go; `queries`: a line a query instead of one a row."""

    out: Path
    parquet: Path | None
    csv: Path | None
    queries: bool = False


def export_command(request: ExportRequest, console: Console, stderr: Console) -> int:
    """Write the table and name what could not be read; returns 1 if there was nothing to write.

    Raises ReIDError if there is no folder or nothing in it, or for a file that can't be written.
    """
    files = [(path, kind) for path, kind in ((request.parquet, "parquet"), (request.csv, "csv"))
             if path is not None]  # fmt: skip
    _require(request, [path for path, _ in files])
    rows, problems = collect.everything(request.out)
    if not rows and not problems:
        raise ReIDError(f"{request.out} holds no finished run: there is nothing to write.")
    problems += known_methods(rows)[1]
    said: dict[str, None] = {}
    for path, kind in files if rows else ():
        tables = _queries(rows, said) if request.queries else iter([tidy.table(rows)])
        lines = _write(path, kind, tables)
        each = "query" if request.queries else "target of a run"
        say(console, f"{path}: {many(lines, 'line')}, one a {each}.")
    show_problems(stderr, [*problems, *said])
    return 0 if rows else 1


def _require(request: ExportRequest, files: Sequence[Path]) -> None:
    if not request.out.is_dir():
        raise ReIDError(
            f"There is no folder {request.out}; expected one that `harness run` has written."
        )
    if not files:
        raise ReIDError("Nothing says where to write to: give --parquet FILE or --csv FILE.")
    if len(files) == 2 and files[0].absolute() == files[1].absolute():
        raise ReIDError(f"--parquet and --csv are both {files[0]}: give one of them another name.")
    for option, path in (("--parquet", request.parquet), ("--csv", request.csv)):
        if path is not None:
            require_place(path, option)


def _queries(rows: Iterable[Row], problems: dict[str, None]) -> Iterator[pa.Table]:
    """Per-query results of all rows, some `GROUP` lines at a time; what can't be read is named."""
    gathered = [tidy.query_schema().empty_table()]
    for row in rows:
        try:
            gathered.append(tidy.queries(row))
        except ReIDError as error:
            problems[str(error)] = None
        if sum(map(len, gathered)) >= GROUP:
            yield pa.concat_tables(gathered).combine_chunks()
            gathered = []
    if gathered:
        yield pa.concat_tables(gathered).combine_chunks()


def _write(path: Path, kind: str, tables: Iterator[pa.Table]) -> int:
    """Tables of one schema, one after the other, whole or not at all; returns their lines."""
    lines = 0

    def write(temporary: Path) -> None:
        nonlocal lines
        ready = map(_flat, tables) if kind == "csv" else tables
        first = next(ready)
        make = csv.CSVWriter if kind == "csv" else parquet.ParquetWriter
        with make(temporary, first.schema) as writer:
            for table in chain([first], ready):
                writer.write_table(table)
                lines += len(table)

    write_atomic(path, write)
    return lines


def _flat(table: pa.Table) -> pa.Table:
    """Lists as JSON, which a CSV file can hold."""
    for i, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            texts = [json.dumps(value.as_py()) for value in table.column(i)]
            table = table.set_column(i, field.name, pa.array(texts, pa.string()))
    return table
