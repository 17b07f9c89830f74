"""What `harness sweep` prints at its end: a line a setting, or a line a trial, best first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.commands.launching import Launching, names_of
from harness.plan import PlannedRun
from harness.screen import show_table
from harness.search import Trial
from harness.space import shown
from protocols.types import Protocol
from results import tables
from results.collect import Row

WIDE = 4
"""With more protocols than this, the terminal shows means only; the file has every one."""
ABLATION = (
    "An ablation: every setting was tested on the targets. To choose one, use --search, which sees "
    "source identities only."
)


def show_grid(call: Launching, planned: Sequence[PlannedRun], said: Sequence[str]) -> list[str]:
    """Print a line a setting, keep it as Markdown; returns what can't be read."""
    found, problems = call.rows(planned)
    by_run: dict[str, list[Row]] = {}
    for row in found:
        by_run.setdefault(row.run.run_id, []).append(row)
    if not by_run:
        return problems
    several = len({one.spec.method for one in planned}) > 1
    settings: dict[tuple[str, str], tuple[str, list[Row]]] = {}
    for one in planned:
        key = one.spec.method, one.config.model_dump_json()
        name = f"{one.spec.method} {one.setting}" if several else one.setting
        settings.setdefault(key, (name, []))[1].extend(by_run.get(one.spec.id, []))
    title = f"{names_of(planned)} on {call.run.protocol}, by setting"
    notes = [*call.said(planned), *said, ABLATION]
    whole = _grid(list(settings.values()), call.selected, title, notes)
    show_table(call.console, _means(whole) if len(call.selected) > WIDE else whole)
    _keep(call, whole, planned)
    return problems


def _grid(
    settings: Sequence[tuple[str, list[Row]]],
    selected: Sequence[Protocol],
    title: str,
    said: Sequence[str],
) -> tables.Table:
    """A line a setting: mAP and Rank-1 of each protocol, and the means over several."""
    lines, notes = [], []
    columns = [protocol.name for protocol in selected]
    columns += ["mean"] if len(selected) > 1 else []
    for name, found in settings:
        table = tables.build(selected, found, title)
        cells = {line[0]: line[1:] for section in table.sections for line in section.lines}
        each = [cells[protocol.name] or ("-", "-") for protocol in selected]
        means = [table.mean[1:] or ("-", "-")] if table.mean else []
        lines.append((name, *(cell for pair in [*each, *means] for cell in pair)))
        notes += table.notes
    header = [f"{name}\n{what}" for name in columns for what in ("mAP", "Rank-1")]
    section = tables.Section("Settings", lines)
    return tables.Table(
        title, ("Setting", *header), [section], None, list(dict.fromkeys([*notes, *said]))
    )


def _means(table: tables.Table) -> tables.Table:
    """The first column and the last two."""
    lines = [(line[0], *line[-2:]) for line in table.sections[0].lines]
    header = (table.header[0], *table.header[-2:])
    section = tables.Section(table.sections[0].title, lines)
    return tables.Table(table.title, header, [section], None, table.notes)


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Finished trials, best first, then those that were given up, then those that failed."""

    def key(trial: Trial) -> tuple[int, float, int]:
        result = trial.result
        state = 0 if result.metrics else 1 if result.stopped is not None else 2
        return state, -(result.objective or 0.0), trial.number

    return sorted(trials, key=key)


def show_search(
    call: Launching,
    trials: Sequence[Trial],
    planned: Sequence[PlannedRun],
    metric: str,
    said: Sequence[str],
) -> None:
    """Print a line a trial, best first, and keep it as Markdown."""
    keys = list(trials[0].setting)
    lines = []
    for trial in ranked(trials):
        values = [shown(trial.setting[key]) for key in keys]
        lines.append((_number(trial), *values, *_cells(trial, metric)))
    header = ("Trial", *keys, "held-out\nmAP", "held-out\nRank-1")
    notes = ["Per cent; higher is better.", *said, *call.said(planned)]
    if any(one.spec.preset == "tiny" and call.run.data is None for one in planned):
        notes.append(tables.STANDIN_NOTE)
    title = f"{names_of(planned)} on the sources of {call.run.protocol}, by held-out identities"
    section = tables.Section("Trials, best first", lines)
    table = tables.Table(title, header, [section], None, notes)
    show_table(call.console, table)
    _keep(call, table, planned)


def _number(trial: Trial) -> str:
    if trial.result.stopped is not None:
        return f"{trial.number} (given up after epoch {trial.result.stopped})"
    return str(trial.number) if trial.result.metrics else f"{trial.number} (failed)"


def _cells(trial: Trial, metric: str) -> list[str]:
    known: Mapping[str, float | None] = trial.result.metrics or {metric: trial.result.objective}
    values = [known.get(name) for name in ("mAP", "rank1")]
    return ["-" if value is None else f"{100 * value:.1f}" for value in values]


def _keep(call: Launching, table: tables.Table, planned: Sequence[PlannedRun]) -> None:
    """The table as Markdown, under one name for the same runs and rows."""
    content = [*(one.spec.id for one in planned), call.run.protocol]
    call.keep(table, f"sweep-{names_of(planned)[:80]}", content)
