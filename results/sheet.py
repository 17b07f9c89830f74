"""A figure that is written like a page: a title, notes, a key, then axes, each below the other.

Lengths are inches, from a figure's upper left corner; letters are measured, so that lines break
where they must.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from results.figures import DPI, plain
from results.tables import printable

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOTE, LABEL, TITLE = 6.0, 7.0, 7.5
"""Sizes of letters, in points: none is smaller than the first where a figure holds numbers."""
SIDE = 0.09
"""Margin of a figure."""
LINE = 1.3
"""From line to line, in sizes of letters."""
_HANDLE, _APART, _KEY_LINE = 0.26, 0.12, 0.117
"""Of a key: the line before a name, the gap between two columns, from line to line."""


@dataclass(frozen=True)
class Sheet:
    """A figure to be drawn on, `width` by `height`."""

    figure: Figure
    width: float
    height: float

    @classmethod
    def new(cls, width: float, height: float) -> Sheet:
        """An empty one; to be called in `figures.plain()`."""
        from matplotlib.figure import Figure

        return cls(Figure(figsize=(width, height), dpi=DPI), width, height)

    def text(self, left: float, top: float, lines: Sequence[str], size: float, **more: Any) -> None:
        """Lines of text, the first of them below `top`."""
        for i, line in enumerate(lines):
            # by the baseline: letters that reach below it would lift a word
            down = top + (1 + i * LINE) * size / 72
            place = left / self.width, 1 - down / self.height
            self.figure.text(*place, line, fontsize=size, va="baseline", **more)

    def plot(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes with small ticks in a thin frame, a grid behind what is drawn."""
        bottom = self.height - top - height
        axes = self.figure.add_axes(
            (left / self.width, bottom / self.height, width / self.width, height / self.height)
        )
        axes.tick_params(labelsize=NOTE, length=2, width=0.4, pad=1.5)
        axes.tick_params(which="minor", length=1.2, width=0.3)
        axes.grid(color="0.9", linewidth=0.4)
        axes.set_axisbelow(True)
        for spine in axes.spines.values():
            spine.set_linewidth(0.4)
        return axes

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes without ticks."""
        axes = self.plot(left, top, width, height)
        axes.grid(visible=False)
        axes.set_axisbelow("line")
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_linewidth(0.3)
        return axes

    def key(
        self, handles: Sequence[Artist], left: float, top: float, columns: int, **more: Any
    ) -> None:
        """What colours and lines mean, from `left` and `top`."""
        self.figure.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(left / self.width, 1 - top / self.height),
            bbox_transform=self.figure.transFigure,
            ncols=columns,
            fontsize=NOTE,
            frameon=False,
            borderpad=0,
            borderaxespad=0,
            handlelength=2.2,
            columnspacing=1.2,
            **more,
        )

    def lines_key(self, key: Key, styles: Sequence[Mapping[str, Any]], top: float) -> None:
        """A `key` of lines and markers, each in its style, from `top`."""
        from matplotlib.lines import Line2D

        handles = [
            Line2D([], [], label=label, **style)
            for label, style in zip(key.labels, styles, strict=True)
        ]
        self.key(handles, SIDE, top, key.columns, labelspacing=0.35)

    def upright(self, text: str, middle: float) -> None:
        """The name of an axis that several panels share, at the left edge."""
        place = 0.012, 1 - middle / self.height
        self.figure.text(*place, text, fontsize=LABEL, va="center", rotation=90)

    def heading(self, title: str, said: Sequence[str]) -> float:
        """A title and notes below it; returns where they end."""
        top = 0.06
        for lines, size in headed(title, said, self.width):
            self.text(SIDE, top, lines, size)
            top += depth(lines, size)
        return top


@dataclass(frozen=True)
class Key:
    """Names broken to lines, in how many columns they stand, and how deep that is."""

    labels: tuple[str, ...]
    columns: int
    depth: float

    @classmethod
    def of(cls, names: Sequence[str], width: float) -> Key:
        """As many columns as fit into `width`; names too long for one line stand in one column."""
        with plain():
            breadths = [breadth(printable(name), NOTE) for name in names]
        room = width - 2 * SIDE
        for columns in range(min(len(names), 6), 0, -1):
            widest = [max(part) for part in _dealt(breadths, columns)]
            if sum(widest) + columns * _HANDLE + (columns - 1) * _APART <= room:
                rows = -(-len(names) // columns)
                return cls(tuple(map(printable, names)), columns, rows * _KEY_LINE)
        labels = [name_lines(name, room - _HANDLE, NOTE) for name in names]
        return cls(tuple(map("\n".join, labels)), 1, sum(map(len, labels)) * _KEY_LINE)


def _dealt(values: Sequence[float], columns: int) -> list[Sequence[float]]:
    """Some values in columns of a legend: the first ones are longer where they don't divide."""
    least, more = divmod(len(values), columns)
    found, start = [], 0
    for column in range(columns):
        end = start + least + (column < more)
        found.append(values[start:end])
        start = end
    return found


def headed(title: str, said: Sequence[str], width: float) -> list[tuple[list[str], float]]:
    """The lines of a heading, with the size of their letters."""
    notes = [line for text in said for line in wrapped(text, width - 2 * SIDE, NOTE)]
    return [(wrapped(title, width - 2 * SIDE, TITLE), TITLE), (notes, NOTE)]


def heading_depth(title: str, said: Sequence[str], width: float) -> float:
    """How far down a heading reaches."""
    return 0.06 + sum(depth(lines, size) for lines, size in headed(title, said, width))


def wrapped(text: str, width: float, size: float) -> list[str]:
    """`text` broken between words so that letters of `size` points fit into `width`."""
    return broken([f"{word} " for word in printable(text).split()], width, size)


def name_lines(name: str, width: float, size: float) -> list[str]:
    """A name of a method, a setting or a file, broken behind signs where that is enough."""
    return broken(re.findall(r"[^\s_.,+-]*[\s_.,+-]|[^\s_.,+-]+", printable(name)), width, size)


def broken(pieces: Sequence[str], width: float, size: float) -> list[str]:
    """Pieces put together to lines; one that is too long for a line is cut."""
    lines = [""]

    def fits(more: str) -> bool:
        return breadth((lines[-1] + more).rstrip(), size) <= width

    with plain():
        for piece in pieces:
            if lines[-1] and not fits(piece):
                lines.append("")
            for part in [piece] if fits(piece) else piece:
                if lines[-1] and not fits(part):
                    lines.append("")
                lines[-1] += part
    return [line.rstrip() for line in lines if line.strip()]


@lru_cache(maxsize=4096)
def breadth(text: str, size: float) -> float:
    """Width of some letters, each rounded to whole pixels as in a PNG; asked in `plain()`."""
    from matplotlib.font_manager import FontProperties

    font = FontProperties(family="DejaVu Sans", size=size)
    breadth, _, _ = _renderer().get_text_width_height_descent(text, font, ismath=False)
    return float(breadth) / DPI


@lru_cache(maxsize=1)
def _renderer() -> Any:
    from matplotlib.backends.backend_agg import RendererAgg

    return RendererAgg(1, 1, DPI)


def depth(lines: Sequence[str], size: float) -> float:
    """Height of some lines."""
    return len(lines) * LINE * size / 72
