"""`harness show degradations` and `harness show robustness` as they are typed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli_show_figures import FileOption, MethodsOption, ProtocolOption
from harness.options import FormatsOption, OutOption, comma_list, console, stderr


def register(app: typer.Typer) -> None:
    """Add the commands to `harness show`."""
    app.command("degradations")(show_degradations)
    app.command("robustness")(show_robustness)


def show_degradations(
    file: Annotated[Path, typer.Option("-o", help="The figure's file, .png or .svg.")],
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of images, searched with its subfolders; default: stand-ins."),
    ] = None,
    kinds: Annotated[
        str, typer.Option(help="Comma list of occluded, blurred, low-resolution, light, jpeg.")
    ] = "",
    count: Annotated[int, typer.Option(min=1, max=20, help="Images to draw.")] = 2,
) -> None:
    """Draw images as `harness run --protocol 'MA->D/robustness'` degrades them, at every level."""
    from harness.commands.show_degradations import DegradationsRequest, degradations_command

    request = DegradationsRequest(images, comma_list(kinds), count, file)
    raise typer.Exit(degradations_command(request, console))


def show_robustness(
    protocol: ProtocolOption = None,
    methods: MethodsOption = None,
    out: OutOption = Path("runs"),
    file: FileOption = None,
    format_: FormatsOption = None,
) -> None:
    """Draw mAP against the level of each degradation, a figure for each protocol."""
    from harness.commands.show_figures import FiguresRequest, figures_command

    request = FiguresRequest("robustness", protocol, methods, out, file, tuple(format_ or ()))
    raise typer.Exit(figures_command(request, console, stderr))
