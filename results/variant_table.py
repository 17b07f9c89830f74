"""What another way of testing changes: every variant of a target beside the target as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from protocols.errors import ReIDError
from protocols.variants import Variant
from results.collect import Row
from results.contenders import Letters
from results.entries import Entry
from results.rendering import to_csv
from results.tables import METRICS, SCALE, Line, Section, Table, spread
from results.variant_rows import (
    Used,
    about,
    differences,
    grouped,
    metric_of,
    named,
    named_cell,
    paired,
    points,
    signed,
    variant_of,
)

TITLE = "Variants of targets"
PLAIN = "as it is"
DIGITS = 2
"""Of a difference: that of another precision is small."""
HEADER = ("Model", "Variant", *METRICS.values(), *(f"Difference\n{m}" for m in METRICS.values()))
NOTES = (
    SCALE,
    f"Difference: in points to the target {PLAIN}, of the same trainings.",
)
DEGRADED = "Variants of degraded images are in `harness table robustness`."


@dataclass(frozen=True)
class VariantLine:
    """One entry on one protocol in one variant (empty: none), with its plain rows."""

    entry: Entry
    base: str
    variant: str
    plain: Sequence[Row]
    rows: Sequence[Row]


@dataclass(frozen=True)
class VariantTable:
    """Lines of such a table; `said` are notes on how they were chosen."""

    lines: Sequence[VariantLine]
    said: Sequence[str] = ()

    def table(self, stacked: bool = False) -> Table:
        """Ready to print: a section for each protocol, `stacked` or not."""
        letters, used = Letters(), Used()
        sections = []
        for base in dict.fromkeys(line.base for line in self.lines):
            lines: list[Line] = []
            for line in (line for line in self.lines if line.base == base):
                pairs = paired(line.plain, line.rows) if line.variant else []
                lines.append(
                    (
                        named_cell(line.entry, letters),
                        line.variant or PLAIN,
                        *(spread([metric_of(row, one) for row in line.rows]) for one in METRICS),
                        *(signed(differences(pairs, one), DIGITS) for one in METRICS),
                    )
                )
            sections.append(Section(base, lines))
        for line in self.lines:
            used.add(line.plain)
            used.counts.add(len(line.rows))
        notes = [*NOTES, *used.notes(), *letters.notes(), *self.said]
        return Table(TITLE, HEADER, sections, None, notes)

    def csv(self) -> str:
        """A line for each line of the table, numbers in per cent and points."""
        return to_csv(list(self._records()))

    def _records(self) -> Iterator[dict[str, Any]]:
        for line in self.lines:
            record = about(line.entry, line.base) | {"variant": line.variant}
            pairs = paired(line.plain, line.rows)
            for metric in METRICS:
                mean = points([metric_of(row, metric) for row in line.rows])
                record[metric], record[f"{metric}_std"] = mean
                more = points(differences(pairs, metric) if line.variant else [])
                record[f"{metric}_difference"], record[f"{metric}_difference_std"] = more
            record["seeds"] = " ".join(str(row.run.spec.seed) for row in line.rows)
            yield record


def build(
    entries: Sequence[Entry], asked: Sequence[str] | None = None, said: Sequence[str] = ()
) -> VariantTable:
    """The table of the entries that have variants of the protocols that are `asked`.

    Raises ReIDError where there are none beside a plain row.
    """
    lines = [
        line
        for base, found in grouped(entries, _plain_name, asked).items()
        for entry, rows in found
        for line in _lines(entry, base, rows)
    ]
    if not lines:
        raise ReIDError(
            "There is no row of a variant with the row of its target as it is. `harness run "
            "--method muva --protocol 'MA->D,MA->D/flip'` makes both."
        )
    degraded = any(_degraded(variant_of(row)) for entry in entries for row in entry.rows)
    return VariantTable(lines, [*([DEGRADED] if degraded else []), *said])


def _plain_name(row: Row) -> str:
    """The protocol of a row without its variant."""
    return named(row, Variant())


def _lines(entry: Entry, base: str, rows: Sequence[Row]) -> list[VariantLine]:
    """The plain line and those of variants, the shortest first; nothing without both."""
    plain = entry.at(base)
    found: dict[str, list[Row]] = {}
    for row in rows:
        variant = variant_of(row)
        if variant and variant.name and not _degraded(variant):
            found.setdefault(variant.name, []).append(row)
    if not plain or not found:
        return []
    names = sorted(found, key=lambda name: (name.count("+"), name))
    return [
        VariantLine(entry, base, "", plain, plain),
        *(VariantLine(entry, base, name, plain, found[name]) for name in names),
    ]


def _degraded(variant: Variant | None) -> bool:
    return variant is not None and variant.degradation is not None
