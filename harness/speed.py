"""How fast work goes: over all of it, for estimates; and lately, for whoever watches."""

from __future__ import annotations

import time
from collections import deque

WINDOW = 10.0
"""Seconds that images a second are measured over."""
ESTIMATE_AFTER = 3.0
"""Seconds of work before anything is said of what is left."""


class Speed:
    """Units a second, from what has been done so far, all in all.

    Counts from the first work that is told of: how long was prepared for it, and how long that
    work took, says little of all the rest.
    """

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None
        self._worked = 0.0

    def count(self, worked: float) -> None:
        """`worked` units have been done by now."""
        self._worked = worked
        if self._first is None and worked > 0:
            self._first = (time.monotonic(), worked)

    def value(self) -> float | None:
        """None while it can't be told."""
        if self._first is None:
            return None
        since, before = self._first
        elapsed, worked = time.monotonic() - since, self._worked - before
        return worked / elapsed if elapsed >= ESTIMATE_AFTER and worked > 0 else None


class Rate:
    """Images a second, lately; `since` is when the first of them were begun."""

    def __init__(self, since: float) -> None:
        self.seen = deque([(since, 0)])

    def add(self, images: int) -> None:
        """`images` more are done."""
        now = time.monotonic()
        self.seen.append((now, self.seen[-1][1] + images))
        while len(self.seen) > 2 and self.seen[1][0] < now - WINDOW:
            self.seen.popleft()

    def value(self) -> float | None:
        """None before the first; less and less where nothing comes for long."""
        (first, before), (last, images) = self.seen[0], self.seen[-1]
        if last <= first:
            return None
        overdue = max(WINDOW, 3 * (last - first) / (len(self.seen) - 1))
        now = time.monotonic()
        return (images - before) / ((now if now - last > overdue else last) - first)
