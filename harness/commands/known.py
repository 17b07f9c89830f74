"""What the methods of some records are, and the records as entries of a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.commands.presets import built_in_presets, preset_configs
from harness.record import IMPORTED
from methods import registry
from methods.cards import CARDS
from protocols.errors import ReIDError
from protocols.registry import select
from protocols.types import Protocol
from protocols.variants import dataset_of
from results import collect
from results.collect import Row
from results.entries import Entry, Known, choose, entries


@dataclass(frozen=True)
class Found:
    """What is below `--out`: entries, and what could not be read or is no longer known."""

    entries: list[Entry]
    problems: list[str]


def read_entries(out: Path, run_ids: Iterable[str] | None = None) -> Found:
    """Every finished row below `out` as entries.

    Raises ReIDError if there is no folder or it has neither rows nor anything to complain of.
    """
    if not out.is_dir():
        raise ReIDError(f"There is no folder {out}; expected one that `harness run` has written.")
    rows, problems = collect.rows(out, None if run_ids is None else set(run_ids))
    if not rows and not problems:
        raise ReIDError(
            f"{out} holds no finished run. `harness run --method muva --protocol all` makes some; "
            f"`--out` names another folder."
        )
    known, unknown = known_methods(rows)
    return Found(entries(rows, known), problems + unknown)


def pick(found: Sequence[Entry], text: str) -> list[Entry]:
    """The entries that a comma list names, each once, in its order.

    Names are as tables show them; commas inside their brackets do not divide: `muva,
    muva (parts=[head,legs], data=real)` are two. Raises what `choose` raises, ReIDError for none.
    """
    chosen = {entry.name: entry for entry in (choose(found, name) for name in _names(text))}
    if not chosen:
        raise ReIDError(f"{text!r} names no method; expected a comma list of names.")
    return list(chosen.values())


def protocols_of(found: Iterable[Entry], text: str) -> list[Protocol]:
    """Those of a name, a group or a comma list; data sets that the records name count.

    Raises UnknownName.
    """
    keys = {key for entry in found for row in entry.rows
            for key in (*row.run.spec.sources, dataset_of(row.target.target))}  # fmt: skip
    return select(text, sorted(keys))


def _names(text: str) -> list[str]:
    """The parts between commas that no bracket is open at."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def known_methods(rows: Sequence[Row]) -> tuple[dict[str, Known], list[str]]:
    """What is known of the methods of some rows, in the order of their cards; and what is not."""
    presets: dict[str, set[str]] = {}
    for row in rows:
        presets.setdefault(row.run.spec.method, set()).add(row.run.spec.preset)
    order = {name: i for i, name in enumerate(dict.fromkeys([*CARDS, *registry.locations()]))}
    known, problems = {}, []
    for name in sorted(presets, key=lambda n: (order.get(n, len(order)), n)):
        if name not in order and presets[name] == {IMPORTED}:
            known[name] = Known(type="Imported")
            continue
        if name not in order:
            # a record may name any module: none is imported because a file says so
            problems.append(
                f"{name} is not a method that is registered here; its rows are shown as recorded."
            )
            continue
        try:
            known[name] = _known(name, presets[name])
        except ReIDError as error:
            problems.append(f"{error} The rows of {name} are shown as recorded.")
    return known, problems


def _known(name: str, presets: set[str]) -> Known:
    """What a registered method says of itself; the built-in ones' configs are remembered."""
    if name in CARDS:
        card, configs = CARDS[name], built_in_presets(name)
    else:
        method = registry.load(name)
        card, configs = method.card, preset_configs(name, method)
    marks = ("†" if card.target_use else "") + ("‡" if card.extra_data else "")
    mine = {preset: configs[preset] for preset in sorted(presets & configs.keys())}
    return Known(card.type, marks, card.saw, mine)
