"""Stand-in data: rendered people in the real data sets' layouts, made on demand and cached.

Importing this is light; numpy and Pillow load when something is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

KEYS = ("MA", "D", "MS", "C3", "VIPeR", "PRID")
"""The data sets that have a stand-in."""
DEFAULT_KEYS = ("MA", "D", "MS", "C3")
"""Those that the 16 rows of `all` need."""
VERSION = 2
"""Goes up when any byte of a stand-in changes; part of the cache folder's name."""
SEED = 0
STANDIN_FILE = "STANDIN.json"
"""Lies in a data root whose images are rendered stand-ins."""


def data_root(
    cache: Path | None = None, keys: Sequence[str] = DEFAULT_KEYS, *, seed: int = SEED
) -> Path:
    """Make the stand-in data sets `keys`, or find them made, and return their data root.

    See `protocols.standin.make.data_root`, which raises UnknownName and DataError.
    """
    from protocols.standin import make

    return make.data_root(cache, keys, seed=seed)


def truth(root: Path, key: str) -> dict[str, dict[str, Any]]:
    """Boxes and captions of the pictures of stand-in `key`; see `protocols.standin.make`."""
    from protocols.standin import make

    return make.truth(root, key)


def is_standin(root: Path) -> bool:
    """Whether a data root holds stand-in data rather than photographs."""
    return (root / STANDIN_FILE).is_file()
