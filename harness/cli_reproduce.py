"""`harness reproduce` as it is typed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.options import (
    AddressOption,
    CpusOption,
    DataOption,
    DeviceOption,
    DryRunOption,
    ExperimentOption,
    ForceOption,
    GpusOption,
    JsonOption,
    OutOption,
    PrecisionOption,
    PresetOption,
    PublishedOption,
    RunsAtOnceOption,
    SeedsOption,
    SetOption,
    TrackingOption,
    WorkersOption,
    comma_list,
    console,
    seed_list,
    stderr,
)


def reproduce(
    tables: Annotated[
        list[str],
        typer.Argument(
            metavar="TABLE...", help="table5 ... table12 of the MUVA paper, or ablations: all."
        ),
    ],
    protocol: Annotated[
        str, typer.Option(help="As for run; ablation: the paper's MA->MS and MS->MA.")
    ] = "ablation",
    with_published: PublishedOption = False,
    data: DataOption = None,
    preset: PresetOption = None,
    seeds: SeedsOption = "0",
    set_: SetOption = None,
    out: OutOption = Path("runs"),
    force: ForceOption = False,
    tracking: TrackingOption = None,
    experiment: ExperimentOption = "dg-reid",
    precision: PrecisionOption = None,
    device: DeviceOption = "auto",
    loader_workers: WorkersOption = 0,
    workers: RunsAtOnceOption = None,
    gpus_per_run: GpusOption = None,
    cpus_per_run: CpusOption = None,
    address: AddressOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compute and print the paper's ablation tables; what is done already is not computed again.

    --set holds for every row. Tables go to OUT/tables as Markdown and CSV.

    Published numbers stand beside ours on the official data with the paper's preset only.
    """
    from harness.commands.launching import RunRequest
    from harness.commands.reproduce import ReproduceRequest, reproduce_command
    from harness.settings import How

    request = RunRequest(
        methods=("muva",),
        protocol=protocol,
        data=data,
        preset=preset,
        seeds=seed_list(seeds),
        overrides=tuple(set_ or ()),
        out=out,
        force=force,
        tracking=tracking,
        experiment=experiment,
        precision=precision,
        device=device,
        loader_workers=loader_workers,
        how=How(workers, gpus_per_run, cpus_per_run, address),
        dry_run=dry_run,
    )
    names = tuple(name for text in tables for name in comma_list(text))
    what = ReproduceRequest(request, names, with_published, as_json)
    raise typer.Exit(reproduce_command(what, console, stderr))
