"""What the page of a method shows: its entries on every protocol, config, cost, environments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from results import costs
from results.costs import CostReport, Phase
from results.entries import Entry
from results.page.standings import Group, Standing
from results.page.versus import Rivals

Facts = list[tuple[str, str]]
GB = 1e9


@dataclass(frozen=True)
class Line:
    """An entry on one protocol: its `place` among those `of` them that were tested alike."""

    protocol: str
    data: str
    place: int
    of: int
    standing: Standing


@dataclass(frozen=True)
class Part:
    """One entry of a method; `config` is (key, value as JSON, whether it is set)."""

    entry: Entry
    lines: list[Line]
    config: list[tuple[str, str, bool]]
    cost: Facts


@dataclass(frozen=True)
class Method:
    """A method; `card` is its card as plain data, empty if it is not registered.

    `runs` are ids, `drawn` of those with pictures; `figures` are (title, address);
    `rivals` are it against the others.
    """

    name: str
    card: Mapping[str, Any]
    parts: list[Part]
    runs: list[str]
    drawn: list[str]
    environments: list[str]
    figures: list[tuple[str, str]]
    rivals: Rivals

    @property
    def protocols(self) -> set[str]:
        """Names of those it has rows of."""
        return {line.protocol for part in self.parts for line in part.lines}

    @property
    def facts(self) -> Facts:
        """What its card says."""
        saw = [key for key, holds in (
            ("adapts to the target when it is tested (†)", self.card.get("target_use")),
            ("pre-trained on further images of people (‡)", self.card.get("extra_data")),
        ) if holds]  # fmt: skip
        return [
            ("Paper", str(self.card.get("paper", ""))),
            ("Type", str(self.card.get("type", ""))),
            ("Looks at", str(self.card.get("modality", ""))),
            ("Licence", str(self.card.get("licence", ""))),
            ("Pre-training", "; ".join(self.card.get("pretraining", ()))),
            ("Pre-training saw", ", ".join(self.card.get("saw", ()))),
            ("To know", "; ".join(saw)),
        ]


def parts(
    entries: Sequence[Entry],
    standings: Mapping[str, Sequence[Group]],
    reports: Sequence[CostReport],
) -> list[Part]:
    """The entries of one method; `standings` by protocol, in the order they are shown in."""
    lines: dict[str, list[Line]] = {entry.name: [] for entry in entries}
    for protocol, groups in standings.items():
        for group in groups:
            for place, one in enumerate(group.entries, start=1):
                if one.line.name in lines:
                    line = Line(protocol, group.data, place, len(group.entries), one)
                    lines[one.line.name].append(line)
    return [
        Part(entry, lines[entry.name], _config(entry), _cost(costs.of(reports, entry)))
        for entry in entries
    ]


def _config(entry: Entry) -> list[tuple[str, str, bool]]:
    set_here = {text.partition("=")[0] for text in entry.settings}
    return [
        (key, value if isinstance(value, str) else json.dumps(value), key in set_here)
        for key, value in entry.spec.config.items()
    ]


def _cost(report: CostReport | None) -> Facts:
    if report is None:
        return []
    trained = report.params_train
    facts = [
        ("Parameters in training", "none" if trained is None else f"{trained:,}"),
        ("Parameters that are trained", f"{report.params_trainable:,}"),
        ("Parameters in inference", f"{report.params_infer:,}"),
        ("Identities", f"{report.identities:,}"),
    ]
    facts += [(f"Training, {phase.name}", _phase(phase)) for phase in report.stages or ()]
    if report.inference:
        facts.append(("Inference", _phase(report.inference)))
    if report.device:
        facts.append(("Measured on", f"{report.device}, {report.precision}"))
    return [*facts, ("Measured at", report.finished_at)]


def _phase(phase: Phase) -> str:
    memory = phase.peak_memory_bytes
    said = f"{phase.latency_ms:.1f} ms a step of {phase.batch_size} ({phase.latency_ms_min:.1f} to "
    said += f"{phase.latency_ms_max:.1f}), {phase.images_per_second:.0f} images a second"
    return said + ("" if memory is None else f", {memory / GB:.2f} GB at most")


def environments(entries: Sequence[Entry]) -> list[str]:
    """Where the runs of some entries were computed, in words, each once."""
    said: dict[str, set[str]] = {}
    for entry in entries:
        for row in entry.rows:
            said.setdefault(_environment(row.run.environment), set()).add(row.run.run_id)
    ordered = sorted(said.items(), key=lambda one: (-len(one[1]), one[0]))
    return [f"{words} ({len(ids)} run{'s' if len(ids) > 1 else ''})" for words, ids in ordered]


def _environment(found: Mapping[str, Any]) -> str:
    """What of an environment a reader asks for first; records may hold anything there."""
    packages = found.get("packages")
    torch = packages.get("torch") if isinstance(packages, Mapping) else None
    devices = found.get("gpus") or f"{found.get('processor')}, {found.get('threads')} threads"
    said = devices if isinstance(devices, str) else ", ".join(map(str, devices))
    return (
        f"{said}; torch {torch}, Python {found.get('python')}, {found.get('platform')}; "
        f"commit {found.get('git_commit')}"
    )
