"""The command line: parse, call, print. A command imports what it needs when it is called."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from protocols.errors import ReIDError

app = typer.Typer(
    help="Compare domain-generalised person re-identification methods.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    suggest_commands=True,
)
console = Console()
stderr = Console(stderr=True)
INTERRUPTED = 130

OutOption = Annotated[Path, typer.Option(help="Where records are written.")]
DataOption = Annotated[
    Path | None,
    typer.Option(help="Folder that holds the data sets; without it, the embedded stand-ins."),
]
TrackingOption = Annotated[
    str | None,
    typer.Option(help="MLflow tracking URI; default: SQLite below --out; 'off' for none."),
]


@app.command()
def run(
    method: Annotated[str, typer.Option(help="Name, package.module:Class, or a comma list.")],
    protocol: Annotated[
        str, typer.Option(help="Row (MA->D, MA:D, MA+D+C3->MS), group (all, P1, ...), comma list.")
    ],
    data: DataOption = None,
    preset: Annotated[
        str | None,
        typer.Option(help="tiny or paper; default: tiny for stand-ins, paper with --data."),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Comma list of seeds.")] = "0",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="key=value of the method's config; repeat.")
    ] = None,
    out: OutOption = Path("runs"),
    force: Annotated[bool, typer.Option(help="Compute again what is done already.")] = False,
    tracking: TrackingOption = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, bf16 or fp16; default: fp32 (tiny), bf16 (paper).")
    ] = None,
    device: Annotated[str, typer.Option(help="auto or cpu.")] = "auto",
    loader_workers: Annotated[
        int, typer.Option(min=0, help="Processes that decode images; 0: this one.")
    ] = 0,
) -> None:
    """Train and test methods on protocols; what is done already is not computed again."""
    from harness.commands.run import RunRequest, run_command

    request = RunRequest(
        methods=_comma_list(method),
        protocol=protocol,
        data=data,
        preset=preset,
        seeds=_seeds(seeds),
        overrides=tuple(set_ or ()),
        out=out,
        force=force,
        tracking=tracking,
        precision=precision,
        device=device,
        loader_workers=loader_workers,
    )
    raise typer.Exit(run_command(request, console))


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="protocols, methods or datasets")],
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """List the protocols, the methods or the data sets that are known."""
    from harness.commands.list import list_command

    list_command(what, as_json, console)


@app.command()
def check(
    data: Annotated[Path, typer.Option(help="Folder that holds the data sets.")],
    datasets: Annotated[
        str | None, typer.Option(help="Comma list of data sets; default: every one there is.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Say which data sets are there and what differs from what their owners published."""
    from harness.commands.check import check_command

    keys = _comma_list(datasets) if datasets else None
    raise typer.Exit(check_command(data, keys, as_json, console, stderr))


@app.command()
def sync(out: OutOption = Path("runs"), tracking: TrackingOption = None) -> None:
    """Bring an MLflow tracking server up to date with the records."""
    from harness.commands.tracking import sync_command

    raise typer.Exit(sync_command(out, tracking, console))


@app.command()
def ui(
    out: OutOption = Path("runs"),
    tracking: TrackingOption = None,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Open MLflow on the records, on 127.0.0.1."""
    from harness.tracking import default_uri
    from harness.tracking import ui as serve

    raise typer.Exit(serve(out, tracking or default_uri(out), port))


def _comma_list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(int(part) for part in _comma_list(text))
    except ValueError:
        seeds = ()
    if not seeds or min(seeds) < 0:
        raise ReIDError(f"--seeds {text!r}: expected whole numbers from 0, such as 0,1,2.")
    return seeds


def main() -> None:
    """Entry point of the `harness` command: 1 for the user's to mend, 130 for Ctrl-C."""
    try:
        app()
    except ReIDError as error:
        stderr.print(f"[bold red]error:[/bold red] {escape(str(error))}", highlight=False)
        sys.exit(1)
    except SystemExit as stopped:
        # typer turns Ctrl-C into this status before it gets here
        if stopped.code == INTERRUPTED:
            again = "The same command goes on from the last finished epoch (leave --force out)."
            stderr.print(f"Stopped. {again}" if "run" in sys.argv[1:2] else "Stopped.")
        raise
    except BrokenPipeError:
        # `harness list | head`: nobody reads on, which is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        stderr.print(f"[bold red]error:[/bold red] {escape(str(error))}", highlight=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
