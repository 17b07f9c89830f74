"""Part masks as MUVA's authors distribute them, read without executing what a pickle can carry.

The file is a pickled dict, image file name -> float array or tensor [R, L], to be ADDED to
attention scores: 0 inside the part, -inf outside; L = rows x columns of patches, row by row.

A pickle is a program. It is read as data here, by `restricted.py`: nothing that it names is called.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from methods.grounding.labels import PartLabels
from methods.grounding.pickled_arrays import Array, Tensor, Values, load_arrays
from methods.grounding.restricted import shown
from methods.grounding.voting import Masks
from methods.interface import PARTS
from protocols.errors import DataError


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
        return _labels(load_arrays(content), grid, path.name)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:
        # whatever a torn or hostile file makes of the reader, it is the file's fault
        first = (str(error).splitlines() or [""])[0]
        raise DataError(
            f"{path}: not a pickle of part masks ({type(error).__name__}: {shown(first)}). Nothing "
            "in it was executed. Expected a dict of file names and arrays."
        ) from error


def _labels(loaded: Any, grid: tuple[int, int], name: str) -> PartLabels:
    if not isinstance(loaded, dict) or not loaded:
        raise DataError("expected a dict of file names and masks that is not empty.")
    # one by one: only masks that have the shape of `grid` make it worth its memory
    masks = [_mask(value, grid, shown(image)) for image, value in loaded.items()]
    images = tuple(image.replace("\\", "/") for image in loaded)
    return PartLabels(images, masks=np.stack(masks), made=f"the authors' masks, {name}")


def _mask(pickled: Any, grid: tuple[int, int], image: str) -> Masks:
    """One image's additive mask [R, L] as bool [R, rows, columns]."""
    value = _value(pickled, image, grid)
    inside = value == 0
    if not (inside | np.isneginf(value)).all():
        odd = float(value[~(inside | np.isneginf(value))][0])
        raise DataError(
            f"the mask of {image} holds {odd:g}; expected exactly 0 (inside the part) and -inf "
            "(outside). A file with 1 inside and 0 outside would be read inverted: write its 1 as "
            "0 and its 0 as -inf first."
        )
    return inside.reshape(len(PARTS), *grid)


def _value(pickled: Any, image: str, grid: tuple[int, int]) -> Values:
    """The array [R, L], which is neither copied nor converted before its shape is known."""
    array = pickled.value if isinstance(pickled, Array) else pickled
    if not isinstance(array, np.ndarray | Tensor):
        raise DataError(f"the mask of {image} is no array but {type(array).__name__}.")
    shape = (len(PARTS), math.prod(grid))
    if array.shape != shape:
        raise DataError(
            f"the mask of {image} is {list(array.shape)}; expected {list(shape)} for "
            f"{grid[0]}x{grid[1]} patches (rows x columns)."
        )
    return array.value if isinstance(array, Tensor) else array
