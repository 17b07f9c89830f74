"""What `harness sweep` prints at its end: a line a setting, or a line a trial, best first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.commands.launching import Launching, names_of
from harness.commands.sweep_figures import draw
from harness.commands.sweep_files import Made
from harness.commands.tables import show_table
from harness.plan import PlannedRun
from harness.search import Trial
from harness.space import shown
from protocols.types import Protocol
from results import tables
from results.collect import Row
from results.rendering import to_markdown
from results.reproduction import BEST, cells, embolden

WIDE = 4
"""With more protocols than this, the terminal shows means only; the file has every one."""
ABLATION = (
    "An ablation: every setting was tested on the targets. To choose one, use --search, which sees "
    "source identities only."
)


def show_grid(
    call: Launching,
    planned: Sequence[PlannedRun],
    keys: Sequence[str],
    said: Sequence[str],
    made: Made,
) -> list[str]:
    """Print a line a setting, keep it as Markdown, and a picture; returns what can't be read."""
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
    notes = [*([BEST] if len(settings) > 1 else []), *call.said(planned), *said, ABLATION]
    whole = _grid(list(settings.values()), call.selected, title, notes)
    show_table(call.console, _means(whole) if len(call.selected) > WIDE else whole)
    pictures = draw(call, planned, keys, by_run)
    files: dict[str, str | bytes] = {"md": to_markdown(whole), **pictures}
    made.keep(_name(planned), _content(call, planned), files)
    return problems


def _grid(
    settings: Sequence[tuple[str, list[Row]]],
    selected: Sequence[Protocol],
    title: str,
    said: Sequence[str],
) -> tables.Table:
    """A line a setting: mAP and Rank-1 of each protocol, the means over several; best in bold."""
    lines: list[tuple[str, ...]] = []
    notes: list[str] = []
    columns = [protocol.name for protocol in selected]
    columns += ["mean"] if len(selected) > 1 else []
    for name, found in settings:
        each, means, more = cells(selected, found)
        pairs = [*each, *([means] if means else [])]
        lines.append((name, *(cell for pair in pairs for cell in pair)))
        notes += more
    header = [f"{name}\n{what}" for name in columns for what in ("mAP", "Rank-1")]
    section = tables.Section("Settings", embolden(lines, 1))
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
    files = {"md": to_markdown(table)}
    call.say_kept(call.keep(_name(planned), _content(call, planned), files))


def _number(trial: Trial) -> str:
    if trial.result.stopped is not None:
        return f"{trial.number} (given up after epoch {trial.result.stopped})"
    return str(trial.number) if trial.result.metrics else f"{trial.number} (failed)"


def _cells(trial: Trial, metric: str) -> list[str]:
    known: Mapping[str, float | None] = trial.result.metrics or {metric: trial.result.objective}
    values = [known.get(name) for name in ("mAP", "rank1")]
    return ["-" if value is None else f"{100 * value:.1f}" for value in values]


def _name(planned: Sequence[PlannedRun]) -> str:
    return f"sweep-{names_of(planned)[:80]}"


def _content(call: Launching, planned: Sequence[PlannedRun]) -> list[str]:
    """The same for the same runs and rows."""
    return [*(one.spec.id for one in planned), call.run.protocol]
