"""A comparison in plain sentences: who is better where, and what a reader must know of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from results.entries import Entry
from results.pairing import Pairs
from results.query_sums import QuerySums
from results.statistics import ALPHA
from results.tables import STANDIN_NOTE

if TYPE_CHECKING:
    from results.comparison import Effect, Line

NAMED = 3
"""More protocols than these are counted, not named."""


FEW_SEEDS = {
    1: ("One seed", "how much another training would differ is in no interval and in no p."),
    2: ("Two seeds", "they say little of how trainings differ, so intervals are wide; use three."),
}


def sentence(a: str, b: str, lines: Sequence[Line], overall: Line | None) -> str:
    """Who is better in mAP, by the corrected p-values; then the mean over protocols."""
    if overall is None:
        return _one(a, b, f"On {lines[0].protocol}", "mAP", lines[0].mAP)
    return f"{_count(a, b, lines)} {_one(a, b, 'Overall', 'mean mAP', overall.mAP)}"


def notes(a: Entry, b: Entry, found: Pairs, resamples: int) -> list[str]:
    """What stands under the table."""
    count = len(found.pairs)
    several = any(len(sums.runs) > 1 for two in found.pairs for sums in two)
    seeds = ", and the spread of the runs over seeds" if several else ""
    corrected = f"; corrected for {count} protocols (Holm), overall apart" if count > 1 else ""
    said = [
        f"Per cent. Difference: {a.name} less {b.name}, in points. In brackets: 95 % intervals, "
        f"from {resamples:,} draws of identities with all their queries{seeds}.",
        f"p: two-sided, from swapping the two methods identity by identity{corrected}.",
    ]
    if count / (resamples + 1) > ALPHA:
        said.append(
            f"With {resamples:,} resamples no corrected p can be below {ALPHA:g}; "
            "ask for more (--resamples)."
        )
    first, second = zip(*found.pairs, strict=True)
    said += _training([(a.name, first), (b.name, second)])
    said += [*_conditions(a, b), *_conditions(b, a), *left_out(found.left_out)]
    names = {one.protocol for one, _ in found.pairs}
    shown = [row for row in (*a.rows, *b.rows) if row.protocol in names]
    return [*said, *([STANDIN_NOTE] if any(r.target.data == "stand-in" for r in shown) else [])]


def left_out(reasons: dict[str, str]) -> list[str]:
    """A line for each reason why protocols are not compared."""
    by_reason: dict[str, list[str]] = {}
    for protocol, why in reasons.items():
        by_reason.setdefault(why, []).append(protocol)
    return [f"Left out: {', '.join(names)}: {why}." for why, names in by_reason.items()]


def nothing(a: Entry, b: Entry, found: Pairs) -> str:
    """Why two entries can't be compared at all."""
    said = [
        f"{a.name} and {b.name} have no protocol that can be compared.",
        f"{a.name} has {', '.join(a.protocols)}; {b.name} has {', '.join(b.protocols)}.",
        *left_out(found.left_out),
        *found.problems,
    ]
    return " ".join(said)


def listed(names: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _count(a: str, b: str, lines: Sequence[Line]) -> str:
    """On how many protocols who is better."""
    total = len(lines)
    better = {
        name: [line for line in lines if _clear(line.mAP) and sign * line.mAP.estimate > 0]
        for name, sign in ((a, 1), (b, -1))
    }
    neither = [line.protocol for line in lines if not _clear(line.mAP)]
    if all(_equal(line.mAP) for line in lines):
        return f"{a} and {b} have the same mAP on {_all(total)}."
    if len(neither) == total:
        which = "neither of 2" if total == 2 else f"none of {total}"
        return f"On {which} protocols is the difference in mAP distinguishable from zero."
    first, second = sorted(better, key=lambda name: -len(better[name]))
    if len(better[first]) == total:
        return f"{first} is better in mAP on {_all(total)}."
    said = f"{first} is better in mAP on {len(better[first])} of {total} protocols"
    if better[second]:
        said += f" and {second} on {len(better[second])}"
    if neither:
        where = listed(neither) if len(neither) <= NAMED else f"the other {len(neither)}"
        said += f"; on {where} the difference is not distinguishable from zero"
    return f"{said}."


def _one(a: str, b: str, where: str, what: str, effect: Effect) -> str:
    """One difference with its interval."""
    if _equal(effect):
        return f"{where}, {a} and {b} have the same {what}."
    if not _clear(effect):
        return (
            f"{where}, the difference in {what} between {a} and {b} is not distinguishable from "
            f"zero ({_points(effect.estimate)}, 95 % interval {_points(effect.low)} to "
            f"{_points(effect.high)} points)."
        )
    name, other, sign = (a, b, 1) if effect.estimate > 0 else (b, a, -1)
    low, high = sorted((sign * effect.low, sign * effect.high))
    return (
        f"{where}, {name} is better: its {what} is {100 * abs(effect.estimate):.1f} points higher "
        f"than that of {other} (95 % interval {_points(low)} to {_points(high)})."
    )


def _points(fraction: float) -> str:
    return f"{round(100 * fraction, 1) + 0.0:.1f}"


def _training(sides: Sequence[tuple[str, Sequence[QuerySums]]]) -> list[str]:
    """What few seeds leave open; a method that trains nothing leaves nothing open."""
    said = []
    for count, words in FEW_SEEDS.items():
        names = []
        for name, sums in sides:
            few = [one.protocol for one in sums if one.trained and len(one.runs) == count]
            if few:
                names.append(name if len(few) == len(sums) else f"{name} (on {listed(few)})")
        if names:
            said.append(f"{words[0]} of {' and of '.join(names)}: {words[1]}")
    return said


def _conditions(mine: Entry, other: Entry) -> list[str]:
    """What one was computed under and the other was not."""
    theirs = {difference.words for difference in other.differs}
    alone = [d.words for d in mine.differs if d.words not in theirs]
    if not alone:
        return []
    return [
        f"Not under the same conditions: {mine.name} has {listed(alone)}, {other.name} has not."
    ]


def _all(total: int) -> str:
    return "both protocols" if total == 2 else f"all {total} protocols"


def _equal(effect: Effect) -> bool:
    return effect.estimate == 0 and effect.low == effect.high


def _clear(effect: Effect) -> bool:
    return effect.p_holm < ALPHA and effect.estimate != 0
