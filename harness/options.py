"""What the files of the command line share: options of several commands, and the two consoles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from protocols.errors import ReIDError

console = Console()
stderr = Console(stderr=True)

OutOption = Annotated[Path, typer.Option(help="Where records are written.")]
DataOption = Annotated[
    Path | None,
    typer.Option(help="Folder that holds the data sets; without it, the embedded stand-ins."),
]
TrackingOption = Annotated[
    str | None,
    typer.Option(help="MLflow tracking URI; default: SQLite below --out; 'off' for none."),
]
ExperimentOption = Annotated[str, typer.Option(help="MLflow experiment; one a project.")]

SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="key=value of the method's config; repeat.")
]
DeviceOption = Annotated[str, typer.Option(help="auto or cpu.")]
WorkersOption = Annotated[
    int, typer.Option(min=0, help="Processes that decode images; 0: this one.")
]
RunsAtOnceOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=0,
        envvar="HARNESS_WORKERS",
        help="Runs at a time; 0: one after the other in this process, without Ray. Default: as "
        "many as there are cores or GPUs for.",
    ),
]
GpusOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1024,
        help="GPUs of a run: 0.5 lets two share one, 2 trains one run on two. Default: 1, or 0 "
        "where there is none.",
    ),
]
CpusOption = Annotated[
    int | None,
    typer.Option(
        min=1, help="Cores of a run. Default: 1 for tiny models, else an equal share of all."
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(help="Ray cluster to run on: auto or HOST:PORT. Default: RAY_ADDRESS, if set."),
]
PresetOption = Annotated[
    str | None, typer.Option(help="tiny or paper; default: tiny for stand-ins, paper with --data.")
]
SeedsOption = Annotated[str, typer.Option(help="Comma list of seeds.")]
ForceOption = Annotated[bool, typer.Option(help="Compute again what is done already.")]
PrecisionOption = Annotated[
    str | None,
    typer.Option(help="fp32, bf16 or fp16; default: fp32 (tiny), bf16 (paper)."),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show the plan, what is done, time and disk.")
]
FiguresOfRunsOption = Annotated[
    list[str],
    typer.Option("--run", help="Run id, or as much of it as is unique; repeat, or 'all'."),
]
FigureFileOption = Annotated[
    Path | None,
    typer.Option(
        "-o",
        help="The figure's file, instead of one beside the run; such a figure is not put into "
        "MLflow.",
    ),
]
FormatOption = Annotated[
    list[str] | None, typer.Option("--format", help="png (default) or svg; repeat for both.")
]
FormatsOption = Annotated[
    list[str] | None, typer.Option("--format", help="png or svg; repeat; default: both.")
]
PublishedOption = Annotated[
    bool,
    typer.Option(
        "--with-published",
        help="Show published numbers even where they are not comparable; the table says so.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable.")]


def comma_list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def seed_list(text: str) -> tuple[int, ...]:
    """Seeds of a comma list, each once. Raises ReIDError for anything else."""
    try:
        seeds = tuple(dict.fromkeys(int(part) for part in comma_list(text)))
    except ValueError:
        seeds = ()
    if not seeds or min(seeds) < 0:
        raise ReIDError(f"--seeds {text!r}: expected whole numbers from 0, such as 0,1,2.")
    return seeds
