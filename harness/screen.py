"""What the terminal shows: how far a plan is and each of its runs; plain lines where there is none.

One screen for runs of this process and of others: it is told states (`harness.live`).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live as RichLive
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table as RichTable
from rich.text import Text

from harness.drivers import Driver, DriverFile
from harness.lease import Holder
from harness.live import Live, Watched
from harness.progress import Progress, duration
from harness.signs import BEAT, utc
from harness.tally import Tally

__all__ = ["Screen", "ScreenProgress", "duration", "live_table", "many", "say"]

LINE_EVERY = 10.0
"""Seconds between plain progress lines."""
NAMED = 4
"""Runs that a plain line names; of the others it says how many."""
COLUMNS = ("method", "fold", "seed", "setting", "doing", "loss", "img/s", "done", "left")
WORDS = {"method": 7, "fold": 7, "setting": 10, "doing": 14, "where": 10}
"""Columns that may be shortened, and to how many characters."""
WIDE = 1000
BAR = 24
"""Characters of the bar."""


class Screen:
    """Progress of a plan of `runs` runs and `total_units` of work; use as a context manager.

    With `out` it is told there too, in `<out>/.drivers`, for `harness status`; `command` is what
    was typed. May be told things from several threads.
    """

    def __init__(
        self,
        console: Console,
        total_units: float,
        runs: int,
        out: Path | None = None,
        command: str = "",
    ) -> None:
        self.console, self.command, self.me = console, command, Holder.here()
        self.tally = Tally(total_units, runs)
        self._lock = threading.RLock()
        self._file = DriverFile(out) if out else None
        self._sequence = 0
        self._said: dict[tuple[str, str], int] = {}
        self._last_line = time.monotonic()
        self._last_file = self._last_line - BEAT
        self._moving = console.is_terminal and not console.is_dumb_terminal
        self._live = RichLive(
            self, console=console, refresh_per_second=4, transient=True, vertical_overflow="crop"
        )

    def __enter__(self) -> Screen:
        if self._moving:
            self._live.start()
        self._write()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._moving:
            self._live.stop()
        if self._file:
            self._file.remove()

    def update(self, live: Sequence[Live]) -> None:
        """`live` are the runs being computed now, in whichever processes; about once a second."""
        with self._lock:
            # the file of a process that was killed stays until somebody takes the run up again
            there = [one for one in live if one.writer == self.me or not one.writer.gone()]
            self.tally.update(there)
            lines = [line for one in there for line in self._new_lines(one)]
            self._write()
        self._say_all(lines)

    def finished(self, run_id: str, units: float, failed: bool = False) -> None:
        """A run is over; `units` of the total were its."""
        with self._lock:
            self.tally.finish(run_id, units, failed)
            self._write()
        self._say_all([])

    def say(self, text: str) -> None:
        """A line that stays, above what moves."""
        self.console.print(escape(text), highlight=False, soft_wrap=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        with self._lock:
            yield self._overall()
            if self.tally.active:
                yield live_table(self.tally.active, rows=max(options.max_height - 4, 1))

    def _overall(self) -> RichTable:
        tally, left = self.tally, self._left()
        line = RichTable.grid(padding=(0, 2, 0, 0))
        counted = [f"{tally.finished}/{tally.runs} runs"] if tally.runs > 1 else []
        if tally.failed:
            counted.append(f"[red]{tally.failed} failed[/red]")
        share = 100 * tally.done / tally.total
        bar = ProgressBar(total=tally.total, completed=tally.done, width=BAR)
        cells: list[RenderableType] = [bar, f"{share:.0f} %", _clock(tally.elapsed), left]
        line.add_row(*([", ".join(counted)] if counted else []), *cells)
        return line

    def _left(self) -> str:
        if self.tally.done >= self.tally.total:
            return "finishing"
        if not self.tally.begun:
            return "starting"
        left = self.tally.left()
        return "estimating" if left is None else f"about {duration(left)} left"

    def _new_lines(self, live: Live) -> list[str]:
        """What a run in another process has said since it was last looked at."""
        key = (live.run_id, live.started)
        new = live.lines - self._said.get(key, 0)
        self._said[key] = live.lines
        here = live.writer == self.me or new <= 0
        return [] if here else [f"{live.title}: {text}" for text in live.said[-new:]]

    def _say_all(self, lines: Sequence[str]) -> None:
        """These, and a line of progress where it is time; never with the lock, which drawing takes.

        (Whoever prints waits for whoever draws.)
        """
        for line in lines:
            self.say(line)
        now = time.monotonic()
        if not self._moving and now - self._last_line >= LINE_EVERY:
            self._last_line = now
            self.say(self._line())

    def _write(self) -> None:
        now, tally = time.monotonic(), self.tally
        if not self._file or now - self._last_file < BEAT:
            return
        self._last_file, self._sequence = now, self._sequence + 1
        self._file.write(
            Driver(
                command=self.command, writer=self.me, sequence=self._sequence,
                runs=tally.runs, finished=tally.finished, failed=tally.failed, done=tally.done,
                total=tally.total, elapsed=tally.elapsed, left=tally.left(), updated=utc(),
            )
        )  # fmt: skip

    def _line(self) -> str:
        tally = self.tally
        cells = [f"{100 * tally.done / tally.total:3.0f} %"]
        if tally.runs > 1:
            failed = f", {tally.failed} failed" if tally.failed else ""
            cells.append(f"{tally.finished}/{tally.runs} runs{failed}")
        cells.append(self._left())
        named = [_named(live) for live in tally.active[:NAMED]]
        if len(tally.active) > NAMED:
            named.append(f"and {len(tally.active) - NAMED} more")
        return "  ".join([*cells, "; ".join(named)]).rstrip()


class ScreenProgress(Progress):
    """The same screen for work of this process that is no run; use as a context manager."""

    def __init__(self, console: Console, total: float, runs: int = 1) -> None:
        self.screen = Screen(console, total, runs)
        self.total = total
        self._job: Watched | None = None

    def __enter__(self) -> ScreenProgress:
        self.screen.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self.screen.__exit__()

    def begin(self, title: str) -> None:
        """What is being done from now on."""
        self._job = Watched(title, title, title, "", None, self.total)
        self.advance(0, "preparing")

    def advance(self, units: float, doing: str) -> None:
        """Count work and show what is being done."""
        if self._job:
            self._job.advance(units, doing)
            self.screen.update([self._job.live()])

    def say(self, text: str) -> None:
        """A line above the bar."""
        self.screen.say(text)


def live_table(lives: Sequence[Live], rows: int | None = None, where: bool = False) -> Group:
    """A line a run; beyond `rows` lines, how many more there are.

    What a sweep has set for a run is shown where there is a sweep. `where` shows which process
    computes it; it is shown in any case if a machine does that is not this one.
    """
    here = os.uname().nodename
    where = where or any(live.writer.host != here for live in lives)
    shown = lives if rows is None or len(lives) <= rows else lives[: rows - 1]
    lines = [[*_cells(live), *([_place(live, here)] if where else [])] for live in shown]
    grid = RichTable(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    names = [*COLUMNS, *(["where"] if where else [])]
    if not any(map(_setting, lives)):
        lines = [[cell for cell, name in zip(line, names, strict=True) if name != "setting"]
                 for line in lines]  # fmt: skip
        names.remove("setting")
    for i, name in enumerate(names):
        # a narrow terminal shortens words, never a number
        words = name in WORDS
        widest = max([len(name), *(len(line[i]) for line in lines)])
        grid.add_column(
            name,
            no_wrap=not words,
            justify="left" if words else "right",
            min_width=min(widest, WORDS.get(name, widest)),
        )
    for line in lines:
        grid.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in line))
    more = len(lives) - len(shown)
    return Group(grid, *([Text(f"and {more} more", "dim")] if more else []))


def many(count: int, what: str) -> str:
    """A count in words: `1 run`, `2,000 runs`."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def unbroken(console: Console) -> Console:
    """The same console, but one that breaks no line where no terminal has a width."""
    return console if console.is_terminal else Console(file=console.file, width=WIDE)


