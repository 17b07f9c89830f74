"""How much is lost on degraded images: differences to the clean row, by kind and level."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from protocols.errors import ReIDError
from protocols.variants import KINDS, LEVELS, Degradation
from results.collect import Row
from results.contenders import Letters
from results.entries import Entry
from results.rendering import to_csv
from results.tables import METRICS, Line, Section, Table, spread
from results.variant_rows import (
    Used,
    about,
    grouped,
    metric_of,
    named,
    named_cell,
    points,
    signed,
    variant_of,
)

TITLE = "Robustness"
ALL_KINDS = "all kinds"
REAL = {"D": "Occluded-Duke"}
"""Target -> a data set of the same cameras whose queries are occluded by what stood there."""
GALLERY = " + gallery"
"""Behind the name of a line whose galleries are degraded, too."""
HEADER = ("Model", "Clean\nmAP", *(f"Level\n{level}" for level in LEVELS), "Mean of\nlevels")
NOTES = (
    "Clean: mAP in per cent. Levels: the difference to it in points, of the same trainings; below "
    "0 is worse.",
    f"{ALL_KINDS}: the mean of the kinds, each alike, as the mean corruption error of Hendrycks "
    "and Dietterich (ICLR 2019), but as a difference, which no other method's error divides.",
    "Queries are degraded and galleries are as they are.",
)
BOTH_NOTE = f"{GALLERY.strip()}: the gallery's images are degraded as well."
REAL_NOTE = (
    "{}: real occlusion, in another data set with other queries and another gallery; the "
    "difference between the two is not that of a degradation alone."
)


@dataclass(frozen=True)
class RobustLine:
    """One entry on one protocol: `clean` by run, `degraded` by kind and level, then by run.

    `real` are the rows of the data set with real occlusion, by run.
    """

    entry: Entry
    base: str
    both: bool
    clean: Mapping[str, Row] = field(default_factory=dict)
    degraded: Mapping[tuple[str, int], Mapping[str, Row]] = field(default_factory=dict)
    real: Mapping[str, Row] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As the table shows it."""
        return self.entry.name + (GALLERY if self.both else "")

    @property
    def kinds(self) -> list[str]:
        """The kinds that it has rows of, in order."""
        return [kind for kind in KINDS if any((kind, level) in self.degraded for level in LEVELS)]

    def drops(
        self, kinds: Sequence[str], levels: Sequence[int], metric: str = "mAP"
    ) -> list[float]:
        """Mean difference over kinds and levels, of every training that has all of them.

        Fractions, by seed; no numbers where no training has all.
        """
        wanted = [self.degraded.get((kind, level), {}) for kind in kinds for level in levels]
        return [
            statistics.fmean(metric_of(rows[run], metric) - metric_of(row, metric)
                             for rows in wanted)
            for run, row in self.clean.items()
            if all(run in rows for rows in wanted)
        ]  # fmt: skip

    def missing(self) -> list[str]:
        """Kinds, or levels of them, that not every one of its trainings has."""
        found = []
        for kind in KINDS:
            rows = [self.degraded.get((kind, level), {}) for level in LEVELS]
            lacking = [level for level, mine in zip(LEVELS, rows, strict=True)
                       if self.clean.keys() - mine.keys()]  # fmt: skip
            whole = lacking == list(LEVELS) and kind not in self.kinds
            found += [kind] if whole else [f"{kind}-{level}" for level in lacking]
        return found


@dataclass(frozen=True)
class RobustnessTable:
    """Lines of such a table; `said` are notes on how they were chosen."""

    lines: Sequence[RobustLine]
    said: Sequence[str] = ()

    def table(self, stacked: bool = False) -> Table:
        """Ready to print: a section for each protocol and kind, `stacked` or not."""
        letters, used = Letters(), Used()
        sections, notes = [], list(NOTES)
        for base in dict.fromkeys(line.base for line in self.lines):
            mine = [line for line in self.lines if line.base == base]
            sections += list(self._sections(base, mine, letters))
        for line in self.lines:
            used.add(list(line.clean.values()))
        if any(line.both for line in self.lines):
            notes.append(BOTH_NOTE)
        there = {_key(line): None for line in self.lines if line.real}
        notes += [REAL_NOTE.format(REAL[key]) for key in there]
        missing = [f"{line.name} on {line.base}: {', '.join(line.missing())}"
                   for line in self.lines if line.missing()]  # fmt: skip
        if missing:
            notes.append(f"Not run, or not of every training: {'; '.join(missing)}.")
        notes += [*used.notes(), *letters.notes(), *self.said]
        return Table(TITLE, HEADER, sections, None, notes)

    def csv(self) -> str:
        """A line for each line of the table, kind and level, numbers in per cent and points."""
        return to_csv([record for line in self.lines for record in _records(line)])

    @staticmethod
    def _sections(base: str, lines: Sequence[RobustLine], letters: Letters) -> Iterator[Section]:
        kinds = [kind for kind in KINDS if any(kind in line.kinds for line in lines)]
        for kind in kinds:
            mine = [_cells(line, (kind,), letters) for line in lines if kind in line.kinds]
            yield Section(f"{base}, {kind}", mine)
        several = [_cells(line, KINDS, letters) for line in lines if len(line.kinds) > 1]
        if several:
            yield Section(f"{base}, {ALL_KINDS}", several)
        real = [line for line in lines if line.real and not line.both]
        if real:
            dashes = ["-"] * len(LEVELS)
            yield Section(
                f"{base}, real occlusion ({REAL[_key(real[0])]})",
                [(*_head(line, letters), *dashes, signed(_real(line))) for line in real],
            )


