"""Features that somebody else made, read from the files that people write them to.

| suffix | |
|---|---|
| .npy | features; beside `g.npy` the rest: `g.pids.npy`, `g.camids.npy`, `g.names.npy` or `.txt` |
| .safetensors | tensors by name; what it lacks may be beside it, as with .npy |
| .npz | arrays; pickled ones are refused |
| .pt, .pth | tensors by name, and plain values; nothing else is read |
| .mat | as older code bases write it: `gallery_f`, `gallery_label`, `gallery_cam`, `query_f`, ... |
| .parquet | a row an image, features as a list column |
| a folder | `features.npy` or `.safetensors`, beside it `pids.npy`, ...; else its files as one |

Features of the first three (.npz as `np.savez` writes it) and of .pt stay in their files, so they
may be larger than memory.
"""

from __future__ import annotations

import glob
import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from harness import mapped
from harness.cosine import Rows
from harness.encode import FEATURES, NAMES
from protocols.errors import DataError, ReIDError

Side = Literal["query", "gallery"]
PIDS, CAMIDS = "pids", "camids"
KEYS = {
    FEATURES: ("features", "feature", "feats", "feat", "f", "embeddings"),
    PIDS: ("pids", "pid", "labels", "label", "ids"),
    CAMIDS: ("camids", "camid", "cams", "cam", "cameras"),
    NAMES: ("names", "name", "paths", "path", "files", "img_path"),
}
"""What each array may be called, ours first. A file of both sides has `query_f` and so on."""


@dataclass(frozen=True)
class FeatureFile:
    """What a file holds of N images: features [N, D], the others [N] or None where it has none.

    Of several files, one after the other, `parts` are the files.
    """

    path: Path
    features: Rows
    pids: np.ndarray | None
    camids: np.ndarray | None
    names: tuple[str, ...] | None
    parts: tuple[FeatureFile, ...] = ()

    def labels(self) -> tuple[np.ndarray, np.ndarray]:
        """Pids and camids. Raises DataError for a file that lacks them."""
        if self.pids is None or self.camids is None:
            lacks = PIDS if self.pids is None else CAMIDS
            raise DataError(
                f"{self.path} has no array {lacks!r} (or {', '.join(KEYS[lacks][1:])}): whose "
                "picture each row is, and from which camera, has to be known."
            )
        return self.pids, self.camids

    def place(self, row: int) -> str:
        """Where a row is, in words: the file and the row in it."""
        for part in self.parts:
            if row < len(part.features):
                return part.place(row)
            row -= len(part.features)
        return f"{self.path}, row {row}"


def read_all(texts: Sequence[str], side: Side) -> FeatureFile:
    """The features of files, folders and patterns such as `shards/*.npy`, one after the other.

    Files of a folder or a pattern are in the order of their names. Raises DataError as
    `read_features` does, for a pattern that no file fits, and for features of unequal width.
    """
    parts = [read_features(path, side) for text in texts for path in _paths(text, side)]
    labels = [part.labels() for part in parts]
    widths = {part.features.shape[1]: part.path for part in parts}
    if len(widths) > 1:
        told = ", ".join(f"{path} has {width}" for width, path in widths.items())
        raise DataError(f"The {side}'s files must have features of one width; {told}.")
    if len(parts) == 1:
        return parts[0]
    pids, camids = (np.concatenate(arrays) for arrays in zip(*labels, strict=True))
    features = mapped.Stacked([part.features for part in parts])
    return FeatureFile(Path(", ".join(texts)), features, pids, camids, None, tuple(parts))


def _paths(text: str, side: Side) -> list[Path]:
    """The files that a name, a folder or a pattern stands for, sorted."""
    path = Path(text)
    if path.is_dir():
        for one in WHOLE:
            if (path / one).is_file():
                return [path / one]
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in READERS and not _extra(p))
        if not found:
            raise DataError(
                f"--{side} {path} is a folder without features: expected {' or '.join(WHOLE)}, or "
                f"files that end in {', '.join(READERS)}."
            )
        return found
    if path.exists() or not glob.has_magic(text):
        return [path]
    matching = sorted(Path(name) for name in glob.glob(text))  # noqa: PTH207 (a pattern as typed)
    found = [path for path in matching if not _extra(path)]
    if not found:
        raise DataError(f"--{side} {text}: no file fits this pattern.")
    return found


def _extra(path: Path) -> bool:
    """Whether a file is one of labels that lies beside its features."""
    return path.suffixes[-2:-1] in ([f".{PIDS}"], [f".{CAMIDS}"], [f".{NAMES}"])


def read_features(path: Path, side: Side | None = None) -> FeatureFile:
    """The features of a file; of a file with both sides those of `side`, then without names.

    Raises DataError naming the file and the array for what is missing, of the wrong shape or type,
    or not to be read without running code that the file brings along.
    """
    if path.is_dir():
        (path, *more) = _paths(str(path), side or "query")
        if more:
            raise DataError(f"{path.parent} has several files of features: give one of them.")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file.")
    read = READERS.get(path.suffix.lower())
    if read is None:
        raise DataError(f"{path}: expected a file that ends in {', '.join(READERS)}.")
    try:
        arrays = read(path)
    except ReIDError:
        raise
    except Exception as error:  # of six libraries, each with its own
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{path} can't be read ({first}).") from error
    found = {name: _find(path, arrays, name, side) for name in KEYS if not (side and name == NAMES)}
    features = found[FEATURES]
    if features is None:
        there = ", ".join(sorted(arrays)[:SHOWN]) or "nothing"
        there += ", ..." if len(arrays) > SHOWN else ""
        asked = f" {side}" if side else ""
        raise DataError(
            f"{path} has no{asked} array {FEATURES!r} (or {', '.join(KEYS[FEATURES][1:])}); it has "
            f"{there}."
        )
    features = _features(path, features)
    count = len(features)
    return FeatureFile(
        path,
        features,
        _integers(path, PIDS, found[PIDS], count),
        _integers(path, CAMIDS, found[CAMIDS], count),
        _names(path, found.get(NAMES), count),
    )


