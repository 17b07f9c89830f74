"""`harness table robustness`, `seen`, `variants`, `verification`: rows beside others of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from harness.commands.known import Found, protocols_of
from harness.commands.table import Printable, TableRequest, chosen_entries
from protocols import variants
from protocols.catalog import AD_HOC
from protocols.errors import ReIDError
from protocols.registry import is_plain
from protocols.types import Protocol
from protocols.variants import Variant, split
from results import robustness_table, seen_table, variant_table, verification_table
from results.collect import Row
from results.contenders import canonical
from results.entries import Entry
from results.variant_rows import in_order

BUILD: dict[str, Callable[[Sequence[Entry], Sequence[str] | None, Sequence[str]], Printable]] = {
    "robustness": robustness_table.build,
    "seen": seen_table.build,
    "variants": variant_table.build,
}


def beside_table(what: str, found: Found, request: TableRequest) -> Printable:
    """One of these tables of what is below `--out`; `--protocol` names the rows as they are.

    Raises ReIDError where there are no rows for it.
    """
    asked = None
    if request.protocol:
        named = protocols_of(found.entries, request.protocol)
        bases = [base for one in named for base in _bases(what, one, found.entries)]
        asked = list(dict.fromkeys(canonical(base) for base in bases))
    there = _protocols(found.entries, asked)
    chosen, said = chosen_entries(found.entries, request.methods, there)
    if asked is not None and not any({*asked}.intersection(one.protocols) for one in chosen):
        raise ReIDError(f"{request.out} has no finished row of {request.protocol}.")
    if what in BUILD:
        return BUILD[what](chosen, asked, said)
    shown = there if asked else [one for one in there if is_plain(one.name)]
    return verification_table.build(chosen, shown, said)


def _bases(what: str, protocol: Protocol, entries: Sequence[Entry]) -> list[Protocol]:
    """The protocols whose lines a table has for one that was typed.

    Of `MA->D/robustness` it is MA->D; of `MA->D/seen`, where it is a column, every MA->...
    """
    if what == "verification":
        return [protocol]
    key, variant = split(protocol.target)
    if what == "seen" and key in protocol.sources:
        trained = protocol.sources, protocol.source_images
        return [
            one for one in _protocols(entries, None)
            if is_plain(one.name) and (one.sources, one.source_images) == trained
        ]  # fmt: skip
    kept = replace(variant, degradation=None) if what == "robustness" else Variant()
    return [replace(protocol, target=variants.join(key, kept))]


def _protocols(entries: Sequence[Entry], asked: Sequence[str] | None) -> list[Protocol]:
    """Those that are `asked` or all, as far as there are rows."""
    rows = {row.protocol: row for entry in entries for row in entry.rows}
    names = in_order(rows) if asked is None else [name for name in asked if name in rows]
    return [_protocol(rows[name]) for name in names]


def _protocol(row: Row) -> Protocol:
    spec, target = row.run.spec, row.target.target
    return Protocol(row.protocol, AD_HOC, tuple(spec.sources), target, spec.source_images)
