"""How far `harness ground` is: a bar in a terminal, a line now and then where there is none."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from harness.grounding.walk import Watch
from harness.progress import duration
from harness.screen import LINE_EVERY, many, say
from harness.speed import Rate, Speed


class GroundProgress(Watch):
    """Shows a walk; use as a context manager. `title` is the data set's key."""

    def __init__(self, console: Console, title: str) -> None:
        self.console, self.title = console, title
        self._moving = console.is_terminal and not console.is_dumb_terminal
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}  {task.fields[pace]}"),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._measured = False
        self._doing, self._total, self._done = "", 0, 0
        self._rate: Rate | None
        self._line = time.monotonic()
        self._speed, self._rate = Speed(), None

    def __enter__(self) -> GroundProgress:
        if self._moving:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._moving:
            self._bar.stop()

    def begin(self, doing: str, images: int, left: int) -> None:
        """A pass begins."""
        self._doing, self._total, self._done = doing, left, 0
        self._line = time.monotonic()
        self._speed, self._rate = Speed(), None
        if left < images:
            self.say(f"{self.title}, {doing}: goes on; {images - left:,} of {images:,} are done.")
        if self._task is not None:
            self._bar.remove_task(self._task)
        name = escape(f"{self.title}, {doing}")
        self._task = self._bar.add_task(name, total=images, completed=images - left, pace="")

    def advance(self, images: int, seconds: float) -> None:
        """`images` more have their answers."""
        self._done += images
        # the time it takes to load an expert is not its pace
        self._rate = self._rate or Rate(time.monotonic() - seconds)
        self._rate.add(images)
        self._speed.count(self._done)
        if self._task is not None:
            self._bar.update(self._task, advance=images, pace=self._pace())
        speed, now = self._speed.value(), time.monotonic()
        if speed and not self._measured and self._left:
            self._measured = True
            self.say(
                f"Measured here: {speed:.3g} images/s, about {duration(self._left / speed)} for "
                f"the {many(self._left, 'image')} left."
            )
            self._line = now
        elif not self._moving and now - self._line >= LINE_EVERY:
            self._line = now
            all_of_it = self._done + self._left
            self.say(
                f"{self.title}, {self._doing}: {self._done:,} of {all_of_it:,}  {self._pace()}"
            )

    def say(self, text: str) -> None:
        """A line above the bar."""
        say(self.console, text)

    @property
    def _left(self) -> int:
        return max(self._total - self._done, 0)

    def _pace(self) -> str:
        rate = self._rate.value() if self._rate else None
        speed = self._speed.value()
        words = [f"{rate:.3g} images/s"] if rate else []
        if speed:
            words.append(f"about {duration(self._left / speed)} left")
        return ", ".join(words)
