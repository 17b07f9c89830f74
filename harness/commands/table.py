"""`harness table`: finished rows in the form of the paper's tables, in any format."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol as Interface

from rich.console import Console

from harness.commands.known import Found, pick, protocols_of, read_entries
from harness.commands.problems import show_problems
from harness.commands.tables import fits, show_table
from harness.files import require_place, write_text
from harness.screen import many, say
from protocols.errors import ReIDError, UnknownName
from protocols.registry import groups, select
from protocols.types import Protocol
from results import published
from results.ablations import ABLATIONS
from results.contenders import Contender, canonical, reference, rows_of, usual
from results.entries import Entry
from results.paper_table import PaperTable
from results.rendering import to_latex, to_markdown, to_page
from results.tables import TITLES, Table

FORMATS = {"terminal": ".txt", "markdown": ".md", "latex": ".tex", "csv": ".csv", "html": ".html"}
"""How a file's name ends for each."""
ALL = "all"
COST = 13
NUMBERS = [str(number) for number in range(1, COST + 1)]
BESIDE = ("robustness", "seen", "variants", "verification")
"""Tables of rows beside others of the same trainings (`harness.commands.table_beside`)."""


@dataclass(frozen=True)
class TableRequest:
    """The options of `harness table`, as typed."""

    what: str
    kind: str | None
    methods: str | None
    protocol: str | None
    with_published: bool
    file: Path | None
    out: Path


class Printable(Interface):
    """What a table of any kind can do."""

    def table(self, stacked: bool = False) -> Table: ...

    def csv(self) -> str: ...


def table_command(request: TableRequest, console: Console, stderr: Console) -> int:
    """Print or write what is asked; returns the exit status. What can't be read is named after it.

    Raises UnknownName for a table, protocol, method or format that is not there, ReIDError where
    there is nothing to show.
    """
    kind = _format(request)
    number = _number(request.what)
    if request.protocol and f"table{number}" not in ABLATIONS and not _beside(request):
        raise ReIDError(
            f"--protocol goes with tables 5 to 12 and {', '.join(BESIDE)}; {request.what} says its "
            "own."
        )
    if request.with_published and _beside(request):
        raise ReIDError(f"There are no published numbers for {request.what}.")
    found = _found(request, stderr)
    try:
        made = _make(number, request, found)
    except ReIDError:
        show_problems(stderr, found.problems)
        raise
    if request.file:
        write_text(request.file, _text(made, kind))
        say(console, f"Table: {request.file}")
    elif kind == "terminal":
        _show(made, console)
    else:
        console.file.write(_text(made, kind))
    show_problems(stderr, found.problems)
    return 0


def _format(request: TableRequest) -> str:
    """What `--format` or the file's name says."""
    if request.kind is not None and request.kind not in FORMATS:
        raise UnknownName("--format", request.kind, FORMATS)
    if request.file is None:
        return request.kind or "terminal"
    require_place(request.file)
    by_ending = {ending: name for name, ending in FORMATS.items()}
    kind = request.kind or by_ending.get(request.file.suffix)
    if kind is None:
        raise ReIDError(
            f"-o {request.file}: expected a name that ends in {', '.join(by_ending)}, or --format."
        )
    return kind


def _number(what: str) -> int | None:
    """Of one of the paper's tables, None for protocols. Raises UnknownName for another number."""
    text = what.strip().lower()
    match = re.fullmatch(r"(?:table)?[\s-]*(\d+)", text)
    if match is None:
        return None
    if match[1] not in NUMBERS:
        raise UnknownName(
            "table", what, [*NUMBERS, *BESIDE, *groups()], "The paper has tables 1 to 13."
        )
    return int(match[1])


def _word(request: TableRequest) -> str:
    return request.what.strip().lower()


def _beside(request: TableRequest) -> bool:
    """Whether one of the tables without a number is asked for."""
    return _word(request) in BESIDE


def _found(request: TableRequest, stderr: Console) -> Found:
    """What is below `--out`; nothing at all is no error where published numbers are asked for."""
    try:
        return read_entries(request.out)
    except ReIDError as error:
        if request.with_published:
            say(stderr, str(error))
            return Found([], [])
        raise


