"""A lease: one process at a time works in a folder, on one machine or on several that share it.

Every start of work is a file `<folder>/000001`, `000002`, ...; the highest one is the lease. It is
made by linking, which happens for one process only, on NFS too, and no such file is ever removed or
replaced, so nobody can take what somebody else has just taken. Its holder writes `released` into it
at the end and until then touches it every `BEAT` seconds.

A holder is gone if its process is (on this machine: told at once), or if its file was not touched
for `PATIENCE` seconds of the observer's own monotonic clock: no two clocks are ever compared, and
one that jumps does no harm.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from harness.files import full_disk_named
from protocols.errors import ReIDError

BEAT = 5.0
"""Seconds between two signs of life."""
PATIENCE = 60.0
"""Seconds without one after which a holder on another machine counts as gone."""
POLL = 0.2

HELD, RELEASED = "held    ", "released"
"""Of one length: at the end one is written over the other, which needs no space on the disk."""


class LeaseLost(ReIDError):
    """Somebody took the lease over, because this process did not show that it lives."""


class Held(ReIDError):
    """Somebody else has the lease."""


@dataclass(frozen=True)
class Holder:
    """Who has a lease. `machine` names a running system, `started` the start of process `pid`."""

    host: str
    machine: str
    pid: int
    started: str

    @classmethod
    def here(cls) -> Holder:
        """This process."""
        return cls(os.uname().nodename, _machine(), os.getpid(), _started(os.getpid()))

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def gone(self) -> bool | None:
        """Whether the process has ended; None if that can't be told from here."""
        if not self.machine or self.machine != _machine():
            return None
        return _started(self.pid) != self.started


class Lease:
    """A lease that this process has; see `hold`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._end = threading.Event()
        self._beats = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._beats.start()

    def check(self) -> None:
        """Before anything is committed: raise LeaseLost if somebody has taken over."""
        newest, _ = _newest(self.path.parent)
        if newest != int(self.path.name):
            raise LeaseLost(
                f"{self.path.parent} was taken over by another process while this one stood still; "
                "that one goes on with the work."
            )

    def release(self) -> None:
        """Let others have it."""
        self._end.set()
        self._beats.join()
        with contextlib.suppress(OSError), self.path.open("r+b") as file:
            file.write(RELEASED.encode())
            file.flush()
            os.fsync(file.fileno())

    def _beat(self) -> None:
        while not self._end.wait(BEAT):
            with contextlib.suppress(OSError):  # a file server that is away comes back
                os.utime(self.path)


@contextlib.contextmanager
def hold(
    folder: Path, waiting: Callable[[str], None] | None = None, wait: bool = True
) -> Iterator[Lease]:
    """Have the lease of `folder`, made if it is not there, while the block runs.

    If somebody else has it: call `waiting` once with who that is, then wait; or raise Held at once
    if not `wait`.
    """
    me = _acquire(folder, waiting, wait)
    lease = Lease(me)
    try:
        yield lease
    finally:
        lease.release()


def _acquire(folder: Path, waiting: Callable[[str], None] | None, wait: bool) -> Path:
    seen = _Observer()
    told = False
    ticket = folder / f".{uuid.uuid4().hex}.tmp"
    try:
        with full_disk_named(folder):
            folder.mkdir(parents=True, exist_ok=True)
            me = json.dumps(asdict(Holder.here()))
            ticket.write_text(f"{HELD}{me}\n", encoding="utf-8")
    except OSError as error:
        raise ReIDError(f"{folder} can't be written ({error.strerror}).") from error
    try:
        while True:
            newest, path = _newest(folder)
            if path is not None and not seen.free(path):
                holder = str(_holder(path) or "another process")
                if not wait:
                    raise Held(f"{folder.parent} is being computed by {holder}.")
                if waiting and not told:
                    waiting(holder)
                    told = True
                time.sleep(POLL)
                continue
            mine = folder / f"{newest + 1:06d}"
            if _link(ticket, mine):
                return mine
    finally:
        ticket.unlink(missing_ok=True)


def at_work(folder: Path) -> Holder | None:
    """Who has the lease of `folder` and may be working; None where nobody has or they are gone.

    For whoever only looks on: of a process elsewhere, and of one on another machine whose folder
    was copied here, the time of its last sign of life tells.
    """
    try:
        _, path = _newest(folder)
        if path is None or path.read_bytes().startswith(RELEASED.encode()):
            return None
        holder = _holder(path)
        gone = holder.gone() if holder else None
        if gone is None:
            gone = time.time() - path.stat().st_mtime > PATIENCE
        return None if gone else holder
    except OSError:
        return None


class _Observer:
    """Watches the signs of life of one folder's holders."""

    def __init__(self) -> None:
        self.last: tuple[str, int] | None = None
        self.since = 0.0

    def free(self, path: Path) -> bool:
        """Whether the lease was released or its holder is gone."""
        try:
            # opened, not only looked at: an NFS client then asks its server
            with path.open("rb") as file:
                state = file.read(len(HELD)).decode(errors="replace")
                touched = os.fstat(file.fileno()).st_mtime_ns
        except OSError:
            return False
        if state == RELEASED:
            return True
        holder = _holder(path)
        gone = holder.gone() if holder else None
        if gone is not None:
            return gone
        now = time.monotonic()
        if self.last != (path.name, touched):
            self.last, self.since = (path.name, touched), now
        return now - self.since > PATIENCE


def _newest(folder: Path) -> tuple[int, Path | None]:
    numbers = [entry.name for entry in os.scandir(folder) if entry.name.isdigit()]
    if not numbers:
        return 0, None
    name = max(numbers, key=int)
    return int(name), folder / name


def _link(ticket: Path, mine: Path) -> bool:
    try:
        mine.hardlink_to(ticket)
    except FileExistsError:
        # or the server did it and its answer was lost
        return ticket.stat().st_nlink == 2 and ticket.samefile(mine)
    return True


def _holder(path: Path) -> Holder | None:
    try:
        return Holder(**json.loads(path.read_text(encoding="utf-8")[len(HELD) :]))
    except (OSError, ValueError, TypeError):
        return None


@cache
def _machine() -> str:
    """This boot of this system and, as process numbers go by it, this pid namespace; or nothing."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process began, in ticks since the boot; empty if there is none that runs."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else fields[18]
