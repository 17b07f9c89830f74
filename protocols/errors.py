"""Errors that are the user's to mend: shown as one message, never as a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ReIDError(Exception):
    """Something a user can mend. The message names what, where, what was expected, what to do."""


class DataError(ReIDError):
    """Data on disk are missing, damaged or not what a card says."""


class UnknownName(ReIDError):
    """A name that is in no registry; the message suggests the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        known = sorted(known)
        near = nearest(name, known)
        if near:
            advice = "Did you mean " + " or ".join(repr(n) for n in near) + "?"
        else:
            advice = "Known: " + ", ".join(known) + "."
        super().__init__(
            " ".join(part for part in (f"Unknown {kind} {name!r}.", advice, hint) if part)
        )


def nearest(name: str, known: Iterable[str], count: int = 2) -> list[str]:
    """The `count` known names most like `name`, ignoring case; empty when none is close."""
    by_lower = {k.lower(): k for k in known}
    found = difflib.get_close_matches(name.lower(), list(by_lower), n=count, cutoff=0.5)
    return [by_lower[f] for f in found]
