"""Where a figure goes and in what formats: what commands that draw one check before they do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.files import require_place
from protocols.errors import ReIDError, UnknownName
from results.figures import FORMATS


def require_formats(formats: Sequence[str], usual: tuple[str, ...] = ("png",)) -> tuple[str, ...]:
    """What `--format` names, each once; the `usual` ones for nothing. Raises UnknownName."""
    for kind in formats:
        if kind not in FORMATS:
            raise UnknownName("--format", kind, FORMATS)
    return tuple(dict.fromkeys(formats)) or usual


def require_file(file: Path, formats: Sequence[str], also: Sequence[tuple[bool, str]] = ()) -> None:
    """Raise ReIDError where `-o` does not go with the other options or the disk.

    `also`: what else is wrong with it, and in words.
    """
    expected = " or ".join(f".{kind}" for kind in FORMATS)
    problems = [
        (file.suffix[1:] not in FORMATS, f"expected a name that ends in {expected}."),
        *also,
        (bool(formats), f"its name says the format ({file.suffix[1:]}): leave --format out."),
    ]
    for wrong, problem in problems:
        if wrong:
            raise ReIDError(f"-o {file}: {problem}")
    require_place(file)
