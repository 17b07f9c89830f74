"""What two entries have both answered: their queries, protocol by protocol."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from protocols.errors import ReIDError
from results.entries import Entry, usual_protocols
from results.query_sums import QuerySums, add_up, answers


@dataclass(frozen=True)
class Pairs:
    """Both entries' sums for each protocol; why protocols are left out; what can't be read."""

    pairs: list[tuple[QuerySums, QuerySums]]
    left_out: dict[str, str]
    problems: list[str]


def pair(a: Entry, b: Entry, protocols: Sequence[str] | None = None) -> Pairs:
    """The protocols of both (`protocols`, in their order, else `usual_protocols`).

    A row that can't be read is left out of its seeds; a protocol that one of them has no row of,
    or where they did not answer the same queries of the same images, is left out.
    """
    found = Pairs([], {}, [])
    both = {*a.protocols, *b.protocols}
    asked = list(protocols) if protocols is not None else usual_protocols(both)
    for name in asked:
        try:
            one, other = (_read(entry, name, found.problems) for entry in (a, b))
        except ReIDError as error:
            found.left_out[name] = str(error).rstrip(".")
            continue
        why = _unpaired(a, b, name, one, other)
        if one and other and not why:
            found.pairs.append((one, other))
        else:
            found.left_out[name] = why
    return found


def _read(entry: Entry, protocol: str, problems: list[str]) -> QuerySums | None:
    """The seeds that can be read; None where there is none."""
    whole = []
    for row in entry.at(protocol):
        try:
            whole.append(answers(row))
        except ReIDError as error:
            problems.append(f"{error} It is left out of {protocol}.")
    return add_up(whole) if whole else None


def _unpaired(
    a: Entry, b: Entry, protocol: str, one: QuerySums | None, other: QuerySums | None
) -> str:
    """Why there is nothing to compare on a protocol; nothing if there is."""
    missing = [entry for entry, sums in ((a, one), (b, other)) if sums is None]
    if one is None or other is None:
        damaged = [entry.name for entry in missing if entry.at(protocol)]
        if damaged:
            return f"the results of {' and of '.join(damaged)} can't be read"
        names = " nor ".join(entry.name for entry in missing)
        return f"neither {names} has results" if len(missing) > 1 else f"{names} has no results"
    prints = [{row.target.fingerprint for row in entry.at(protocol)} for entry in (a, b)]
    if prints[0] != prints[1]:
        return f"the test images are not the same (fingerprints {_shown(prints[0] | prints[1])})"
    if one.digest != other.digest:
        return "the two answer other queries"
    return "" if len(one.pids) > 1 else "all queries are of one person; there must be two or more"


def _shown(fingerprints: Iterable[str]) -> str:
    return " and ".join(sorted(one[:8] for one in fingerprints))
