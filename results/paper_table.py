"""Methods down, protocols across, as in the papers: by type, best and second, marks and notes."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from protocols.types import Protocol
from results.contenders import Contender, Letters, canonical, rows_of
from results.rendering import to_csv
from results.tables import (
    METRICS,
    SCALE,
    Cell,
    Line,
    Section,
    Table,
    mean_note,
    meant,
    places,
    row_notes,
    seeds_note,
    spread,
)

MARKS = {
    "*": "* The input is larger than 256 x 128.",
    "†": "† Adapts to the target when it is tested.",
    "‡": "‡ Pre-trained on data sets beyond the usual ones.",
    "§": "§ Its pre-training saw the target's data set.",
}
TYPES = (
    "Floor", "Vision-only", "Image Matching", "Part-based", "Pre-training", "Meta-Learning",
    "Mixture-of-Experts", "Embedding Expansion", "Normalization", "Augmentation", "VLM-based",
)  # fmt: skip
"""Groups of methods, in this order; others stand behind them."""
NO_TYPE = "Type not known"


@dataclass(frozen=True)
class PaperTable:
    """Lines and protocols of such a table; `averages` adds means, over `meant` of the protocols.

    `said` are notes on how the lines were chosen, they stand last.
    """

    title: str
    protocols: Sequence[Protocol]
    lines: Sequence[Contender]
    averages: bool = False
    said: Sequence[str] = ()

    def table(self, stacked: bool = False) -> Table:
        """Ready to print. `stacked`: for a narrow screen, a section for each protocol."""
        letters = Letters()
        lines = [line for group in self._groups().values() for line in group]
        names = [Cell(line.name, marks=line.marks + letters.of(line.conditions)) for line in lines]
        seeds = self._seeds(lines)
        columns = {one: self._column(lines, *one) for one in self._columns()}
        if stacked:
            sections = [
                self._stacked(over, [names, *seeds, *(columns[over, one] for one in METRICS)])
                for over in dict.fromkeys(over for over, _ in columns)
            ]
            titles = list(METRICS.values())
        else:
            whole: list[Line] = list(zip(names, *seeds, *columns.values(), strict=True))
            sections = self._sections(whole)
            titles = [f"{over}\n{METRICS[metric]}" for over, metric in columns]
        header = ("Model", *(["Seeds"] if seeds else []), *titles)
        notes = [*self._legend(lines), *letters.notes(), *self._about_rows(lines), *self.said]
        return Table(self.title, header, sections, None, list(dict.fromkeys(notes)))

    def _sections(self, lines: Sequence[Line]) -> list[Section]:
        """The lines by type."""
        groups, sections, start = self._groups(), [], 0
        for kind, group in groups.items():
            title = kind or (NO_TYPE if len(groups) > 1 else "")
            sections.append(Section(title, lines[start : start + len(group)]))
            start += len(group)
        return sections

    @staticmethod
    def _stacked(title: str, columns: Sequence[Sequence[str | Cell]]) -> Section:
        """The lines that have something in one of the last two columns."""
        lines = zip(*columns, strict=True)
        return Section(title, [line for line in lines if line[-2:] != ("-", "-")])

    def csv(self) -> str:
        """A line for each line of the table and protocol that it has, numbers in per cent."""
        return to_csv(
            [
                self._record(line, protocol)
                for group in self._groups().values()
                for line in group
                for protocol in self.protocols
                if canonical(protocol) in line.scores
            ]
        )

    def _groups(self) -> dict[str, list[Contender]]:
        """By type; within one the published before ours."""
        order = {kind: i for i, kind in enumerate(TYPES)}
        kinds = sorted(
            dict.fromkeys(line.type for line in self.lines),
            key=lambda kind: (order.get(kind, len(order)), kind == ""),
        )
        return {
            kind: sorted(
                (line for line in self.lines if line.type == kind), key=lambda line: not line.venue
            )
            for kind in kinds
        }

    def _columns(self) -> list[tuple[str, str]]:
        """What stands above a column, and its metric."""
        over = [protocol.name for protocol in self.protocols]
        over += ["Average"] if self._averaged() else []
        return [(name, metric) for name in over for metric in METRICS]

    def _averaged(self) -> bool:
        return self.averages and len(meant(self.protocols)) > 1

    def _column(self, lines: Sequence[Contender], name: str, metric: str) -> list[str | Cell]:
        by_name = {protocol.name: canonical(protocol) for protocol in self.protocols}
        cells: list[str | Cell] = []
        for line in lines:
            if name in by_name:
                score = line.scores.get(by_name[name])
                text = spread([value / 100 for value in score.values(metric)]) if score else "-"
                cells.append(Cell(text, marks=score.marks) if score and score.marks else text)
            else:
                cells.append(self._average(line, metric))
        return places(cells, [i for i, line in enumerate(lines) if line.competes])

    def _average(self, line: Contender, metric: str) -> str:
        scores = [line.scores.get(canonical(protocol)) for protocol in meant(self.protocols)]
        means = [statistics.fmean(score.values(metric)) for score in scores if score]
        return f"{statistics.fmean(means):.1f}" if len(means) == len(scores) else "-"

    def _seeds(self, lines: Sequence[Contender]) -> list[list[str]]:
        """A column of numbers of seeds, where they are not the same everywhere; else nothing."""
        ours = [line.counts() for line in lines if line.entry and line.scores]
        if all(counts == ours[0] and len(counts) == 1 for counts in ours):
            return []
        texts = ["/".join(map(str, line.counts())) if line.entry else "-" for line in lines]
        return [[text or "-" for text in texts]]

    def _legend(self, lines: Sequence[Contender]) -> list[str]:
        """What place, marks and numbers mean, as far as they are there."""
        marks = "".join(
            line.marks + "".join(score.marks for score in line.scores.values()) for line in lines
        )
        said = [SCALE, *(mean_note(self.protocols) if self._averaged() else [])]
        if sum(line.competes for line in lines) > 1:
            those = "; lines marked * † ‡ § compete, as in the papers" if marks else ""
            said.append(f"Bold: the best of a column; underlined: the second{those}.")
        left = [line for line in lines if not line.competes]
        if left and len(left) < len(lines):
            names = [line.name for line in left if line.entry]
            names += ["published lines"] if len(names) < len(left) else []
            said.append(f"No rivals for the best, as they do not compare: {', '.join(names)}.")
        counts = sorted({count for line in lines if line.entry for count in line.counts()})
        said += ["One seed each."] if counts == [1] else seeds_note(counts)
        return [*said, *(words for mark, words in MARKS.items() if mark in marks)]

    def _about_rows(self, lines: Sequence[Contender]) -> list[str]:
        """The data and what their readers said."""
        wanted = {canonical(protocol) for protocol in self.protocols}
        return row_notes(self.protocols, rows_of(lines, wanted))

    def _record(self, line: Contender, protocol: Protocol) -> dict[str, Any]:
        score = line.scores[canonical(protocol)]
        spec = line.entry.spec if line.entry else None
        record: dict[str, Any] = {
            "name": line.name,
            "method": line.entry.method if line.entry else line.name.partition(" (")[0],
            "type": line.type,
            "marks": line.marks + score.marks,
            "published": "yes" if line.venue else "no",
            "venue": line.venue,
            "competes": "yes" if line.competes else "no",
            "conditions": "; ".join(line.conditions),
            "preset": spec.preset if spec else None,
            "data": line.entry.at(canonical(protocol))[0].target.data if line.entry else None,
            "protocol": protocol.name,
        }
        for metric in METRICS:
            values = score.values(metric)
            record[metric] = round(statistics.fmean(values), 4)
            spread_out = len(values) > 1
            record[f"{metric}_std"] = round(statistics.stdev(values), 4) if spread_out else None
        record["seeds"] = " ".join(map(str, score.seeds))
        return record
