"""How the entries of a protocol stand: means over seeds, intervals, differences from the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from protocols.errors import ReIDError
from protocols.types import Protocol
from results import published
from results.collect import Row
from results.comparison import Effect, compare
from results.contenders import Contender, Letters, reference
from results.entries import Entry
from results.paper_table import MARKS
from results.statistics import Interval, holm, metric_interval
from results.tables import Cell, places, row_notes, spread

METRICS = {"mAP": "mAP", "rank1": "Rank-1", "rank5": "Rank-5", "mINP": "mINP"}
RESAMPLES = 1000
"""Of every bootstrap and permutation test of the page; `harness compare` takes more."""
MOST_COMPARED = 20
"""Entries of a protocol that are compared with the best: its first ones, by mAP."""


@dataclass(frozen=True)
class Standing:
    """A line of a protocol's table: an entry of ours, or a published method without rows.

    `against` is the best's mAP minus this one's, `p` its p after Holm; `left_out` says why an entry
    is not compared. `conditions` are letters that notes explain.
    """

    line: Contender
    rows: tuple[Row, ...]
    cells: Mapping[str, Cell]
    conditions: str = ""
    interval: Interval | None = None
    against: Effect | None = None
    p: float | None = None
    left_out: str = ""

    @property
    def mean(self) -> float:
        """Its mAP in per cent, as it is shown."""
        return float(self.cells["mAP"].text.split()[0])


@dataclass(frozen=True)
class Group:
    """Entries of a protocol that were tested on the same images, by mAP, the best first."""

    data: str
    fingerprint: str
    version: str
    standings: tuple[Standing, ...]
    notes: list[str]

    @property
    def highest(self) -> int:
        """A round percentage that nothing in it exceeds."""
        tops = [100 * s.interval.high if s.interval else s.mean for s in self.standings]
        return max(10, 10 * math.ceil(max(tops) / 10))

    @property
    def entries(self) -> tuple[Standing, ...]:
        """Those that are ours."""
        return tuple(one for one in self.standings if one.line.entry)


def groups(protocol: Protocol, entries: Sequence[Entry]) -> list[Group]:
    """The entries of a protocol; those tested on other images stand apart. The largest first."""
    parts: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in entries:
        rows = entry.at(protocol.name)
        if rows:
            target = rows[0].target  # all of an entry's rows were tested on the same images
            key = target.data, target.fingerprint, target.target_version
            parts.setdefault(key, []).append(entry)
    ordered = sorted(parts.items(), key=lambda part: (-len(part[1]), part[0]))
    return [_group(protocol, *key, mine) for key, mine in ordered]


def _group(
    protocol: Protocol, data: str, fingerprint: str, version: str, entries: Sequence[Entry]
) -> Group:
    rows = [row for entry in entries for row in entry.at(protocol.name)]
    reported, why = published.methods([protocol.name]), published.unlike(rows)
    usual = reference(entries)
    ours = [_ours(protocol, entry, usual) for entry in entries]
    theirs = [] if why else [_published(protocol, one) for one in reported]
    standings = _compared(protocol.name, _placed([*ours, *theirs]))
    letters = Letters()
    lettered = tuple(replace(s, conditions=letters.of(s.line.conditions)) for s in standings)
    marks = "".join(s.line.marks + s.cells["mAP"].marks for s in standings)
    said = [
        *(words for mark, words in MARKS.items() if mark in marks),
        *letters.notes(),
        *(published.comparison(why, True, False) if reported else []),
        *([published.SOURCE] if theirs else []),
        *_statistics(lettered),
        *row_notes([protocol], rows),
    ]
    return Group(data, fingerprint, version, lettered, said)


def _ours(protocol: Protocol, entry: Entry, usual: tuple[str, ...]) -> Standing:
    rows = tuple(entry.at(protocol.name))
    line = Contender.ours(entry, [protocol], usual)
    cells = {}
    for metric in METRICS:
        values = [row.target.metrics[metric] for row in rows if metric in row.target.metrics]
        cells[metric] = Cell(spread(values))
    cells["mAP"] = replace(cells["mAP"], marks=line.scores[protocol.name].marks)
    try:
        interval = metric_interval(rows, "mAP", RESAMPLES)
    except ReIDError:
        interval = None  # said where it is compared
    return Standing(line, rows, cells, interval=interval)


def _published(protocol: Protocol, one: published.PublishedMethod) -> Standing:
    line = Contender.published(one, competes=True)
    score = line.scores[protocol.name]
    known = {"mAP": f"{score.mAP[0]:.1f}", "rank1": f"{score.rank1[0]:.1f}"}
    return Standing(line, (), {metric: Cell(known.get(metric, "-")) for metric in METRICS})


def _placed(standings: Sequence[Standing]) -> list[Standing]:
    """By mAP, the best and the second of each metric marked."""
    ranked = sorted(standings, key=lambda one: (-one.mean, one.line.name))
    competing = [i for i, one in enumerate(ranked) if one.line.competes]
    columns = {
        metric: [Cell.of(cell) for cell in places([s.cells[metric] for s in ranked], competing)]
        for metric in METRICS
    }
    return [
        replace(one, cells={metric: column[i] for metric, column in columns.items()})
        for i, one in enumerate(ranked)
    ]


def _compared(protocol: str, ranked: Sequence[Standing]) -> list[Standing]:
    """With the difference from the best of ours, as far down as `MOST_COMPARED`."""
    ours = [one for one in ranked if one.line.entry]
    best = next((one for one in ours if one.line.competes), ours[0])
    found: dict[str, tuple[Effect | None, str]] = {}
    for one in ours[:MOST_COMPARED]:
        if one is not best:
            found[one.line.name] = _effect(protocol, best, one)
    corrected = iter(holm([effect.p for effect, _ in found.values() if effect]))
    after = {name: next(corrected) for name, (effect, _) in found.items() if effect}
    said = {best.line.name: "our best"} if len(ours) > 1 else {}
    return [
        replace(one, against=effect, p=after.get(one.line.name), left_out=reason)
        for one in ranked
        for effect, reason in [found.get(one.line.name, (None, said.get(one.line.name, "")))]
    ]


def _effect(protocol: str, best: Standing, one: Standing) -> tuple[Effect | None, str]:
    """The difference of two entries, or why there is none."""
    assert best.line.entry and one.line.entry
    try:
        found = compare(best.line.entry, one.line.entry, [protocol], RESAMPLES)
    except ReIDError as error:
        return None, str(error)
    return found.lines[0].mAP, ""


def _statistics(standings: Sequence[Standing]) -> list[str]:
    said = [
        f"95 % intervals: from {RESAMPLES:,} draws of identities with all their queries, and over "
        "seeds where there are several.",
    ]
    count = sum(one.against is not None for one in standings)
    if count:
        corrected = f", corrected (Holm) for the {count} comparisons here" if count > 1 else ""
        said.append(
            "Below our best: how much higher the mAP of the best run here is on the same queries, "
            f"with its interval. p is of a paired permutation test{corrected}. That the best was "
            "chosen on these queries makes it a little too small."
        )
    if sum(one.line.entry is not None for one in standings) > MOST_COMPARED:
        said.append(f"The first {MOST_COMPARED} are compared; `harness compare` compares any two.")
    return said
