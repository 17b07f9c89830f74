"""`harness run`: plan, launch, mirror, show the table."""

from __future__ import annotations

import hashlib
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.markup import escape

from harness import plans
from harness.catalog import DataCatalog
from harness.commands.tracking import Mirroring
from harness.config import PRECISIONS, Precision, parse_overrides
from harness.files import require_writable, write_text
from harness.forecast import show_plan
from harness.launch import find_slots, launch
from harness.plan import PlannedRun, choose, plan
from harness.record import RunFolder
from harness.screen import duration, many, show_table
from harness.settings import How, Outcome, Settings
from harness.tracking import EXPERIMENT, safe
from harness.train import require_device
from protocols.datasets.folders import require_data_root
from protocols.errors import ReIDError, UnknownName
from protocols.registry import select
from protocols.types import Protocol
from results import tables
from results.collect import rows

LISTED = 8
"""With more runs than this, a table says how many there are and not which."""


@dataclass(frozen=True)
class RunRequest:
    """The options of `harness run`, as typed."""

    methods: tuple[str, ...]
    protocol: str
    data: Path | None
    preset: str | None
    seeds: tuple[int, ...]
    overrides: tuple[str, ...]
    out: Path
    force: bool
    tracking: str | None
    precision: str | None
    device: str
    loader_workers: int
    experiment: str = EXPERIMENT
    how: How = field(default_factory=How)
    dry_run: bool = False


def run_command(request: RunRequest, console: Console) -> int:
    """Do what is asked; returns the exit status: 0, or 1 if a run failed."""
    started = time.monotonic()
    require_device(request.device)
    if request.precision not in (None, *PRECISIONS):
        raise UnknownName("--precision", str(request.precision), PRECISIONS)
    preset = request.preset or ("paper" if request.data else "tiny")
    chosen = choose(request.methods, preset, parse_overrides(request.overrides))
    selected, catalog = _data(request, console)
    precision = cast(Precision | None, request.precision)
    planned = plan(chosen, selected, request.seeds, catalog, precision, request.out)
    command = safe(shlex.join(["harness", *sys.argv[1:]]))
    settings = Settings(
        request.out, request.device, request.loader_workers, request.force, command=command
    )
    if request.dry_run:
        slots = find_slots(request.how, planned, request.device)
        show_plan(planned, catalog, settings, slots.workers or 1, console)
        return 0
    require_writable(request.out)
    plans.remember(
        request.out,
        kind="plan",
        command=command,
        methods=[choice.name for choice in chosen],
        protocol=request.protocol,
        seeds=request.seeds,
        runs=[one.spec.id for one in planned],
    )
    mirror = Mirroring(request.out, request.tracking, console, request.experiment)

    def finished(outcome: Outcome) -> None:
        if outcome.trained or outcome.computed:
            mirror.sync([outcome.run_id])

    outcomes = launch(planned, catalog, settings, request.how, console, finished)
    # also what an earlier command left unsaid
    mirror.sync([one.spec.id for one in planned])
    problems = _show(planned, selected, catalog, request, console)
    return _close(request, outcomes, problems, console, time.monotonic() - started)


def _data(request: RunRequest, console: Console) -> tuple[list[Protocol], DataCatalog]:
    memory = request.out / ".verified"

    def say(text: str) -> None:
        console.print(escape(text), highlight=False)

    if request.data is not None:
        require_data_root(request.data)
        catalog = DataCatalog(request.data, memory, say)
        return select(request.protocol, catalog.own_keys), catalog
    from protocols import standin

    selected = select(request.protocol)
    keys = sorted({k for p in selected for k in (*p.sources, p.target)})
    without = [k for k in keys if k not in standin.KEYS]
    if without:
        raise ReIDError(
            f"{', '.join(without)}: the embedded stand-ins are {', '.join(standin.KEYS)} only. "
            "Give the real data sets with --data DIR, or choose other protocols."
        )
    # plain text: a spinner is a thread, and beside one the renderer can't use a second core
    say("Embedded stand-in data (rendered once, in a few seconds).")
    return selected, DataCatalog(standin.data_root(keys=tuple(keys)), memory)


