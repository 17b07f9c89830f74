"""Ray Tune as an engine: the process that holds the session is started here and talked to.

Ray is disposable here. What a run is, whether it is done and where it goes on is in its folder; no
state of Ray's or Tune's is ever read again, and a session that ends before its time is begun anew.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

import psutil

from harness.settings import Outcome, Slots
from harness.stopping import Halving
from harness.watchdog import watched
from protocols.errors import ReIDError

LOCAL = {
    # every socket on 127.0.0.1
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # its state is never read, so it need not be written
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
TRIALS, SHARDS = "harness.ray_trials", "harness.ray_shards"
"""Modules whose `main` holds a session."""
PATIENCE = 15.0
"""Seconds for a session to end by itself."""


@dataclass
class Listener:
    """Who is told of a run that begins, of one whose workers all died, and of each outcome."""

    began: Callable[[str], object]
    died: Callable[[str], object]
    ended: Callable[[Outcome], object]


Engine = Callable[[Mapping[str, str], bool, Listener, Halving | None], str | None]
"""Computes tickets (run id -> JSON), waits for those computed elsewhere or does not, and returns
what there is to say where Ray did not come to an end. `Halving` gives up what falls behind."""


class _Kept:
    """A session that outlives a call of `session`, and what ends it."""

    def __init__(self) -> None:
        self.stack = contextlib.ExitStack()
        self.beside: Beside | None = None

    def fits(self, slots: Slots) -> bool:
        """Whether it has room for what is asked for."""
        if self.beside is None:
            return False
        mine = self.beside.slots
        enough = mine.workers is None or (slots.workers or math.inf) <= mine.workers
        return enough and replace(slots, workers=mine.workers) == mine


_kept: list[_Kept] = []


@contextmanager
def kept_session() -> Iterator[None]:
    """Calls of `session` in this block have one session together, as far as it has room."""
    kept = _Kept()
    _kept.append(kept)
    with kept.stack:
        try:
            yield
        finally:
            _kept.remove(kept)


@contextmanager
def session(slots: Slots, out: Path) -> Iterator[Engine]:
    """One Ray session: of this machine, ended with the block, or a cluster's that goes on.

    Raises ReIDError, when it is first used, if there can be none.
    """
    if not _kept:
        with _session(slots, out) as beside:
            yield beside.round
        return
    kept = _kept[-1]
    if kept.beside is None or not kept.fits(slots):
        kept.stack.close()
        kept.beside = kept.stack.enter_context(_session(slots, out))
    yield kept.beside.round


@contextmanager
def _session(slots: Slots, out: Path) -> Iterator[Beside]:
    shared = out.absolute() / ".tune" if slots.address else Path(tempfile.gettempdir())
    shared.mkdir(parents=True, exist_ok=True)
    with process_beside(slots, shared, TRIALS) as beside:
        yield beside


@contextmanager
def process_beside(slots: Slots, folder: Path, module: str) -> Iterator[Beside]:
    """A process that holds a session, with storage below `folder`; ended with the block."""
    with watched(), tempfile.TemporaryDirectory(dir=folder, prefix="harness-tune-") as storage:
        beside = Beside(slots, Path(storage), module)
        try:
            yield beside
            beside.close()
        finally:
            beside.kill()


class Beside:
    """The process that holds the session; begun when it is needed, and again if it has ended."""

    def __init__(self, slots: Slots, storage: Path, module: str) -> None:
        self.slots, self.storage, self.module = slots, storage, module
        self.process: subprocess.Popen[str] | None = None
        self.log = storage / "ray.log"

    def round(
        self,
        tickets: Mapping[str, str],
        wait: bool,
        listener: Listener,
        halving: Halving | None = None,
    ) -> str | None:
        """One round; see `Engine`."""
        task = {"tickets": dict(tickets), "wait": wait, "halving": halving and halving.as_json()}
        trouble = None
        for event, value in self.ask(task):
            if event == "began":
                listener.began(value)
            elif event == "died":
                listener.died(value)
            elif event == "ended" and "given up" in value:
                listener.ended(Outcome(value["given up"], f"{value['given up']}, given up"))
            elif event == "ended":
                listener.ended(Outcome(**value))
            elif event == "over":
                trouble = value
        return trouble

    def ask(self, task: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """What is said of a task; last `over`, with what went wrong or None.

        Raises ReIDError if there can be no session.
        """
        process = self.process or self.start()
        _tell(process.stdin, task)
        for event, value in _events(process.stdout):
            if event == "over" and value is not None:
                self.kill()
            yield event, value
            if event == "over":
                return
        self.kill()
        yield "over", f"its session ended before its time: {self.last_line()}"

    def start(self) -> subprocess.Popen[str]:
        """Begin a session. Raises ReIDError if there can be none."""
        with self.log.open("ab") as log:
            # in a session of its own, so that Ctrl-C is not for it
            self.process = subprocess.Popen(
                [sys.executable, "-c", f"from {self.module} import main; main()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
                env=os.environ | QUIET | ({} if self.slots.address else LOCAL),
            )
        opening = {"slots": asdict(self.slots), "storage": str(self.storage)}
        _tell(self.process.stdin, opening)
        event, said = next(_events(self.process.stdout), ("", None))
        if event != "ready":
            self.kill()
            raise ReIDError(
                said
                or f"Ray did not start ({self.last_line()}). --workers 0 computes in this process."
            )
        return self.process

    def close(self) -> None:
        """Let the session end by itself."""
        if self.process and self.process.stdin:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                self.process.stdin.close()
                self.process.wait(PATIENCE)

    def kill(self) -> None:
        """End what is left of the session."""
        if self.process is None:
            return
        with contextlib.suppress(psutil.Error):
            me = psutil.Process(self.process.pid)
            for process in [*me.children(recursive=True), me]:
                with contextlib.suppress(psutil.Error):
                    process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()
        self.process = None

    def last_line(self) -> str:
        """What the session said last."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"


def _tell(pipe: IO[str] | None, value: Any) -> None:
    assert pipe is not None
    with contextlib.suppress(BrokenPipeError):  # its end is seen by what it says next: nothing
        pipe.write(json.dumps(value) + "\n")
        pipe.flush()


def _events(pipe: IO[str] | None) -> Iterator[tuple[str, Any]]:
    assert pipe is not None
    for line in iter(pipe.readline, ""):
        event, value = json.loads(line)
        yield event, value
