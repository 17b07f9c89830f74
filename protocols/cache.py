"""Where the project keeps what it can always make again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$HARNESS_CACHE`, or `dg-reid-harness` under `$XDG_CACHE_HOME` or `~/.cache`."""
    if own := os.environ.get("HARNESS_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "dg-reid-harness"
