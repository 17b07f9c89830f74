"""Tables 5-12 from finished rows: those that share every setting but the ones a table varies."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.commands.known import Found, pick
from harness.commands.reproduce_notes import HARMLESS, heads_note, stripes_note
from harness.commands.table import ALL, TableRequest
from harness.config import PART_LABELS
from harness.reproduce import METHOD, Wanted, make
from harness.screen import many
from protocols.errors import ReIDError
from protocols.registry import select
from protocols.types import Protocol
from results.ablations import Ablation, Variant
from results.collect import Row
from results.contenders import canonical
from results.entries import Entry, settings
from results.published import comparison, unlike
from results.reproduction import BEST, Reproduction, published

PAPERS = "ablation"
NAMED = 3
"""Other bases that a note names."""


@dataclass(frozen=True)
class Base:
    """What the rows of a table share: preset, conditions, and settings besides those it varies.

    `found` are the rows that its variants have then: name of the variant -> name of the protocol.
    """

    preset: str
    conditions: tuple[str, ...]
    given: Mapping[str, Any]
    found: Mapping[str, Mapping[str, Sequence[Row]]]

    @property
    def filled(self) -> int:
        """How many cells have a row."""
        return sum(bool(rows) for of in self.found.values() for rows in of.values())

    @property
    def rows(self) -> list[Row]:
        """All of them."""
        return [row for of in self.found.values() for mine in of.values() for row in mine]

    @property
    def words(self) -> str:
        """As a note names it."""
        return ", ".join([*settings(self.given, {}), *self.conditions]) or "no settings"


def ablation_table(ablation: Ablation, found: Found, request: TableRequest) -> Reproduction:
    """One of the tables from what is below `--out`: of all bases the one that fills most cells.

    `--methods` names an entry of the base that is wanted. Raises ReIDError where there are no rows.
    """
    selected = select(request.protocol or PAPERS)
    named = request.methods is not None and request.methods != ALL
    asked = pick(found.entries, request.methods or "") if named else found.entries
    bases = _bases(ablation, selected, found.entries, asked)
    if not bases and not request.with_published:
        raise ReIDError(
            f"{request.out} has no finished row of {METHOD} for {ablation.title}. "
            f"`{_command(ablation, request, None, ())}` computes them."
        )
    reported = published(ablation.number)
    base = bases[0] if bases else None
    by_variant = base.found if base else {}
    rows = base.rows if base else []
    why = [*unlike(rows), *(_changed(base) if base else [])]
    shared = any(protocol.name in {name for _, name in reported} for protocol in selected)
    shown = shared and (not why or request.with_published)
    return Reproduction(
        ablation,
        selected,
        {v.name: [row for mine in by_variant.get(v.name, {}).values() for row in mine]
         for v in ablation.variants},
        {v.name: {protocol: [row.run.run_id for row in mine]
                  for protocol, mine in by_variant.get(v.name, {}).items()}
         for v in ablation.variants},
        _notes(ablation, selected, bases, request),
        reported if shown else None,
        comparison(why, shared, shown),
    )  # fmt: skip


def _bases(
    ablation: Ablation,
    selected: Sequence[Protocol],
    found: Sequence[Entry],
    asked: Sequence[Entry],
) -> list[Base]:
    """The bases of the entries that were asked for, the one that fills most cells first."""
    mine = [entry for entry in found if entry.method == METHOD]
    by_config: dict[tuple[str, tuple[str, ...], str], list[Entry]] = {}
    for entry in mine:
        by_config.setdefault((*_shared(entry), _content(entry.spec.config)), []).append(entry)
    keys: dict[tuple[str, tuple[str, ...], str], dict[str, Any]] = {}
    for entry in asked:
        usual = entry.known.presets.get(entry.spec.preset) if entry.known else None
        if entry in mine and usual is not None:
            given = {
                key: value
                for key, value in entry.spec.config.items()
                if key in usual and value != usual[key] and key not in ablation.varied
            }
            keys.setdefault((*_shared(entry), _content(given)), given)
    bases = []
    for (preset, conditions, _), given in keys.items():
        rows: dict[str, dict[str, list[Row]]] = {}
        for variant in ablation.variants:
            for protocol in selected:
                wanted = _config(ablation, variant, preset, given, protocol)
                there = by_config.get((preset, conditions, wanted), []) if wanted else []
                of = rows.setdefault(variant.name, {})
                of[protocol.name] = [row for e in there for row in e.at(canonical(protocol))]
        bases.append(Base(preset, conditions, given, rows))
    order = sorted(
        bases, key=lambda one: (-one.filled, -len(one.rows), len(one.conditions), len(one.given))
    )
    return [base for base in order if base.filled]


def _shared(entry: Entry) -> tuple[str, tuple[str, ...]]:
    """What all rows of a base have in common besides settings."""
    return entry.spec.preset, tuple(one.name for one in entry.differs if one.name)


def _config(
    ablation: Ablation,
    variant: Variant,
    preset: str,
    given: Mapping[str, Any],
    protocol: Protocol,
) -> str:
    """The config of a cell as records have it; nothing where the settings do not go together."""
    wanted = Wanted((ablation.key, variant.name), variant.overrides, given)
    try:
        config = wanted.choice(preset, protocol.sources).config
    except ReIDError:
        return ""
    return _content({**config.model_dump(mode="json"), PART_LABELS: None})


def _content(config: Mapping[str, Any]) -> str:
    return json.dumps(config, sort_keys=True)


def _changed(base: Base) -> list[str]:
    """Settings that make published numbers another model's; weights from a file do not."""
    keys = [
        key
        for key, value in base.given.items()
        if key not in HARMLESS and not (key == "weights" and str(value).startswith("sha256:"))
    ]
    return [f"{', '.join(keys)} changed from the preset"] if keys else []


