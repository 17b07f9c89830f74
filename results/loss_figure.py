"""Losses per epoch, a panel for each stage of each training, from plain arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.figures import COLUMN, plain
from results.line_style import band, logarithmic, look, spread
from results.sheet import LABEL, Key, Sheet, depth, heading_depth, name_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEFT, _RIGHT, _GAP, _UNDER = 0.4, 0.08, 0.36, 0.21
"""Inches: beside the panels, between two abreast, what stands below each."""
_TALL, _LEAST, _PAGE = 0.82, 0.5, 8.6
"""Inches: a panel's height at best and at least, that of all panels where they are to fit."""
_WIDE_SCALE = 10
"""The axis is logarithmic where the largest value is so many times the smallest."""


@dataclass(frozen=True)
class LossPanel:
    """What is drawn in one frame; panels of one `kind` have the same scale.

    lines: name -> values of each run, [runs][epochs]; NaN where there is none, or it was no number.
    `even` panels never have a logarithmic scale.
    """

    title: str
    kind: str
    lines: Mapping[str, Sequence[Sequence[float]]]
    even: bool = False


def loss_figure(panels: Sequence[LossPanel], title: str, said: Sequence[str] = ()) -> Figure:
    """Epochs against losses, two panels abreast: means over runs, with their standard deviation.

    One epoch is a point. `said` are lines below the title.
    """
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    key = Key.of(names, COLUMN)
    across = min(2, len(panels))
    wide = (COLUMN - _LEFT - _RIGHT - _GAP * (across - 1)) / across
    titles = [name_lines(panel.title, wide + 0.2, LABEL) for panel in panels]
    rows = [range(i, min(i + across, len(panels))) for i in range(0, len(panels), across)]
    titled = [max(depth(titles[i], LABEL) for i in row) + 0.03 for row in rows]
    above = heading_depth(title, said, COLUMN) + 0.04 + key.depth + 0.05
    tall = min(_TALL, max(_LEAST, (_PAGE - sum(titled)) / len(rows) - _UNDER))
    height = above + sum(titled) + len(rows) * (tall + _UNDER) + 0.12
    with plain():
        sheet = Sheet.new(COLUMN, height)
        top = sheet.heading(title, said) + 0.04
        sheet.lines_key(key, [look(i) for i in range(len(names))], top)
        top = above
        for row, deep in zip(rows, titled, strict=True):
            for column, i in enumerate(row):
                left = _LEFT + column * (wide + _GAP)
                sheet.text(left, top, titles[i], LABEL)
                axes = sheet.plot(left, top + deep, wide, tall)
                _draw(axes, panels[i], names, [p for p in panels if p.kind == panels[i].kind])
                if i + across >= len(panels):
                    axes.set_xlabel("epoch", fontsize=LABEL, labelpad=1.5)
            top += deep + tall + _UNDER
    return sheet.figure


def _draw(axes: Axes, panel: LossPanel, names: Sequence[str], alike: Sequence[LossPanel]) -> None:
    last = 1
    low, high, powers = _limits(alike)
    if powers:
        axes.set_yscale("log")
    for name, runs in panel.lines.items():
        i = names.index(name)
        by_epoch = zip(*runs, strict=True)
        found = [spread([one for one in values if math.isfinite(one)]) for values in by_epoch]
        epochs = range(1, len(found) + 1)
        last = max(last, len(found))
        # a marker at every epoch would be a band of its own
        every = max(1, len(found) // 8)
        axes.plot(epochs, [mean for mean, _ in found], **{**look(i), "markevery": every})
        band(axes, epochs, found, i)
    axes.set_ylim(low, high)
    room = 0.04 * max(last - 1, 5)
    axes.set_xlim(1 - room, last + room)
    _ticks(axes, last, (low, high) if powers else None)


def _ticks(axes: Axes, last: int, powers: tuple[float, float] | None) -> None:
    """Whole epochs from 1, and few values."""
    from matplotlib.ticker import MaxNLocator

    found = MaxNLocator(5, integer=True, min_n_ticks=1).tick_values(1, last)
    axes.set_xticks([int(one) for one in found if 1 <= one <= last])
    if powers:
        logarithmic(axes.yaxis, *powers)
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4))


def _limits(panels: Sequence[LossPanel]) -> tuple[float, float, bool]:
    """The lowest and the highest place of an axis, and whether it is logarithmic."""
    every = [
        one for panel in panels for runs in panel.lines.values() for values in runs
        for one in values if math.isfinite(one)
    ]  # fmt: skip
    if not every:
        return 0.0, 1.0, False
    low, high = min(every), max(every)
    if low > 0 and high > _WIDE_SCALE * low and not any(panel.even for panel in panels):
        room = (high / low) ** 0.06
        return low / room, high * room, True
    room = 0.06 * (high - low) or 0.1 * abs(high) or 0.5
    return low - room, high + room, False
