"""Figures of trainings: accuracy against cost, lines of settings, losses per epoch.

Each gives (key, title, figure) for what there is, and raises ReIDError where that is nothing.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from protocols.errors import ReIDError
from results import costs
from results.cost_figure import CostPanel, cost_figure
from results.entries import Entry
from results.figure_data import (
    Asked,
    Drawn,
    Shown,
    by_seed,
    complete,
    listed,
    on,
    percents,
    said,
    shown,
    slug,
)
from results.line_style import spread
from results.loss_figure import LossPanel, loss_figure
from results.sweep_figure import Curve, Panel, sweep_figure

PANELS = 12
"""Of lines of settings: a page holds no more."""
LOSS_PANELS = 16


def cost(entries: Sequence[Entry], protocols: Asked = None) -> Iterator[Drawn]:
    """Mean mAP against parameters, measured latency and time of training."""
    drawn = complete(entries, protocols)
    if not drawn.entries:
        raise ReIDError("Accuracy against cost needs a protocol that the methods have in common.")
    accuracy = {e.name: spread(by_seed(e, drawn.protocols)) for e in drawn.entries}
    panels, notes = _costs(drawn)
    count = len(drawn.protocols)
    over = f"mAP on {drawn.protocols[0]}" if count == 1 else f"mAP is the mean of {count} protocols"
    title = "Accuracy against cost"
    lines = [f"{over}.", *notes, *said(drawn)]
    metric = "mAP (%)" if count == 1 else "mean mAP (%)"
    yield "cost", title, cost_figure(accuracy, panels, title, lines, metric)


def _costs(drawn: Shown) -> tuple[list[CostPanel], list[str]]:
    """What is known of the cost of entries, and what must be said of it."""
    reports = costs.load(drawn.rows[0].folder.parent)
    known = {e.name: costs.of(reports, e) for e in drawn.entries}
    mine = {name: report for name, report in known.items() if report is not None}
    notes = []
    if len(mine) == len(known):
        sizes = {name: report.params_infer / 1e6 for name, report in mine.items()}
        panels = [CostPanel("parameters at inference (millions)", sizes)]
    else:
        sizes = {
            e.name: statistics.fmean(
                row.run.parameters["all"] / 1e6 for row in on(e, drawn.protocols)
            )
            for e in drawn.entries
        }
        panels = [CostPanel("parameters of the trained model (millions)", sizes)]
    latency, how = _latency(mine)
    if latency:
        panels.append(CostPanel("latency at inference (ms an image)", latency))
        notes.append(f"Latency: {how}.")
    panels.append(_training(drawn))
    machines = {
        str([row.run.environment.get(key) for key in ("processor", "gpus")]) for row in drawn.rows
    }
    if len(machines) > 1:
        notes.append("Trainings ran on different machines: their times do not compare.")
    return panels, notes


def _latency(reports: Mapping[str, costs.CostReport]) -> tuple[dict[str, float], str]:
    """Milliseconds an image of those that were measured in one way, the way most were; which."""
    ways: dict[str, dict[str, float]] = {}
    for name, report in reports.items():
        if report.inference is not None:
            batch = report.inference.batch_size
            way = f"{report.device}, {report.precision}, {batch} images at a time"
            ways.setdefault(way, {})[name] = report.inference.latency_ms / batch
    way = max(sorted(ways), key=lambda one: len(ways[one]), default="")
    left = sorted(name for other in ways if other != way for name in ways[other])
    without = f"; measured otherwise and left out: {listed(left)}" if left else ""
    return ways.get(way, {}), way + without


def _training(drawn: Shown) -> CostPanel:
    """Mean time of a training."""
    seconds = {}
    for entry in drawn.entries:
        runs = {row.run.run_id: row.run.seconds for row in on(entry, drawn.protocols)}
        seconds[entry.name] = statistics.fmean(runs.values())
    unit, size = next(
        (unit, size) for unit, size, most in (("s", 1, 300), ("min", 60, 18000), ("h", 3600, 1e99))
        if max(seconds.values()) < most
    )  # fmt: skip
    times = {name: one / size for name, one in seconds.items()}
    return CostPanel(f"time of a training ({unit})", times)


def sweeps(entries: Sequence[Entry], protocols: Asked = None) -> Iterator[Drawn]:
    """What a setting does to mAP: a figure for each key in which entries of a method differ.

    A panel holds entries that differ in this key alone. A key whose entries are all in the figure
    of a key with more values has none of its own. Raises ReIDError where no two entries differ
    in one key.
    """
    drawn = shown_all(entries, protocols)
    found = sorted(_swept(drawn), key=lambda one: (-max(map(len, one[2])), one[:2]))
    if not found:
        raise ReIDError(
            "No method has runs here that differ in one setting alone: `harness sweep` makes some."
        )
    covered: set[str] = set()
    for method, key, groups in found:
        names = {entry.name for group in groups for entry in group}
        if not names <= covered:
            covered |= names
            yield _sweep(method, key, groups, drawn)


def shown_all(entries: Sequence[Entry], asked: Asked) -> Shown:
    """Every entry with rows of what is asked, however many."""
    protocols = shown(entries, asked).protocols
    return Shown(tuple(entry for entry in entries if on(entry, protocols)), protocols)


def _swept(drawn: Shown) -> Iterator[tuple[str, str, list[list[Entry]]]]:
    """Method, key, and groups of entries that differ in that key alone."""
    alike: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in drawn.entries:
        conditions = " ".join(one.name for one in entry.differs if one.name)
        alike.setdefault((entry.method, entry.spec.preset, conditions), []).append(entry)
    for (method, _, _), mine in alike.items():
        configs = [entry.spec.config for entry in mine]
        for key in sorted({key for config in configs for key in config}):
            groups: dict[str, list[Entry]] = {}
            for entry, config in zip(mine, configs, strict=True):
                rest = {name: value for name, value in config.items() if name != key}
                groups.setdefault(json.dumps(rest, sort_keys=True), []).append(entry)
            several = [group for group in groups.values() if _common(group, drawn.protocols)]
            if several:
                yield method, key, several


def _common(group: Sequence[Entry], protocols: Sequence[str]) -> list[str]:
    """The protocols that two entries or more of a group have."""
    return [p for p in protocols if sum(bool(entry.at(p)) for entry in group) > 1]


def _sweep(method: str, key: str, groups: list[list[Entry]], drawn: Shown) -> Drawn:
    ordered = sorted(groups, key=lambda group: (-len(group), group[0].name))
    groups, more = ordered[:PANELS], len(ordered) - PANELS
    entries = tuple(entry for group in groups for entry in group)
    values = _values([entry.spec.config.get(key) for entry in entries])
    numbers = all(map(_is_number, values))
    found = [{_word(entry.spec.config.get(key)): entry for entry in group} for group in groups]
    placed = [[group.get(_word(value)) for value in values] for group in found]
    there = {p for group in groups for p in _common(group, drawn.protocols)}
    protocols = [protocol for protocol in drawn.protocols if protocol in there]
    panels = [
        Panel(title, [Curve(p, [percents(e, p) if e else [] for e in group]) for p in protocols])
        for title, group in zip(_rest(groups, key), placed, strict=True)
    ]
    conditions = [one.name for one in entries[0].differs if one.name]
    title = f"{method}{f' ({listed(conditions)})' if conditions else ''}: {key}"
    # inputs and the like are settings here, and said above each panel
    alike = tuple(replace(entry, differs=()) for entry in entries)
    ticks = values if numbers else [_word(value) for value in values]
    left = f"Left out, --methods chooses: {more} of {len(ordered)} panels."
    notes = (left,) if more > 0 else ()
    figure = sweep_figure(key, ticks, panels, title, said(Shown(alike, tuple(protocols), notes)))
    return slug("sweep", method, key, *conditions), title, figure


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _values(found: Sequence[Any]) -> list[Any]:
    """What a key is set to, each value once: what is no number as it comes, then by size."""
    values = list({_word(value): value for value in found}.values())
    others = [value for value in values if not _is_number(value)]
    return others + sorted(value for value in values if _is_number(value))


def _rest(groups: Sequence[Sequence[Entry]], key: str) -> list[str]:
    """Of each group, what the other keys are set to in which the groups differ."""
    configs = [group[0].spec.config for group in groups]
    others = sorted({name for config in configs for name in config} - {key})
    unlike = [n for n in others if len({_word(config.get(n)) for config in configs}) > 1]
    return [" ".join(f"{n}={_word(config.get(n))}" for n in unlike) for config in configs]


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def losses(entries: Sequence[Entry], protocols: Asked = None) -> Iterator[Drawn]:
    """Losses per epoch, a figure for each entry: a panel for each stage of each training.

    Seeds of one training are a band. Raises ReIDError where nothing was trained.
    """
    drawn = shown_all(entries, protocols)
    trained = [one for one in drawn.entries if any(r.run.history for r in on(one, drawn.protocols))]
    if not trained:
        names = listed([entry.name for entry in drawn.entries])
        raise ReIDError(f"There are no losses: {names} trained nothing.")
    for entry in trained:
        yield _losses(entry, drawn.protocols)


def _losses(entry: Entry, protocols: Sequence[str]) -> Drawn:
    folds: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for protocol in protocols:
        for row in entry.at(protocol):
            folds.setdefault(row.run.spec.fold_name, {})[row.run.run_id] = row.run.history
    panels = [p for fold, runs in folds.items() for p in _stages(fold, list(runs.values()))]
    notes = [_not_numbers(panels[:LOSS_PANELS])]
    if panels[LOSS_PANELS:]:
        more = dict.fromkeys(panel.title.split(":")[0] for panel in panels[LOSS_PANELS:])
        notes.append(f"Left out, --protocol chooses: {listed(more)}.")
    title = f"Losses of {entry.name}"
    one = Shown((entry,), tuple(protocols), tuple(note for note in notes if note))
    figure = loss_figure(panels[:LOSS_PANELS], title, said(one))
    return slug("losses", entry.name), title, figure


def _stages(fold: str, runs: Sequence[Sequence[Mapping[str, Any]]]) -> Iterator[LossPanel]:
    """A panel for each stage of the trainings of a fold, and for what was held out of it."""
    for stage in dict.fromkeys(epoch["stage"] for run in runs for epoch in run):
        mine = [[epoch for epoch in run if epoch["stage"] == stage] for run in runs]
        yield LossPanel(f"{fold}: {stage}", stage, _lines(mine, "losses"))
        held = _lines(mine, "validation")
        if "mAP" in held:
            curve = [[100 * one for one in run] for run in held["mAP"]]
            name = "mAP on held-out identities (%)"
            yield LossPanel(f"{fold}: {stage}, held out", f"{stage} held out", {name: curve}, True)


def _lines(runs: Sequence[Sequence[Mapping[str, Any]]], what: str) -> dict[str, list[list[float]]]:
    """Name -> values [runs][epochs], not a number where a run has none."""
    count = max((epoch["epoch"] for run in runs for epoch in run), default=0)
    names = dict.fromkeys(n for run in runs for epoch in run for n in epoch.get(what) or ())
    found = {name: [[math.nan] * count for _ in runs] for name in names}
    for i, run in enumerate(runs):
        for epoch in run:
            for name, value in (epoch.get(what) or {}).items():
                # JSON has no word for what is no number
                found[name][i][epoch["epoch"] - 1] = math.nan if value is None else float(value)
    return found


def _not_numbers(panels: Sequence[LossPanel]) -> str:
    """Which losses were no finite number in some epoch, and from when on."""
    found = []
    for panel in panels:
        for name, runs in panel.lines.items():
            bad = [i for run in runs for i, one in enumerate(run, 1) if not math.isfinite(one)]
            if bad and not panel.even:
                found.append(f"{name} of {panel.title} from epoch {min(bad)}")
    return f"Not a finite number: {listed(found)}." if found else ""
