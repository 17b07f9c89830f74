"""Protocols by name: `get("MA->D")`, `select("single-source,MA->VIPeR")`, `folds(...)`.

A name is `SOURCES->TARGET`. `:` or the arrow character may stand for `->`, spaces and the case of
known keys do not matter, sources may come in any order: every spelling gives the same canonical
name. A `/` after the target is kept free for variants of a target.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from protocols.catalog import (
    AD_HOC,
    NAMED_BY_GROUP,
    OTHER_GROUPS,
    OWN_GROUPS,
    ROWS,
    SOURCE_ORDER,
    UNIONS,
)
from protocols.datasets import CARDS
from protocols.errors import ReIDError, UnknownName
from protocols.types import Fold, Protocol, SourceImages

_ARROW = re.compile(r"->|\N{RIGHTWARDS ARROW}|:")
_FORM = "A protocol is SOURCES->TARGET, such as MA->D or MA+D+C3->MS, or the name of a group."


def source_rank(key: str) -> tuple[int, str]:
    """Sort key of a source: MA, D, MS, C3, C2, CS, then the others alphabetically."""
    known = key in SOURCE_ORDER
    return (SOURCE_ORDER.index(key) if known else len(SOURCE_ORDER), key)


def all_protocols() -> list[Protocol]:
    """Every row of the catalog, once, in the catalog's order."""
    return list(_BY_NAME.values())


def groups() -> dict[str, tuple[str, ...]]:
    """Group name -> the canonical names of its rows."""
    found = {g: tuple(p.name for p in _BY_NAME.values() if p.group == g) for g in OWN_GROUPS}
    found |= OTHER_GROUPS
    found |= {u: tuple(n for g in parts for n in found[g]) for u, parts in UNIONS.items()}
    return found


def get(name: str, extra: Iterable[str] = ()) -> Protocol:
    """The protocol of that name; a row of the catalog where there is one, else built ad hoc.

    `extra` are keys of the user's own data sets, usable on either side. Raises UnknownName for a
    name, group or data set that does not exist and ReIDError for a row that makes no sense.
    """
    text = _compact(name)
    sides = _ARROW.split(text)
    if not text:
        raise ReIDError(f"The protocol's name is empty. {_FORM}")
    if len(sides) == 1:
        raise UnknownName("protocol or group", text, [*_BY_NAME, *groups()], _FORM)
    if len(sides) != 2 or not all(sides):
        raise ReIDError(f"Protocol {text!r} needs one source side and one target. {_FORM}")
    by_group = {g.lower(): g for g in NAMED_BY_GROUP}
    group = by_group.get(sides[0].lower())
    if group:
        return _named_row(group, sides[1])
    keys = (*CARDS, *extra)
    sources = tuple(sorted((_key(s, keys, text) for s in sides[0].split("+")), key=source_rank))
    target = _key(sides[1], keys, text)
    _refuse(sources, target)
    canonical = "+".join(sources) + "->" + target
    overlap = _overlap(sources, target)
    return _BY_NAME.get(canonical) or Protocol(canonical, AD_HOC, sources, target, overlap=overlap)


def select(text: str, extra: Iterable[str] = ()) -> list[Protocol]:
    """The protocols of a name, a group, or a comma list of both; each once, at its first place.

    Raises what `get` raises.
    """
    extra = tuple(extra)
    by_lower = {g.lower(): rows for g, rows in groups().items()}
    chosen: dict[str, Protocol] = {}
    for item in text.strip().removesuffix(",").split(","):
        rows = by_lower.get(_compact(item).lower())
        for protocol in [_BY_NAME[r] for r in rows] if rows else [get(item, extra)]:
            chosen.setdefault(protocol.name, protocol)
    return list(chosen.values())


def row_name(sources: tuple[str, ...], source_images: SourceImages, target: str) -> str:
    """What a trained and tested row is called: the catalog's name where it has the row.

    `sources` in canonical order. A row outside the catalog is named as `get` names it.
    """
    for row in _BY_NAME.values():
        if (row.sources, row.source_images, row.target) == (sources, source_images, target):
            return row.name
    return f"{Fold(sources, source_images, ()).name}->{target}"


def folds(protocols: Iterable[Protocol]) -> list[Fold]:
    """One fold for each set of training images: the 16 rows of `all` are 8 folds.

    Folds and their targets are in order of first appearance, each target once.
    """
    merged: dict[tuple[tuple[str, ...], str], Fold] = {}
    for p in protocols:
        key = (p.sources, p.source_images)
        fold = merged.setdefault(key, Fold(p.sources, p.source_images, ()))
        if p.target not in fold.targets:
            merged[key] = replace(fold, targets=(*fold.targets, p.target))
    return list(merged.values())


def _compact(text: str) -> str:
    return "".join(text.split())


def _named_row(group: str, target: str) -> Protocol:
    """The row `GROUP->TARGET`, whatever the case of the target."""
    rows = {p.target.lower(): p for p in _BY_NAME.values() if p.group == group}
    if target.lower() not in rows:
        known = [p.name for p in rows.values()]
        raise UnknownName("protocol", f"{group}->{target}", known, f"{group} has: {_list(known)}.")
    return rows[target.lower()]


def _key(typed: str, keys: Iterable[str], protocol: str) -> str:
    """The data set's key as we write it; the case is forgiven unless it is what tells two apart."""
    keys = tuple(keys)
    if typed in keys:
        return typed
    if not typed:
        raise ReIDError(f"Protocol {protocol!r} has an empty source between its '+'. {_FORM}")
    by_lower = {k.lower(): k for k in keys}
    if typed.lower() not in by_lower:
        raise UnknownName("data set", typed, keys, f"It stands in protocol {protocol!r}.")
    return by_lower[typed.lower()]


def _family(key: str) -> str:
    """The data set a key is of: a variant (C3-labeled) is the same data set as C3."""
    return CARDS[key].family if key in CARDS else key


def _refuse(sources: tuple[str, ...], target: str) -> None:
    """Raise ReIDError for a row whose number would mean nothing."""
    for key in sources:
        if key in CARDS and not CARDS[key].can_be_source:
            raise ReIDError(f"{key} is a target only: there is no training on {CARDS[key].name}.")
    if target in CARDS and not CARDS[target].can_be_target:
        raise ReIDError(f"{target} is a source only: {CARDS[target].name} has no test set here.")
    seen: dict[str, str] = {}
    for key in sources:
        other = seen.setdefault(_family(key), key)
        if sources.count(key) > 1:
            raise ReIDError(f"{key} is among the sources twice; name it once.")
        if other != key:
            raise ReIDError(f"{other} and {key} are the same data set; choose one as a source.")
    if _family(target) in seen:
        _refuse_own_target(seen[_family(target)], target)


def _refuse_own_target(source: str, target: str) -> None:
    same = "" if source == target else f" ({source} is the same data set)"
    named = f"source-domain->{target}"
    way = f" To train and test on {target} ask for '{named}'." if named in _BY_NAME else ""
    raise ReIDError(
        f"The target {target} is among the sources{same}: "
        f"a domain that was trained on is not an unseen one.{way}"
    )


def _overlap(sources: tuple[str, ...], target: str) -> str:
    """What the cards say that the sources and the target share, in words."""
    keys = (*sources, target)
    said = (CARDS[a].overlaps.get(b, "") for a in keys for b in keys if a in CARDS)
    return "; ".join(dict.fromkeys(words for words in said if words))


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


_BY_NAME: dict[str, Protocol] = {p.name: p for p in ROWS}
