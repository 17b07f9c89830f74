"""`harness compare` as it is typed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.options import JsonOption, OutOption, console, stderr


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="As a table names it: 'muva (epochs=30)'.")],
    b: Annotated[str, typer.Argument(metavar="B", help="What it is compared with.")],
    protocol: Annotated[
        str | None, typer.Option(help="As for run; default: all that both have results of.")
    ] = None,
    out: OutOption = Path("runs"),
    resamples: Annotated[
        int, typer.Option(min=100, max=1_000_000, help="Draws for intervals and p-values.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of these draws.")] = 0,
    file: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Instead a .md, .tex, .html, .csv or .json."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether one method is better than another, and how sure that is.

    Per protocol and overall: both results and their difference with 95 % intervals, from queries
    grouped by identity and from seeds; p-values of a paired test, corrected over protocols.
    """
    from harness.commands.compare import CompareRequest, compare_command

    request = CompareRequest(a, b, protocol, out, resamples, seed, file, as_json)
    raise typer.Exit(compare_command(request, console, stderr))
