"""`harness eval` and `harness import` as they are typed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.options import (
    AddressOption,
    DataOption,
    ExperimentOption,
    JsonOption,
    OutOption,
    TrackingOption,
    console,
    stderr,
)

FORMATS = ".npy, .npz, .safetensors, .pt, .mat or .parquet"
SEVERAL = (
    "Repeat it, or give a folder or a quoted pattern: rows count on from file to file, by name."
)


def eval_(
    query: Annotated[
        list[str] | None,
        typer.Option(help=f"Features, pids and camids of the queries: {FORMATS}. {SEVERAL}"),
    ] = None,
    gallery: Annotated[
        list[str] | None, typer.Option(help="Those of the gallery, likewise: 'shards/*.npy'.")
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(help="Instead: features and names of the images of --protocol's target."),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="A row, such as MA->D or MA->D/rerank.")
    ] = None,
    data: DataOption = None,
    distance: Annotated[str, typer.Option(help="cosine or euclidean.")] = "cosine",
    rerank: Annotated[
        bool, typer.Option("--rerank", help="k-reciprocal re-ranking; features in memory.")
    ] = False,
    k1: Annotated[int | None, typer.Option(help="Of --rerank: neighbours; default 20.")] = None,
    k2: Annotated[
        int | None, typer.Option(help="Of --rerank: neighbours that are averaged; default 6.")
    ] = None,
    weight: Annotated[
        float | None,
        typer.Option("--lambda", help="Of --rerank: weight of the distance; default 0.3."),
    ] = None,
    all_cameras: Annotated[
        bool,
        typer.Option("--all-cameras", help="Keep images of the query's camera in its gallery."),
    ] = False,
    no_distractors: Annotated[
        bool, typer.Option("--no-distractors", help="Leave out gallery images with pid 0.")
    ] = False,
    measures: Annotated[
        str | None,
        typer.Option(help="Besides: single-shot, verification, open-set; a comma list, or all."),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(min=0, help="Processes that share the gallery, over Ray; 0, 1: this one."),
    ] = 0,
    address: AddressOption = None,
    approximate: Annotated[
        bool,
        typer.Option("--approximate", help="Through FAISS; its recall beside the exact ranks."),
    ] = False,
    neighbours: Annotated[
        int | None,
        typer.Option(min=1, help="Of --approximate: length of a query's list; default 1000."),
    ] = None,
    probes: Annotated[
        int | None,
        typer.Option(min=1, help="Of --approximate: cells looked through; default: a sixteenth."),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(min=0, help="Of --approximate: queries ranked exactly, too; 0: all."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure features that were made elsewhere: mAP, CMC and mINP.

    Either files with labels, which may be larger than memory (.npy, .safetensors, .npz), or one
    with the names of images, whose labels and lists are then the protocol's.
    """
    from harness.commands.eval import EvalRequest, eval_command
    from harness.commands.eval_options import approximation_of, measure_names, variant_of

    variant = variant_of(distance, rerank, k1, k2, weight, all_cameras, no_distractors)
    how = approximation_of(approximate, neighbours, probes, sample)
    sides = tuple(query or ()), tuple(gallery or ())
    request = EvalRequest(
        *sides, features, protocol, data, variant, measure_names(measures), workers, address, how
    )
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
    from harness.commands.import_features import ImportRequest, import_command

    request = ImportRequest(
        features, method, protocol, seed, data, out, force, tracking, experiment
    )
    raise typer.Exit(import_command(request, console, stderr))
