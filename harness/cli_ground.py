"""`harness ground` as it is typed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.options import (
    DataOption,
    OutOption,
    comma_list,
    console,
)


def ground(
    datasets: Annotated[str, typer.Option(help="Comma list of data sets.")],
    expert: Annotated[
        str,
        typer.Option(
            help="A model that is asked: cogvlm (the paper's), grounding-dino, florence-2, "
            "qwen-vl. Or a file: annotations (a CSV, see above, or a file of this command; without "
            "--from the stand-ins' true boxes), masks (the pickled masks of MUVA's authors). Or "
            "stripes (three equal bands), simulated (stand-ins: true boxes with an expert's "
            "errors)."
        ),
    ],
    data: DataOption = None,
    model: Annotated[
        str | None,
        typer.Option(help="Name on the Hugging Face hub, or a folder; default: the expert's own."),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="The model's commit (or branch or tag) on the hub.")
    ] = None,
    trust_remote_code: Annotated[
        bool,
        typer.Option(
            "--trust-remote-code",
            help="Run the code beside the weights; cogvlm has no other. Read it first; from the "
            "hub it needs the commit in --revision.",
        ),
    ] = False,
    source: Annotated[
        Path | None, typer.Option("--from", help="The file of annotations or masks.")
    ] = None,
    grid: Annotated[
        str | None,
        typer.Option(
            help="Patches of --expert masks and of --export, rows x columns. Default: 16x8."
        ),
    ] = None,
    images: Annotated[
        str, typer.Option(help="train, or all for protocols that train on all images.")
    ] = "train",
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=4096,
            help="Images that a model is asked about at a time, and after which its answers are "
            "on the disk. Default: 8; halved where memory is short.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, help="Ask about the first so many images of each data set only, to try it out."
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            help="I/N: this process asks about part I of N; 1/2 and 2/2 for two GPUs or machines "
            "that share --out. Whoever ends last writes the labels."
        ),
    ] = None,
    loader_workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes that decode images. Default: 0, this one."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu or cuda. Default: auto, a GPU if there is one.")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="fp32, bf16 or fp16. Default: bf16 on a GPU, fp32 on a CPU."),
    ] = None,
    wording: Annotated[
        list[str] | None,
        typer.Option(
            help="key=value, how a model is asked: prompt, head, upper, legs, person or check; "
            "repeat. Default: the paper's words."
        ),
    ] = None,
    calibration: Annotated[
        list[str] | None,
        typer.Option(
            help="key=value, which boxes count as extreme and what takes their place "
            "(methods/grounding/calibration.py); repeat. Nothing is asked again."
        ),
    ] = None,
    cover: Annotated[
        str | None,
        typer.Option(
            help="Patches that belong to a box: half of their area is in it (default), their "
            "centre, or any overlap."
        ),
    ] = None,
    double_check: Annotated[
        bool,
        typer.Option(
            "--double-check",
            help="Ask a model again about every box, and discard those it finds wrong.",
        ),
    ] = False,
    single_person: Annotated[
        bool,
        typer.Option(
            "--single-person",
            help="Ask a model for every person, and discard images that show a second one.",
        ),
    ] = False,
    error_rate: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Share of the parts that --expert simulated gets wrong. Default: 0.1"
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Which ones, and how. Default: 0.")
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(help="Also write the masks to this file, as MUVA's authors distribute them."),
    ] = None,
    out: OutOption = Path("runs"),
) -> None:
    """Say where body parts are in training images, for methods that learn from it.

    A model is asked once for each part of each image. Its answers are kept as they come: stopped
    or killed, the same command goes on where it was, and once all is answered, another
    --calibration or --cover makes new labels at once. Labels go to part_labels below --out, where
    `harness run` finds them.

    The CSV of --expert annotations has the header image,part,xmin,ymin,xmax,ymax: part is head,
    upper or legs, coordinates are pixels. A line with empty coordinates (image,head,,,,) says that
    a part was not found, and so does no line; an image needs at least one.

    --expert stripes makes labels that a model learns to predict from the picture; with
    --set partition=stripes its bands are fixed and no labels are needed.
    """
    from harness.commands.ground import GroundRequest, ground_command

    request = GroundRequest(
        datasets=comma_list(datasets),
        expert=expert,
        data=data,
        source=source,
        model=model,
        revision=revision,
        trust_remote_code=trust_remote_code,
        grid=grid,
        images=images,
        batch_size=batch_size,
        limit=limit,
        shard=shard,
        loader_workers=loader_workers,
        device=device,
        precision=precision,
        wording=tuple(wording or ()),
        calibration=tuple(calibration or ()),
        cover=cover,
        double_check=double_check,
        single_person=single_person,
        error_rate=error_rate,
        seed=seed,
        export=export,
        out=out,
    )
    ground_command(request, console)
