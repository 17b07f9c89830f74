"""`harness report`: every finished run as one page that needs no network."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.commands.known import pick, protocols_of, read_entries
from harness.commands.problems import show_problems
from harness.files import new_directory, require_writable
from harness.mlflow_links import mlflow_links
from harness.screen import many, say
from methods import registry as methods
from methods.cards import CARDS
from protocols.errors import ReIDError
from results import costs
from results.entries import Entry
from results.page import Contents, build

PAGE, PICTURES, MARK = "index.html", "figures", ".harness-report"
"""What a report's folder holds; the last says that it is one."""


@dataclass(frozen=True)
class ReportRequest:
    """The options of `harness report`, as typed."""

    folder: Path
    out: Path
    methods: str | None
    protocol: str | None
    title: str


def report_command(request: ReportRequest, console: Console, stderr: Console) -> int:
    """Write the report; returns the exit status. What can't be shown is named in it and here."""
    require_report(request.folder)
    found = read_entries(request.out)
    chosen = _chosen(found.entries, request)
    require_writable(request.folder.resolve().parent, "-o")
    reports, damaged = costs.read(request.out)
    links = mlflow_links(request.out)
    contents = Contents(
        title=request.title,
        out=str(request.out),
        entries=chosen,
        problems=[*found.problems, *damaged],
        cards=_cards(entry.method for entry in chosen),
        costs=reports,
        mlflow=links.pages,
        mlflow_said=links.said,
    )
    with stderr.status("Comparing and drawing ..."):
        page = build(contents)
    html = page.html.encode("utf-8", "replace")
    with new_directory(request.folder.resolve()) as folder:
        (folder / PAGE).write_bytes(html)
        (folder / MARK).write_bytes(b"")
        for place, path in page.copies.items():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / place)
    rows = [row for entry in chosen for row in entry.rows]
    said = f"{many(len(rows), 'result')} of {many(len({r.run.run_id for r in rows}), 'run')}"
    beside = f", {many(len(page.copies), 'picture')} beside it" if page.copies else ""
    say(console, f"Report: {request.folder / PAGE} ({said}; {len(html) / 1e6:.1f} MB{beside})")
    show_problems(stderr, page.problems)
    return 0


def require_report(folder: Path) -> None:
    """Raise ReIDError where a report would take the place of something else."""
    if folder.suffix in (".html", ".htm"):
        raise ReIDError(f"-o {folder}: expected the name of a folder; the page in it is {PAGE}.")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ReIDError(f"-o {folder}: it is a file; expected the name of a folder.")
    names = {path.name for path in folder.iterdir()}
    others = sorted(names - {PAGE, PICTURES, MARK})
    if names and (others or MARK not in names):
        what = f"holds {others[0]}" if others else "is not empty"
        raise ReIDError(
            f"-o {folder}: it {what}, so it is no report of this command and is left as it is. "
            "Name a folder that is new, empty or such a report."
        )
    if Path.cwd().is_relative_to(folder.resolve()):
        raise ReIDError(
            f"-o {folder}: a report takes the place of its folder, and you are in it. "
            "Start the command elsewhere."
        )


def _chosen(entries: Sequence[Entry], request: ReportRequest) -> list[Entry]:
    """The entries asked for, with the rows asked for. Raises ReIDError if none is left."""
    chosen = pick(entries, request.methods) if request.methods else list(entries)
    if request.protocol:
        names = {protocol.name for protocol in protocols_of(chosen, request.protocol)}
        kept = [tuple(r for r in entry.rows if r.protocol in names) for entry in chosen]
        chosen = [replace(e, rows=rows) for e, rows in zip(chosen, kept, strict=True) if rows]
    if not chosen:
        raise ReIDError(
            f"{request.out} holds no finished run of what was asked for; "
            "leave --protocol or --methods out to see all."
        )
    return chosen


def _cards(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The cards of those methods that are registered."""
    known = {}
    for name in dict.fromkeys(names):
        if name in CARDS:
            known[name] = CARDS[name].to_dict()
        elif name in methods.locations():
            known[name] = methods.load(name).card.to_dict()
    return known