def _cells(live: Live) -> list[str]:
    left = live.left
    return [
        live.method,
        live.fold,
        "" if live.seed is None else str(live.seed),
        _setting(live),
        live.what,
        "" if live.loss is None else f"{live.loss:.3f}",
        "" if live.images_per_second is None else f"{live.images_per_second:.0f}",
        f"{100 * live.done / live.total:.0f} %",
        "" if left is None else duration(left),
    ]


def _setting(live: Live) -> str:
    """What a sweep has set for a run, in words."""
    run = f"{live.method} on {live.fold}, seed {live.seed}, "
    return live.title.removeprefix(run) if live.title.startswith(run) else ""


def _named(live: Live) -> str:
    """One run in a plain line."""
    loss = "" if live.loss is None else f", loss {live.loss:.3f}"
    rate = live.images_per_second
    return f"{live.title}: {live.what}{loss}" + ("" if rate is None else f", {rate:.0f} images/s")


def _place(live: Live, here: str) -> str:
    writer = live.writer
    process = str(writer.pid) if writer.host == here else f"{writer.host} {writer.pid}"
    return live.worker or process


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def say(console: Console, text: str, style: str = "") -> None:
    """A line as it is: no markup, no colours of its own, broken nowhere, so it can be copied."""
    console.print(escape(text), style=style, highlight=False, soft_wrap=True)
