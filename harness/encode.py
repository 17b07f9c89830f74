"""From a folder of images to a file of features."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from harness.files import require_writable, write_atomic
from protocols.errors import DataError, ReIDError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
FEATURES, NAMES = "features", "names"


@dataclass(frozen=True)
class ImageFolder:
    """The images below a folder.

    `names` are POSIX paths relative to it, sorted; `skipped` counts what was left out, by kind.
    """

    root: Path
    names: tuple[str, ...]
    skipped: Mapping[str, int]

    def left_out(self) -> str:
        """What was skipped, in words; empty if nothing was."""
        kinds = sorted(self.skipped.items())
        return ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in kinds)


def find_images(root: Path) -> ImageFolder:
    """Every image below `root`, known by its suffix. Hidden files and linked folders are left out.

    Raises DataError if there is no such folder, or no image in it.
    """
    if not root.is_dir():
        raise DataError(f"--images {root}: there is no such folder.")
    names: list[str] = []
    skipped: Counter[str] = Counter()
    for folder, below, files in os.walk(root):
        here = Path(folder)
        linked = [d for d in below if (here / d).is_symlink()]
        hidden = [d for d in below if d.startswith(".") and d not in linked]
        skipped["linked folder"] += len(linked)
        skipped["hidden folder"] += len(hidden)
        # os.walk goes on into what is left in the list
        below[:] = [d for d in below if d not in linked and d not in hidden]
        for file in files:
            if file.startswith("."):
                skipped["hidden file"] += 1
            elif not file.lower().endswith(IMAGE_SUFFIXES):
                skipped["other file"] += 1
            else:
                names.append((here / file).relative_to(root).as_posix())
    found = ImageFolder(root, tuple(sorted(names)), {k: n for k, n in skipped.items() if n})
    if not names:
        there = found.left_out()
        raise DataError(
            f"--images {root} holds no image ({', '.join(s[1:] for s in IMAGE_SUFFIXES)})"
            + (f"; it holds {there}." if there else "; it is empty.")
        )
    return found


def require_npz(path: Path) -> None:
    """Raise ReIDError unless features can be written to `path`: before time is spent on them."""
    if path.suffix != ".npz":
        raise ReIDError(f"--out {path}: features are written as .npz, such as features.npz.")
    if path.is_dir():
        raise ReIDError(f"--out {path} is a folder; give the name of a file.")
    require_writable(path.parent)


def save_features(path: Path, names: Sequence[str], encoded: Mapping[str, Tensor]) -> None:
    """Write an .npz of `names` and every tensor in `encoded` as float32, whole or not at all.

    `features` [N, D] must be among them, each has one row a name, and the file is read without
    pickles. Raises ReIDError for a method that returns something else.
    """
    arrays: dict[str, Any] = {
        key: value.numpy().astype(np.float32) for key, value in encoded.items()
    }
    if FEATURES not in arrays or NAMES in arrays:
        raise ReIDError(
            f"The method's encode returns {', '.join(arrays)}; {FEATURES!r} must be among them and "
            f"{NAMES!r} must not."
        )
    arrays[NAMES] = np.array(names, dtype=np.str_)

    def write(temporary: Path) -> None:
        # an open file, because numpy adds .npz to a name that lacks it
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    write_atomic(path, write)
