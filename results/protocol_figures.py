"""Figures of entries on protocols: CMC, intervals, heat maps, ranks.

Each gives (key, title, figure) for what there is, and raises ReIDError where that is nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from protocols.errors import ReIDError
from results import statistics as tests
from results.cmc_figure import Cmc, cmc_figure
from results.critical_difference import critical_difference_figure
from results.entries import Entry
from results.figure_data import Asked, Drawn, Shown, complete, listed, percents, said, shown, slug
from results.heat_map import Grid, heat_map
from results.interval_figure import interval_figure

PANELS = 12
"""Grids in one heat map: more would not fit on a page."""


def cmc(entries: Sequence[Entry], protocols: Asked = None) -> Iterator[Drawn]:
    """CMC curves, a figure for each protocol."""
    every = shown(entries, protocols)
    for protocol in every.protocols:
        drawn = replace(shown(every.entries, [protocol]), notes=every.notes)
        curves = [
            Cmc(entry.name, [row.target.cmc for row in entry.at(protocol)], place)
            for place, entry in enumerate(every.entries)
            if entry.at(protocol)
        ]
        title = f"CMC on {protocol}"
        yield slug("cmc", protocol), title, cmc_figure(curves, title, said(drawn))


def intervals(entries: Sequence[Entry], protocols: Asked = None) -> Iterator[Drawn]:
    """mAP on each protocol, with 95 % intervals."""
    drawn = shown(entries, protocols)
    found = {
        entry.name: [_interval(entry, protocol) for protocol in drawn.protocols]
        for entry in drawn.entries
    }
    notes = [
        *said(drawn, "mean"),
        "Bars: 95 % intervals (bootstrap over identities, and over seeds where there are several).",
    ]
    title = "mAP on each protocol"
    yield "intervals", title, interval_figure(drawn.protocols, found, title, notes)


def _interval(entry: Entry, protocol: str) -> tuple[float, float, float] | None:
    rows = entry.at(protocol)
    if not rows:
        return None
    found = tests.metric_interval(rows)
    return 100 * found.estimate, 100 * found.low, 100 * found.high


def heatmap(entries: Sequence[Entry], protocols: Asked = None) -> Iterator[Drawn]:
    """mAP from each source to each target, a grid for each method."""
    drawn = shown(entries, protocols)
    if len(drawn.entries) > PANELS:
        more = f"Left out: {listed([entry.name for entry in drawn.entries[PANELS:]])}."
        drawn = Shown(drawn.entries[:PANELS], drawn.protocols, (*drawn.notes, more))
    sources, targets, own, grids = _grids(drawn)
    title = "mAP (%) from sources to targets"
    yield "heatmap", title, heat_map(sources, targets, own, grids, title, _heat_said(drawn, own))


def difference(entries: Sequence[Entry], protocols: Asked = None) -> Iterator[Drawn]:
    """By how much the first of two entries has a higher mAP, from each source to each target.

    Raises ReIDError unless there are two.
    """
    drawn = shown(entries, protocols)
    if len(drawn.entries) != 2:
        names = listed([entry.name for entry in drawn.entries])
        raise ReIDError(f"A difference is of two methods, and these have runs: {names}.")
    a, b = (entry.name for entry in drawn.entries)
    sources, targets, own, grids = _grids(drawn)
    grid = Grid("", grids[0].values - grids[1].values)
    if np.isnan(grid.values).all():
        raise ReIDError(f"{a} and {b} have no protocol in common.")
    title = f"mAP of {a} minus mAP of {b}"
    notes = _heat_said(drawn, own)
    yield (
        slug("heatmap-difference", a, b),
        title,
        heat_map(sources, targets, own, [grid], title, notes, "points of mAP", difference=True),
    )


def _grids(drawn: Shown) -> tuple[list[str], list[str], np.ndarray, list[Grid]]:
    """Sources, targets, where a target is among the sources [S, T], a grid for each entry."""
    place = {row.protocol: (row.run.spec.fold_name, row.target.target) for row in drawn.rows}
    keys = {row.run.spec.fold_name: tuple(row.run.spec.sources) for row in drawn.rows}
    ordered = [place[protocol] for protocol in drawn.protocols]
    sources = sorted(dict.fromkeys(source for source, _ in ordered), key=lambda s: len(keys[s]))
    targets = list(dict.fromkeys(target for _, target in ordered))
    # targets in the order of the sources, so that a domain's own cells are a diagonal
    first = [key for source in sources for key in keys[source] if key in targets]
    targets = list(dict.fromkeys([*first, *targets]))
    own = np.array([[target in keys[source] for target in targets] for source in sources])
    grids = []
    for entry in drawn.entries:
        values = np.full(own.shape, np.nan)
        for protocol in drawn.protocols:
            found = percents(entry, protocol)
            if found:
                source, target = place[protocol]
                values[sources.index(source), targets.index(target)] = statistics.fmean(found)
        grids.append(Grid(entry.name, values))
    return sources, targets, own, grids


def _heat_said(drawn: Shown, own: np.ndarray) -> list[str]:
    notes = said(drawn, "mean")
    if own.any():
        notes.append("Grey, or hatched ends: the target is among the sources.")
    return notes


def critical_difference(entries: Sequence[Entry], protocols: Asked = None) -> Iterator[Drawn]:
    """Mean ranks of mAP over protocols, and which of them do not differ.

    Raises ReIDError for fewer than two entries that have two protocols in common.
    """
    drawn = complete(entries, protocols)
    if len(drawn.entries) < 2 or len(drawn.protocols) < 2:
        who = listed([entry.name for entry in drawn.entries], 4) or "none"
        raise ReIDError(
            "A critical-difference diagram needs two methods or more on two protocols or more "
            f"that all of them have; here {who} on {listed(drawn.protocols, 4) or 'none'}."
        )
    scores = [[statistics.fmean(percents(e, p)) for e in drawn.entries] for p in drawn.protocols]
    found = tests.ranks(np.array(scores))
    equal = found.friedman_p >= tests.ALPHA
    notes = [
        f"Mean ranks over {len(drawn.protocols)} protocols, 1 is the best. Friedman's test of all "
        f"being equal: p {_p(found.friedman_p)}. Joined by a bar: not distinguishable (Nemenyi, "
        f"{tests.ALPHA:.0%})."
        + (
            " As Friedman's test finds no difference, none is to be read from this."
            if equal
            else ""
        ),
        *said(drawn, "means"),
    ]
    names = [entry.name for entry in drawn.entries]
    title = "Critical difference of mAP"
    yield (
        "critical-difference",
        title,
        critical_difference_figure(
            names,
            [float(rank) for rank in found.mean_ranks],
            found.critical_difference,
            found.cliques,
            title,
            notes,
        ),
    )


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.2g}"
