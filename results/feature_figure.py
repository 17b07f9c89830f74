"""A map of features, once for each way of colouring its points, from plain arrays.

Groups are told apart by colour and marker; what belongs to none of them is grey.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from results.figures import COLUMN, plain
from results.line_style import look
from results.sheet import LABEL, LINE, SIDE, Key, Sheet, heading_depth, wrapped

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

MOST = 7
"""Groups in colour: of more, colours would come again."""
_GREY: dict[str, Any] = {
    "color": "0.75", "marker": ".", "markersize": 2.6, "markeredgewidth": 0, "linestyle": "none",
}  # fmt: skip
_POINT = {"markersize": 2.2, "markeredgewidth": 0.3}
_BETWEEN = 0.12
"""Inches between two panels."""


@dataclass(frozen=True)
class Colouring:
    """One panel: of each of N points the group it is of, and the groups that are coloured.

    Every other point is grey; `others` names them.
    """

    title: str
    groups: Sequence[str]
    coloured: Sequence[str]
    others: str = "others"


def largest(groups: Sequence[Sequence[str]], most: int = MOST) -> list[str]:
    """The names of the largest groups: the first of each of `groups`, then the second, and so on.

    Equally large ones come in the order in which they are met.
    """
    ranked = [[name for name, _ in Counter(names).most_common(most)] for names in groups]
    turns = itertools.zip_longest(*ranked)
    return [name for turn in turns for name in turn if name is not None][:most]


def feature_figure(
    points: np.ndarray, panels: Sequence[Colouring], title: str, said: Sequence[str] = ()
) -> Figure:
    """The same `points` [N, 2] in every panel, two abreast in a paper's column, keys below them.

    `said` are lines below the title.
    """
    across = min(2, len(panels))
    wide = (COLUMN - 2 * SIDE - _BETWEEN * (across - 1)) / across
    tall = min(wide, 2.4)
    titles = [wrapped(panel.title, wide, LABEL) for panel in panels]
    keys = [Key.of(_names(panel), wide + 2 * SIDE) for panel in panels]
    rows = [range(i, min(i + across, len(panels))) for i in range(0, len(panels), across)]
    headed = [max(len(titles[i]) for i in row) * LINE * LABEL / 72 + 0.04 for row in rows]
    keyed = [max(keys[i].depth for i in row) + 0.06 for row in rows]
    top = heading_depth(title, said, COLUMN) + 0.04
    with plain():
        sheet = Sheet.new(COLUMN, top + sum(headed) + sum(keyed) + len(rows) * (tall + 0.04))
        sheet.heading(title, said)
        for row, above, below in zip(rows, headed, keyed, strict=True):
            for i in row:
                left = SIDE + (i - row.start) * (wide + _BETWEEN)
                sheet.text(left, top, titles[i], LABEL)
                axes = sheet.axes(left, top + above, wide, tall)
                handles = _draw(axes, points, panels[i], keys[i].labels)
                columns = keys[i].columns
                sheet.key(handles, left, top + above + tall + 0.04, columns, labelspacing=0.3,
                          handletextpad=0.2)  # fmt: skip
            top += above + tall + 0.04 + below
    return sheet.figure


def _names(panel: Colouring) -> list[str]:
    """What the key of a panel names."""
    return [*panel.coloured, *([panel.others] if set(panel.groups) - set(panel.coloured) else [])]


def _draw(axes: Any, points: np.ndarray, panel: Colouring, labels: Sequence[str]) -> list[Artist]:
    """The points of a panel; returns the handles of its key, in the order of its names."""
    from matplotlib.lines import Line2D

    groups = np.array(panel.groups)
    rest = ~np.isin(groups, panel.coloured)
    axes.plot(*points[rest].T, **_GREY)
    styles = [{**look(i, joined=False), **_POINT} for i in range(len(panel.coloured))]
    for name, style in zip(panel.coloured, styles, strict=True):
        axes.plot(*points[groups == name].T, **style, alpha=0.8)
    low, high = points.min(axis=0), points.max(axis=0)
    room = 0.04 * (high - low) + 1e-9
    axes.set_xlim(low[0] - room[0], high[0] + room[0])
    axes.set_ylim(low[1] - room[1], high[1] + room[1])
    styles += [_GREY] * bool(rest.any())
    return [
        Line2D([], [], label=label, **style) for label, style in zip(labels, styles, strict=True)
    ]
