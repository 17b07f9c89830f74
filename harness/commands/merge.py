"""`harness merge`: records of several machines in one folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from harness.merge import Merged, merge
from harness.screen import many, say


def merge_command(
    folders: Sequence[Path],
    out: Path,
    models: bool,
    dry_run: bool,
    as_json: bool,
    console: Console,
    stderr: Console,
) -> int:
    """Join folders and say what was done; returns 1 if results differ or could not be copied.

    JSON: the fields of `harness.merge.Merged`. Raises what `harness.merge.merge` raises.
    """
    done = merge(folders, out, models=models, dry_run=dry_run)
    if as_json:
        console.print_json(json.dumps(asdict(done)))
    else:
        _show(done, out, dry_run, console, stderr)
    return 1 if done.conflicts or done.failed else 0


def _show(done: Merged, out: Path, dry_run: bool, console: Console, stderr: Console) -> None:
    would = "would be " if dry_run else ""
    for run_id, names in done.joined.items():
        say(console, f"{run_id}: {', '.join(names)} {would}added")
    say(
        console,
        f"{out}: {many(len(done.added), 'run')} {would}added, {len(done.joined)} {would}completed, "
        f"{len(done.same)} there already; {many(len(done.other), 'other file')} {would}added.",
    )
    for title, problems in (
        ("Results differ; what was there is kept:", done.conflicts),
        ("Not copied:", done.failed),
        ("Left alone:", done.left),
    ):
        if problems:
            say(stderr, title, style="yellow")
        for problem in problems:
            say(stderr, f"- {problem}")
    if (done.added or done.joined) and not dry_run:
        say(console, "`harness sync` shows them in MLflow.")
