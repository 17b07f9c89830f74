"""Committed lists of test identities, for the data sets whose owners publish none.

Never drawn at run time: `protocols.splits.draw` made the files here, once, from a fixed seed.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from protocols.errors import DataError

FOLDER = Path(__file__).parent


def digest(splits: Any) -> str:
    """sha256 of the splits' canonical JSON, in hex."""
    return hashlib.sha256(json.dumps(splits, separators=(",", ":")).encode()).hexdigest()


def load(name: str, folder: Path = FOLDER) -> list[list[Any]]:
    """The splits of `name` ("viper", "prid", "ilids"), one list per split.

    Raises DataError if the file is missing, unreadable, or not what its sha256 says.
    """
    return json.loads(_verified(folder / f"{name}.json"))


@cache
def _verified(path: Path) -> str:
    """The splits' JSON text, checked once per process; text, so that no caller can change it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        splits, expected = content["splits"], content["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"The committed splits {path} can not be read: {error}.") from error
    if digest(splits) != expected:
        raise DataError(
            f"The committed splits {path} do not match their sha256: the file was changed, and "
            "results would not be comparable. Restore it (git checkout), or make it again with "
            "`python -m protocols.splits.draw`."
        )
    return json.dumps(splits)
