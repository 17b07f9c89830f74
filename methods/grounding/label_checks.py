"""What part labels must be like: shapes, types, and boxes that are boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from methods.grounding.voting import Boxes, Masks
from methods.interface import PARTS
from protocols.errors import DataError


def check_boxes(images: Sequence[str], boxes: Boxes) -> None:
    """Raise DataError unless [N, R, 4] float32 of boxes within 0..1, four NaN for a missing one."""
    shape = (len(images), len(PARTS), 4)
    if boxes.shape != shape or boxes.dtype != np.float32:
        here = f"{boxes.dtype} {list(boxes.shape)}"
        raise DataError(f"boxes are {here}; expected float32 {list(shape)}.")
    holes = np.isnan(boxes)
    low, high = boxes[..., :2], boxes[..., 2:]
    with np.errstate(invalid="ignore"):
        wrong = {
            "is NaN in part; all four values are, or none": holes.any(-1) & ~holes.all(-1),
            "is not within 0..1": ((boxes < 0) | (boxes > 1)).any(-1),
            "is out of order; expected xmin, ymin, xmax, ymax": (low > high).any(-1),
        }
    for what, where in wrong.items():
        if where.any():
            row, part = np.argwhere(where)[0]
            box = ", ".join(f"{value:g}" for value in boxes[row, part])
            raise DataError(f"the box of {PARTS[part]} in {images[row]} {what}: {box}.")


def check_masks(images: Sequence[str], masks: Masks) -> None:
    """Raise DataError unless [N, R, h, w] bool, with patches."""
    good = masks.ndim == 4 and masks.shape[:2] == (len(images), len(PARTS))
    if not good or 0 in masks.shape[2:] or masks.dtype != np.bool_:
        raise DataError(
            f"masks are {masks.dtype} {list(masks.shape)}; expected "
            f"[{len(images)}, {len(PARTS)}, rows, columns]."
        )


def check_discarded(images: Sequence[str], discarded: Masks) -> None:
    """Raise DataError unless [N, R] bool."""
    shape = (len(images), len(PARTS))
    if discarded.shape != shape or discarded.dtype != np.bool_:
        here = f"{discarded.dtype} {list(discarded.shape)}"
        raise DataError(f"discarded is {here}; expected one value a part, {list(shape)}.")
