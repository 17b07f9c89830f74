"""Which rows belong together: one method, one config, one set of conditions, over protocols, seeds.

A mean over seeds is over the rows of one entry and protocol alone. Rows that were computed under
other conditions (another preset, other images, other weights ...) are another entry, whose
`differs` says in words what it does not share with most rows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from harness.record import IMPORTED
from protocols.errors import ReIDError, UnknownName
from protocols.registry import all_protocols, is_plain
from results.collect import Row
from results.tables import printable

PAPER_SIZE = (256, 128)
"""Input of (height, width) that the literature's tables suppose; larger ones are marked."""
SHORTEST_ID = 4
"""Characters of a run's id that name its entry."""
LONGEST_VALUE = 15
"""Characters of a condition or a hash in a name."""
NAMED = 8
"""Entries that a message names; of the others it says how many."""


@dataclass(frozen=True)
class Known:
    """What is known of a method besides its records.

    `type`: the group that it stands in in a table, as "VLM-based"; `marks`: those of † and ‡ that
    hold for it; `saw`: keys of data sets that its pre-training saw; `presets`: config by preset,
    written as records write it.
    """

    type: str = ""
    marks: str = ""
    saw: tuple[str, ...] = ()
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """A condition in which an entry is not as most rows are; `name` is short, as data=real.

    What follows from method and config (the input's size, the fidelity) has no name, nor has that
    features were made elsewhere.
    """

    name: str
    words: str


@dataclass(frozen=True)
class Entry:
    """One method with one config under one set of conditions.

    `settings`: what is other than the preset's config, as `key=value`; `differs`: its conditions
    that most of the rows do not share. `rows` are sorted by protocol, then seed. `tag` tells apart
    what would have one name, as values are cut short in names.
    """

    method: str
    settings: tuple[str, ...]
    differs: tuple[Difference, ...]
    rows: tuple[Row, ...]
    known: Known | None = None
    tag: str = ""

    @property
    def name(self) -> str:
        """As tables show it and `choose` finds it: `muva`, `muva (rmp_heads=4, data=real)`."""
        conditions = [difference.name for difference in self.differs if difference.name]
        said = ", ".join([*self.settings, *conditions, *([self.tag] if self.tag else [])])
        return f"{self.method} ({said})" if said else self.method

    @property
    def protocols(self) -> tuple[str, ...]:
        """Names of the protocols that it has rows of, sorted."""
        return tuple(sorted({row.protocol for row in self.rows}))

    @property
    def spec(self) -> Any:
        """The RunSpec of its first row; method, preset and config are those of all."""
        return self.rows[0].run.spec

    def at(self, protocol: str) -> list[Row]:
        """Its rows of a protocol, one a seed, by seed."""
        return [row for row in self.rows if row.protocol == protocol]


def entries(rows: Iterable[Row], known: Mapping[str, Known] | None = None) -> list[Entry]:
    """The entries of some rows, by method (as `known` orders them, then by name), then settings.

    No two have one name. A method or a preset that is not in `known` is compared with the config
    that most of its rows have.
    """
    seen, known = [(row, _config(row)) for row in rows], known or {}
    conditions = [_conditions(row, config) for row, config in seen]
    usual = _usual(conditions)
    groups: dict[tuple[str, str, tuple[_Condition, ...]], list[Row]] = {}
    for (row, config), mine in zip(seen, conditions, strict=True):
        unlike = tuple(one for key, one in mine.items() if one.value != usual[key])
        groups.setdefault((row.run.spec.method, config, unlike), []).append(row)
    defaults = _Defaults(seen, known)
    found = [
        Entry(
            method=printable(method),
            settings=defaults.settings(mine[0]),
            differs=tuple(Difference(one.name, one.words) for one in unlike),
            rows=tuple(sorted(mine, key=lambda row: (row.protocol, row.run.spec.seed))),
            known=known.get(method),
        )
        for (method, _, unlike), mine in groups.items()
    ]
    order = {name: i for i, name in enumerate(known)}
    first = {id(e): (e.rows[0].run.run_id, e.rows[0].protocol) for e in found}
    found.sort(
        key=lambda e: (
            order.get(e.method, len(order)), e.method, len(e.settings), e.name, first[id(e)],
        )
    )  # fmt: skip
    return _tagged(found)


def _tagged(found: Sequence[Entry]) -> list[Entry]:
    """The entries, of those with one name all but the first tagged: #2, #3 ..."""
    counts: Counter[str] = Counter()
    tagged = []
    for entry in found:
        counts[entry.name] += 1
        count = counts[entry.name]
        tagged.append(replace(entry, tag=f"#{count}") if count > 1 else entry)
    return tagged


def choose(found: Sequence[Entry], asked: str) -> Entry:
    """The entry of that name: `muva`, `muva (rmp_heads=4)`, spaces don't matter; or of a run's id.

    The name of a method alone is its entry without settings, or its only one.
    Raises ReIDError where there are several or none, naming those there are.
    """
    wanted = _squeezed(asked)
    exact = [entry for entry in found if _squeezed(entry.name) == wanted]
    if exact:
        return exact[0]
    by_id = [
        entry
        for entry in found
        if len(wanted) >= SHORTEST_ID
        and any(row.run.run_id.startswith(wanted) for row in entry.rows)
    ]
    mine = by_id or [entry for entry in found if entry.method == wanted]
    if len(mine) == 1:
        return mine[0]
    if mine:
        what = "is the beginning of runs of several entries" if by_id else "has several settings"
        raise ReIDError(f"{asked!r} {what}: {_quoted(mine)}. Name one of them.")
    method = wanted.partition("(")[0]
    same = [entry for entry in found if entry.method == method]
    if same:
        raise ReIDError(f"There is no {asked!r}; of {method} there are {_quoted(same)}.")
    raise UnknownName("method", asked, {entry.method for entry in found})


