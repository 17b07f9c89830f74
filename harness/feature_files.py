"""Features that somebody else made, read from the files that people write them to.

| suffix | |
|---|---|
| .npz | arrays; pickled ones are refused |
| .safetensors, .pt, .pth | tensors by name; .pt without anything but tensors and plain values |
| .mat | as older code bases write it: `gallery_f`, `gallery_label`, `gallery_cam`, `query_f`, ... |
| .parquet | a row an image, features as a list column |
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

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
    """What a file holds of N images: features [N, D], the others [N] or None where it has none."""

    path: Path
    features: np.ndarray
    pids: np.ndarray | None
    camids: np.ndarray | None
    names: tuple[str, ...] | None

    def labels(self) -> tuple[np.ndarray, np.ndarray]:
        """Pids and camids. Raises DataError for a file that lacks them."""
        if self.pids is None or self.camids is None:
            lacks = PIDS if self.pids is None else CAMIDS
            raise DataError(
                f"{self.path} has no array {lacks!r} (or {', '.join(KEYS[lacks][1:])}): whose "
                "picture each row is, and from which camera, has to be known."
            )
        return self.pids, self.camids


def read_features(path: Path, side: Side | None = None) -> FeatureFile:
    """The features of a file; of a file with both sides those of `side`.

    Raises DataError naming the file and the array for what is missing, of the wrong shape or type,
    or not to be read without running code that the file brings along.
    """
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
    found = {name: _find(arrays, names, side) for name, names in KEYS.items()}
    features = found[FEATURES]
    if features is None:
        there = ", ".join(sorted(arrays)) or "nothing"
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
        _names(path, found[NAMES], count),
    )


def _find(arrays: Mapping[str, Any], names: tuple[str, ...], side: Side | None) -> Any:
    """The array of one of some names, that of the side first."""
    of_side = [f"{side}_{name}" for name in names] if side else []
    return next((arrays[name] for name in [*of_side, *names] if name in arrays), None)


def _features(path: Path, value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind != "f" or array.ndim != 2 or 0 in array.shape:
        raise DataError(
            f"{path}: features must be floating-point numbers [N, D], N and D at least 1, not "
            f"{array.dtype} {list(array.shape)}."
        )
    # older MATLAB files may have the other byte order
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False))


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
    return array.astype(np.int64)


def _names(path: Path, value: Any, count: int) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = tuple(str(name).strip() for name in np.asarray(value).reshape(-1).tolist())
    if len(names) != count:
        raise DataError(f"{path}: {len(names)} names for {count} rows of features: one each.")
    return names


def _npz(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


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
        found = torch.load(path, map_location="cpu", weights_only=True)
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


def _safetensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {name: _plain(value) for name, value in load_file(path).items()}


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


READERS: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    ".npz": _npz,
    ".mat": _mat,
    ".pt": _torch,
    ".pth": _torch,
    ".safetensors": _safetensors,
    ".parquet": _parquet,
}
