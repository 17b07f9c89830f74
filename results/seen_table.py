"""How methods do where they were trained: the sources' own test sets beside an unseen target."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from protocols.datasets import CARDS
from protocols.errors import ReIDError
from protocols.registry import is_plain
from results.collect import Row
from results.contenders import Letters
from results.entries import Entry
from results.rendering import to_csv
from results.tables import METRICS, SCALE, Line, Section, Table, spread
from results.variant_rows import Used, about, grouped, metric_of, named_cell, points, signed

TITLE = "Seen and unseen domains"
UNSEEN, SEEN, MORE = "Target (unseen)", "Sources (seen)", "Seen - unseen"
HEADER = (
    "Model",
    *(f"{over}\n{word}" for over in (UNSEEN, SEEN, MORE) for word in METRICS.values()),
)
NOTES = (
    SCALE,
    f"{SEEN}: the mean over the sources' own test sets, whose people were not trained on, of the "
    f"same trainings; {MORE}: in points.",
)


@dataclass(frozen=True)
class SeenLine:
    """One entry on one protocol: each training's row, and its sources' by data set, by run."""

    entry: Entry
    protocol: str
    rows: Sequence[Row]
    seen: Mapping[str, Mapping[str, Row]]

    def missing(self) -> list[str]:
        """Sources whose test sets not all of its trainings were tested on."""
        keys = {key: None for row in self.rows for key in tested(row)}
        return [
            key for key in keys
            if any(key in tested(row) and key not in self.seen.get(row.run.run_id, {})
                   for row in self.rows)
        ]  # fmt: skip

    def values(self, metric: str) -> list[tuple[float, float]]:
        """Unseen and seen of every training that was tested on all its sources, by seed."""
        found = []
        for row in self.rows:
            mine, keys = self.seen.get(row.run.run_id, {}), tested(row)
            if keys and all(key in mine for key in keys):
                seen = statistics.fmean(metric_of(mine[key], metric) for key in keys)
                found.append((metric_of(row, metric), seen))
        return found

    def cells(self, letters: Letters) -> Line:
        """Name and numbers; a target without the others stands alone."""
        both = {metric: self.values(metric) for metric in METRICS}
        unseen = {
            metric: [one for one, _ in both[metric]]
            or [metric_of(row, metric) for row in self.rows]
            for metric in METRICS
        }
        return (
            named_cell(self.entry, letters),
            *(spread(unseen[metric]) for metric in METRICS),
            *(spread([seen for _, seen in both[metric]]) for metric in METRICS),
            *(signed([seen - one for one, seen in both[metric]]) for metric in METRICS),
        )


@dataclass(frozen=True)
class SeenTable:
    """Lines of such a table; `said` are notes on how they were chosen."""

    lines: Sequence[SeenLine]
    said: Sequence[str] = ()

    def table(self, stacked: bool = False) -> Table:
        """Ready to print: a section for each protocol, `stacked` or not."""
        letters, used = Letters(), Used()
        sections = []
        for name in dict.fromkeys(line.protocol for line in self.lines):
            mine = [line for line in self.lines if line.protocol == name]
            sections.append(Section(name, [line.cells(letters) for line in mine]))
        for line in self.lines:
            used.add(line.rows)
        missing = {
            f"{line.entry.name} on {key}": None for line in self.lines for key in line.missing()
        }
        notes = [*NOTES, *used.notes(), *letters.notes()]
        if missing:
            listed = ", ".join(missing)
            notes.append(f"Not tested, or not every training: {listed}. `harness run --seen` does.")
        return Table(TITLE, HEADER, sections, None, [*notes, *self.said])

    def csv(self) -> str:
        """A line for each line of the table, numbers in per cent and points."""
        return to_csv(list(self._records()))

    def _records(self) -> Iterator[dict[str, Any]]:
        for line in self.lines:
            record = about(line.entry, line.protocol)
            for metric in METRICS:
                both = line.values(metric)
                record[metric] = points([unseen for unseen, _ in both])[0]
                record[f"{metric}_seen"] = points([seen for _, seen in both])[0]
                more = points([seen - unseen for unseen, seen in both])
                record[f"{metric}_difference"], record[f"{metric}_difference_std"] = more
            record["trainings"] = len(line.values("mAP"))
            yield record


def build(
    entries: Sequence[Entry], asked: Sequence[str] | None = None, said: Sequence[str] = ()
) -> SeenTable:
    """The table of some entries on the plain protocols of unseen targets that are `asked`.

    Raises ReIDError where no training was tested on a source's test set.
    """
    lines = [
        SeenLine(entry, name, rows, _seen(entry))
        for name, found in grouped(entries, lambda row: row.protocol, asked).items()
        if is_plain(name)
        for entry, rows in found
        if rows[0].target.target not in rows[0].run.spec.sources
    ]
    if not any(line.values("mAP") for line in lines):
        raise ReIDError(
            "There is no finished row of an unseen target whose training was also tested on its "
            "sources' test sets. `harness run --seen --method muva --protocol all` tests them."
        )
    return SeenTable(lines, said)


def tested(row: Row) -> list[str]:
    """The sources of a row's training that have a test set."""
    return [key for key in row.run.spec.sources if key not in CARDS or CARDS[key].can_be_target]


def _seen(entry: Entry) -> dict[str, dict[str, Row]]:
    """Run -> source -> the row of its test set."""
    found: dict[str, dict[str, Row]] = {}
    for row in entry.rows:
        if row.target.target in row.run.spec.sources:
            found.setdefault(row.run.run_id, {})[row.target.target] = row
    return found
