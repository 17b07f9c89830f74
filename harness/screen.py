"""What the terminal shows: a live bar with an estimate; plain lines where there is none."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.table import Table as RichTable

from harness.progress import Progress

if TYPE_CHECKING:
    from results.tables import Table

LINE_EVERY = 10.0
"""Seconds between plain progress lines."""


class ScreenProgress(Progress):
    """Overall progress of a plan; use as a context manager."""

    def __init__(self, console: Console, total: float, runs: int) -> None:
        self.console = console
        self.total, self.done, self.skipped = max(total, 1.0), 0.0, 0.0
        self.runs, self.run = runs, 0
        self.title = ""
        self.started = time.monotonic()
        self.last_line = self.started
        self.bar = RichProgress(
            TextColumn("{task.fields[counted]}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.description}"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self.task = self.bar.add_task("starting", total=self.total, counted="", left="")

    def __enter__(self) -> ScreenProgress:
        self.bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.bar.stop()

    def begin(self, title: str) -> None:
        """The next run starts."""
        self.run += 1
        self.title = title
        self._show("preparing")

    def advance(self, units: float, doing: str) -> None:
        """Count work and show what is being done."""
        if doing.startswith("going on"):
            # done by an earlier process: no part of this one's speed
            self.skipped += units
        self.done = min(self.done + units, self.total)
        self._show(doing)

    def say(self, text: str) -> None:
        """A line above the bar."""
        self.console.print(escape(text), highlight=False, soft_wrap=True)

    def _show(self, doing: str) -> None:
        counted = f"run {self.run}/{self.runs}"
        left = self._left()
        if self.console.is_terminal:
            self.bar.update(
                self.task,
                completed=self.done,
                description=escape(f"{self.title}: {doing}"),
                counted=counted,
                left=left,
            )
            return
        now = time.monotonic()
        if now - self.last_line >= LINE_EVERY:
            self.last_line = now
            share = f"{100 * self.done / self.total:3.0f} %"
            self.say(f"{share}  {counted}  {left or 'estimating'}  {self.title}: {doing}")

    def _left(self) -> str:
        elapsed = time.monotonic() - self.started
        here = self.done - self.skipped
        if elapsed < 3 or here <= 0:
            return ""
        return "about " + duration((self.total - self.done) * elapsed / here) + " left"


def duration(seconds: float) -> str:
    """Seconds in words a person reads: `40 s`, `3 min`, `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def show_table(console: Console, table: Table) -> None:
    """A result table, sections divided by lines, notes under it."""
    grid = RichTable(box=box.SIMPLE_HEAD, title=escape(table.title), title_justify="left")
    lines = [line for section in table.sections for line in section.lines]
    for i, cell in enumerate(table.header):
        # what a narrow terminal may break is a header or a section's title, never a number
        widest = max((len(line[i]) for line in lines), default=1)
        justify: Literal["left", "right"] = "right" if i else "left"
        grid.add_column(escape(cell), justify=justify, min_width=widest, overflow="fold")
    for section in table.sections:
        grid.add_row(f"[bold]{escape(section.title)}[/bold]")
        for line in section.lines:
            grid.add_row(*(escape(cell.replace(" ", "\N{NO-BREAK SPACE}")) for cell in line))
        grid.add_section()
    if table.mean:
        grid.add_row(*(f"[bold]{escape(cell)}[/bold]" for cell in table.mean))
    console.print(grid)
    for note in table.notes:
        console.print(Padding(escape(note), (0, 0, 0, 2), expand=False), highlight=False)