def _make(number: int | None, request: TableRequest, found: Found) -> Printable:
    if number == COST:
        from harness.commands.table_cost import cost_table

        return cost_table(found, request)
    if number is not None and f"table{number}" in ABLATIONS:
        from harness.commands.table_ablation import ablation_table

        return ablation_table(ABLATIONS[f"table{number}"], found, request)
    if _beside(request):
        from harness.commands.table_beside import beside_table

        return beside_table(_word(request), found, request)
    if number is None:
        protocols = _protocols(request.what, found.entries)
        title, averages = f"Protocols: {request.what}", True
    else:
        protocols = [one for one in select("all,source-domain") if one.table == number]
        title, averages = TITLES[number], False
    return _paper_table(title, protocols, averages, request, found)


def _protocols(what: str, found: Sequence[Entry]) -> list[Protocol]:
    """Those of a name, a group or a list."""
    try:
        return protocols_of(found, what)
    except UnknownName:
        if re.search(r"->|→|[:,]", what):
            raise
        known = [*NUMBERS, *BESIDE, *groups()]
        hint = (
            f"There are tables 1 to 13, {', '.join(BESIDE)}, and protocols: "
            f"{', '.join(groups())}, MA->D ..."
        )
        raise UnknownName("table or protocol", what, known, hint) from None


def _paper_table(
    title: str, protocols: list[Protocol], averages: bool, request: TableRequest, found: Found
) -> PaperTable:
    """Tables 1-4 and protocols."""
    chosen, said = chosen_entries(found.entries, request.methods, protocols)
    names = [canonical(protocol) for protocol in protocols]
    # what was asked for and has no row here says nothing of those that have
    shared = reference([entry for entry in chosen if {*names}.intersection(entry.protocols)])
    ours = [Contender.ours(entry, protocols, shared) for entry in chosen]
    theirs = published.methods(names)
    if not any(line.scores for line in ours) and not (theirs and request.with_published):
        raise ReIDError(nothing(request, ",".join(protocol.name for protocol in protocols)))
    why = published.unlike(rows_of([line for line in ours if line.competes], names))
    shown = bool(theirs) and (not why or request.with_published)
    if theirs:
        said = [*(published.comparison(why, True, shown) if ours else []), *said]
    if shown:
        said = [published.SOURCE, *said]
    lines = [Contender.published(one, competes=not why) for one in theirs if shown]
    return PaperTable(title, protocols, [*lines, *ours], averages, said)


def chosen_entries(
    found: Sequence[Entry], asked: str | None, protocols: Sequence[Protocol]
) -> tuple[list[Entry], list[str]]:
    """The entries of `--methods`, or those that are shown unasked, and a note on the others."""
    wanted = {canonical(protocol) for protocol in protocols}
    there = [entry for entry in found if wanted.intersection(entry.protocols)]
    if asked == ALL:
        return there, []
    if asked is not None:
        return pick(found, asked), []
    shown = usual(there, protocols)
    left = [entry for entry in there if entry not in shown]
    if not left:
        return shown, []
    lines = f"{many(len(left), 'line')} of other settings {'is' if len(left) == 1 else 'are'}"
    return shown, [
        f'{lines} left out: --methods all shows them, --methods "{left[0].name}" one of them.'
    ]


def nothing(request: TableRequest, protocols: str) -> str:
    """What to say where there is no row to show."""
    return (
        f"{request.out} has no finished row for {request.what} ({protocols}). `harness run "
        f"--method muva --protocol {protocols}` makes some; --with-published shows the paper's "
        "numbers alone, where it has any."
    )


def _text(made: Printable, kind: str) -> str:
    writers: dict[str, Callable[[], str]] = {
        "markdown": lambda: to_markdown(made.table()),
        "latex": lambda: to_latex(made.table()),
        "html": lambda: to_page(made.table()),
        "csv": made.csv,
        "terminal": lambda: _plain(made),
    }
    return writers[kind]()


def _plain(made: Printable) -> str:
    """As a terminal shows it that is as wide as it need be."""
    file = io.StringIO()
    show_table(Console(file=file, width=200), made.table())
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


def _show(made: Printable, console: Console) -> None:
    wide = made.table()
    show_table(console, wide if fits(console, wide) else made.table(stacked=True))
