"""The runs that rows of ablation tables need, each once however many rows it is in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from harness.catalog import DataCatalog
from harness.config import Precision, make_config
from harness.plan import Choice, PlannedRun, plan
from harness.space import label
from methods.muva.config import MuvaConfig
from methods.muva.method import Muva
from protocols.errors import ReIDError
from protocols.types import Protocol

METHOD = "muva"
MASKS_ONLY = ("rmp_heads", "rmp_layer_norm", "rmp_residual", "part_labels")
"""Keys that mean nothing in a row without mask predictors."""

Key = tuple[str, str]
"""A table and the name of one of its rows."""


@dataclass(frozen=True)
class Wanted:
    """A row of a table: its overrides of the full model, and what else is `given` for it."""

    key: Key
    overrides: Mapping[str, Any]
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """For a message."""
        return f"{self.key[0]}, {self.key[1]}"

    def choice(self, preset: str, sources: tuple[str, ...]) -> Choice:
        """The method as this row has it on some sources. Raises ReIDError naming the row.

        A number of heads that is the full model's on those sources is left to it: the same run.
        """
        values = {**self._given(preset), **self.overrides}
        try:
            config = make(preset, values)
        except ReIDError as error:
            raise ReIDError(f"{self.where}: {error}") from error
        setting = label(dict(self.overrides))
        if "rmp_heads" in self.overrides:
            full = make(preset, {**values, "rmp_heads": None})
            if full.heads_for(sources) == config.rmp_heads:
                config, setting = full, ""
        return Choice(METHOD, Muva, config, preset, setting)

    def left_out(self, preset: str) -> list[str]:
        """The keys of `given` that mean nothing here."""
        kept = self._given(preset)
        return [key for key in self.given if key not in kept]

    def _given(self, preset: str) -> dict[str, Any]:
        """What is given, less what would be refused as meaningless in a row without masks."""
        if make(preset, self.overrides).predicts_masks():
            return dict(self.given)
        return {key: value for key, value in self.given.items() if key not in MASKS_ONLY}


@dataclass(frozen=True)
class Plan:
    """Every run once, and which of them each row has: key -> protocol -> ids, a seed each."""

    runs: tuple[PlannedRun, ...]
    rows: Mapping[Key, Mapping[str, tuple[str, ...]]]

    def of(self, key: Key) -> set[str]:
        """The runs of a row."""
        return {run for runs in self.rows[key].values() for run in runs}


def plan_rows(
    wanted: Sequence[Wanted],
    preset: str,
    protocols: Sequence[Protocol],
    seeds: Sequence[int],
    catalog: DataCatalog,
    precision: Precision | None = None,
    out: Path | None = None,
) -> Plan:
    """Every training that the rows need on `protocols`, in the order of rows, folds and seeds.

    Raises ReIDError, before anything is computed, for a config that is refused or data that are
    not there.
    """
    asked = [
        (one, protocol, one.choice(preset, protocol.sources))
        for one in wanted
        for protocol in protocols
    ]
    found: dict[tuple[str, str], dict[int, PlannedRun]] = {}
    for group, choices in _groups(asked):
        for run in plan(choices, group, seeds, catalog, precision, out):
            for protocol in group:
                if (protocol.sources, protocol.source_images) == (
                    run.fold.sources,
                    run.fold.source_images,
                ):
                    mine = found.setdefault((_content(run.config), protocol.name), {})
                    mine[run.spec.seed] = run
    runs: dict[str, PlannedRun] = {}
    rows: dict[Key, dict[str, tuple[str, ...]]] = {}
    for one, protocol, choice in asked:
        mine = found[_content(choice.config), protocol.name]
        rows.setdefault(one.key, {})[protocol.name] = tuple(r.spec.id for r in mine.values())
        for run in mine.values():
            runs.setdefault(run.spec.id, run)
    return Plan(tuple(runs.values()), rows)


def _groups(
    asked: Sequence[tuple[Wanted, Protocol, Choice]],
) -> Iterator[tuple[list[Protocol], list[Choice]]]:
    """Configs that are wanted on the same protocols, each config once."""
    choices: dict[str, Choice] = {}
    where: dict[str, dict[str, Protocol]] = {}
    for _, protocol, choice in asked:
        content = _content(choice.config)
        choices.setdefault(content, choice)
        where.setdefault(content, {})[protocol.name] = protocol
    groups: dict[tuple[str, ...], list[str]] = {}
    for content, protocols in where.items():
        groups.setdefault(tuple(sorted(protocols)), []).append(content)
    for contents in groups.values():
        yield list(where[contents[0]].values()), [choices[content] for content in contents]


def _content(config: Any) -> str:
    return str(config.model_dump_json())


def make(preset: str, values: Mapping[str, Any]) -> MuvaConfig:
    """The method's config. Raises ReIDError, as `make_config` does."""
    return cast(MuvaConfig, make_config(METHOD, Muva, preset, values))
