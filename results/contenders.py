"""The lines of a comparison: entries of ours and published methods, and which of them to show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from protocols.datasets import CARDS
from protocols.registry import row_name
from protocols.types import Protocol
from protocols.variants import dataset_of
from results.collect import Row
from results.entries import PAPER_SIZE, Entry
from results.published import PublishedMethod

MOST = 4
"""Entries of a method that are shown unasked where all of them have settings."""


@dataclass(frozen=True)
class Score:
    """A cell: mAP and Rank-1 of every seed, in per cent, and its marks."""

    mAP: tuple[float, ...]  # noqa: N815
    rank1: tuple[float, ...]
    seeds: tuple[int, ...] = ()
    marks: str = ""

    def values(self, metric: str) -> tuple[float, ...]:
        """By the name of the metric."""
        return self.mAP if metric == "mAP" else self.rank1


@dataclass(frozen=True)
class Contender:
    """A line: an entry of ours, or a published method.

    `conditions` are in words what it does not share with most rows; it `competes` for the best
    with lines that share those that have names. `scores` are by the canonical name of the protocol.
    """

    name: str
    type: str
    marks: str
    scores: Mapping[str, Score]
    conditions: tuple[str, ...] = ()
    competes: bool = True
    entry: Entry | None = None
    venue: str = ""

    @classmethod
    def ours(
        cls, entry: Entry, protocols: Sequence[Protocol], reference: tuple[str, ...] = ()
    ) -> Contender:
        """An entry as a line of a table; `reference`: the conditions of those that compete."""
        known = entry.known
        scores = {}
        for protocol in protocols:
            rows = entry.at(canonical(protocol))
            if rows:
                saw = "§" if known and _saw(known.saw, dataset_of(protocol.target)) else ""
                scores[canonical(protocol)] = Score(
                    tuple(100 * row.target.metrics["mAP"] for row in rows),
                    tuple(100 * row.target.metrics["rank1"] for row in rows),
                    tuple(row.run.spec.seed for row in rows),
                    saw,
                )
        size = entry.spec.config.get("image_size")
        larger = isinstance(size, list | tuple) and any(
            mine > papers for mine, papers in zip(size, PAPER_SIZE, strict=False)
        )
        return cls(
            entry.name,
            known.type if known else "",
            ("*" if larger else "") + (known.marks if known else ""),
            scores,
            tuple(difference.words for difference in entry.differs),
            _named(entry) == reference,
            entry,
        )

    @classmethod
    def published(cls, one: PublishedMethod, competes: bool) -> Contender:
        """A published line."""
        scores = {name: Score((m,), (r,)) for name, (m, r) in one.scores.items()}
        return cls(
            one.name, one.type, one.marks, scores, competes=competes, venue=one.venue
        )  # fmt: skip

    def counts(self) -> list[int]:
        """How many seeds its cells have, each number once."""
        return sorted({len(score.mAP) for score in self.scores.values()})


def _named(entry: Entry) -> tuple[str, ...]:
    return tuple(difference.name for difference in entry.differs if difference.name)


def reference(found: Sequence[Entry]) -> tuple[str, ...]:
    """The conditions whose lines compete: none besides the usual, or what most of these share."""
    counts = Counter(map(_named, found))
    return () if () in counts or not counts else counts.most_common(1)[0][0]


def canonical(protocol: Protocol) -> str:
    """The name that rows have of a protocol, whatever it is called here."""
    return row_name(protocol.sources, protocol.source_images, protocol.target)


def _saw(seen: Iterable[str], target: str) -> bool:
    """Whether data sets that were seen are the target's, or hold images of it."""

    def family(key: str) -> str:
        return CARDS[key].family if key in CARDS else key

    return any(
        family(key) == family(target) or (key in CARDS and target in CARDS[key].overlaps)
        for key in seen
    )


@dataclass
class Letters:
    """Letters for conditions, in the order in which they are met: [a], [b,c]."""

    words: list[str] = field(default_factory=list)

    def of(self, conditions: Sequence[str]) -> str:
        """What stands behind a name."""
        self.words += [words for words in conditions if words not in self.words]
        letters = [_letter(self.words.index(words)) for words in conditions]
        return f"[{','.join(letters)}]" if letters else ""

    def notes(self) -> list[str]:
        """What they mean."""
        return [f"[{_letter(i)}] {words}." for i, words in enumerate(self.words)]


def _letter(index: int) -> str:
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    return alphabet[index % 26] * (index // 26 + 1)


def usual(found: Sequence[Entry], protocols: Sequence[Protocol]) -> list[Entry]:
    """What is shown unasked: of each method that has rows of the protocols, what has no settings.

    Of a method that was only run with settings the entries with most of the protocols are shown.
    """
    wanted = {canonical(protocol) for protocol in protocols}
    shown: list[Entry] = []
    for method in dict.fromkeys(entry.method for entry in found):
        mine = [e for e in found if e.method == method and wanted.intersection(e.protocols)]
        plain = [entry for entry in mine if not entry.settings]
        # sorted is stable: the order of entries decides among equals
        most = sorted(mine, key=lambda entry: -len(wanted.intersection(entry.protocols)))[:MOST]
        shown += plain or [entry for entry in mine if entry in most]
    return shown


def rows_of(lines: Iterable[Contender], protocols: Iterable[str]) -> list[Row]:
    """The rows of our lines on some protocols."""
    wanted = set(protocols)
    return [
        row for line in lines if line.entry for row in line.entry.rows if row.protocol in wanted
    ]
