"""Part masks written as MUVA's authors distribute them; `pickled.read_masks` is the way back.

A pickled dict, image file name -> float32 array [R, L], to be ADDED to attention scores: 0 inside
the part, -inf outside; L = rows x columns of patches, row by row.

The opcodes are written here and not by `pickle`: numpy 2 would name a module (`numpy._core`) that
early releases of numpy 1 do not have. What is named below is there in both.
"""

from __future__ import annotations

import pickle
import posixpath
import struct
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from methods.grounding.labels import PartLabels
from methods.grounding.voting import Masks
from protocols.errors import DataError


def write_masks(
    path: Path,
    labels: PartLabels,
    paths: Sequence[str],
    grid: tuple[int, int],
    calibrate: bool = True,
) -> int:
    """Masks of the images `paths` on a `grid` of (rows, columns) patches, in the authors' format.

    Returns how many masks are empty, of parts that were not found or that nobody trusts: such a
    row is -inf throughout, and a softmax over it gives NaN in code that does not look for that.
    The caller sees to it that the file appears whole. Raises DataError if two images have one
    file name, if images have no labels, or if the masks are on another grid.
    """
    names = [posixpath.basename(one) for one in paths]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        both = [one for one in paths if posixpath.basename(one) == twice[0]]
        raise DataError(
            f"{len(twice)} file names stand for more than one image, {twice[0]} for example "
            f"({both[0]} and {both[1]}). The authors' format knows images by their file names: "
            "write a file a data set."
        )
    masks = labels.masks_for(paths, grid, calibrate)
    with path.open("wb") as file:
        _write(file, names, masks)
    return int((~masks.any((-2, -1))).sum())


def _write(file: BinaryIO, names: Sequence[str], masks: Masks) -> None:
    """The dict of `names` and masks [N, R, h, w], an array at a time."""
    file.write(pickle.PROTO + b"\x03" + pickle.EMPTY_DICT)
    make, kind, dtype = (made + _keep(place) for place, made in enumerate(_needed()))
    for name, mask in zip(names, masks, strict=True):
        values = np.where(mask, 0.0, -np.inf).astype("<f4")
        empty = _tuple(kind, _tuple(_integer(0)), _bytes(b"b"))
        shape = _tuple(_integer(len(mask)), _integer(mask[0].size))
        # version, shape, data type, not in Fortran's order, content: numpy's own description
        state = _tuple(_integer(1), shape, dtype, pickle.NEWFALSE, _bytes(values.tobytes()))
        file.write(_text(name) + make + empty + pickle.REDUCE + state + pickle.BUILD)
        file.write(pickle.SETITEM)
        make, kind, dtype = (pickle.BINGET + bytes([place]) for place in range(3))
    file.write(pickle.STOP)


def _needed() -> tuple[bytes, bytes, bytes]:
    """What every array needs: numpy's function, its arrays' class, little-endian float32."""
    arguments = _tuple(_text("f4"), pickle.NEWFALSE, pickle.NEWTRUE)
    whole = [_integer(-1), _integer(-1), _integer(0)]
    order = _tuple(_integer(3), _text("<"), *[pickle.NONE] * 3, *whole)
    return (
        _global("numpy.core.multiarray", "_reconstruct"),
        _global("numpy", "ndarray"),
        _global("numpy", "dtype") + arguments + pickle.REDUCE + order + pickle.BUILD,
    )


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode("ascii")


def _keep(place: int) -> bytes:
    return pickle.BINPUT + bytes([place])


def _integer(value: int) -> bytes:
    return pickle.BININT + struct.pack("<i", value)


def _text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return pickle.BINUNICODE + struct.pack("<I", len(raw)) + raw


def _bytes(value: bytes) -> bytes:
    return pickle.BINBYTES + struct.pack("<I", len(value)) + value


def _tuple(*items: bytes) -> bytes:
    return pickle.MARK + b"".join(items) + pickle.TUPLE
