"""Small files by which a process shows that it lives and how far it is.

They are rewritten every `BEAT` seconds and read with doubt: by other processes, on other machines,
after a crash. No two clocks are compared.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from pydantic import TypeAdapter

from harness.lease import Holder

BEAT = 1.0
"""Seconds between two states that are written."""
PATIENCE = 60.0
"""Seconds without a new state after which a process elsewhere is not taken to work any more."""

State = Literal["running", "silent", "interrupted"]
T = TypeVar("T")


class Pulse:
    """Tells whether those who write states are still there.

    On this machine the process itself is looked at. Of another only changes of its states tell,
    over time by this process's clock: `silent` is one of which none has been seen lately.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self.patience = patience
        self._seen: dict[tuple[str, Holder], tuple[int, float | None]] = {}

    def state(self, name: str, writer: Holder, sequence: int) -> State:
        """Of the writer of state number `sequence` of whatever is called `name`."""
        gone = writer.gone()
        if gone is not None:
            return "interrupted" if gone else "running"
        before, changed = self._seen.get((name, writer), (sequence, None))
        now = time.monotonic()
        if sequence != before:
            changed = now
        self._seen[name, writer] = (sequence, changed)
        return "running" if changed is not None and now - changed < self.patience else "silent"


def utc() -> str:
    """The time, for people."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def put(path: Path, value: Any) -> None:
    """A dataclass as JSON, whole or not at all; a disk that is full or away is let pass."""
    temporary = path.with_name(f".{path.name}-{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(asdict(value), allow_nan=False), encoding="utf-8")
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def take(path: Path, kind: type[T]) -> T | None:
    """What `put` has written; None where nothing is or where it is something else."""
    try:
        found: T = _reader(cast(Any, kind)).validate_json(path.read_bytes())
        return found
    except (OSError, ValueError):
        return None


@cache
def _reader(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
