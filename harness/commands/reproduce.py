"""`harness reproduce`: the runs of the paper's tables 5-12, and the tables."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from harness.commands import reproduce_notes as notes
from harness.commands.ground import ground_command
from harness.commands.grounding.settings import GroundRequest
from harness.commands.launching import Launching, RunRequest
from harness.commands.sweep_files import Made
from harness.commands.tables import fits, show_table
from harness.config import Precision, parse_overrides
from harness.grounding.record import ground_folder
from harness.plan_mirror import TABLES
from harness.reproduce import METHOD, Plan, Wanted, plan_rows
from protocols.errors import ReIDError, UnknownName
from results.ablations import ABLATIONS, Ablation
from results.collect import Row
from results.published import comparison
from results.rendering import to_markdown
from results.reproduction import Reproduction, published

ALL = "ablations"
ERRORS = 0.3
"""Share of the boxes that are wrong in the labels of table 9 on stand-ins."""
SIMULATED = (
    "Part labels: the stand-ins' true boxes would have nothing to calibrate, so these have an "
    f"expert's errors in {100 * ERRORS:g} % of the boxes (simulated, seed 0). That makes the "
    "calibrated row another model than the full one of the other tables. The paper's labels are "
    "CogVLM's answers."
)


@dataclass(frozen=True)
class ReproduceRequest:
    """The options of `harness reproduce`, as typed."""

    run: RunRequest
    tables: tuple[str, ...]
    with_published: bool = False
    as_json: bool = False


def reproduce_command(request: ReproduceRequest, console: Console, stderr: Console) -> int:
    """Do what is asked; returns the exit status: 0, or 1 if a run failed.

    With `as_json` the tables go to `console`, everything else to `stderr`. Raises UnknownName for
    a table that is not there, ReIDError for a key of `--set` that a table varies itself.
    """
    ablations = choose_tables(request.tables)
    given = parse_overrides(request.run.overrides)
    _require_free(ablations, given)
    if request.as_json and request.run.dry_run:
        raise ReIDError("--json prints results, and --dry-run computes none; leave one out.")
    call = _Reproducing(request, ablations, given, stderr if request.as_json else console)
    call.open()
    with call.labels() as labels:
        plan = call.plan_tables(labels)
        if request.run.dry_run:
            return call.forecast(plan.runs)
        made = Made(call, plan.runs, "plan", [METHOD])
        call.compute(plan.runs)
        rows, problems = call.rows(plan.runs)
        found = [call.reproduction(ablation, plan, rows, labels) for ablation in ablations]
    for one in found:
        table = one.table()
        show_table(call.console, table if fits(call.console, table) else one.table(stacked=True))
        ids = sorted(set().union(*(plan.of((one.ablation.key, v)) for v in one.found)))
        files = {"md": to_markdown(table), "csv": one.csv()}
        made.keep(one.ablation.key, [*ids, *(p.name for p in call.selected)], files)
    made.close()
    status = call.close(problems)
    if request.as_json:
        console.print_json(json.dumps([one.to_dict() for one in found]))
    return status


def choose_tables(names: Sequence[str]) -> list[Ablation]:
    """The tables of some names, each once, in the paper's order. Raises UnknownName."""
    for name in names:
        if name not in (*ABLATIONS, ALL):
            hint = f"Tables 5 to 12 are here; {ALL} means all of them."
            raise UnknownName("table", name, [*ABLATIONS, ALL], hint)
    return [one for key, one in ABLATIONS.items() if key in names or ALL in names]


def _require_free(ablations: Sequence[Ablation], given: Mapping[str, Any]) -> None:
    for one in ablations:
        both = sorted(one.varied & given.keys())
        if both:
            raise ReIDError(
                f"--set {', '.join(both)}: table {one.number} varies this itself. Leave it out, "
                "or leave the table out."
            )


class _Reproducing(Launching):
    """One call of the command."""

    def __init__(
        self,
        request: ReproduceRequest,
        ablations: Sequence[Ablation],
        given: Mapping[str, Any],
        console: Console,
    ) -> None:
        super().__init__(request.run, console)
        self.request, self.ablations, self.given = request, ablations, given

    @contextlib.contextmanager
    def labels(self) -> Iterator[dict[str, str]]:
        """Table -> part labels that are made for it: table 9's on stand-ins, else none.

        True boxes have nothing to calibrate. A dry run leaves no files behind.
        """
        tables_of = {one.key for one in self.ablations if "calibration" in one.varied}
        if self.catalog.kind != "stand-in" or "part_labels" in self.given or not tables_of:
            yield {}
            return
        with tempfile.TemporaryDirectory() as temporary:
            out = Path(temporary) if self.run.dry_run else self.run.out / TABLES
            for which in {one.source_images for one in self.selected}:
                mine = [one for one in self.selected if one.source_images == which]
                keys = dict.fromkeys(key for one in mine for key in one.sources)
                ground_command(
                    GroundRequest(
                        datasets=tuple(keys),
                        expert="simulated",
                        data=self.run.data,
                        images=which,
                        error_rate=ERRORS,
                        out=out,
                    ),
                    Console(quiet=True),
                )
            yield dict.fromkeys(tables_of, str(ground_folder(out)))

    def plan_tables(self, labels: Mapping[str, str]) -> Plan:
        """The runs of all tables."""
        wanted = [one for ablation in self.ablations for one in self._wanted(ablation, labels)]
        precision = cast(Precision | None, self.run.precision)
        return plan_rows(
            wanted, self.preset, self.selected, self.run.seeds, self.catalog, precision,
            self.run.out,
        )  # fmt: skip

    def reproduction(
        self, ablation: Ablation, plan: Plan, rows: Sequence[Row], labels: Mapping[str, str]
    ) -> Reproduction:
        """A table with the rows that were computed for it, and what is to be said of them."""
        wanted = {one.key[1]: one for one in self._wanted(ablation, labels)}
        ids = {name: plan.of(one.key) for name, one in wanted.items()}
        mine = [run for run in plan.runs if any(run.spec.id in runs for runs in ids.values())]
        reported = published(ablation.number)
        shared = any((v, p.name) in reported for v in ids for p in self.selected)
        why = notes.unlike(self, reported, self.given)
        shown = shared and (not why or self.request.with_published)
        simulated = SIMULATED if ablation.key in labels else ""
        left = {v.label: wanted[v.name].left_out(self.preset) for v in ablation.variants}
        given = {**self.given, **({"part_labels": labels[ablation.key]} if simulated else {})}
        return Reproduction(
            ablation,
            self.selected,
            {name: [row for row in rows if row.run.run_id in runs] for name, runs in ids.items()},
            {name: plan.rows[one.key] for name, one in wanted.items()},
            [
                *notes.notes(self, ablation, mine, given, simulated),
                *notes.left_out(left),
                *self.said(mine),
            ],
            reported if shown else None,
            comparison(why, shared, shown),
        )

    def _wanted(self, ablation: Ablation, labels: Mapping[str, str]) -> list[Wanted]:
        made = {"part_labels": labels[ablation.key]} if ablation.key in labels else {}
        return [
            Wanted((ablation.key, variant.name), variant.overrides, {**self.given, **made})
            for variant in ablation.variants
        ]
