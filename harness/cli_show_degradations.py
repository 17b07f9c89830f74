"""`harness show degradations` as it is typed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.options import comma_list, console


def register(app: typer.Typer) -> None:
    """Add the commands to `harness show`."""
    app.command("degradations")(show_degradations)


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
