"""The picture of a grid: from its runs to lines of mAP against a setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.commands.launching import Launching, names_of
from harness.plan import PlannedRun
from harness.space import shown
from protocols.types import Protocol
from results.collect import Row

MOST_PANELS = 12
"""Of a grid with more panels than this there is no picture: nobody could read it."""


def draw(
    call: Launching,
    planned: Sequence[PlannedRun],
    keys: Sequence[str],
    by_run: Mapping[str, Sequence[Row]],
) -> dict[str, bytes]:
    """Format -> picture: the first of `keys` along the axis, a panel for each value of the others.

    Several methods have panels of their own. Nothing, with a word why, where it would be too many.
    """
    from results.figures import FORMATS, save
    from results.sweep_figure import sweep_figure

    key, *others = keys
    values = _values(planned, key)
    panels = _panels(planned, key, others, call.selected, by_run)
    if len(panels) > MOST_PANELS:
        call.console.print(
            f"No picture: it would have {len(panels)} panels, and {MOST_PANELS} are the most. "
            f"Sweep {key} with fewer values of the other keys."
        )
        return {}
    title = f"{names_of(planned)} on {call.run.protocol}: {', '.join(keys)}"
    figure = sweep_figure(key, values, panels, title, _said(call, planned))
    return {kind: save(figure, kind) for kind in FORMATS}


def _values(planned: Sequence[PlannedRun], key: str) -> list[float | str]:
    """What a key was set to, each value once, as numbers if all are, else in words."""
    found = list(dict.fromkeys(getattr(one.config, key) for one in planned))
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in found):
        return found
    return [shown(value) for value in found]


def _panels(
    planned: Sequence[PlannedRun],
    key: str,
    others: Sequence[str],
    selected: Sequence[Protocol],
    by_run: Mapping[str, Sequence[Row]],
) -> list[Any]:
    from results.sweep_figure import Curve, Panel

    several = len({one.spec.method for one in planned}) > 1
    values = list(dict.fromkeys(getattr(one.config, key) for one in planned))
    found: dict[str, dict[str, list[list[float]]]] = {}
    for one in planned:
        words = [one.spec.method] if several else []
        words += [f"{other}={shown(getattr(one.config, other))}" for other in others]
        panel = found.setdefault(
            " ".join(words), {protocol.name: [[] for _ in values] for protocol in selected}
        )
        place = values.index(getattr(one.config, key))
        for row in by_run.get(one.spec.id, ()):
            for protocol in selected:
                if _is_of(row, protocol):
                    panel[protocol.name][place].append(100 * row.target.metrics["mAP"])
    return [
        Panel(title, [Curve(name, points) for name, points in curves.items()])
        for title, curves in found.items()
    ]


def _is_of(row: Row, protocol: Protocol) -> bool:
    trained = tuple(row.run.spec.sources), row.run.spec.source_images, row.target.target
    return trained == (protocol.sources, protocol.source_images, protocol.target)


def _said(call: Launching, planned: Sequence[PlannedRun]) -> list[str]:
    seeds = len(call.run.seeds)
    spread = f", mean and standard deviation over {seeds} seeds" if seeds > 1 else ", one seed"
    presets = ", ".join(sorted({one.spec.preset for one in planned}))
    data = "; embedded stand-in data (rendered people)" if call.catalog.kind == "stand-in" else ""
    return [f"Preset {presets}{spread}{data}."]