def build(
    entries: Sequence[Entry], asked: Sequence[str] | None = None, said: Sequence[str] = ()
) -> RobustnessTable:
    """The table of the entries that have degraded rows, of the protocols that are `asked`.

    Raises ReIDError where there are none beside a clean row.
    """
    lines = [
        line
        for base, found in grouped(entries, _clean_name, asked).items()
        for both in (False, True)
        for entry, rows in found
        for line in [_line(entry, base, rows, both)]
        if line.degraded
    ]
    if not lines:
        raise ReIDError(
            "There is no row of degraded images with its clean row. `harness run --method muva "
            "--protocol 'MA->D/robustness'` makes both."
        )
    return RobustnessTable(lines, said)


def _line(entry: Entry, base: str, rows: Sequence[Row], both: bool) -> RobustLine:
    """What an entry has of a protocol; trainings without clean and degraded rows are left out."""
    degraded: dict[tuple[str, int], dict[str, Row]] = {}
    clean = {row.run.run_id: row for row in entry.at(base)}
    for row in rows:
        one = _degradation(row)
        if one and one.both == both and row.run.run_id in clean:
            degraded.setdefault((one.kind, one.level), {})[row.run.run_id] = row
    runs = {run for found in degraded.values() for run in found}
    clean = {run: row for run, row in clean.items() if run in runs}
    return RobustLine(entry, base, both, clean, degraded, _real_rows(entry, clean))


def _real_rows(entry: Entry, clean: Mapping[str, Row]) -> dict[str, Row]:
    """Rows of the same trainings on real occlusion, tested in the same way."""
    names = {}
    for run, row in clean.items():
        key, slash, variant = row.target.target.partition("/")
        if key in REAL:
            names[run] = REAL[key] + slash + variant
    return {
        row.run.run_id: row for row in entry.rows if names.get(row.run.run_id) == row.target.target
    }


def _degradation(row: Row) -> Degradation | None:
    variant = variant_of(row)
    return variant.degradation if variant else None


def _clean_name(row: Row) -> str:
    """The protocol of a row without its degradation."""
    variant = variant_of(row)
    return named(row, replace(variant, degradation=None)) if variant else row.protocol


def _key(line: RobustLine) -> str:
    return next(iter(line.clean.values())).target.target.partition("/")[0]


def _head(line: RobustLine, letters: Letters) -> Line:
    """Name and clean mAP."""
    clean = spread([metric_of(row, "mAP") for row in line.clean.values()])
    return named_cell(line.entry, letters, GALLERY if line.both else ""), clean


def _cells(line: RobustLine, kinds: Sequence[str], letters: Letters) -> Line:
    levels = [signed(line.drops(kinds, [level])) for level in LEVELS]
    return (*_head(line, letters), *levels, signed(line.drops(kinds, LEVELS)))


def _real(line: RobustLine, metric: str = "mAP") -> list[float]:
    return [
        metric_of(line.real[run], metric) - metric_of(row, metric)
        for run, row in line.clean.items()
        if run in line.real
    ]


def _records(line: RobustLine) -> Iterator[dict[str, Any]]:
    for (kind, level), rows in sorted(
        line.degraded.items(), key=lambda one: (KINDS.index(one[0][0]), one[0][1])
    ):
        record = about(line.entry, line.base) | {
            "degraded": "query and gallery" if line.both else "query",
            "kind": kind,
            "level": level,
        }
        for metric in METRICS:
            both = [(line.clean[run], row) for run, row in rows.items()]
            record[f"{metric}_clean"] = points([metric_of(a, metric) for a, _ in both])[0]
            record[metric] = points([metric_of(b, metric) for _, b in both])[0]
            drop = points(line.drops([kind], [level], metric))
            record[f"{metric}_difference"], record[f"{metric}_difference_std"] = drop
        record["seeds"] = " ".join(str(row.run.spec.seed) for row in rows.values())
        yield record
