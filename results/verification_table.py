"""Who is the same person, and who is nobody: ROC, open-set and single-shot rates of methods."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from protocols.errors import ReIDError
from protocols.types import Protocol
from results.contenders import Contender, Letters, canonical, reference, rows_of
from results.entries import Entry
from results.paper_table import MARKS
from results.rendering import to_csv
from results.tables import Cell, Line, Section, Table, places, row_notes, seeds_note, spread

TITLE = "Verification, open-set and single-shot rates"
EER = "eer"
MEASURES = {
    "tpr_at_fpr_0.01": "TPR@FPR\n1e-2",
    "tpr_at_fpr_0.001": "TPR@FPR\n1e-3",
    "tpr_at_fpr_0.0001": "TPR@FPR\n1e-4",
    EER: "EER",
    "dir_at_far_0.01": "DIR@FAR\n1 %",
    "dir_at_far_0.1": "DIR@FAR\n10 %",
    "single_shot_rank1": "Single shot\nRank-1",
}
"""Metric of a record -> header."""
NOTES = (
    "Per cent; higher is better, but for the EER.",
    "TPR@FPR: pairs of a person's images that are accepted where so many pairs of different "
    "persons are; EER: the rate at which as many are wrongly accepted as refused.",
    "DIR@FAR: queries whose first-ranked image is right and accepted, where so many queries of "
    "persons that are not in the gallery find somebody.",
    "Single shot: expected over galleries that keep one image a person.",
)
LACKING = (
    "A dash: too few pairs or queries for that rate, or a record that was written without it "
    "(harness run --force computes it again)."
)


@dataclass(frozen=True)
class VerificationTable:
    """Lines and protocols of such a table; `said` are notes on how the lines were chosen."""

    protocols: Sequence[Protocol]
    lines: Sequence[Contender]
    said: Sequence[str] = ()

    def table(self, stacked: bool = False) -> Table:
        """Ready to print, a section for each protocol. `stacked`: for a narrow screen, long."""
        letters = Letters()
        names = [Cell(one.name, marks=one.marks + letters.of(one.conditions)) for one in self.lines]
        found = [(one, self._section(one, names)) for one in self.protocols]
        sections = [Section(one.name, lines) for one, lines in found if lines]
        cells = [Cell.of(cell).text for one in sections for line in one.lines for cell in line]
        notes = [*NOTES, *self._legend(), *([LACKING] if "-" in cells else []), *letters.notes()]
        rows = rows_of(self.lines, map(canonical, self.protocols))
        notes += [*row_notes(self.protocols, rows), *self.said]
        header: tuple[str, ...] = ("Model", *MEASURES.values())
        if stacked:
            header = ("Model", "Measure", "Value")
            sections = [Section(one.title, _long(one.lines)) for one in sections]
        return Table(TITLE, header, sections, None, list(dict.fromkeys(notes)))

    def csv(self) -> str:
        """A line for each line of the table and protocol that it has, numbers in per cent."""
        return to_csv(
            [
                self._record(line, protocol)
                for line in self.lines
                for protocol in self.protocols
                if canonical(protocol) in line.scores
            ]
        )

    def _section(self, protocol: Protocol, names: Sequence[Cell]) -> list[Line]:
        """The lines that have rows of a protocol."""
        name = canonical(protocol)
        there = [i for i, line in enumerate(self.lines) if name in line.scores]
        competing = [at for at, i in enumerate(there) if self.lines[i].competes]
        columns = []
        for metric in MEASURES:
            cells = [spread(values(self.lines[i], protocol, metric)) for i in there]
            columns.append(_placed(cells, competing, lowest=metric == EER))
        marked = [
            replace(names[i], marks=names[i].marks + self.lines[i].scores[name].marks)
            for i in there
        ]
        return list(zip(marked, *columns, strict=True))

    def _legend(self) -> list[str]:
        """What places, ± and marks mean, as far as they are there."""
        said = []
        if sum(line.competes for line in self.lines) > 1:
            said.append("Bold: the best of a column; underlined: the second.")
        left = [line.name for line in self.lines if not line.competes]
        if left:
            said.append(f"No rivals for the best, as they do not compare: {', '.join(left)}.")
        counts = sorted({count for line in self.lines for count in line.counts()})
        said += ["One seed each."] if counts == [1] else seeds_note(counts)
        marks = "".join(
            line.marks + "".join(score.marks for score in line.scores.values())
            for line in self.lines
        )
        return [*said, *(words for mark, words in MARKS.items() if mark in marks)]

    def _record(self, line: Contender, protocol: Protocol) -> dict[str, Any]:
        record: dict[str, Any] = {
            "name": line.name,
            "method": line.entry.method if line.entry else line.name,
            "competes": "yes" if line.competes else "no",
            "conditions": "; ".join(line.conditions),
            "protocol": protocol.name,
        }
        for metric in MEASURES:
            found = [100 * value for value in values(line, protocol, metric)]
            record[metric] = round(statistics.fmean(found), 4) if found else None
            record[f"{metric}_std"] = round(statistics.stdev(found), 4) if found[1:] else None
        record["seeds"] = " ".join(map(str, line.scores[canonical(protocol)].seeds))
        return record


def build(
    entries: Sequence[Entry], protocols: Sequence[Protocol], said: Sequence[str] = ()
) -> VerificationTable:
    """The table of some entries on some protocols; its `table()` is a `results.tables.Table`.

    `said` are notes on how the entries were chosen; they stand last. Raises ReIDError where no
    record has any of these measures.
    """
    wanted = {canonical(protocol) for protocol in protocols}
    shared = reference([entry for entry in entries if wanted.intersection(entry.protocols)])
    lines = [Contender.ours(entry, protocols, shared) for entry in entries]
    if not any(
        values(line, protocol, metric)
        for line in lines
        for protocol in protocols
        for metric in MEASURES
    ):
        raise ReIDError(
            "No finished row here has verification, open-set or single-shot rates: records that "
            "were written without them get them by harness run --force."
        )
    return VerificationTable(protocols, lines, said)


def values(line: Contender, protocol: Protocol, metric: str) -> list[float]:
    """A metric of every seed whose record has it, as fractions in 0..1."""
    rows = line.entry.at(canonical(protocol)) if line.entry else []
    return [row.target.metrics[metric] for row in rows if metric in row.target.metrics]


def _long(lines: Sequence[Line]) -> list[Line]:
    """A line for each model and measure."""
    titles = [title.replace("\n", " ") for title in MEASURES.values()]
    return [
        ("" if i else name, title, cell)
        for name, *cells in lines
        for i, (title, cell) in enumerate(zip(titles, cells, strict=True))
    ]


def _placed(cells: Sequence[str], competing: Sequence[int], lowest: bool) -> list[str | Cell]:
    """A column with its best two marked; `lowest`: the best is the lowest."""
    if not lowest:
        return places(cells, competing)
    turned = [cell if cell == "-" else f"{100 - float(cell.split()[0]):.1f}" for cell in cells]
    marked = places(turned, competing)
    return [
        replace(Cell.of(mark), text=cell) if Cell.of(mark).place else cell
        for mark, cell in zip(marked, cells, strict=True)
    ]