def _show(
    planned: Sequence[PlannedRun],
    selected: Sequence[Protocol],
    catalog: DataCatalog,
    request: RunRequest,
    console: Console,
) -> list[str]:
    """Print the table of what was asked for and keep it as Markdown; returns what can't be read."""
    order = {one.spec.id: i for i, one in enumerate(planned)}
    found, problems = rows(request.out, order)
    wanted = {(one.spec.id, target) for one in planned for target in one.fold.targets}
    mine = [
        row
        for row in sorted(found, key=lambda row: order[row.run.run_id])
        if (row.run.run_id, row.target.target) in wanted
        # a number of data that have changed since is nobody's
        and row.target.fingerprint == catalog.target_fingerprint(row.target.target)
    ]
    if not mine:
        return problems
    names = ", ".join(dict.fromkeys(one.spec.method for one in planned))
    table = tables.build(selected, mine, f"{names} on {request.protocol}", _said(planned, request))
    show_table(console, table)
    path = request.out / "tables" / f"{_file_name(names, planned, selected)}.md"
    write_text(path, tables.to_markdown(table))
    console.print(f"\nTable:   {escape(str(path))}", highlight=False, soft_wrap=True)
    return problems


def said_of(planned: Sequence[PlannedRun], request: RunRequest, runs: str = "") -> list[str]:
    """What a reader of a table must know of how it was asked for; `runs` in words."""
    changed = [f"Changed from the preset: {', '.join(request.overrides)}."]
    precisions = ", ".join(sorted({one.spec.precision for one in planned}))
    seeds = f"{'seed' if len(request.seeds) == 1 else 'seeds'} {', '.join(map(str, request.seeds))}"
    runs = runs or many(len({one.spec.id for one in planned}), "run")
    return [*(changed if request.overrides else []), f"{precisions}; {seeds}; {runs}."]


def _said(planned: Sequence[PlannedRun], request: RunRequest) -> list[str]:
    ids = list(dict.fromkeys(one.spec.id for one in planned))
    if len(ids) > LISTED:
        return said_of(planned, request)
    return said_of(planned, request, f"{'run' if len(ids) == 1 else 'runs'} {', '.join(ids)}")


def _file_name(names: str, planned: Sequence[PlannedRun], selected: Sequence[Protocol]) -> str:
    """One name for the same runs and rows, however they were typed; another for any others."""
    content = [one.spec.id for one in planned] + [protocol.name for protocol in selected]
    digest = hashlib.sha256("\n".join(content).encode()).hexdigest()[:8]
    readable = "".join(c if c.isalnum() or c in "+-" else "_" for c in names)[:80]
    return f"{readable}-{digest}"


def _close(
    request: RunRequest,
    outcomes: Sequence[Outcome],
    problems: Sequence[str],
    console: Console,
    seconds: float,
) -> int:
    trained = sum(o.trained for o in outcomes)
    computed = sum(len(o.computed) for o in outcomes)
    out = str(request.out)
    console.print(f"Records: {escape(out)}", highlight=False, soft_wrap=True)
    if request.tracking != "off":
        uri = f" --tracking {shlex.quote(safe(request.tracking))}" if request.tracking else ""
        command = f"harness ui --out {shlex.quote(out)}{uri}"
        console.print(f"MLflow:  {escape(command)}", highlight=False, soft_wrap=True)
    console.print(
        f"{many(trained, 'training')} and {many(computed, 'test')} computed in "
        f"{duration(seconds)}.",
        highlight=False,
    )
    # each with the log of its run
    failures: dict[str, Path | None] = {
        failure: RunFolder(request.out, outcome.run_id).log
        for outcome in outcomes
        for failure in outcome.failures
    }
    failures |= {p: None for p in problems if not any(p in failure for failure in failures)}
    if not failures:
        return 0
    console.print(f"\n[bold red]{len(failures)} failed[/bold red]; everything else is kept:")
    for failure, log in failures.items():
        console.print(f"- {escape(failure)}", highlight=False)
        if log and log.exists() and str(log) not in failure:
            console.print(f"  Log: {escape(str(log))}", highlight=False, soft_wrap=True)
    command = shlex.join(["harness", *sys.argv[1:]])
    console.print(
        f"The same command computes only what failed:\n  {escape(command)}",
        highlight=False,
        soft_wrap=True,
    )
    return 1
