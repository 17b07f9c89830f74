"""`harness sync`: MLflow brought up to date with the records."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from harness.tracking import default_uri, sync
from protocols.errors import ReIDError


def sync_command(out: Path, tracking: str | None, console: Console) -> int:
    """Mirror every record below `out`; returns 1 if some could not be read."""
    if not out.is_dir():
        raise ReIDError(f"--out {out}: there is no such folder, so there are no records to mirror.")
    result = sync(out, tracking or default_uri(out), check=True)
    console.print(
        f"{len(result.mirrored)} mirrored, {result.unchanged} up to date.", highlight=False
    )
    for problem in result.problems:
        console.print(f"- {escape(problem)}", highlight=False)
    return 1 if result.problems else 0
