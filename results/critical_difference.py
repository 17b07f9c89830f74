"""Critical-difference diagram: mean ranks over protocols, and which of them do not differ.

Demšar, Statistical comparisons of classifiers over multiple data sets, JMLR 7, 2006, figure 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from results.figures import COLUMN, plain
from results.sheet import NOTE, SIDE, Sheet, breadth, depth, heading_depth, name_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDEST_NAME, _STUB = 1.0, 0.08
"""Inches: a name, the least line that leads to it."""
_SCALE, _BAR, _BEFORE, _BETWEEN = 0.42, 0.07, 0.1, 0.05
"""Inches: from the top to below the axis, for each bar of a clique, before the names, between."""


def critical_difference_figure(
    names: Sequence[str],
    mean_ranks: Sequence[float],
    critical_difference: float,
    cliques: Sequence[Sequence[int]],
    title: str,
    said: Sequence[str] = (),
) -> Figure:
    """Mean ranks on one axis, 1 the best, at the left; names in order down both sides.

    `cliques` are groups of names (their places in `names`) of which no two differ: a thick bar
    joins each that has two or more. The length above the axis is the critical difference. `said`
    are lines below the title.
    """
    order = sorted(range(len(names)), key=lambda i: (mean_ranks[i], i))
    half = -(-len(order) // 2)
    # from the ends of the axis inwards, so that no line crosses another
    sides = order[:half], order[half:][::-1]
    labels = {i: _label(names[i], mean_ranks[i]) for i in order}
    with plain():
        wide = [
            max((breadth(line, NOTE) for i in side for line in labels[i]), default=0.0)
            for side in sides
        ]
    left, right = SIDE + wide[0] + 0.05 + _STUB, COLUMN - SIDE - wide[1] - 0.05 - _STUB
    bars = _levels([c for c in cliques if len(c) > 1], mean_ranks)
    below = _SCALE + _BAR * (1 + max(bars.values(), default=-1)) + _BEFORE
    rows = [
        max((depth(labels[side[i]], NOTE) for side in sides if i < len(side)), default=0.0)
        for i in range(half)
    ]
    above = heading_depth(title, said, COLUMN) + 0.05
    height = above + below + sum(rows) + _BETWEEN * half + 0.04
    most = max(len(names), 2)

    def place(rank: float) -> float:
        return left + (right - left) * (rank - 1) / (most - 1)

    with plain():
        sheet = Sheet.new(COLUMN, height)
        sheet.heading(title, said)
        # one for the whole figure, in inches from its top
        axes = sheet.axes(0, 0, COLUMN, height)
        axes.set_axis_off()
        axes.set_xlim(0, COLUMN)
        axes.set_ylim(height, 0)
        _scale(axes, place, most, critical_difference, above)
        for clique, level in bars.items():
            found = [mean_ranks[i] for i in clique]
            y = above + _SCALE + _BAR * (level + 0.6)
            ends = place(min(found)) - 0.025, place(max(found)) + 0.025
            axes.plot(ends, (y, y), color="black", linewidth=2.2, solid_capstyle="butt")
        for side, edge, align in ((sides[0], left, "right"), (sides[1], right, "left")):
            out = -_STUB if align == "right" else _STUB
            top = above + below
            for row, i in enumerate(side):
                y = top + rows[row] / 2
                x = place(mean_ranks[i])
                line = (x, x, edge + out), (above + _SCALE, y, y)
                axes.plot(*line, color="0.35", linewidth=0.6)
                start = y - depth(labels[i], NOTE) / 2
                sheet.text(edge + out + (out / _STUB) * 0.04, start, labels[i], NOTE, ha=align)
                top += rows[row] + _BETWEEN
    return sheet.figure


def _label(name: str, rank: float) -> list[str]:
    """A name with its mean rank behind it, which is never broken."""
    lines, number = name_lines(name, _WIDEST_NAME, NOTE), f"{rank:.2f}"
    with plain():
        fits = breadth(f"{lines[-1]}  {number}", NOTE) <= _WIDEST_NAME
    return [*lines[:-1], f"{lines[-1]}  {number}"] if fits else [*lines, number]


def _scale(
    axes: Axes, place: Callable[[float], float], most: int, critical: float, above: float
) -> None:
    """The axis with its ticks, and above it the critical difference."""
    y = above + _SCALE
    axes.plot((place(1), place(most)), (y, y), color="black", linewidth=0.8)
    every = next(step for step in range(1, most + 1) if place(1 + step) - place(1) >= 0.17)
    for rank in range(1, most + 1):
        axes.plot((place(rank),) * 2, (y - 0.05, y), color="black", linewidth=0.6)
        if (rank - 1) % every == 0:
            axes.text(place(rank), y - 0.07, str(rank), fontsize=NOTE, ha="center", va="bottom")
    # no longer than the axis: then nothing differs, and the number says how long it would be
    ends = place(1), min(place(1 + critical), place(most))
    axes.plot(ends, (above + 0.15,) * 2, color="black", linewidth=0.8)
    for end in ends:
        axes.plot((end, end), (above + 0.12, above + 0.18), color="black", linewidth=0.8)
    longer = " (longer than the axis)" if 1 + critical > most else ""
    words = f"critical difference {critical:.2f}{longer}"
    axes.text(ends[0], above + 0.1, words, fontsize=NOTE, va="bottom")


def _levels(
    cliques: Sequence[Sequence[int]], mean_ranks: Sequence[float]
) -> dict[tuple[int, ...], int]:
    """How far down the bar of each clique is: the highest place where it touches no other."""
    ends: list[float] = []
    found = {}
    for clique in sorted(map(tuple, cliques), key=lambda c: min(mean_ranks[i] for i in c)):
        ranks = [mean_ranks[i] for i in clique]
        free = [level for level, end in enumerate(ends) if end + 0.1 < min(ranks)]
        level = free[0] if free else len(ends)
        ends[level : level + 1] = [max(ranks)]
        found[clique] = level
    return found
