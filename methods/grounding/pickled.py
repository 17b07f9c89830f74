"""Part masks as MUVA's authors distribute them, read without executing what a pickle can carry.

The file is a pickled dict, image file name -> float array or tensor [R, L], to be ADDED to
attention scores: 0 inside the part, -inf outside; L = rows x columns of patches, row by row.

A pickle is a program. This one may call nothing but the few functions below, which build arrays
from what numpy and torch say of theirs; any other name stops the reading before anything runs.
"""

from __future__ import annotations

import codecs
import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from methods.grounding.labels import PartLabels
from methods.grounding.voting import Masks
from methods.interface import PARTS
from protocols.errors import DataError

# how files of torch.save begin: a zip archive, or a pickled number
TORCH_FILES = (b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")
FLOATS = ("<f2", "<f4", "<f8")


def read_masks(path: Path, grid: tuple[int, int]) -> PartLabels:
    """The authors' masks on a `grid` of (rows, columns) patches, as labels under file names.

    Raises DataError, naming the file, for one that asks for anything but arrays, whose values are
    not exactly 0 and -inf, or whose masks are not [R, rows * columns].
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} can not be read: {error.strerror or error}.") from error
    try:
        return _labels(_load(content), grid, path.name)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _load(content: bytes) -> Any:
    try:
        if content.startswith(TORCH_FILES):
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return _Reader(io.BytesIO(content)).load()
    except DataError:
        raise
    except Exception as error:
        # whatever a torn or hostile file makes of the reader, it is the file's fault
        first = (str(error).splitlines() or [""])[0]
        raise DataError(
            f"not a pickle of part masks ({type(error).__name__}: {first}). Nothing in it was "
            "executed. Expected a dict of file names and arrays."
        ) from error


class _Reader(pickle.Unpickler):
    """Knows the names that pickled arrays and tensors use, and no others."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        # made anew for every file: a pickle may set attributes of what it is given
        self.known = _known()

    def find_class(self, module: str, name: str) -> Any:
        """What stands for `module.name` here. Raises DataError for a name that is not known."""
        try:
            return self.known[module, name]
        except KeyError:
            raise DataError(
                f"it asks for {module}.{name}, which no file of arrays needs. It was not opened "
                "further and nothing in it was executed. Do not open it with other programs unless "
                "you trust whoever made it."
            ) from None


def _known() -> Mapping[tuple[str, str], Any]:
    """Stand-ins for the names in pickled arrays.

    numpy's own functions are not among them: they believe a pickle about the memory it describes.
    """

    class Array:
        """Becomes an array when numpy's description of it (its pickled state) arrives."""

        value: Any = None

        def __setstate__(self, state: Any) -> None:
            _, shape, dtype, fortran, raw = state
            self.value = _array(raw, dtype, shape, "F" if fortran else "C")

    class Dtype:
        """The name and byte order of a data type, never numpy's object."""

        def __init__(self, name: Any, *_: Any) -> None:
            self.name, self.order = str(name), "<"

        def __setstate__(self, state: Any) -> None:
            self.order = str(state[1])

    def _array(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray[Any, Any]:
        kind = f"{dtype.order.replace('|', '<')}{dtype.name}" if isinstance(dtype, Dtype) else "?"
        if kind not in FLOATS:
            raise DataError(f"it holds values of type {kind[1:] or kind}; expected floats.")
        if not isinstance(raw, bytes | bytearray) or order not in ("C", "F"):
            raise DataError("it holds an array in a form that is not known here.")
        # a copy: what a pickle goes on to do to its bytes is then of no account
        return np.frombuffer(bytes(raw), kind).reshape(tuple(shape), order=order)

    def reconstruct(*_: Any) -> Array:
        return Array()

    def from_buffer(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray[Any, Any]:
        return _array(raw, dtype, shape, order)

    def encode(text: str, encoding: str) -> bytes:
        # how protocols 0 to 2 spell bytes
        if encoding != "latin1":
            raise DataError(f"it asks for the encoding {encoding!r}.")
        return codecs.latin_1_encode(text)[0]

    def storage(raw: bytes) -> Any:
        return torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)

    def tensor(storage: Any, offset: int, size: Any, stride: Any, *_: Any) -> torch.Tensor:
        flat = torch.tensor([], dtype=storage.dtype)
        return flat.set_(storage, offset, tuple(size), tuple(stride)).clone()

    known: dict[tuple[str, str], Callable[..., Any]] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("_codecs", "encode"): encode,
        ("numpy", "ndarray"): Array,
        ("numpy", "dtype"): Dtype,
        ("torch._utils", "_rebuild_tensor_v2"): tensor,
        ("torch.storage", "_load_from_bytes"): storage,
    }
    for core in ("numpy.core", "numpy._core"):
        known[f"{core}.multiarray", "_reconstruct"] = reconstruct
        known[f"{core}.numeric", "_frombuffer"] = from_buffer
    return known


def _labels(loaded: Any, grid: tuple[int, int], name: str) -> PartLabels:
    if not isinstance(loaded, dict) or not loaded:
        raise DataError("expected a dict of file names and masks that is not empty.")
    masks = np.empty((len(loaded), len(PARTS), *grid), dtype=bool)
    images = []
    for row, (image, value) in enumerate(loaded.items()):
        if not isinstance(image, str):
            raise DataError(f"expected file names as keys; one is {type(image).__name__}.")
        images.append(image.replace("\\", "/"))
        masks[row] = _mask(getattr(value, "value", value), grid, image)
    return PartLabels(tuple(images), masks=masks, made=f"the authors' masks, {name}")


def _mask(value: Any, grid: tuple[int, int], image: str) -> Masks:
    """One image's additive mask [R, L] as bool [R, rows, columns]."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().to(torch.float32).numpy()
    if not isinstance(value, np.ndarray):
        raise DataError(f"the mask of {image} is no array but {type(value).__name__}.")
    shape = (len(PARTS), math.prod(grid))
    if value.shape != shape:
        raise DataError(
            f"the mask of {image} is {list(value.shape)}; expected {list(shape)} for "
            f"{grid[0]}x{grid[1]} patches (rows x columns)."
        )
    inside = value == 0
    if not (inside | np.isneginf(value)).all():
        odd = float(value[~(inside | np.isneginf(value))][0])
        raise DataError(
            f"the mask of {image} holds {odd:g}; expected exactly 0 (inside the part) and -inf "
            "(outside). A file with 1 inside and 0 outside would be read inverted: write its 1 as "
            "0 and its 0 as -inf first."
        )
    return inside.reshape(len(PARTS), *grid)
