"""`harness show ...` as it is typed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.options import (
    DataOption,
    ExperimentOption,
    FigureFileOption,
    FiguresOfRunsOption,
    FormatOption,
    JsonOption,
    OutOption,
    TrackingOption,
    comma_list,
    console,
    stderr,
)

show_app = typer.Typer(help="Look at what a model or an expert sees.", no_args_is_help=True)


@show_app.command("masks")
def show_masks(
    run: FiguresOfRunsOption,
    out: OutOption = Path("runs"),
    data: DataOption = None,
    target: Annotated[
        str | None, typer.Option(help="Data set to look at; default: each the run was tested on.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, max=100, help="Queries to draw.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Which queries are drawn.")] = 0,
    format_: FormatOption = None,
    file: FigureFileOption = None,
    iou_only: Annotated[
        bool, typer.Option("--iou-only", help="Measure against true boxes, draw nothing.")
    ] = False,
    as_json: JsonOption = False,
    tracking: TrackingOption = None,
    experiment: ExperimentOption = "dg-reid",
) -> None:
    """Draw the part masks and the attention of a trained model, and measure the masks.

    Where true boxes are known (stand-ins), masks are measured over all of a target's images; with
    --iou-only, a target without any makes the exit status 1.
    """
    from harness.commands.show import MasksRequest, masks_command

    request = MasksRequest(
        runs=tuple(run),
        out=out,
        data=data,
        target=target,
        images=images,
        seed=seed,
        formats=tuple(format_ or ()),
        file=file,
        figures=not iou_only,
        as_json=as_json,
        tracking=tracking,
        experiment=experiment,
    )
    raise typer.Exit(masks_command(request, console, stderr))


@show_app.command("calibration")
def show_calibration(
    datasets: Annotated[str, typer.Option(help="Comma list of stand-ins.")] = "MA,MS,D,C3",
    rates: Annotated[
        str, typer.Option(help="Comma list of percentages: how many parts an expert gets wrong.")
    ] = "0,5,10,20,30,40,50",
    seed: Annotated[int, typer.Option(min=0, help="Decides which parts are hit, and how.")] = 0,
    kinds: Annotated[
        str, typer.Option(help="Comma list of errors, all equally likely.")
    ] = "body,fragment,missing,other,occlusion",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="key=value of the calibration; repeat.")
    ] = None,
    out: OutOption = Path("runs"),
    file: Annotated[
        Path | None,
        typer.Option("-o", help="The figure's file; default: below --out, part_labels/figures."),
    ] = None,
    format_: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure what calibration mends of a simulated expert's errors, and draw it.

    Truth is known of stand-ins only, so this is of rendered people; no model is needed.
    """
    from harness.commands.show_calibration import CalibrationRequest, calibration_command

    request = CalibrationRequest(
        datasets=comma_list(datasets),
        rates=rates,
        seed=seed,
        kinds=comma_list(kinds),
        overrides=tuple(set_ or ()),
        out=out,
        file=file,
        formats=tuple(format_ or ()),
        as_json=as_json,
    )
    raise typer.Exit(calibration_command(request, console, stderr))


@show_app.command("grounding")
def show_grounding(
    datasets: Annotated[
        str | None, typer.Option(help="Comma list of data sets; default: all that were grounded.")
    ] = None,
    expert: Annotated[
        str | None, typer.Option(help="Labels of this expert only; default: of every one.")
    ] = None,
    data: DataOption = None,
    out: OutOption = Path("runs"),
    images: Annotated[int, typer.Option(min=1, max=100, help="Images to draw.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Which images are drawn.")] = 0,
    grid: Annotated[str, typer.Option(help="Patches of masks, rows x columns.")] = "16x8",
    format_: FormatOption = None,
    as_json: JsonOption = False,
    tracking: TrackingOption = None,
    experiment: ExperimentOption = "dg-reid",
) -> None:
    """Draw and count the boxes that harness ground was given: raw, calibrated, as masks.

    Four figures beside each label file: boxes on images, their heights before and after
    calibration, boxes and the masks they become, and people who are covered. Where true boxes are
    known (stand-ins), boxes are measured against them.
    """
    from harness.commands.show_grounding import GroundingRequest, grounding_command

    request = GroundingRequest(
        datasets=comma_list(datasets or ""),
        expert=expert,
        data=data,
        out=out,
        images=images,
        seed=seed,
        grid=grid,
        formats=tuple(format_ or ()),
        as_json=as_json,
        tracking=tracking,
        experiment=experiment,
    )
    raise typer.Exit(grounding_command(request, console, stderr))
