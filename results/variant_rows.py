"""A target's rows beside those of its variants: which belong together, and how they differ."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from protocols.errors import ReIDError
from protocols.registry import all_protocols, row_name
from protocols.variants import Variant, dataset_of, join, split
from results.collect import Row
from results.contenders import Letters
from results.entries import Entry
from results.tables import Cell, row_notes, seeds_note

Pair = tuple[Row, Row]


def variant_of(row: Row) -> Variant | None:
    """How a row's target was tested; None for a variant that is not known here."""
    try:
        return split(row.target.target)[1]
    except ReIDError:
        return None


def named(row: Row, variant: Variant) -> str:
    """The protocol of a row if its target were tested as another variant."""
    spec = row.run.spec
    target = join(dataset_of(row.target.target), variant)
    return row_name(tuple(spec.sources), spec.source_images, target)


def paired(before: Iterable[Row], after: Iterable[Row]) -> list[Pair]:
    """Two rows of every training that has both, by seed."""
    first = {row.run.run_id: row for row in before}
    return [(first[row.run.run_id], row) for row in after if row.run.run_id in first]


def metric_of(row: Row, metric: str) -> float:
    """A metric as a fraction in 0..1."""
    return float(row.target.metrics[metric])


def differences(pairs: Iterable[Pair], metric: str) -> list[float]:
    """What the second row of each pair has more, as fractions."""
    return [metric_of(after, metric) - metric_of(before, metric) for before, after in pairs]


def named_cell(entry: Entry, letters: Letters, behind: str = "") -> Cell:
    """The name that a line begins with, with the letters of its conditions."""
    marks = letters.of([difference.words for difference in entry.differs])
    return Cell(entry.name + behind, marks=marks)


def about(entry: Entry, protocol: str) -> dict[str, Any]:
    """What a record of a CSV begins with."""
    return {"name": entry.name, "method": entry.method, "protocol": protocol}


def signed(fractions: Sequence[float], digits: int = 1) -> str:
    """Points: a mean difference, with its sample standard deviation over several; or a dash."""
    if not fractions:
        return "-"
    # no -0.0
    mean = f"{round(100 * statistics.fmean(fractions), digits) + 0.0:+.{digits}f}"
    several = len(fractions) > 1
    return f"{mean} ± {100 * statistics.stdev(fractions):.{digits}f}" if several else mean


def points(fractions: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and sample standard deviation times 100, for CSV; None where there is none."""
    # no -0.0
    mean = round(100 * statistics.fmean(fractions), 4) + 0.0 if fractions else None
    return mean, round(100 * statistics.stdev(fractions), 4) if fractions[1:] else None


def grouped(
    entries: Sequence[Entry], base: Callable[[Row], str], asked: Sequence[str] | None
) -> dict[str, list[tuple[Entry, list[Row]]]]:
    """Protocol -> each entry and its rows whose `base` that protocol is; of those `asked`, or all.

    Only protocols that some row is of, in the order that was asked for or the catalog's.
    """
    found: dict[str, dict[int, list[Row]]] = {}
    for i, entry in enumerate(entries):
        for row in entry.rows:
            found.setdefault(base(row), {}).setdefault(i, []).append(row)
    return {
        name: [(entries[i], rows) for i, rows in found[name].items()]
        for name in (in_order(found) if asked is None else dict.fromkeys(asked))
        if name in found
    }


def in_order(names: Iterable[str]) -> list[str]:
    """Names of protocols in the catalog's order, then alphabetically, variants behind their row."""
    order = {row.name: i for i, row in enumerate(all_protocols())}
    return sorted(names, key=lambda name: (order.get(name.partition("/")[0], len(order)), name))


@dataclass
class Used:
    """The rows that cells were computed from, and of how many seeds cells are."""

    rows: list[Row] = field(default_factory=list)
    counts: set[int] = field(default_factory=set)

    def add(self, rows: Sequence[Row]) -> None:
        """Rows of one line, one a seed."""
        self.rows += rows
        self.counts |= {len(rows)} if rows else set()

    def notes(self) -> list[str]:
        """What holds for all such tables: seeds, preset, data."""
        seeds = ["One seed each."] if self.counts == {1} else seeds_note(self.counts)
        return [*seeds, *row_notes([], self.rows)]
