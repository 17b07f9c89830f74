"""The command line: parse, call, print. A command imports what it needs when it is called."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from harness import cli_show_degradations, cli_show_figures, cli_show_rankings
from harness.cli_collect import export, merge
from harness.cli_compare import compare
from harness.cli_eval import eval_, import_
from harness.cli_ground import ground
from harness.cli_report import report
from harness.cli_reproduce import reproduce
from harness.cli_show import show_app
from harness.cli_table import table
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
from protocols.errors import ReIDError

app = typer.Typer(
    help="Compare domain-generalised person re-identification methods.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    suggest_commands=True,
)
cli_show_figures.register(show_app)
cli_show_rankings.register(show_app)
cli_show_degradations.register(show_app)
app.add_typer(show_app, name="show")
STOPPED = (130, 128 + signal.SIGTERM, 128 + signal.SIGHUP)


@app.command()
def run(
    method: Annotated[str, typer.Option(help="Name, package.module:Class, or a comma list.")],
    protocol: Annotated[
        str,
        typer.Option(
            help="Row (MA->D, MA:D, MA+D+C3->MS), group (all, P1, ...), comma list; "
            "variants of the target behind a slash (MA->D/flip+rerank, all/occluded-3)."
        ),
    ],
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
    seen: Annotated[
        bool, typer.Option(help="Test on the sources' own test sets, too: the seen domains.")
    ] = False,
    keep_features: Annotated[
        bool, typer.Option(help="Keep the targets' features for other variants of them.")
    ] = False,
) -> None:
    """Train and test methods on protocols; what is done already is not computed again."""
    from harness.commands.run import RunRequest, run_command
    from harness.settings import How

    request = RunRequest(
        methods=comma_list(method),
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
        seen=seen,
        keep_features=keep_features,
    )
    raise typer.Exit(run_command(request, console))


@app.command()
def sweep(
    settings: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=V1,V2...",
            help=r"What is varied: lr=1e-6,5e-6 or parts=\[head,legs],\[head]; for a search also "
            "lr=1e-6..1e-4, evenly, or lr=log:1e-6..1e-4.",
        ),
    ],
    method: Annotated[
        str | None, typer.Option(help="As for run; default: the one method that has the keys.")
    ] = None,
    protocol: Annotated[str, typer.Option(help="As for run.")] = "ablation",
    search: Annotated[
        str,
        typer.Option(
            help="grid: every setting, tested on the targets; random or optuna: a search."
        ),
    ] = "grid",
    trials: Annotated[
        int | None, typer.Option(min=1, help="Settings a search tries. Default: 20.")
    ] = None,
    search_seed: Annotated[
        int | None, typer.Option(min=0, help="Decides what a search draws. Default: 0.")
    ] = None,
    holdout: Annotated[
        float | None,
        typer.Option(help="Share of source identities a search measures on. Default: 0.2."),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(help="source-mAP (default) or source-rank1, of the held-out identities."),
    ] = None,
    asha: Annotated[
        bool, typer.Option("--asha", help="Of a search, give up runs that fall behind the others.")
    ] = False,
    grace: Annotated[
        int | None,
        typer.Option(min=1, help="Epochs of a run before --asha may give it up. Default: 3."),
    ] = None,
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
) -> None:
    """Vary settings: a grid of them, or a search that looks at held-out source identities only.

    A grid is an ablation: every setting is tested on the targets, none is chosen.

    A search chooses, so it sees no target; `harness run` then trains and tests its best setting.
    """
    from harness.commands.run import RunRequest
    from harness.commands.sweep import SweepRequest, sweep_command
    from harness.settings import How

    request = RunRequest(
        methods=comma_list(method or ""),
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
    what = SweepRequest(
        request, tuple(settings), search, trials, search_seed, holdout, objective, asha, grace
    )
    raise typer.Exit(sweep_command(what, console))


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="protocols, variants, methods or datasets")],
    as_json: JsonOption = False,
) -> None:
    """List the protocols, the variants of targets, the methods or the data sets that are known."""
    from harness.commands.list import list_command

    list_command(what, as_json, console)


@app.command()
def check(
    data: Annotated[Path, typer.Option(help="Folder that holds the data sets.")],
    datasets: Annotated[
        str | None, typer.Option(help="Comma list of data sets; default: every one there is.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say which data sets are there and what differs from what their owners published."""
    from harness.commands.check import check_command

    keys = comma_list(datasets) if datasets else None
    raise typer.Exit(check_command(data, keys, as_json, console, stderr))


