"""Table 13: parameters, time of a batch and memory of methods, beside their accuracy."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from protocols.types import Protocol
from results.contenders import Contender, Letters, canonical, rows_of
from results.costs import CostReport, Phase
from results.published import PublishedCost
from results.rendering import to_csv
from results.tables import METRICS, Cell, Line, Section, Table, row_notes, spread

TITLE = "Table 13. Cost"
INFER = "Infer."
GB = 1e9
NOTES = (
    "Parameters in millions; latency: ms a batch, the median; memory: the peak in GB (10^9 bytes). "
    "S1, S2: stages of training; a method with one stage has it under the last. mAP and Rank-1 in "
    "per cent.",
    "Times and memory of other devices, precisions or sizes of a batch do not compare, so none is "
    "marked as best.",
)
PUBLISHED = (
    "published: table 13 of the MUVA paper, measured on an RTX A6000 with batches of 64 (VGE: 1); "
    "another device than ours: its times and memory do not compare with ours"
)


@dataclass(frozen=True)
class CostLine:
    """A line of ours: what it scores and what it costs, as far as either is known."""

    contender: Contender
    report: CostReport | None


@dataclass(frozen=True)
class CostTable:
    """Ours, what the paper has (where it is to be shown), and notes on how they were chosen."""

    protocols: Sequence[Protocol]
    lines: Sequence[CostLine]
    published: Sequence[PublishedCost] = ()
    said: Sequence[str] = ()

    def table(self, stacked: bool = False) -> Table:
        """Ready to print. `stacked`: for a narrow screen, a section for each kind of number."""
        letters = Letters()
        groups = self._groups(letters)
        titles = self._titles()
        if stacked:
            rows = [line for _, lines in groups for line in lines]
            sections, header = _stacked(titles, rows)
        else:
            sections = [Section(title, lines) for title, lines in groups if lines]
            header = ("Model", *(f"{over}\n{what}" for over, what in titles))
        ours = rows_of([line.contender for line in self.lines], map(canonical, self.protocols))
        notes = [*NOTES, *letters.notes(), *row_notes(self.protocols, ours), *self.said]
        return Table(TITLE, header, sections, None, list(dict.fromkeys(notes)))

    def csv(self) -> str:
        """A line for each of the table, numbers with their full precision."""
        return to_csv(
            [*map(self._published_record, self.published), *map(self._record, self.lines)]
        )

    def _stages(self) -> int:
        """How many columns stages take."""
        counts = [len(line.report.stages or ()) for line in self.lines if line.report]
        return max([1, *counts, *([2] if self.published else [])])

    def _phases(self) -> list[str]:
        return [*(f"S{i + 1}" for i in range(self._stages())), INFER]

    def _titles(self) -> list[tuple[str, str]]:
        """What stands above a column, and its own title."""
        over = {
            "Parameters (M)": ["Train.", INFER],
            "Latency (ms)": self._phases(),
            "Memory (GB)": self._phases(),
            **{protocol.name: list(METRICS.values()) for protocol in self.protocols},
        }
        return [(name, what) for name, titles in over.items() for what in titles]

    def _groups(self, letters: Letters) -> list[tuple[str, list[Line]]]:
        published = [
            (Cell(one.method, marks=letters.of([PUBLISHED])), *self._published_cells(one))
            for one in self.published
        ]
        ours: list[Line] = []
        for line in self.lines:
            words = [*line.contender.conditions, *_measured(line.report)]
            marks = line.contender.marks + letters.of(words)
            ours.append((Cell(line.contender.name, marks=marks), *self._cells(line)))
        return [("Published", published), ("Measured here" if published else "", ours)]

    def _cells(self, line: CostLine) -> list[str | Cell]:
        report = line.report
        cells: list[str | Cell] = []
        cells += (
            [_millions(report.params_train), _millions(report.params_infer)] if report else "--"
        )
        phases = self._aligned(report)
        cells += [f"{phase.latency_ms:.1f}" if phase else "-" for phase in phases]
        cells += [_gigabytes(phase) for phase in phases]
        for protocol in self.protocols:
            score = line.contender.scores.get(canonical(protocol))
            for metric in METRICS:
                values = score.values(metric) if score else ()
                text = spread([value / 100 for value in values])
                cells.append(Cell(text, marks=score.marks if score else ""))
        return cells

    def _aligned(self, report: CostReport | None) -> list[Phase | None]:
        """Stages and inference, the last stage under the last title."""
        stages = list(report.stages or ()) if report else []
        inference = report.inference if report else None
        return [*[None] * (self._stages() - len(stages)), *stages, inference]

    def _published_cells(self, one: PublishedCost) -> list[str | Cell]:
        spare = [None] * (self._stages() - 2)
        numbers = [*one.params, *spare, *one.latency, *spare, *one.memory]
        for protocol in self.protocols:
            numbers += one.scores.get(canonical(protocol), (None, None))
        return ["-" if number is None else f"{number:.1f}" for number in numbers]

    def _record(self, line: CostLine) -> dict[str, Any]:
        report = line.report
        phases = self._aligned(report)
        record: dict[str, Any] = {"name": line.contender.name, "published": "no"}
        record["params_train"] = report.params_train if report else None
        record["params_infer"] = report.params_infer if report else None
        for title, phase in zip(self._phases(), phases, strict=True):
            record[f"latency_ms {title}"] = phase.latency_ms if phase else None
        for title, phase in zip(self._phases(), phases, strict=True):
            record[f"memory_bytes {title}"] = phase.peak_memory_bytes if phase else None
        for protocol in self.protocols:
            score = line.contender.scores.get(canonical(protocol))
            for metric in METRICS:
                mean = round(statistics.fmean(score.values(metric)), 4) if score else None
                record[f"{protocol.name} {metric}"] = mean
        record["measured"] = "; ".join(_measured(report))
        return record

    def _published_record(self, one: PublishedCost) -> dict[str, Any]:
        spare = [None] * (self._stages() - 2)
        sizes = [None if gb is None else round(gb * GB) for gb in one.memory]
        params = [None if m is None else round(m * 1e6) for m in one.params]
        numbers: list[float | None] = [*params, *spare, *one.latency, *spare, *sizes]
        for protocol in self.protocols:
            numbers += one.scores.get(canonical(protocol), (None, None))
        keys = list(self._record(CostLine(Contender("", "", "", {}), None)))
        values = [one.method, "yes", *numbers, PUBLISHED]
        return dict(zip(keys, values, strict=True))


def _stacked(
    titles: Sequence[tuple[str, str]], lines: Sequence[Line]
) -> tuple[list[Section], tuple[str, ...]]:
    """A section for each title that stands above columns; the columns keep their own below it."""
    over = list(dict.fromkeys(name for name, _ in titles))
    widest = max(sum(name == one for name, _ in titles) for one in over)
    sections = []
    for one in over:
        columns = [i for i, (name, _) in enumerate(titles) if name == one]
        spare = [""] * (widest - len(columns))
        own = (*(titles[i][1] for i in columns), *spare)
        cut: list[Line] = [(line[0], *(line[1 + i] for i in columns), *spare) for line in lines]
        sections.append(Section(one, [("", *own), *cut]))
    return sections, ("Model", *[""] * widest)


def _measured(report: CostReport | None) -> list[str]:
    """Where and how a report was measured, in words."""
    if report is None or report.inference is None:
        return []
    threads = f", {report.threads} thread{'s' if (report.threads or 0) > 1 else ''}"
    return [
        f"measured on {report.device}, {report.precision}{'' if report.on_gpu else threads}, "
        f"batches of {report.inference.batch_size}, {report.identities} identities"
    ]


def _millions(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e6:.1f}"


def _gigabytes(phase: Phase | None) -> str:
    memory = phase.peak_memory_bytes if phase else None
    return "-" if memory is None else f"{memory / GB:.1f}" if memory >= GB else f"{memory / GB:.2f}"
