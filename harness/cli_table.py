"""`harness table` as it is typed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.options import OutOption, PublishedOption, console, stderr


def table(
    what: Annotated[
        str,
        typer.Argument(
            help="1 to 13 of the MUVA paper; protocols: a row, a group, a list; or robustness, "
            "seen, variants, verification."
        ),
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="terminal (default), markdown, latex, csv or html; else -o's name says it.",
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(help="Comma list of names as the table has them, or all: settings, too."),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="For tables 5 to 12 (default: ablation, as in the paper) and those without a "
            "number (default: all that were run)."
        ),
    ] = None,
    with_published: PublishedOption = False,
    file: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write the table to.")
    ] = None,
    out: OutOption = Path("runs"),
) -> None:
    """Print finished rows in the form of a paper's table; nothing is computed.

    robustness: what is lost on degraded images; seen: the sources' own test sets beside unseen
    targets; variants: flip, rerank, bf16 and others beside the target as it is; verification: ROC,
    open-set and single-shot rates.

    Published numbers stand beside ours on the official data with the paper's preset only. With
    --with-published and no rows, the paper's table is printed as it is.
    """
    from harness.commands.table import TableRequest, table_command

    request = TableRequest(what, kind, methods, protocol, with_published, file, out)
    raise typer.Exit(table_command(request, console, stderr))
