"""`harness show` for figures of finished runs, as they are typed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from harness.options import FormatsOption, OutOption, console, stderr

ProtocolOption = Annotated[
    str | None, typer.Option(help="Row, group or comma list; default: all that were run.")
]
MethodsOption = Annotated[
    str | None,
    typer.Option(
        help="Comma list of names as tables show them; default: each as its preset has it."
    ),
]
FileOption = Annotated[
    Path | None, typer.Option("-o", help="The figure's file; default: below --out, in figures/.")
]

SUMMARIES = {
    "cmc": "Draw CMC curves, a figure for each protocol.",
    "roc": "Draw ROC and open-set curves, a figure for each protocol.",
    "robustness": "Draw mAP against the level of each degradation, a figure for each protocol.",
    "intervals": "Draw mAP on each protocol with 95 % intervals.",
    "critical-difference": "Draw mean ranks over protocols, and which do not differ.",
    "cost": "Draw accuracy against parameters, latency (of harness cost) and time of training.",
    "sweep": "Draw mAP against each setting in which runs of a method differ.",
}
"""Commands that take the common options alone."""


def register(app: typer.Typer) -> None:
    """Add the commands to `harness show`."""
    for kind, summary in SUMMARIES.items():
        app.command(kind, help=summary)(_command(kind))
    app.command("heatmap")(show_heatmap)
    app.command("losses")(show_losses)
    app.command("figures")(show_figures)


def _command(kind: str) -> Callable[..., None]:
    def command(
        protocol: ProtocolOption = None,
        methods: MethodsOption = None,
        out: OutOption = Path("runs"),
        file: FileOption = None,
        format_: FormatsOption = None,
    ) -> None:
        _draw(kind, protocol, methods, out, file, format_)

    return command


def show_heatmap(
    protocol: ProtocolOption = None,
    methods: MethodsOption = None,
    difference: Annotated[
        bool, typer.Option("--difference", help="Of two methods: the first minus the second.")
    ] = False,
    out: OutOption = Path("runs"),
    file: FileOption = None,
    format_: FormatsOption = None,
) -> None:
    """Draw mAP from each source to each target, a grid for each method."""
    _draw("heatmap", protocol, methods, out, file, format_, difference=difference)


def show_losses(
    protocol: ProtocolOption = None,
    methods: MethodsOption = None,
    run: Annotated[
        str | None, typer.Option(help="Run id, or as much of it as is unique: that run alone.")
    ] = None,
    out: OutOption = Path("runs"),
    file: FileOption = None,
    format_: FormatsOption = None,
) -> None:
    """Draw losses per epoch, a figure for each method, a panel for each stage of a training."""
    _draw("losses", protocol, methods, out, file, format_, run=run)


def show_figures(
    protocol: ProtocolOption = None,
    methods: MethodsOption = None,
    out: OutOption = Path("runs"),
    folder: Annotated[
        Path | None, typer.Option("-o", help="Folder to write to; default: figures/ below --out.")
    ] = None,
    format_: FormatsOption = None,
) -> None:
    """Draw all of these at once that can be drawn of the runs there are."""
    _draw("figures", protocol, methods, out, folder, format_)


def _draw(
    kind: str,
    protocol: str | None,
    methods: str | None,
    out: Path,
    file: Path | None,
    formats: list[str] | None,
    *,
    run: str | None = None,
    difference: bool = False,
) -> None:
    from harness.commands.show_figures import FiguresRequest, figures_command

    request = FiguresRequest(
        kind, protocol, methods, out, file, tuple(formats or ()), run, difference
    )
    raise typer.Exit(figures_command(request, console, stderr))
