"""Tables of results on the screen, however narrow it is; no number is ever cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table as RichTable

from harness.screen import WIDE
from results.tables import Cell, Table

STARS = ("{}", "**{}**", "_{}_")
"""The best and the second where nothing can be bold or underlined."""
STYLES = ("{}", "[bold]{}[/bold]", "[underline]{}[/underline]")


def show_table(console: Console, table: Table) -> None:
    """A result table, sections divided by lines, notes under it; no number is ever cut.

    The best are bold, the second underlined; where nothing can be, they have stars and lines
    around them.
    """
    grid = _grid(table, stars=console.color_system is None)
    needed = Measurement.get(console, console.options.update(width=WIDE), grid).maximum
    if needed > console.width:
        needed = _squeeze(grid, table.header, console.width)
    if needed > console.width:
        # what a terminal breaks is ugly, what a table leaves out is wrong
        whole = Console(file=console.file, width=needed, force_terminal=console.is_terminal)
        whole.print(grid)
    else:
        console.print(grid)
    for note in table.notes:
        console.print(Padding(escape(note), (0, 0, 0, 2), expand=False), highlight=False)


def fits(console: Console, table: Table) -> bool:
    """Whether a table is as narrow as the console with every word of its header whole."""
    stars = console.color_system is None
    words = [max(map(len, title.split()), default=0) for title in table.header]
    widths = map(max, words, _widest(table, stars))
    return sum(widths) + 2 * len(words) <= console.width


def _squeeze(grid: RichTable, header: Sequence[str], width: int) -> int:
    """Fit a table into `width`, as far as no number is cut; returns the width that it takes.

    Left to itself, rich narrows the first column below what it must have, and cuts the last.
    """
    grid.collapse_padding, grid.pad_edge = True, False
    least = [column.min_width or 0 for column in grid.columns]
    gaps = 2 * len(least)
    spare = max(width - gaps - sum(least), 0)
    for column, title, narrow in zip(grid.columns, header, least, strict=True):
        wanted = max(map(len, title.split()), default=0)
        more = min(max(wanted - narrow, 0), spare)
        column.width, spare = narrow + more, spare - more
    if grid.columns:
        grid.columns[0].width = (grid.columns[0].width or 0) + spare
    return gaps + sum(column.width or 0 for column in grid.columns)


def _grid(table: Table, stars: bool) -> RichTable:
    grid = RichTable(box=box.SIMPLE_HEAD, title=escape(table.title), title_justify="left")
    for i, (title, widest) in enumerate(zip(table.header, _widest(table, stars), strict=True)):
        # what a narrow terminal may break is a header or a section's title, never a number
        justify: Literal["left", "right"] = "right" if i else "left"
        grid.add_column(escape(title), justify=justify, min_width=widest, overflow="fold")
    for section in table.sections:
        if section.title:
            grid.add_row(f"[bold]{escape(section.title)}[/bold]")
        for line in section.lines:
            grid.add_row(*(_cell(cell, stars) for cell in line))
        grid.add_section()
    if table.mean:
        grid.add_row(*(f"[bold]{escape(Cell.of(cell).text)}[/bold]" for cell in table.mean))
    return grid


def _widest(table: Table, stars: bool) -> list[int]:
    """Characters of the widest cell of each column."""
    lines = [line for section in table.sections for line in section.lines]
    return [
        max((len(_text(line[i], stars)) for line in lines), default=1)
        for i in range(len(table.header))
    ]


def _text(cell: str | Cell, stars: bool) -> str:
    """What is seen of a cell."""
    cell = Cell.of(cell)
    return (STARS[cell.place] if stars else "{}").format(cell.text) + cell.marks


def _cell(cell: str | Cell, stars: bool) -> str:
    """A cell that no width breaks, as markup."""
    cell = Cell.of(cell)
    text = escape(cell.text.replace(" ", "\N{NO-BREAK SPACE}"))
    return (STARS if stars else STYLES)[cell.place].format(text) + escape(cell.marks)
