"""`harness show cmc`, `intervals` ...: figures of finished runs, from their records alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from harness.commands.figure_files import require_file, require_formats
from harness.commands.known import pick, protocols_of, read_entries
from harness.commands.problems import show_problems
from harness.files import write_bytes
from harness.mirror import FIGURES
from harness.screen import many, say
from protocols.errors import ReIDError
from results.entries import Entry
from results.figure_data import Drawn, listed, principal, slug
from results.figures import FORMATS, save
from results.overview import KINDS, difference, figures

EVERYTHING = "figures"
"""In place of one kind of figure: all of them."""
OF_PROTOCOL = ("cmc", "roc", "robustness")
"""Kinds whose figures are of a protocol each, which their names say."""


@dataclass(frozen=True)
class FiguresRequest:
    """The options of these commands, as typed; no `formats` for all of them.

    `kind` is one of `results.overview.KINDS` or `EVERYTHING`, for which `file` is a folder. `run`
    is the beginning of a run's id; `difference` asks for the heat map of two methods' difference.
    """

    kind: str
    protocol: str | None
    methods: str | None
    out: Path
    file: Path | None
    formats: tuple[str, ...]
    run: str | None = None
    difference: bool = False


def figures_command(request: FiguresRequest, console: Console, stderr: Console) -> int:
    """Draw what is asked and say where it lies; returns the exit status.

    What could not be read is named after it. Raises ReIDError where nothing can be drawn.
    """
    _require_place(request)
    found = read_entries(request.out)
    entries = _of_run(found.entries, request.run) if request.run else found.entries
    chosen = pick(entries, request.methods) if request.methods else None
    protocols = None
    if request.protocol:
        protocols = [one.name for one in protocols_of(found.entries, request.protocol)]
    not_drawn: list[str] = []
    drawn = _draw(request, entries, chosen, protocols, not_drawn)
    if request.file and request.kind != EVERYTHING:
        _write_one(request.file, drawn, console)
    else:
        _write(request, drawn, console)
    for reason in not_drawn:
        say(console, f"Not drawn: {reason}", "dim")
    if chosen is None and request.kind != "sweep":
        usual = principal(entries)
        left = [f"'{entry.name}'" for entry in entries if entry not in usual]
        if left:
            what = f"{len(left)} with other settings (name them with --methods)"
            say(console, f"Not drawn: {what}: {listed(left, 3)}.", "dim")
    show_problems(stderr, found.problems)
    return 0


def _require_place(request: FiguresRequest) -> None:
    """Raise ReIDError where -o and --format don't go together."""
    require_formats(request.formats)
    if request.file is None:
        return
    if request.kind != EVERYTHING:
        require_file(request.file, request.formats)
    elif request.file.suffix[1:] in FORMATS or request.file.is_file():
        raise ReIDError(f"-o {request.file}: expected a folder, as there are several figures.")


def _draw(
    request: FiguresRequest,
    entries: Sequence[Entry],
    chosen: Sequence[Entry] | None,
    protocols: Sequence[str] | None,
    not_drawn: list[str],
) -> Iterator[Drawn]:
    """What is asked for; of everything, why a kind is not there is added to `not_drawn`."""
    if request.kind == EVERYTHING:
        return figures(chosen or entries, protocols, chosen, not_drawn)
    if request.kind == "sweep":
        return KINDS["sweep"](chosen or entries, protocols)
    draw = difference if request.difference else KINDS[request.kind]
    return draw(chosen or principal(entries), protocols)


def _of_run(entries: Sequence[Entry], run: str) -> list[Entry]:
    """The entry of a run with the rows of that run alone."""
    ids = sorted({row.run.run_id for entry in entries for row in entry.rows})
    mine = [one for one in ids if one.startswith(run)]
    if not mine or not run:
        raise ReIDError(f"--run {run!r} is the beginning of no finished run's id here.")
    if len(mine) > 1:
        raise ReIDError(
            f"--run {run} is the beginning of {many(len(mine), 'run')}: {listed(mine)}."
        )
    kept = [
        replace(entry, rows=tuple(row for row in entry.rows if row.run.run_id == mine[0]))
        for entry in entries
    ]
    return [entry for entry in kept if entry.rows]


def _write_one(file: Path, drawn: Iterator[Drawn], console: Console) -> None:
    """The only figure into a file."""
    found = list(itertools.islice(drawn, 2))
    if len(found) > 1:
        titles = "; ".join(title for _, title, _ in found)
        raise ReIDError(
            f"-o {file} holds one figure, and there are several ({titles} ...): choose with "
            "--protocol or --methods, or leave -o out."
        )
    for _, _, figure in found:
        write_bytes(file, save(figure, file.suffix[1:]))
    say(console, f"Figure:  {file}")


def _write(request: FiguresRequest, drawn: Iterator[Drawn], console: Console) -> None:
    """Each figure in every format into the folder."""
    folder = request.out / FIGURES
    if request.file and request.kind == EVERYTHING:
        folder = request.file
    formats = require_formats(request.formats, FORMATS)
    count = 0
    for key, _, figure in drawn:
        name = slug(*_chosen(key, request))
        for kind in formats:
            write_bytes(folder / f"{name}.{kind}", save(figure, kind))
        also = "".join(f", .{kind}" for kind in formats[1:])
        say(console, f"Figure:  {folder / name}.{formats[0]}{also}")
        count += 1
    if not count:
        raise ReIDError("Nothing can be drawn of what is there.")


def _chosen(key: str, request: FiguresRequest) -> list[str]:
    """The parts of a file's name: a choice does not take the place of the figure of everything."""
    if request.run:
        return [request.kind, request.run]
    protocol = None if request.kind in (*OF_PROTOCOL, EVERYTHING) else request.protocol
    named = request.difference or request.kind in ("losses", EVERYTHING)
    asked = [protocol, None if named else request.methods]
    return [key, *("".join(text.split()).replace(",", "_") for text in asked if text)]
