"""`harness eval` and `harness import` as they are typed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.options import (
    DataOption,
    ExperimentOption,
    JsonOption,
    OutOption,
    TrackingOption,
    console,
    stderr,
)

FORMATS = ".npz, .safetensors, .pt, .mat or .parquet"


def eval_(
    query: Annotated[
        Path | None, typer.Option(help=f"Features, pids and camids of the queries: {FORMATS}.")
    ] = None,
    gallery: Annotated[Path | None, typer.Option(help="Those of the gallery.")] = None,
    features: Annotated[
        Path | None,
        typer.Option(help="Instead: features and names of the images of --protocol's target."),
    ] = None,
    protocol: Annotated[str | None, typer.Option(help="A row, such as MA->D.")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure features that were made elsewhere: mAP, CMC and mINP.

    Either two files with labels, or one with the names of images, whose labels and lists are then
    the protocol's.
    """
    from harness.commands.eval import EvalRequest, eval_command

    request = EvalRequest(query, gallery, features, protocol, data)
    raise typer.Exit(eval_command(request, as_json, console, stderr))


def import_(
    features: Annotated[
        Path, typer.Argument(help=f"Features and names of the target's images: {FORMATS}.")
    ],
    method: Annotated[str, typer.Option(help="What to call the method in tables.")],
    protocol: Annotated[str, typer.Option(help="What it was trained and tested on: MA->D.")],
    seed: Annotated[int, typer.Option(min=0, help="Which of several trainings this is.")] = 0,
    data: DataOption = None,
    out: OutOption = Path("runs"),
    force: Annotated[
        bool, typer.Option(help="Replace what was imported for this row before.")
    ] = False,
    tracking: TrackingOption = None,
    experiment: ExperimentOption = "dg-reid",
) -> None:
    """Keep features that were made elsewhere as a record, beside those of runs.

    It stands in the same tables and is compared by the same statistics, marked as imported.
    """
    from harness.commands.eval import ImportRequest, import_command

    request = ImportRequest(
        features, method, protocol, seed, data, out, force, tracking, experiment
    )
    raise typer.Exit(import_command(request, console, stderr))
