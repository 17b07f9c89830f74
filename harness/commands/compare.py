"""`harness compare`: two entries against each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from harness.commands.known import protocols_of, read_entries
from harness.commands.problems import show_problems
from harness.commands.tables import show_table
from harness.files import require_place, write_text
from harness.screen import say
from protocols.errors import ReIDError
from results import comparison_table as tables
from results.comparison import Comparison, compare
from results.entries import choose
from results.rendering import to_csv, to_latex, to_markdown, to_page

WRITERS: dict[str, Callable[[Comparison], str]] = {
    ".md": lambda found: to_markdown(tables.build(found)),
    ".tex": lambda found: to_latex(tables.build(found)),
    ".html": lambda found: to_page(tables.build(found)),
    ".csv": lambda found: to_csv(tables.records(found)),
    ".json": lambda found: _json(found),
}
"""What the end of a file's name asks for."""


@dataclass(frozen=True)
class CompareRequest:
    """The options of `harness compare`, as typed."""

    a: str
    b: str
    protocol: str | None
    out: Path
    resamples: int
    seed: int
    file: Path | None
    as_json: bool


def compare_command(request: CompareRequest, console: Console, stderr: Console) -> int:
    """Show the comparison; returns the exit status. What can't be read is named after it.

    Raises UnknownName for an entry that is not there, ReIDError where nothing can be compared.
    """
    if request.file:
        _require_file(request.file)
    found = read_entries(request.out)
    try:
        a, b = (choose(found.entries, name) for name in (request.a, request.b))
        asked = protocols_of((a, b), request.protocol) if request.protocol else None
        protocols = None if asked is None else [protocol.name for protocol in asked]
        result = compare(a, b, protocols, request.resamples, request.seed)
    except ReIDError:
        show_problems(stderr, found.problems)
        raise
    if request.file:
        write_text(request.file, WRITERS[request.file.suffix](result))
    if request.as_json:
        console.print_json(_json(result))
    elif request.file:
        say(console, result.sentence)
        say(console, f"Comparison: {request.file}")
    else:
        show_table(console, tables.build(result))
    show_problems(stderr, [*found.problems, *result.problems])
    return 0


def _require_file(file: Path) -> None:
    if file.suffix not in WRITERS:
        raise ReIDError(f"-o {file}: expected a name that ends in {', '.join(WRITERS)}.")
    require_place(file)


def _json(found: Comparison) -> str:
    return json.dumps(found.to_dict(), indent=1, allow_nan=False) + "\n"
