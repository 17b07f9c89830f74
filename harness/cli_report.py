"""`harness report` as it is typed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.options import OutOption, console, stderr


def report(
    folder: Annotated[
        Path, typer.Option("-o", help="The report's folder; an earlier report there is replaced.")
    ] = Path("report"),
    out: OutOption = Path("runs"),
    methods: Annotated[
        str | None,
        typer.Option(help="Comma list of methods, as tables name them. Default: all."),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Row, group or comma list, as for run. Default: all.")
    ] = None,
    title: Annotated[str, typer.Option(help="What stands above the page.")] = "Re-ID results",
) -> None:
    """Write every finished run as one page for a browser, which needs no network and no server."""
    from harness.commands.report import ReportRequest, report_command

    request = ReportRequest(folder, out, methods, protocol, title)
    raise typer.Exit(report_command(request, console, stderr))
