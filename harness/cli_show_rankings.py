"""`harness show ranking` and `harness show features` as they are typed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.options import (
    DataOption,
    DeviceOption,
    ExperimentOption,
    FigureFileOption,
    FiguresOfRunsOption,
    FormatsOption,
    JsonOption,
    OutOption,
    TrackingOption,
    comma_list,
    console,
    stderr,
)


def register(app: typer.Typer) -> None:
    """Add the commands to `harness show`."""
    app.command("ranking")(show_ranking)
    app.command("features")(show_features)


def show_ranking(
    run: FiguresOfRunsOption,
    out: OutOption = Path("runs"),
    data: DataOption = None,
    target: Annotated[
        str | None, typer.Option(help="Target to look at; default: each the run was tested on.")
    ] = None,
    queries: Annotated[int, typer.Option(min=1, max=100, help="Queries to draw.")] = 8,
    top: Annotated[int, typer.Option(min=1, max=50, help="Gallery images of each.")] = 10,
    order: Annotated[
        str,
        typer.Option(
            help="hardest (lowest AP) or easiest first; spread: evenly from the hardest to the "
            "easiest; random."
        ),
    ] = "hardest",
    query: Annotated[
        list[str] | None,
        typer.Option(help="This query: its path, or as much of the end as is unique; repeat."),
    ] = None,
    versus: Annotated[
        str | None,
        typer.Option(help="Another run, drawn below: the queries whose AP differs most."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Which queries are drawn at random.")] = 0,
    device: DeviceOption = "auto",
    format_: FormatsOption = None,
    file: FigureFileOption = None,
    as_json: JsonOption = False,
    tracking: TrackingOption = None,
    experiment: ExperimentOption = "dg-reid",
) -> None:
    """Draw queries and the first images of their ranked galleries, right and wrong ones framed.

    The order is the evaluation's, junk left out as there; each AP is compared with the recorded
    one. All images of the target are encoded once.
    """
    from harness.commands.show_ranking import RankingRequest, ranking_command

    request = RankingRequest(
        runs=tuple(run),
        out=out,
        data=data,
        target=target,
        seed=seed,
        formats=tuple(format_ or ()),
        file=file,
        as_json=as_json,
        tracking=tracking,
        experiment=experiment,
        device=device,
        queries=queries,
        top=top,
        order=order,
        paths=tuple(query or ()),
        versus=versus,
    )
    raise typer.Exit(ranking_command(request, console, stderr))


def show_features(
    run: FiguresOfRunsOption,
    out: OutOption = Path("runs"),
    data: DataOption = None,
    target: Annotated[
        str | None, typer.Option(help="One target only; default: all the run was tested on.")
    ] = None,
    by: Annotated[
        str, typer.Option(help="Comma list of identity, domain, camera: a panel each.")
    ] = "identity,domain",
    method: Annotated[str, typer.Option(help="tsne, or umap if umap-learn is installed.")] = "tsne",
    images: Annotated[
        int, typer.Option(min=10, max=5000, help="Images to place, of all data sets together.")
    ] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Which images, and how they are placed.")] = 0,
    device: DeviceOption = "auto",
    format_: FormatsOption = None,
    file: FigureFileOption = None,
    as_json: JsonOption = False,
    tracking: TrackingOption = None,
    experiment: ExperimentOption = "dg-reid",
) -> None:
    """Place images of a run's sources and targets in the plane: near each other if alike to it.

    Only the images that are placed are encoded.
    """
    from harness.commands.show_features import FeatureMapRequest, features_command

    request = FeatureMapRequest(
        runs=tuple(run),
        out=out,
        data=data,
        target=target,
        seed=seed,
        formats=tuple(format_ or ()),
        file=file,
        as_json=as_json,
        tracking=tracking,
        experiment=experiment,
        device=device,
        by=comma_list(by),
        method=method,
        images=images,
    )
    raise typer.Exit(features_command(request, console, stderr))
