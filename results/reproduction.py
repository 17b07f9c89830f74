"""The paper's ablation tables from finished rows: a line a variant, the best in bold."""

from __future__ import annotations

import csv
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from protocols.types import Protocol
from results import tables
from results.ablations import Ablation
from results.collect import Row
from results.published import Pair
from results.rendering import to_csv
from results.tables import METRICS

BEST = "Bold: the best of a column."
"""What to say below lines that were emboldened."""
Published = Mapping[tuple[str, str], Pair]
"""(name of a variant, protocol) -> what the paper reports."""


def published(number: int) -> Published:
    """What the paper reports in one of tables 5-12, as `published/ablations.csv` has it."""
    text = files("results").joinpath("published/ablations.csv").read_text(encoding="utf-8")
    return {
        (line["variant"], line["protocol"]): (float(line["mAP"]), float(line["rank1"]))
        for line in csv.DictReader(text.splitlines())
        if int(line["table"]) == number
    }


def cells(
    selected: Sequence[Protocol], found: Sequence[Row], title: str = ""
) -> tuple[list[tuple[str, str]], tuple[str, str] | None, list[str]]:
    """A line of a table: mAP and Rank-1 of each protocol, their means over several, the notes.

    `found` are the rows of one setting, over protocols and seeds; dashes where there are none.
    """
    table = tables.build(selected, found, title)
    by_name = {line[0]: line[1:] for section in table.sections for line in section.lines}
    pairs = [_pair(by_name[protocol.name]) for protocol in selected]
    return pairs, _pair(table.mean[1:]) if table.mean else None, table.notes


def _pair(line: tables.Line) -> tuple[str, str]:
    texts = [tables.Cell.of(cell).text for cell in line]
    return (texts[0], texts[1]) if texts else ("-", "-")


def embolden(lines: Sequence[tables.Line], first: int) -> list[tables.Line]:
    """The lines with the best of each column marked, from column `first` on (`tables.places`)."""
    columns = [list(column) for column in zip(*lines, strict=True)]
    marked = [tables.places(column, range(len(lines)), most=1) for column in columns[first:]]
    return list(zip(*columns[:first], *marked, strict=True))


