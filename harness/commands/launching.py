"""What `harness run`, `sweep` and `reproduce` have in common: the data, the launch, the end."""

from __future__ import annotations

import hashlib
import shlex
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.markup import escape

from harness import plans
from harness.commands.data import open_data
from harness.commands.tracking import Mirroring
from harness.config import PRECISIONS, Precision
from harness.files import require_writable, write_bytes
from harness.forecast import show_plan
from harness.launch import find_slots, launch
from harness.plan import Choice, PlannedRun, plan
from harness.plan_mirror import TABLES
from harness.record import RunFolder
from harness.screen import duration, many, say
from harness.settings import How, Outcome, Settings
from harness.tracking import EXPERIMENT, safe
from harness.train import require_device
from protocols.errors import UnknownName
from protocols.registry import seen_name, select
from results.collect import Row, rows

TABLE, BESIDE = "\nTable:   ", " " * 9
"""What stands before the first file of a table, and before the others."""


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
    seen: bool = False
    keep_features: bool = False


class Launching:
    """One call of a command that computes runs: what is asked for, and what has been computed.

    Raises UnknownName for a device or a precision that nobody knows.
    """

    def __init__(self, run: RunRequest, console: Console) -> None:
        self.started = time.monotonic()
        require_device(run.device)
        if run.precision not in (None, *PRECISIONS):
            raise UnknownName("--precision", str(run.precision), PRECISIONS)
        self.run, self.console = run, console
        self.preset = run.preset or ("paper" if run.data else "tiny")
        self.command = shlex.join(["harness", *sys.argv[1:]])
        self.outcomes: list[Outcome] = []

    def open(self) -> None:
        """The data, and where things go. Raises ReIDError for data that are not there."""
        run = self.run
        memory = run.out / ".verified"
        self.selected, self.catalog = open_data(run.data, run.protocol, memory, self.console)
        if run.seen:
            names = [seen_name(row) for row in self.selected]
            seen = select(",".join(names), self.catalog.own_keys)
            self.selected = list({row.name: row for row in (*self.selected, *seen)}.values())
        self.settings = Settings(
            run.out,
            run.device,
            run.loader_workers,
            run.force,
            command=safe(self.command),
            keep_features=run.keep_features,
        )
        self.mirror = Mirroring(run.out, run.tracking, self.console, run.experiment)

    def plan(self, choices: Sequence[Choice], holdout: float | None = None) -> list[PlannedRun]:
        """The runs of some choices."""
        precision = cast(Precision | None, self.run.precision)
        rows, seeds, out = self.selected, self.run.seeds, self.run.out
        return plan(choices, rows, seeds, self.catalog, precision, out, holdout)

    def forecast(self, planned: Sequence[PlannedRun]) -> int:
        """Show a plan and compute nothing."""
        slots = find_slots(self.run.how, planned, self.run.device)
        show_plan(planned, self.catalog, self.settings, slots.workers or 1, self.console)
        return 0

    def remember(
        self, planned: Sequence[PlannedRun], kind: plans.Kind, names: Sequence[str], text: str = ""
    ) -> plans.PlanRecord:
        """Keep which runs belong together; `text` tells a search, which finds them on the way."""
        require_writable(self.run.out)
        return plans.remember(
            self.run.out,
            [one.spec.id for one in planned],
            kind=kind,
            command=self.command,
            methods=names,
            protocol=self.run.protocol,
            seeds=self.run.seeds,
            search=text,
            settings={one.spec.id: one.setting for one in planned if one.setting},
        )

    def compute(self, planned: Sequence[PlannedRun], beside: Sequence[PlannedRun] = ()) -> None:
        """What is missing of a plan; a run is given up beside these runs and those `beside`."""

        def finished(outcome: Outcome) -> None:
            if outcome.trained or outcome.computed:
                self.mirror.sync([outcome.run_id])

        how, settings, console = self.run.how, self.settings, self.console
        self.outcomes += launch(planned, self.catalog, settings, how, console, finished, beside)

    def rows(self, planned: Sequence[PlannedRun]) -> tuple[list[Row], list[str]]:
        """The rows that were asked for, in the order of the plan, and what can't be read."""
        order = {one.spec.id: i for i, one in enumerate(planned)}
        found, problems = rows(self.run.out, order)
        wanted = {(one.spec.id, target) for one in planned for target in one.fold.targets}
        mine = [
            row
            for row in sorted(found, key=lambda row: order[row.run.run_id])
            if (row.run.run_id, row.target.target) in wanted
            # a number of data that have changed since is nobody's
            and row.target.fingerprint == self.catalog.target_fingerprint(row.target.target)
        ]
        return mine, problems

    def said(self, planned: Sequence[PlannedRun], runs: str = "") -> list[str]:
        """What a reader of a table must know of how it was asked for; `runs` in words."""
        run = self.run
        changed = [f"Changed from the preset: {', '.join(run.overrides)}."]
        precisions = ", ".join(sorted({one.spec.precision for one in planned}))
        seeds = f"{'seed' if len(run.seeds) == 1 else 'seeds'} {', '.join(map(str, run.seeds))}"
        runs = runs or many(len({one.spec.id for one in planned}), "run")
        return [*(changed if run.overrides else []), f"{precisions}; {seeds}; {runs}."]

    def keep(
        self, names: str, content: Iterable[str], files: Mapping[str, str | bytes]
    ) -> list[Path]:
        """Suffix -> what is to be kept of a table, in files named for `names` and its `content`."""
        digest = hashlib.sha256("\n".join(content).encode()).hexdigest()[:8]
        readable = "".join(c if c.isalnum() or c in "+-" else "_" for c in names)
        kept = []
        for suffix, data in files.items():
            path = self.run.out / TABLES / f"{readable}-{digest}.{suffix}"
            write_bytes(path, data.encode() if isinstance(data, str) else data)
            kept.append(path)
        return kept

    def say_kept(self, files: Sequence[Path]) -> None:
        """Where a table and what goes with it are."""
        for i, path in enumerate(files):
            say(self.console, f"{BESIDE if i else TABLE}{path}")

    def close(self, problems: Sequence[str] = ()) -> int:
        """Say where everything is, and what failed; returns the exit status."""
        self._say_where()
        # each with the log of its run
        failures: dict[str, Path | None] = {
            failure: RunFolder(self.run.out, outcome.run_id).log
            for outcome in self.outcomes
            for failure in outcome.failures
        }
        failures |= {p: None for p in problems if not any(p in failure for failure in failures)}
        if not failures:
            return 0
        console = self.console
        console.print(f"\n[bold red]{len(failures)} failed[/bold red]; everything else is kept:")
        for failure, log in failures.items():
            console.print(f"- {escape(failure)}", highlight=False)
            if log and log.exists() and str(log) not in failure:
                say(console, f"  Log: {log}")
        say(console, f"The same command computes only what failed:\n  {self.command}")
        return 1

    def _say_where(self) -> None:
        run, console, out = self.run, self.console, str(self.run.out)
        say(console, f"Records: {out}")
        if run.tracking != "off":
            uri = f" --tracking {shlex.quote(safe(run.tracking))}" if run.tracking else ""
            command = f"harness ui --out {shlex.quote(out)}{uri}"
            say(console, f"MLflow:  {command}")
        trained = sum(outcome.trained for outcome in self.outcomes)
        computed = sum(len(outcome.computed) for outcome in self.outcomes)
        console.print(
            f"{many(trained, 'training')} and {many(computed, 'test')} computed in "
            f"{duration(time.monotonic() - self.started)}.",
            highlight=False,
        )


def names_of(planned: Sequence[PlannedRun]) -> str:
    """The methods of a plan."""
    return ", ".join(dict.fromkeys(one.spec.method for one in planned))
