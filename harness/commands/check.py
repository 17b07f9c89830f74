"""`harness check`: what is below a data root, against the cards."""

from __future__ import annotations

import json
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from protocols.check import DatasetReport, check
from protocols.errors import DataError

SHOWN = 20


def check_command(
    data: Path, keys: tuple[str, ...] | None, as_json: bool, console: Console, stderr: Console
) -> int:
    """Print a report per data set; returns 1 if one is broken or a file does not decode, else 0.

    Progress goes to `stderr`, so that JSON can be piped. Raises DataError if nothing is there.
    """
    with Progress(console=stderr, transient=True) as bar:
        task = bar.add_task("looking", total=None)

        def decoded(key: str, done: int, total: int) -> None:
            bar.update(task, description=f"decoding {key}", completed=done, total=total)

        reports = check(data, keys, decoded)
    if as_json:
        console.print_json(json.dumps([r.to_dict() for r in reports]))
    else:
        for report in sorted(reports, key=lambda r: r.status == "absent"):
            _show(report, console)
    if all(r.status == "absent" for r in reports):
        looked = ", ".join(sorted({f for r in reports for f in r.looked_for}))
        raise DataError(f"{data} holds none of the data sets. Looked for: {looked}.")
    return 1 if any(r.bad_images or r.error for r in reports) else 0


def _show(report: DatasetReport, console: Console) -> None:
    say = console.print
    if report.status == "absent":
        looked = ", ".join(report.looked_for)
        say(f"[dim]{report.key}  {report.name}: not here (looked for {escape(looked)})[/dim]")
        return
    verdict = {True: "[green]as published[/green]", False: "[yellow]differs[/yellow]"}
    state = verdict.get(report.official, "") if report.official is not None else ""
    if report.error:
        state = "[red]can't be used[/red]"
    version = f" {report.version}" if report.version else ""
    say(f"\n[bold]{report.key}  {escape(report.name + version)}[/bold]  {state}")
    if report.error:
        say(f"  {escape(report.error)}", highlight=False)
        return
    say(f"  {escape(report.folder)}", highlight=False, soft_wrap=True)
    say(_parts(report))
    for line in report.differences:
        say(f"  [yellow]-[/yellow] {escape(line)}", highlight=False)
    for line in report.notes:
        say(f"  - {escape(line)}", highlight=False)
    for bad in report.bad_images[:SHOWN]:
        say(f"  [red]damaged[/red] {escape(f'{bad.path}: {bad.reason}')}", highlight=False)
    if len(report.bad_images) > SHOWN:
        say(f"  and {len(report.bad_images) - SHOWN} more (--json lists all)", highlight=False)
    say(f"  fingerprint {report.fingerprint or 'none'}, contents {report.sha256[:16] or 'none'}")


def _parts(report: DatasetReport) -> Table:
    grid = Table(box=box.SIMPLE_HEAD)
    for name in ("part", "images", "published", "identities", "published"):
        grid.add_column(name, justify="left" if name == "part" else "right")
    for part in report.parts:
        cells = (part.images, part.expected_images, part.identities, part.expected_identities)
        grid.add_row(part.name, *("" if c is None else str(c) for c in cells))
    return grid
