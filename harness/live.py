"""How far a run is, as a small file that its process rewrites and everybody else may read.

`<run>/live.json` is there while a run is computed; `<run>/run.log` says what happened, a line each.
Neither is worth a run: what can't be written is left out. Needs neither torch nor a terminal.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from harness.lease import Holder
from harness.progress import EVALUATION_PASS, GOING_ON, TESTING, Progress, duration
from harness.signs import BEAT, put, take, utc
from harness.speed import Rate, Speed

LIVE, LOG = "live.json", "run.log"
MOMENT = 0.001
KEPT_LINES = 8


@dataclass(frozen=True)
class Live:
    """How far a run is.

    `done`, `skipped` (done by earlier processes) and `total` are in the units of
    `harness.progress`, `speed` in units a second of this process so far (None: not known yet);
    `elapsed` is in seconds of the writer's monotonic clock. `stage`, `epoch`, `epochs`, `loss` and
    `images_per_second` are of the training step or of the test going on: else empty, 0 or None.
    `said` are the last of the `lines` lines that must be seen.
    """

    run_id: str
    title: str
    method: str
    fold: str
    seed: int | None
    writer: Holder
    worker: str
    started: str
    updated: str
    sequence: int
    elapsed: float
    speed: float | None
    doing: str
    stage: str
    epoch: int
    epochs: int
    loss: float | None
    images_per_second: float | None
    done: float
    skipped: float
    total: float
    lines: int
    said: list[str]

    @property
    def what(self) -> str:
        """What is going on, briefly: `identity 3/5`, or in words."""
        epoch = f"{self.stage} {self.epoch}/{self.epochs}"
        return epoch if self.stage and self.doing.startswith(epoch) else self.doing

    @property
    def left(self) -> float | None:
        """Seconds left at the speed of its own process so far; None while that is not known."""
        return (self.total - self.done) / self.speed if self.speed else None


@dataclass
class _Epoch:
    """What the steps of the epoch going on have said."""

    stage: str
    epoch: int
    epochs: int
    began: float
    loss: float = 0.0
    losses: int = 0
    images: int = 0

    def __str__(self) -> str:
        took = duration(time.monotonic() - self.began)
        loss = f"loss {self.loss / self.losses:.4f}, " if self.losses else ""
        return f"{self.stage} {self.epoch}/{self.epochs}: {loss}{self.images} images in {took}"


class Watched(Progress):
    """Progress that can be asked how far it is, from another thread too."""

    def __init__(
        self, run_id: str, title: str, method: str, fold: str, seed: int | None, total: float
    ) -> None:
        self._lock = threading.Lock()
        self._began = self._last = self._before = time.monotonic()
        self._epoch: _Epoch | None = None
        self._rate: Rate | None = None
        self._speed = Speed()
        started = utc()
        self._live = Live(
            run_id, title, method, fold, seed, writer=Holder.here(), worker="", started=started,
            updated=started, sequence=0, elapsed=0.0, speed=None, doing="preparing", stage="",
            epoch=0, epochs=0, loss=None, images_per_second=None, done=0.0, skipped=0.0,
            total=max(total, 1.0), lines=0, said=[],
        )  # fmt: skip

    def live(self) -> Live:
        """How far it is now."""
        with self._lock:
            rate = self._rate.value() if self._rate else None
            self._live = replace(
                self._live,
                updated=utc(),
                sequence=self._live.sequence + 1,
                elapsed=time.monotonic() - self._began,
                speed=self._speed.value(),
                images_per_second=rate,
            )
            return self._live

    def advance(self, units: float, doing: str) -> None:
        """Count work and note what is being done."""
        with self._lock:
            live, now = self._live, time.monotonic()
            over = self._epoch if self._epoch and not doing.startswith(self._epoch.stage) else None
            if over:
                self._epoch = self._rate = None
                live = replace(live, stage="", epoch=0, epochs=0, loss=None)
            if doing.startswith(TESTING):
                if doing != live.doing or not self._rate:
                    self._rate = Rate(self._last)
                self._rate.add(round(units / EVALUATION_PASS))
            done = min(live.done + units, live.total)
            # done by an earlier process: no part of this one's speed
            skipped = live.skipped + (done - live.done if doing.startswith(GOING_ON) else 0)
            self._live = replace(live, done=done, skipped=skipped, doing=doing)
            self._speed.count(done - skipped)
            self._before, self._last = self._last, now
        if over:
            self.epoch_over(str(over))

    def step(self, *, stage: str, epoch: int, epochs: int, loss: float | None, images: int) -> None:
        """Note where training is."""
        with self._lock:
            over, now = self._epoch, time.monotonic()
            if over and (over.stage, over.epoch) == (stage, epoch):
                going, over = over, None
            else:
                # the first step of an epoch began when what was before it ended: an `advance` a
                # moment ago is of this step itself
                began = self._last if now - self._last > MOMENT else self._before
                going = self._epoch = _Epoch(stage, epoch, epochs, began)
                self._rate = Rate(began)
            if self._rate:
                self._rate.add(images)
            if loss is not None and math.isfinite(loss):
                going.loss, going.losses = going.loss + loss, going.losses + 1
            else:
                loss = None
            going.images += images
            self._live = replace(self._live, stage=stage, epoch=epoch, epochs=epochs, loss=loss)
            self._before, self._last = self._last, now
        if over:
            self.epoch_over(str(over))

    def say(self, text: str) -> None:
        """Note a line that must be seen."""
        with self._lock:
            said = [*self._live.said, text][-KEPT_LINES:]
            self._live = replace(self._live, said=said, lines=self._live.lines + 1)

    def epoch_over(self, text: str) -> None:
        """Told of every epoch of which the last step is past, in words."""


class LiveRun(Watched):
    """Progress of the process that computes a run in `folder`; use as a context manager.

    While the block runs, `live.json` is there and is rewritten every `BEAT` seconds, whatever the
    run is busy with. `watch` is called as often, from a thread of its own; `tell` with every line
    that must be seen. `worker` names the process for people.
    """

    def __init__(
        self,
        folder: Path,
        title: str,
        method: str,
        fold: str,
        seed: int,
        total: float,
        worker: str = "",
        watch: Callable[[Live], None] | None = None,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        super().__init__(folder.name, title, method, fold, seed, total)
        self._live = replace(self._live, worker=worker)
        self.folder, self.watch, self.tell = folder, watch, tell
        self._end = threading.Event()
        self._beats = threading.Thread(target=self._beat, name="live", daemon=True)

    def __enter__(self) -> LiveRun:
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
        self.log(f"started: {self._live.title} ({self._live.writer})")
        self._show()
        self._beats.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._end.set()
        self._beats.join()
        if kind is not None:
            self.log(f"stopped by {kind.__name__} at {self._live.what}")
        else:
            if self._epoch:
                self.log(str(self._epoch))
            self.log(f"ended after {duration(time.monotonic() - self._began)}")
        path = self.folder / LIVE
        now = read_live(self.folder)
        # a process that took the run over writes one of its own
        if now is None or now.writer == self._live.writer:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def say(self, text: str) -> None:
        """A line that must be seen; it is logged, too."""
        super().say(text)
        self.log(text)
        self.tell(text)

    def epoch_over(self, text: str) -> None:
        """Logged."""
        self.log(text)

    def log(self, text: str) -> None:
        """A line into the run's log, with the time in UTC."""
        lines = text.replace("\n", "\n    ")
        with contextlib.suppress(OSError), (self.folder / LOG).open("a", encoding="utf-8") as file:
            file.write(f"{utc()} {lines}\n")

    def _beat(self) -> None:
        while not self._end.wait(BEAT):
            self._show()

    def _show(self) -> None:
        live = self.live()
        put(self.folder / LIVE, live)
        if self.watch:
            # a terminal that is gone is for the thread to find that has something to say
            with contextlib.suppress(OSError):
                self.watch(live)


def read_live(folder: Path) -> Live | None:
    """How far the run in `folder` is; None where nothing readable says so."""
    return take(folder / LIVE, Live)
