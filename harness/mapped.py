"""Arrays that stay in their files: what is asked for is read, the rest is only mapped.

A mapped file is not memory of this process's own: the system takes its pages back when it needs
them. Nothing here is unpickled.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.cosine import Floats, Rows
from harness.matches import Index

LOCAL_HEADER, NAME_LENGTH, EXTRA_LENGTH = 30, slice(26, 28), slice(28, 30)
"""Of a member of a zip file: bytes before its name, and where the lengths of what follows stand."""
TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}
"""Numpy's names of what a safetensors file holds; of bfloat16 the bits."""


class BFloat16:
    """[N, D] bfloat16 numbers, which numpy has none of, given as float32 a part at a time."""

    def __init__(self, bits: NDArray[np.uint16]) -> None:
        self.bits, self.shape, self.ndim = bits, bits.shape, bits.ndim
        self.dtype = np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self.bits)

    def __getitem__(self, rows: slice | Index) -> Floats:
        """Exactly the same numbers: float32 has the bits of bfloat16, and 16 more."""
        return (self.bits[rows].astype(np.uint32) << 16).view(np.float32)


class Stacked:
    """The features of several files, one under the other: [N1 + N2 + ..., D], of one width."""

    def __init__(self, parts: Sequence[Rows]) -> None:
        self.parts = tuple(parts)
        stops = np.cumsum([len(part) for part in parts])
        self.starts = stops - [len(part) for part in parts]
        self.shape, self.ndim = (int(stops[-1]), parts[0].shape[1]), 2
        self.dtype = np.result_type(*(part.dtype for part in parts))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Index) -> Floats:
        """Rows `start` to `stop`, or those at some indices, in that order."""
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            found = [
                part[max(start - first, 0) : stop - first]
                for part, first in zip(self.parts, self.starts, strict=True)
                if first < stop and first + len(part) > start
            ]
            return np.concatenate(found).astype(self.dtype, copy=False)
        out = np.empty((len(rows), self.shape[1]), self.dtype)
        owner = np.searchsorted(self.starts, rows, side="right") - 1
        for i in np.unique(owner):
            out[owner == i] = self.parts[i][rows[owner == i] - self.starts[i]]
        return out


class Watched:
    """Rows that tell how many were read, a slice at a time."""

    def __init__(self, rows: Rows, read: Callable[[int], object]) -> None:
        self.rows, self.read = rows, read
        self.shape, self.ndim, self.dtype = rows.shape, rows.ndim, rows.dtype

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: slice | Index) -> Floats:
        found: Floats = self.rows[rows]
        if isinstance(rows, slice):
            self.read(len(found))
        return found


def npy(path: Path) -> NDArray[Any]:
    """The array of an .npy file. Raises ValueError for one of Python objects."""
    found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return found


def npz(path: Path) -> dict[str, Any]:
    """The arrays of an .npz file; those that are compressed are read.

    In place of one that can't be read, such as one of Python objects, is the error.
    """
    found: dict[str, Any] = {}
    with np.load(path, allow_pickle=False) as file, zipfile.ZipFile(path) as members:
        stored = {
            m.filename: m for m in members.infolist() if m.compress_type == zipfile.ZIP_STORED
        }
        for name in file.files:
            member = stored.get(f"{name}.npy")
            mapped = _member(path, member) if member else None
            try:
                found[name] = file[name] if mapped is None else mapped
            except ValueError as error:
                found[name] = error
    return found


def _member(path: Path, member: zipfile.ZipInfo) -> NDArray[Any] | None:
    """A member of an .npz file that is stored as it is; None for what can't be mapped."""
    with path.open("rb") as file:
        file.seek(member.header_offset)
        head = file.read(LOCAL_HEADER)
        lengths = (head[at] for at in (NAME_LENGTH, EXTRA_LENGTH))
        file.seek(sum(int.from_bytes(length, "little") for length in lengths), 1)
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            return None
        one = version == (1, 0)
        read = np.lib.format.read_array_header_1_0 if one else np.lib.format.read_array_header_2_0
        shape, columns_first, dtype = read(file)
        if dtype.hasobject or 0 in shape:
            return None
        return np.memmap(path, dtype, "r", file.tell(), shape, "F" if columns_first else "C")


def safetensors(path: Path) -> dict[str, Any]:
    """The tensors of a .safetensors file; those of bfloat16 are converted a part at a time."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as checked, path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        names = checked.keys()
    return {name: _tensor(path, header[name], 8 + length) for name in names}


def _tensor(path: Path, entry: dict[str, Any], start: int) -> Any:
    shape, name = tuple(entry["shape"]), entry["dtype"]
    if name not in TYPES:
        raise ValueError(f"a tensor is of type {name}")
    offset = start + entry["data_offsets"][0]
    array = (
        np.memmap(path, TYPES[name], "r", offset, shape)
        if np.prod(shape)
        else np.empty(shape, TYPES[name])
    )
    return BFloat16(array) if name == "BF16" else array