def _notes(
    ablation: Ablation,
    selected: Sequence[Protocol],
    bases: Sequence[Base],
    request: TableRequest,
) -> list[str]:
    """How the rows were chosen and computed, and what is missing."""
    if not bases:
        return [BEST, "No row of ours."]
    base, *others = bases
    rows = base.rows
    config = make(base.preset, base.given)
    seeds = sorted({row.run.spec.seed for row in rows})
    said = [BEST, *([stripes_note(config)] if ablation.number == 8 else [])]
    said += heads_note(ablation, config, selected)
    if base.given or base.conditions:
        said.append(f"All rows: {base.words}.")
    labels = sorted({row.run.spec.part_labels or "" for row in rows} - {""})
    if "calibration" in ablation.varied and labels:
        said.append(
            "Whether the rows' part labels come from the same answers is not in their records; "
            "`harness reproduce table9` computes both rows from the same."
        )
    runs = len({row.run.run_id for row in rows})
    precisions = ", ".join(sorted({row.run.spec.precision for row in rows}))
    said.append(
        f"{precisions}; seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}; "
        f"{many(runs, 'run')}."
    )
    cells = len(ablation.variants) * len(selected)
    if base.filled < cells:
        command = _command(ablation, request, base, seeds)
        said.append(f"Dashes: {many(cells - base.filled, 'cell')} not computed. `{command}` does.")
    if others:
        named = "; ".join(f"{one.words} ({one.filled} of {cells} cells)" for one in others[:NAMED])
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        said.append(f"Rows of other settings are not mixed in (--methods): {named}{more}.")
    return said


def _command(
    ablation: Ablation, request: TableRequest, base: Base | None, seeds: Sequence[int]
) -> str:
    """What computes the missing cells."""
    words = ["harness", "reproduce", ablation.key]
    words += ["--protocol", request.protocol] if request.protocol else []
    words += ["--seeds", ",".join(map(str, seeds))] if len(seeds) > 1 else []
    for setting in settings(base.given, {}) if base else ():
        words += ["--set", setting]
    return shlex.join([*words, "--out", str(request.out)])
