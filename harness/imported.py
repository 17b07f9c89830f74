"""Features that somebody else made of a protocol's own images, matched to its lists by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.encode import FEATURES
from harness.feature_files import FeatureFile
from protocols.errors import DataError, ReIDError
from protocols.variants import Reading

SHOWN = 100


@dataclass(frozen=True)
class NamedFeatures:
    """Features of a target's images, `row` by path; what `evaluate` asks for them.

    `extra` are names that are not in the protocol.
    """

    file: FeatureFile
    row: dict[str, int]
    extra: tuple[str, ...]
    method = None

    def __call__(
        self, paths: Sequence[str], doing: str = "", how: Reading = Reading()
    ) -> dict[str, Tensor]:
        """[N, D] float32 (float64 where the file has it) in the order of `paths`.

        Raises ReIDError for images that are to be read in another way: these have been read.
        """
        if how != Reading():
            raise ReIDError(
                f"{self.file.path} holds features that were computed elsewhere, so a variant that "
                "changes how images become features (degraded, flip, bf16) can't be asked for."
            )
        rows = self.file.features[np.array([self.row[path] for path in paths])]
        dtype = np.float64 if rows.dtype.itemsize == 8 else np.float32
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            path = paths[int(finite.argmin())]
            raise DataError(f"{self.file.place(self.row[path])} ({path}): holds nan or inf.")
        return {FEATURES: torch.from_numpy(np.require(rows, dtype, ("C", "A", "W")))}


def match(file: FeatureFile, paths: Iterable[str]) -> NamedFeatures:
    """The rows of a file for the images of a target, `paths` below the data root.

    A name may be the path below the data root, its end (`query/0001_c1s1.jpg` or the file's name
    alone), or a longer path with the same end, as long as it is one image's alone. Raises DataError
    naming images without a row, and names that are several images' or that two rows have.
    """
    if file.names is None:
        raise DataError(
            f"{file.path} has no array 'names': which image each row is has to be known. "
            "Features with pids and camids of their own are measured with --query and --gallery."
        )
    wanted = sorted(paths)
    names = [name.replace("\\", "/") for name in file.names]
    _refuse(file, "rows share a name", [n for n, k in Counter(names).items() if k > 1])
    ends = _ends(wanted)
    row: dict[str, int] = {}
    extra, twice, unclear = [], [], []
    for i, name in enumerate(names):
        found = _find(name, ends)
        if len(found) > 1:
            unclear.append(f"{name} ({found[0]} or {found[1]})")
        elif not found:
            extra.append(name)
        elif found[0] in row:
            twice.append(f"{name} and {names[row[found[0]]]}")
        else:
            row[found[0]] = i
    _refuse(file, "names could be several images; give more of their paths", unclear)
    _refuse(file, "pairs of names are of one image", twice)
    missing = [path for path in wanted if path not in row]
    hint = f"; among its names that are not in the protocol is {extra[0]}" if extra else ""
    _refuse(file, "images of the protocol have no features" + hint, missing)
    return NamedFeatures(file, row, tuple(extra))


def _ends(paths: Sequence[str]) -> dict[str, list[str]]:
    """Every end of every path, from its file's name to all of it -> the paths that end so."""
    ends: dict[str, list[str]] = {}
    for path in paths:
        parts = path.split("/")
        for start in range(len(parts)):
            ends.setdefault("/".join(parts[start:]), []).append(path)
    return ends


def _find(name: str, ends: dict[str, list[str]]) -> list[str]:
    """The images that a name can be: those that share its longest end.

    Of a name with folders the last one must agree: `train/1.jpg` is not `query/1.jpg`.
    """
    parts = name.split("/")
    for start in range(len(parts)):
        end = "/".join(parts[start:])
        found = ends.get(end, [])
        if end in found:
            return [end]
        if found and (start == 0 or start < len(parts) - 1):
            return found
    return []


def _refuse(file: FeatureFile, what: str, names: Sequence[str]) -> None:
    if names:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise DataError(f"{file.path}: {len(names)} {what}: {'; '.join(names[:SHOWN])}{more}.")