def _quoted(found: Sequence[Entry]) -> str:
    names = [f"'{entry.name}'" for entry in found]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return "; ".join(names[:NAMED]) + more


def usual_protocols(names: Iterable[str]) -> list[str]:
    """What means are over unasked: no variants of a target, no seen domains, if there is else.

    In the catalog's order, then alphabetically.
    """
    names = set(names)
    rows = all_protocols()
    plain = {name for name in names if is_plain(name)}
    unseen = plain - {row.name for row in rows if row.target in row.sources}
    order = {row.name: i for i, row in enumerate(rows)}
    return sorted(unseen or plain or names, key=lambda name: (order.get(name, len(order)), name))


def settings(config: Mapping[str, Any], usual: Mapping[str, Any]) -> tuple[str, ...]:
    """`key=value` of everything in a config that is not as usual, by key."""
    return tuple(
        f"{key}={_shown(value)}"
        for key, value in sorted(config.items())
        if key not in usual or usual[key] != value
    )


class _Defaults:
    """The config that each method's entries are compared with."""

    def __init__(self, rows: Sequence[tuple[Row, str]], known: Mapping[str, Known]) -> None:
        self.known = known
        counts: dict[tuple[str, str], Counter[str]] = {}
        for row, config in rows:
            key = row.run.spec.method, row.run.spec.preset
            counts.setdefault(key, Counter())[config] += 1
        self.usual = {key: json.loads(_most(counter)) for key, counter in counts.items()}

    def settings(self, row: Row) -> tuple[str, ...]:
        """`key=value` of everything that is not as the method's preset has it."""
        spec = row.run.spec
        known = self.known.get(spec.method)
        usual = known.presets.get(spec.preset) if known else None
        if usual is None:
            usual = self.usual[spec.method, spec.preset]
        return settings(spec.config, usual)


class _Condition(NamedTuple):
    """What a row was computed under, as a value to compare, in a name and in words."""

    value: str
    name: str
    words: str


def _conditions(row: Row, config: str) -> dict[str, _Condition]:
    """What a row's numbers depend on besides method, config and seed.

    The key says of which rows it is to be the same: test images of D, say, of all with real data.
    """
    spec, target = row.run.spec, row.target
    found = {
        "preset": _Condition(IMPORTED, "", "imported: its features were made elsewhere")
        if spec.preset == IMPORTED
        else _named("preset", spec.preset, f"preset {spec.preset}"),
        "data": _named("data", target.data, f"{target.data} data"),
        f"precision of {spec.preset}": _named(
            "precision", spec.precision, f"computed in {spec.precision}"
        ),
        f"version of {spec.method}": _named(
            "version", spec.method_version, f"version {spec.method_version} of {spec.method}"
        ),
        f"weights of {spec.method} {spec.preset} {config}": _named(
            "weights",
            " ".join(spec.weights),
            f"other weights ({' '.join(map(_shown, spec.weights)) or 'none'})",
        ),
        f"{target.data} test images of {target.target}": _named(
            target.target,
            target.fingerprint,
            f"other test images of {target.target}{_version(target.target_version)} "
            f"(fingerprint {target.fingerprint[:8]})",
        ),
    }
    for source, fingerprint in spec.sources.items():
        found[f"{row.run.data} {spec.source_images} images of {source}"] = _named(
            source,
            fingerprint,
            f"other training images of {source} (fingerprint {fingerprint[:8]})",
        )
    # what follows from method and config needs no name
    size = spec.config.get("image_size")
    if isinstance(size, list | tuple):
        words = f"input of {' x '.join(map(str, size))} pixels"
        found["image_size"] = _Condition(_shown(size), "", words)
    if "fidelity" in spec.config:
        fidelity = str(spec.config["fidelity"])
        found["fidelity"] = _Condition(fidelity, "", f"fidelity {fidelity}")
    labels = spec.part_labels or ""
    found[f"part labels of {spec.method} {config} {spec.fold_name}"] = _named(
        "part-labels", labels, f"other part labels ({labels[:8] or 'none'})"
    )
    share = spec.holdout or 0
    found["holdout"] = _named("holdout", str(share), f"{share:.0%} of source identities held out")
    return found


def _named(name: str, value: str, words: str) -> _Condition:
    """A condition that a name shows, with its value cut short."""
    shown = printable(value[:LONGEST_VALUE])
    return _Condition(value, f"{name}={shown or 'none'}", printable(words))


def _usual(conditions: Sequence[Mapping[str, _Condition]]) -> dict[str, str]:
    """The value of every condition that most rows have; of several, the first in order."""
    counts: dict[str, Counter[str]] = {}
    for mine in conditions:
        for key, condition in mine.items():
            counts.setdefault(key, Counter())[condition.value] += 1
    return {key: _most(counter) for key, counter in counts.items()}


def _version(version: str) -> str:
    return f", {version}" if version else ""


def _most(counter: Counter[str]) -> str:
    return min(counter, key=lambda value: (-counter[value], value))


def _config(row: Row) -> str:
    return json.dumps(row.run.spec.config, sort_keys=True)


def _shown(value: Any) -> str:
    """A value as `--set` takes it, a hash cut short."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_shown, value))}]"
    text = printable(str(value))
    return text[:LONGEST_VALUE] if text.startswith("sha256:") else text


def _squeezed(text: str) -> str:
    return "".join(text.split())
