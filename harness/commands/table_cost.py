"""Table 13: what methods cost, from kept reports of `harness cost`, beside what they score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.commands.known import Found
from harness.commands.presets import built_in_presets
from harness.commands.table import TableRequest, chosen_entries, nothing
from methods.cards import CARDS
from protocols.errors import ReIDError
from protocols.registry import select
from results import costs, published
from results.contenders import Contender, canonical, rows_of
from results.cost_table import CostLine, CostTable
from results.costs import CostReport
from results.entries import Entry, settings

PROTOCOLS = "ablation"


def cost_table(found: Found, request: TableRequest) -> CostTable:
    """Table 13 from what is below `--out`; reports that can't be read are named with the rest.

    Raises ReIDError where there is neither row nor report.
    """
    protocols = select(PROTOCOLS)
    reports, problems = costs.read(request.out)
    found.problems.extend(problems)
    chosen, said = chosen_entries(found.entries, request.methods, protocols)
    lines = [
        CostLine(Contender.ours(entry, protocols), costs.of(reports, entry)) for entry in chosen
    ]
    if request.methods is None:
        lines += _unscored(reports, found.entries)
    if not lines and not request.with_published:
        raise ReIDError(nothing(request, ",".join(protocol.name for protocol in protocols)))
    ours = [line.contender for line in lines]
    why = published.unlike(rows_of(ours, map(canonical, protocols)))
    presets = {line.report.preset for line in lines if line.report} - {"paper"}
    why += [words for one in sorted(presets) if (words := f"the preset is {one}") not in why]
    shown = not why or request.with_published
    notes = published.comparison(why, True, shown) if lines else []
    return CostTable(
        protocols,
        lines,
        published.costs() if shown else [],
        [*notes, *_missing(lines, request.out), *said],
    )


def _unscored(reports: Sequence[CostReport], found: Sequence[Entry]) -> list[CostLine]:
    """A line for each method and config that has a report but no rows."""
    best = {report.subject: report for report in sorted(reports, key=lambda one: one.worth)}
    scored = set(map(costs.subject_of, found))
    return [
        CostLine(Contender(_name(report), "", "", {}), report)
        for subject, report in sorted(best.items())
        if subject not in scored
    ]


def _name(report: CostReport) -> str:
    """As an entry would be called, and that it is none."""
    said = []
    if report.method in CARDS:
        usual = built_in_presets(report.method).get(report.preset, report.config)
        shape = {key: v for key, v in report.config.items() if key not in costs.ELSEWHERE}
        said = list(settings(shape, usual))
    return f"{report.method} ({', '.join([*said, f'preset={report.preset}', 'no rows'])})"


def _missing(lines: Sequence[CostLine], out: Path) -> list[str]:
    """How to measure what was not measured."""
    entries = [line.contender.entry for line in lines if line.report is None]
    missing = [entry for entry in entries if entry]
    if not missing:
        return []
    first = missing[0]
    sets = "".join(f" --set {setting}" for setting in first.settings)
    command = f"harness cost --method {first.method} --preset {first.spec.preset}{sets} --out {out}"
    names = ", ".join(entry.name for entry in missing)
    return [f"Not measured: {names}. `{command}` measures {first.name}."]
