"""`harness run`: plan, launch, mirror, show the table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from harness.commands.launching import Launching, RunRequest, names_of
from harness.commands.sweep_files import Made
from harness.commands.tables import show_table
from harness.config import parse_overrides
from harness.plan import PlannedRun, choose
from results import tables
from results.rendering import to_markdown

__all__ = ["RunRequest", "run_command"]

LISTED = 8
"""With more runs than this, a table says how many there are and not which."""


def run_command(request: RunRequest, console: Console) -> int:
    """Do what is asked; returns the exit status: 0, or 1 if a run failed."""
    call = Launching(request, console)
    chosen = choose(request.methods, call.preset, parse_overrides(request.overrides))
    call.open()
    planned = call.plan(chosen)
    if request.dry_run:
        return call.forecast(planned)
    made = Made(call, planned, "plan", [choice.name for choice in chosen])
    call.compute(planned)
    problems = _show(call, made, planned)
    # MLflow learns of the table, and of what an earlier command left unsaid
    made.close()
    return call.close(problems)


def _show(call: Launching, made: Made, planned: Sequence[PlannedRun]) -> list[str]:
    """Print the table of what was asked for and keep it as Markdown; returns what can't be read."""
    mine, problems = call.rows(planned)
    if not mine:
        return problems
    names = names_of(planned)
    title = f"{names} on {call.run.protocol}"
    table = tables.build(call.selected, mine, title, call.said(planned, _listed(planned)))
    show_table(call.console, table)
    # one name for the same runs and rows, however they were typed; another for any others
    content = [one.spec.id for one in planned] + [protocol.name for protocol in call.selected]
    made.keep(names[:80], content, {"md": to_markdown(table)})
    return problems


def _listed(planned: Sequence[PlannedRun]) -> str:
    """The runs by name, where they are few."""
    ids = list(dict.fromkeys(one.spec.id for one in planned))
    return "" if len(ids) > LISTED else f"{'run' if len(ids) == 1 else 'runs'} {', '.join(ids)}"
