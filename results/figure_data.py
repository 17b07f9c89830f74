"""From entries to what figures draw: which of them, on which protocols, and what must be said."""

from __future__ import annotations

import hashlib
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocols.errors import ReIDError
from results.collect import Row
from results.entries import Entry, usual_protocols
from results.line_style import MOST
from results.tables import STANDIN_NOTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Drawn = tuple[str, str, "Figure"]
"""Key (a file's name without its end), title, figure."""
Asked = Sequence[str] | None
"""Names of protocols; None for all there are."""
LONGEST = 80
"""Letters of a key."""


@dataclass(frozen=True)
class Shown:
    """Entries on protocols, as a figure has them; `notes` say what it leaves out."""

    entries: tuple[Entry, ...]
    protocols: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> list[Row]:
        """Every row that is drawn."""
        return [row for entry in self.entries for row in on(entry, self.protocols)]


def principal(entries: Sequence[Entry]) -> list[Entry]:
    """Each method as its preset has it; one that has only run otherwise with its most rows."""
    usual = {entry.method for entry in entries if not entry.settings}
    found = []
    for entry in entries:
        if entry.method not in usual:
            alike = [one for one in entries if one.method == entry.method]
            if entry is max(alike, key=lambda one: len(one.rows)):
                found.append(entry)
        elif not entry.settings:
            found.append(entry)
    return found


def protocols_of(entries: Iterable[Entry], asked: Sequence[str] | None = None) -> tuple[str, ...]:
    """The protocols that entries have rows of, in the catalog's order, or of those `asked`.

    Unasked, variants of a target are left out where there is anything else (`usual_protocols`).
    """
    there = {row.protocol for entry in entries for row in entry.rows}
    found = asked or usual_protocols(there)
    return tuple(name for name in dict.fromkeys(found) if name in there)


def on(entry: Entry, protocols: Iterable[str]) -> list[Row]:
    """Its rows of some protocols."""
    wanted = set(protocols)
    return [row for row in entry.rows if row.protocol in wanted]


def shown(entries: Sequence[Entry], asked: Sequence[str] | None = None) -> Shown:
    """The entries that have rows of what is `asked`, no more of them than can be told apart.

    Raises ReIDError for none, naming the protocols there are.
    """
    protocols = protocols_of(entries, asked)
    if not protocols:
        raise ReIDError(
            f"There is no finished run of {listed(asked or ())} here. There are runs of: "
            f"{listed(protocols_of(entries))}."
        )
    found = [entry for entry in entries if on(entry, protocols)]
    more = f"Left out, as too many to tell apart: {listed([e.name for e in found[MOST:]])}."
    return Shown(tuple(found[:MOST]), protocols, (more,) if found[MOST:] else ())


def complete(entries: Sequence[Entry], asked: Sequence[str] | None = None) -> Shown:
    """Entries and the protocols that every one of them has, all tested on the same images.

    Of the sets of protocols that some entry has, or that all share, the one that keeps most rows.
    Of several test images of a protocol, those of most entries. Who is left out is in the notes.
    """
    every = shown(entries, asked)
    usual = {p: _most([_images(e, p) for e in every.entries if e.at(p)]) for p in every.protocols}
    have = {
        entry.name: {p for p in every.protocols if entry.at(p) and _images(entry, p) == usual[p]}
        for entry in every.entries
    }
    sets = [*have.values(), set.intersection(*have.values())]

    def keeps(wanted: set[str]) -> tuple[bool, int]:
        count = sum(wanted <= mine for mine in have.values())
        return count > 1, count * len(wanted)

    best = max(sets, key=keeps)
    kept = tuple(entry for entry in every.entries if best and best <= have[entry.name])
    protocols = tuple(name for name in every.protocols if name in best)
    left = [entry for entry in every.entries if entry not in kept]
    elsewhere = [entry.name for entry in left if best and best <= set(entry.protocols)]
    lacking = [entry.name for entry in left if entry.name not in elsewhere]
    unused = [name for name in every.protocols if name not in best]
    notes = list(every.notes)
    if lacking:
        notes.append(f"Left out, as they lack some of these protocols: {listed(lacking)}.")
    if elsewhere:
        notes.append(f"Left out, as they were tested on other images: {listed(elsewhere)}.")
    if unused:
        notes.append(f"Protocols left out, as not all have them: {listed(unused)}.")
    return Shown(kept, protocols, tuple(notes))


def _images(entry: Entry, protocol: str) -> str:
    """What tells which images an entry was tested on; the same for all its seeds."""
    return entry.at(protocol)[0].target.fingerprint


def _most(found: Sequence[str]) -> str:
    """The value that there is most of; of several, the first."""
    return Counter(found).most_common(1)[0][0]


def said(drawn: Shown, spread: str = "mean and standard deviation") -> list[str]:
    """What stands below a figure's title: preset, seeds, what does not compare, stand-ins."""
    rows = drawn.rows
    presets = sorted({row.run.spec.preset for row in rows})
    counts = sorted({len(e.at(p)) for e in drawn.entries for p in drawn.protocols if e.at(p)})
    some = counts[0] if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    seeds = "1 seed" if counts == [1] else f"{spread} over {some} seeds"
    lines = [f"Preset {' and '.join(presets)}; {seeds}.", *_differences(drawn), *drawn.notes]
    if any(row.target.data == "stand-in" for row in rows):
        lines.append(STANDIN_NOTE)
    return lines


def _differences(drawn: Shown) -> list[str]:
    """What some entries do not share with the others, so that their numbers do not compare."""
    names: dict[str, list[str]] = {}
    for entry in drawn.entries:
        for one in entry.differs:
            names.setdefault(one.words, []).append(entry.name)
    return [
        f"{listed(mine)}: {words}."
        for words, mine in names.items()
        if len(mine) < len(drawn.entries)
    ]


def percents(entry: Entry, protocol: str, metric: str = "mAP") -> list[float]:
    """A metric in per cent, one a seed."""
    return [100 * row.target.metrics[metric] for row in entry.at(protocol)]


def by_seed(entry: Entry, protocols: Sequence[str]) -> list[float]:
    """Per cent of mAP as means over `protocols`: one for each seed that has all of them.

    One number, of the means over seeds, where no seed has all.
    """
    seeds: dict[int, list[float]] = {}
    for row in on(entry, protocols):
        seeds.setdefault(row.run.spec.seed, []).append(100 * row.target.metrics["mAP"])
    whole = [statistics.fmean(found) for found in seeds.values() if len(found) == len(protocols)]
    return whole or [statistics.fmean(statistics.fmean(percents(entry, p)) for p in protocols)]


def listed(names: Iterable[str], most: int = 24) -> str:
    """Names with commas between; of very many how many more there are."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if names[most:] else "")


def slug(*parts: str) -> str:
    """A key that is a file's name on every system; what it has to replace, a digest tells apart."""
    text = "-".join(parts).replace("->", "-to-")
    safe = re.sub(r"[^A-Za-z0-9+=._-]+", "-", text).strip("-.")
    if safe == text and len(safe) <= LONGEST:
        return safe
    return f"{safe[:LONGEST].rstrip('-.')}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