@dataclass(frozen=True)
class Reproduction:
    """One of the tables: which rows each of its variants has, and what the paper reports, if shown.

    `found`: name of a variant -> its rows; `runs`: name -> protocol -> ids of the runs it is to
    have. `said` are notes on how the rows came to be, `comparison` those on published numbers.
    """

    ablation: Ablation
    selected: Sequence[Protocol]
    found: Mapping[str, Sequence[Row]]
    runs: Mapping[str, Mapping[str, Sequence[str]]]
    said: Sequence[str] = ()
    published: Published | None = None
    comparison: Sequence[str] = ()

    def table(self, stacked: bool = False) -> tables.Table:
        """In the paper's form: variants down, protocols across with mAP and Rank-1.

        `stacked`: the same numbers for a narrow screen, a section for each protocol.
        """
        by_protocol: dict[str, list[tuple[str, ...]]] = {p.name: [] for p in self.selected}
        for variant in self.ablation.variants:
            pairs, _, _ = cells(self.selected, self.found[variant.name])
            for name, pair in zip(by_protocol, pairs, strict=True):
                by_protocol[name].append((*pair, *self._beside(variant.name, name, stacked)))
        columns = self.ablation.columns
        if stacked:
            header = (*columns, *self._headers(any(map(self._reported, by_protocol))))
            sections = [self._section(name, [found]) for name, found in by_protocol.items()]
        else:
            over = {name: self._headers(self._reported(name)) for name in by_protocol}
            header = (*columns, *(f"{name}\n{what}" for name in over for what in over[name]))
            sections = [self._section("MUVA", list(by_protocol.values()))]
        return tables.Table(
            title=self.ablation.title,
            header=header,
            sections=sections,
            mean=None,
            notes=list(dict.fromkeys(self._notes())),
        )

    def _notes(self) -> list[str]:
        """What to say below the table; some variants may have more seeds than others."""
        counts = Counter((name, row.protocol) for name, rows in self.found.items() for row in rows)
        everything = [row for rows in self.found.values() for row in rows]
        about_rows = tables.row_notes(self.selected, everything)
        numbers = [tables.SCALE, *tables.seeds_note(counts.values())]
        return [*self.comparison, *numbers, *about_rows, *self.ablation.notes, *self.said]

    @staticmethod
    def _headers(beside: bool) -> list[str]:
        whats = list(METRICS.values())
        return whats + [f"paper {what}" for what in whats] if beside else whats

    def _section(self, title: str, blocks: Sequence[Sequence[tuple[str, ...]]]) -> tables.Section:
        """A line for each variant, of its labels and what each of the blocks has for it."""
        lines = [
            (variant.label, *variant.cells, *(cell for found in line for cell in found))
            for variant, line in zip(self.ablation.variants, zip(*blocks, strict=True), strict=True)
        ]
        return tables.Section(title, embolden(lines, len(self.ablation.columns)))

    def records(self) -> list[dict[str, Any]]:
        """A plain dict for each variant and protocol, in per cent; None where nothing is known."""
        return [
            self._record(variant.name, protocol)
            for variant in self.ablation.variants
            for protocol in self.selected
        ]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: the records, and the notes that stand under the table."""
        table = self.table()
        number, key = self.ablation.number, self.ablation.key
        return {"table": number, "name": key, "title": table.title, "notes": table.notes,
                "rows": self.records()}  # fmt: skip

    def csv(self) -> str:
        """Those records as CSV: a line each, a list in one cell, an empty cell for None."""
        return to_csv([{**record, **self._flat(record)} for record in self.records()])

    @staticmethod
    def _flat(record: Mapping[str, Any]) -> dict[str, str]:
        texts = {key: " ".join(map(str, record[key])) for key in ("seeds", "runs")}
        pairs = record["overrides"].items()
        return {**texts, "overrides": " ".join(f"{key}={_typed(value)}" for key, value in pairs)}

    def _record(self, name: str, protocol: Protocol) -> dict[str, Any]:
        (variant,) = (one for one in self.ablation.variants if one.name == name)
        ids = set(self.runs[name].get(protocol.name, ()))
        mine = [
            row
            for row in self.found[name]
            if row.run.run_id in ids and row.target.target == protocol.target
        ]
        record: dict[str, Any] = {
            "table": self.ablation.number,
            "variant": name,
            "overrides": dict(variant.overrides),
            "protocol": protocol.name,
        }
        for metric in METRICS:
            values = [100 * row.target.metrics[metric] for row in mine]
            record[metric] = round(statistics.fmean(values), 4) if values else None
            record[f"{metric}_std"] = (
                round(statistics.stdev(values), 4) if len(values) > 1 else None
            )
        record["data"] = mine[0].target.data if mine else None
        record["seeds"] = [row.run.spec.seed for row in mine]
        record["runs"] = list(self.runs[name].get(protocol.name, ()))
        reported = (self.published or {}).get((name, protocol.name))
        for i, metric in enumerate(METRICS):
            record[f"published_{metric}"] = reported[i] if reported else None
        return record

    def _reported(self, protocol: str) -> bool:
        return any(name == protocol for _, name in self.published or {})

    def _beside(self, variant: str, protocol: str, always: bool) -> tuple[str, ...]:
        """Published cells; of a protocol without any none, or dashes if `always`."""
        if not (self._reported(protocol) or (always and self.published)):
            return ()
        pair = (self.published or {}).get((variant, protocol))
        return tuple(f"{value:.1f}" for value in pair) if pair else ("-", "-")


def _typed(value: Any) -> str:
    """As `--set` takes it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
