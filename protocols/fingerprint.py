"""Which images a number was measured on, in 16 characters."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable
from pathlib import Path

from protocols.errors import DataError
from protocols.types import Split


def fingerprint(splits: Iterable[Split], data_root: Path) -> str:
    """16 hex digits of the sha256 over every image's split, path, size in bytes, pid and camid.

    Contents are not read (`protocols.check` does that): a file that was exchanged for another of
    the same size and name goes unseen. Raises DataError for a file that is gone or empty.
    """
    splits = list(splits)
    shared = _shared_folders(splits)
    sizes: dict[str, int] = {}  # an image is often in several probe splits; ask the disk once
    lines = []
    for split in splits:
        for path, pid, camid in split.images:
            if path not in sizes:
                sizes[path] = _size(data_root / path)
            name = path[len(shared[split.dataset]) :]
            lines.append(f"{split.dataset}\t{split.name}\t{name}\t{sizes[path]}\t{pid}\t{camid}\n")
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()[:16]


def _shared_folders(splits: Iterable[Split]) -> dict[str, str]:
    """Per data set, the folders that all of its images lie in.

    They are left out, so that a data set under another of its names has the same fingerprint.
    """
    folders: dict[str, list[str]] = {}
    for split in splits:
        folders.setdefault(split.dataset, []).extend(
            posixpath.dirname(i.path) for i in split.images
        )
    return {key: posixpath.commonpath(paths) for key, paths in folders.items() if paths}


def _size(path: Path) -> int:
    """Size in bytes of a file that must be there and hold something."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(
            f"{path} was listed but can not be read ({error.strerror}). "
            "Copy it again, or see what is missing with `harness check`."
        ) from error
    if size == 0:
        raise DataError(f"{path} is empty (0 bytes): the copy broke off. Copy it again.")
    return size