def _find(path: Path, arrays: Mapping[str, Any], what: str, side: Side | None) -> Any:
    """The array by one of its names, that of the side first."""
    of_side = [f"{side}_{name}" for name in KEYS[what]] if side else []
    for name in [*of_side, *KEYS[what]]:
        if isinstance(arrays.get(name), ValueError):
            raise DataError(
                f"{path}: {name} can't be read ({arrays[name]}). Python objects could run code; "
                "save numbers, or text as .astype(str)."
            )
        if name in arrays:
            return arrays[name]
    return None


def _features(path: Path, value: Any) -> Rows:
    rows: Rows = value if hasattr(value, "dtype") else np.asarray(value)
    floating = rows.dtype.kind == "f" and rows.dtype.itemsize <= 8
    if not floating or rows.ndim != 2 or 0 in rows.shape:
        raise DataError(
            f"{path}: features must be floating-point numbers [N, D] of at most 64 bits, N and D "
            f"at least 1, not {rows.dtype} {list(rows.shape)}."
        )
    return rows


def _integers(path: Path, name: str, value: Any, count: int) -> np.ndarray | None:
    if value is None:
        return None
    # MATLAB has no lists, only rows, and its numbers are float64
    array = np.asarray(value).squeeze()
    array = array.reshape(1) if array.ndim == 0 else array
    if array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.rint(array)).all():
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu" or array.shape != (count,):
        raise DataError(
            f"{path}: {name} must be {count} whole numbers, one for each row of features, not "
            f"{array.dtype} {list(array.shape)}."
        )
    return array.astype(np.int64, copy=False)


def _names(path: Path, value: Any, count: int) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = tuple(_text(name) for name in np.asarray(value).reshape(-1).tolist())
    if len(names) != count:
        raise DataError(f"{path}: {len(names)} names for {count} rows of features: one each.")
    return names


def _text(name: Any) -> str:
    if isinstance(name, np.ndarray) and name.size == 1:  # a cell of MATLAB's
        name = name.item()
    return (name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)).strip()


def _npy(path: Path) -> dict[str, Any]:
    return {FEATURES: mapped.npy(path), **_beside(path)}


def _safetensors(path: Path) -> dict[str, Any]:
    return _beside(path) | mapped.safetensors(path)


def _beside(path: Path) -> dict[str, Any]:
    """The labels that lie beside a file of features: `g.pids.npy`; `pids.npy` by features.npy."""
    found: dict[str, Any] = {}
    for name in (PIDS, CAMIDS, NAMES):
        start = name if path.stem == FEATURES else f"{path.stem}.{name}"
        array, lines = path.with_name(f"{start}.npy"), path.with_name(f"{start}.txt")
        if array.is_file():
            found[name] = mapped.npy(array)
        elif name == NAMES and lines.is_file():
            found[name] = lines.read_text(encoding="utf-8-sig").rstrip().splitlines()
    return found


def _mat(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    try:
        found: dict[str, Any] = loadmat(path)
    except NotImplementedError as error:
        raise DataError(
            f"{path} is a MATLAB file of version 7.3; save it with '-v7', or as .npz."
        ) from error
    return {name: value for name, value in found.items() if not name.startswith("__")}


def _torch(path: Path) -> dict[str, Any]:
    import torch

    try:
        # what torch wrote before it wrote zip files can't be mapped
        zipped = zipfile.is_zipfile(path)
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path} can't be read as a dict of tensors and plain values; anything else could run "
            "code that the file brings along. Save such a dict, or use .npz."
        ) from error
    if not isinstance(found, dict):
        raise DataError(
            f"{path} holds a {type(found).__name__}; expected a dict with {FEATURES!r}, {PIDS!r} "
            f"and {CAMIDS!r}."
        )
    return {str(name): _plain(value) for name, value in found.items()}


def _plain(value: Any) -> Any:
    import torch

    if not isinstance(value, torch.Tensor):
        return value
    value = value.detach().cpu()
    # numpy has no bfloat16
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()


def _parquet(path: Path) -> dict[str, Any]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    found: dict[str, Any] = {}
    for name in table.column_names:
        values = table[name].to_numpy(zero_copy_only=False)
        lists = values.dtype == object and len(values) and isinstance(values[0], np.ndarray)
        found[name] = _stacked(path, name, values) if lists else values
    return found


def _stacked(path: Path, name: str, rows: np.ndarray) -> np.ndarray:
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise DataError(f"{path}: the lists in {name} are of unequal length.")
    return np.stack(list(rows))


SHOWN = 10
"""Names of arrays in a message."""
WHOLE = ("features.npy", "features.safetensors")
"""What a folder may have all its features in."""
READERS: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    ".npy": _npy,
    ".npz": mapped.npz,
    ".mat": _mat,
    ".pt": _torch,
    ".pth": _torch,
    ".safetensors": _safetensors,
    ".parquet": _parquet,
}
