"""Who is working through a plan, and how far: `<out>/.drivers/`, one small file for each."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from harness.lease import Holder
from harness.signs import put, take

FOLDER = ".drivers"


@dataclass(frozen=True)
class Driver:
    """One command at work: its runs in number, what is left of them in seconds (None: not known).

    `done` and `total` are in the units of `harness.progress`; `elapsed` in seconds.
    """

    command: str
    writer: Holder
    sequence: int
    runs: int
    finished: int
    failed: int
    done: float
    total: float
    elapsed: float
    left: float | None
    updated: str


class DriverFile:
    """The file of this process below `out`; written when told to, gone at the end."""

    def __init__(self, out: Path) -> None:
        self.folder = out / FOLDER
        self.writer = Holder.here()
        self.path = self.folder / f"{self.writer.host}-{self.writer.pid}.json"
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
        sweep(out)

    def write(self, driver: Driver) -> None:
        """How far it is now."""
        put(self.path, driver)

    def remove(self) -> None:
        """The command ends."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


def sweep(out: Path) -> None:
    """Forget the commands of this machine that are gone: another one takes over what they left."""
    for path, driver in _all(out):
        if driver.writer.gone():
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def drivers(out: Path) -> list[Driver]:
    """Every command that has left a file below `out`, at work or gone without a word."""
    return [driver for _, driver in _all(out)]


def _all(out: Path) -> list[tuple[Path, Driver]]:
    found = [(path, take(path, Driver)) for path in sorted((out / FOLDER).glob("*.json"))]
    return [(path, driver) for path, driver in found if driver]