@app.command()
def encode(
    method: Annotated[str, typer.Option(help="Name or package.module:Class.")],
    images: Annotated[Path, typer.Option(help="Folder of images, searched with its subfolders.")],
    out: Annotated[Path, typer.Option(help="The .npz to write: features [N, D] and names [N].")],
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="A run's folder, or a file of weights; none if nothing is trained."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="tiny or paper; default: the run's, else paper.")
    ] = None,
    set_: SetOption = None,
    precision: Annotated[str, typer.Option(help="fp32 or bf16.")] = "fp32",
    flip: Annotated[
        bool, typer.Option("--flip", help="Add the features of mirror images.")
    ] = False,
    device: DeviceOption = "auto",
    loader_workers: WorkersOption = 0,
) -> None:
    """Write a trained method's features of a folder of images."""
    from harness.commands.encode import EncodeRequest, encode_command

    request = EncodeRequest(
        method=method,
        checkpoint=checkpoint,
        images=images,
        out=out,
        preset=preset,
        overrides=tuple(set_ or ()),
        precision=precision,
        flip=flip,
        device=device,
        loader_workers=loader_workers,
    )
    encode_command(request, console)


@app.command()
def cost(
    method: Annotated[str, typer.Option(help="Name or package.module:Class.")],
    preset: Annotated[str, typer.Option(help="paper or tiny.")] = "paper",
    set_: SetOption = None,
    identities: Annotated[int, typer.Option(min=1, help="Identities trained on.")] = 751,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a batch.")] = 64,
    repeats: Annotated[int, typer.Option(min=1, help="Steps that are timed, of each kind.")] = 5,
    params_only: Annotated[bool, typer.Option(help="Count parameters, run nothing.")] = False,
    device: DeviceOption = "auto",
    precision: Annotated[str, typer.Option(help="fp32 or bf16.")] = "fp32",
    threads: Annotated[int, typer.Option(min=1, help="Threads of the processor.")] = 1,
    out: OutOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Measure a method here: parameters, time of a batch, memory, images a second."""
    from harness.commands.cost import CostRequest, cost_command

    request = CostRequest(
        method=method,
        preset=preset,
        overrides=tuple(set_ or ()),
        identities=identities,
        batch_size=batch_size,
        repeats=repeats,
        params_only=params_only,
        device=device,
        precision=precision,
        threads=threads,
        out=out,
    )
    cost_command(request, as_json, console, stderr)


app.command()(ground)
app.command()(reproduce)
for results_command in (table, compare, merge, export, report):
    app.command()(results_command)
app.command("eval")(eval_)
app.command("import")(import_)


@app.command()
def status(
    out: OutOption = Path("runs"),
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option(help="Look again every second, until Ctrl-C.")] = False,
) -> None:
    """Say what is finished, running, interrupted and failed, from any shell at any time."""
    from harness.commands.status import status_command

    raise typer.Exit(status_command(out, as_json, watch, console))


@app.command()
def sync(
    out: OutOption = Path("runs"),
    tracking: TrackingOption = None,
    experiment: ExperimentOption = "dg-reid",
) -> None:
    """Bring an MLflow tracking server up to date with the records."""
    from harness.commands.tracking import sync_command

    raise typer.Exit(sync_command(out, tracking, console, experiment))


@app.command()
def ui(
    out: OutOption = Path("runs"),
    tracking: Annotated[
        str | None, typer.Option(help="MLflow tracking URI; default: SQLite below --out.")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where it listens.")] = 5000,
) -> None:
    """Open MLflow on the records, on 127.0.0.1."""
    from harness.tracking import default_uri
    from harness.tracking import ui as serve

    raise typer.Exit(serve(out, default_uri(out) if tracking is None else tracking, port))


def _end(number: int, frame: object) -> None:
    sys.exit(128 + number)


def main() -> None:
    """Entry point of the `harness` command: 1 for the user's to mend, 130 for Ctrl-C."""
    if threading.current_thread() is threading.main_thread():
        # as Ctrl-C does: leases, sessions, temporary folders and the terminal are put in order
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:  # nohup has it ignored
                signal.signal(number, _end)
    try:
        app()
    except ReIDError as error:
        stderr.print(f"[bold red]error:[/bold red] {escape(str(error))}", highlight=False)
        sys.exit(1)
    except SystemExit as stopped:
        # typer turns Ctrl-C into this status before it gets here
        if stopped.code in STOPPED:
            again = "The same command goes on from the last finished epoch (leave --force out)."
            stderr.print(
                f"Stopped. {again}"
                if sys.argv[1:2] in (["run"], ["sweep"], ["reproduce"])
                else "Stopped."
            )
        raise
    except KeyboardInterrupt:
        # before typer listens
        stderr.print("Stopped.")
        sys.exit(130)
    except BrokenPipeError:
        # `harness list | head`: nobody reads on, which is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        stderr.print(f"[bold red]error:[/bold red] {escape(str(error))}", highlight=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
