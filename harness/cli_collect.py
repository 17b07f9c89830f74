"""`harness merge` and `harness export` as they are typed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.options import JsonOption, OutOption, console, stderr


def merge(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Folders that `harness run` has written.")
    ],
    out: Annotated[Path, typer.Option(help="Where the records are joined.")] = Path("runs"),
    models: Annotated[
        bool, typer.Option(help="Copy trained weights, too; results are complete without.")
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Join the records of several machines in one folder; nothing there is overwritten.

    A run that is in several folders gets the targets of all. One whose results differ is named and
    left as it is, and the exit status is 1; what is not finished is named and left out.
    """
    from harness.commands.merge import merge_command

    raise typer.Exit(merge_command(folders, out, models, dry_run, as_json, console, stderr))


def export(
    parquet: Annotated[Path | None, typer.Option(help="The Parquet file to write.")] = None,
    csv: Annotated[Path | None, typer.Option(help="The CSV file to write.")] = None,
    queries: Annotated[
        bool, typer.Option("--queries", help="A line a query, instead of one a target of a run.")
    ] = False,
    out: OutOption = Path("runs"),
) -> None:
    """Write everything that is recorded as one tidy table, for pandas, R or DuckDB.

    A line is one target of one run: its spec, metrics, cost, environment and notes.
    """
    from harness.commands.export import ExportRequest, export_command

    raise typer.Exit(export_command(ExportRequest(out, parquet, csv, queries), console, stderr))
