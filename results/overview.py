"""Every figure of some entries: results on protocols, ranks, cost, settings, losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from protocols.errors import ReIDError
from results.entries import Entry
from results.figure_data import Asked, Drawn, principal
from results.protocol_figures import cmc, critical_difference, difference, heatmap, intervals
from results.robustness_figure import robustness
from results.roc_figure import roc
from results.run_figures import cost, losses, sweeps

__all__ = ["KINDS", "difference", "drawn", "figures"]

KINDS: dict[str, Callable[[Sequence[Entry], Asked], Iterator[Drawn]]] = {
    "intervals": intervals,
    "heatmap": heatmap,
    "critical-difference": critical_difference,
    "cost": cost,
    "cmc": cmc,
    "roc": roc,
    "robustness": robustness,
    "sweep": sweeps,
    "losses": losses,
}
"""What `harness show` calls them, in the order of a report.

Each raises ReIDError where it can't be drawn of what there is, and says what it would need.
"""


def figures(
    entries: Sequence[Entry],
    protocols: Asked = None,
    methods: Sequence[Entry] | None = None,
    left_out: list[str] | None = None,
) -> Iterator[Drawn]:
    """(key, title, figure) of all that can be drawn; a key is a file's name without its end.

    Methods are compared as their presets have them, unless `methods` names the entries; lines of
    settings are of all entries. `protocols` are names, by default all there are. Why a kind can't
    be drawn is added to `left_out`.
    """
    compared = principal(entries) if methods is None else methods
    for kind in KINDS:
        yield from drawn(kind, entries if kind == "sweep" else compared, protocols, left_out)


def drawn(
    kind: str,
    entries: Sequence[Entry],
    protocols: Asked = None,
    left_out: list[str] | None = None,
) -> Iterator[Drawn]:
    """The figures of one kind; where there is none, why is added to `left_out`."""
    try:
        yield from KINDS[kind](entries, protocols)
    except ReIDError as error:
        if left_out is not None:
            left_out.append(f"{kind}: {error}")
