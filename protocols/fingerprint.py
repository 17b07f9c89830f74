"""Which images a number was measured on, in 16 characters."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable
from pathlib import Path

from protocols.contents import Contents
from protocols.types import Split


def fingerprint(splits: Iterable[Split], data_root: Path, contents: Contents | None = None) -> str:
    """16 hex digits of the sha256 over every image's split, name, content, pid and camid.

    `contents` remembers what it has read. Raises DataError for a file that is gone or empty.
    """
    splits = list(splits)
    contents = contents or Contents(data_root, remember=False)
    digests = contents.digests(i.path for split in splits for i in split.images)
    shared = _shared_folders(splits)
    lines = [
        f"{split.dataset}\t{split.name}\t{path[len(shared[split.dataset]) :]}"
        f"\t{digests[path]}\t{pid}\t{camid}\n"
        for split in splits
        for path, pid, camid in split.images
    ]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()[:16]


def _shared_folders(splits: Iterable[Split]) -> dict[str, str]:
    """Per data set, the folders that all of its images lie in.

    They are left out, so that a data set under another of its names has the same fingerprint.
    """
    folders: dict[str, list[str]] = {}
    for split in splits:
        names = (posixpath.dirname(image.path) for image in split.images)
        folders.setdefault(split.dataset, []).extend(names)
    return {key: posixpath.commonpath(names) for key, names in folders.items() if names}
