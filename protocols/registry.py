"""Protocols by name: `get("MA->D")`, `select("single-source,MA->VIPeR")`, `folds(...)`.

A name is `SOURCES->TARGET`. `:` or the arrow character may stand for `->`, spaces and the case of
known keys do not matter, sources may come in any order: every spelling gives the same canonical
name. Behind a `/` stands how a target is tested (`protocols.variants`): `MA->D/flip`, `all/flip`.
`/seen` are the test sets of a row's own sources: `MA+D->MS/seen` is MA and D, tested by that
training; one of them is called `MA+D->MA/seen`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import combinations

from protocols.catalog import (
    AD_HOC,
    NAMED_BY_GROUP,
    OTHER_GROUPS,
    OWN_GROUPS,
    ROWS,
    SAME,
    SOURCE_ORDER,
    UNIONS,
)
from protocols.datasets import CARDS
from protocols.errors import ReIDError, UnknownName
from protocols.types import Fold, Protocol, SourceImages
from protocols.variants import Variant, expand, join

_ARROW = re.compile(r"->|\N{RIGHTWARDS ARROW}|:")
SEEN = "seen"
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
    name, group or data set that does not exist and ReIDError for a row that makes no sense, or
    for a variant that is several rows.
    """
    rows = _rows(_compact(name), tuple(extra), {})
    if len(rows) > 1:
        names = ", ".join(row.name for row in rows[:3])
        raise ReIDError(f"{name} is {len(rows)} rows ({names} ...); name one of them.")
    return rows[0]


def select(text: str, extra: Iterable[str] = ()) -> list[Protocol]:
    """The protocols of a name, a group, or a comma list of both; each once, at its first place.

    Raises what `get` raises.
    """
    extra = tuple(extra)
    by_lower = {g.lower(): rows for g, rows in groups().items()}
    chosen: dict[str, Protocol] = {}
    for item in text.strip().removesuffix(",").split(","):
        for protocol in _rows(_compact(item), extra, by_lower):
            chosen.setdefault(protocol.name, protocol)
    return list(chosen.values())


def _rows(
    text: str, extra: tuple[str, ...], by_lower: Mapping[str, tuple[str, ...]]
) -> list[Protocol]:
    """The rows of a name or, `by_lower`, a group, each in all the variants that are asked for."""
    name, slash, asked = text.partition("/")
    parts = asked.lower().split("+") if slash else []
    if not all(parts):
        where = "on one side of a '+'" if asked else "behind its '/'"
        raise ReIDError(f"Protocol {text!r} has nothing {where}. {_FORM}")
    seen, rest = SEEN in parts, "+".join(part for part in parts if part != SEEN)
    group = by_lower.get(name.lower())
    rows = [_BY_NAME[row] for row in group] if group else [_row(name, extra, seen)]
    if seen:
        rows = [one for row in rows for one in _seen(row)]
    found = list(expand(rest)) if rest else [Variant()]
    return [_varied(row, variant) for row in rows for variant in found]


def _row(text: str, extra: tuple[str, ...], own_target: bool) -> Protocol:
    """One row as it is, without a variant; with `own_target` its target may be a source."""
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
    own = own_target and target in sources
    _refuse(sources, target, own)
    if own:
        return Protocol(row_name(sources, "train", target), AD_HOC, sources, target)
    canonical = "+".join(sources) + "->" + target
    overlap = _overlap(sources, target)
    return _BY_NAME.get(canonical) or Protocol(canonical, AD_HOC, sources, target, overlap=overlap)


def _seen(row: Protocol) -> list[Protocol]:
    """The test sets of a row's sources, tested by the row's training; of a source, its own.

    Sources without a test set are left out. Raises ReIDError where there is none, or where the
    training has seen the test images themselves.
    """
    if row.source_images == "all":
        raise ReIDError(
            f"{row.name} trains on all images of its sources, the test sets too, so it has no "
            f"'/{SEEN}' rows."
        )
    keys = [row.target] if row.target in row.sources else list(row.sources)
    tested = [key for key in keys if key not in CARDS or CARDS[key].can_be_target]
    if not tested:
        raise ReIDError(f"{row.name}: {', '.join(keys)} have no test set here.")
    names = {key: row_name(row.sources, row.source_images, key) for key in tested}
    return [
        _BY_NAME.get(name) or Protocol(name, AD_HOC, row.sources, key, overlap=SAME)
        for key, name in names.items()
    ]


def _varied(row: Protocol, variant: Variant) -> Protocol:
    """A row with its target tested in another way."""
    if not variant.name:
        return row
    target = join(row.target, variant)
    name = row_name(row.sources, row.source_images, target)
    return replace(row, name=name, target=target, table=None)


def row_name(sources: tuple[str, ...], source_images: SourceImages, target: str) -> str:
    """What a trained and tested row is called: the catalog's name where it has the row.

    `sources` in canonical order. A row outside the catalog is named as `get` names it.
    """
    key, slash, variant = target.partition("/")
    for row in _BY_NAME.values():
        if (row.sources, row.source_images, row.target) == (sources, source_images, key):
            return row.name + slash + variant
    parts = [*([SEEN] if key in sources else []), *([variant] if variant else [])]
    ending = "/" + "+".join(parts) if parts else ""
    return f"{Fold(sources, source_images, ()).name}->{key}{ending}"


def seen_name(row: Protocol) -> str:
    """The name of the rows that test a row's training on its sources' own test sets."""
    return f"{row.name.partition('/')[0]}/{SEEN}"


def is_plain(protocol: str) -> bool:
    """Whether a row's name is of a target that is tested as everybody does it, and is unseen."""
    return "/" not in protocol


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


def _refuse(sources: tuple[str, ...], target: str, own_target: bool) -> None:
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
    if _family(target) in seen and not own_target:
        _refuse_own_target(sources, seen[_family(target)], target)


def _refuse_own_target(sources: tuple[str, ...], source: str, target: str) -> None:
    same, way = f" ({source} is the same data set)", ""
    if source == target:
        same, own = "", f"source-domain->{target}"
        ways = [own] if own in _BY_NAME else []
        if own not in _BY_NAME or len(sources) > 1:
            ways.append(row_name(sources, "train", target))
        quoted = " or ".join(f"'{name}'" for name in ways)
        way = f" To train and test on {target} ask for {quoted}."
    raise ReIDError(
        f"The target {target} is among the sources{same}: "
        f"a domain that was trained on is not an unseen one.{way}"
    )


def shared(key: str, other: str) -> str:
    """What the cards say that two data sets share, in words; nothing where they share nothing."""
    both = ((key, other), (other, key))
    said = (CARDS[a].overlaps.get(b, "") for a, b in both if a in CARDS)
    return "; ".join(dict.fromkeys(words for words in said if words))


def _overlap(sources: tuple[str, ...], target: str) -> str:
    """What the cards say that the sources and the target share, in words."""
    said = (shared(a, b) for a, b in combinations((*sources, target), 2))
    return "; ".join(dict.fromkeys(words for words in said if words))


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


_BY_NAME: dict[str, Protocol] = {p.name: p for p in ROWS}
