"""From boxes to patch masks (MUVA, section 3.2.3, Fig. 6).

The paper: "If a patch is covered by the bounding box, its position is filled by 1". How much of
it must be covered is not said:

    rule      a patch belongs to a box that covers
    half      at least half of its area
    centre    its centre (the far edges of a box do not count)
    overlap   any of it

`half` is the default. It neither grows nor shrinks boxes on average, where `overlap` adds half a
patch on every side (a head two patches wide becomes three), and it is the rule by which masks
follow a random crop. A box that wins no patch, being smaller than one, gets the one that it
covers most: a part that was found has a mask.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

from protocols.errors import UnknownName

Rule = Literal["half", "centre", "overlap"]
RULES: tuple[str, ...] = get_args(Rule)

Boxes = np.ndarray[Any, np.dtype[np.float32]]
Masks = np.ndarray[Any, np.dtype[np.bool_]]

# a patch that is covered to a half must not be lost to the rounding of float32 coordinates
ROUNDING = 1e-6


def vote(boxes: Boxes, grid: tuple[int, int], rule: Rule = "half") -> Masks:
    """Boxes [..., 4] to masks [..., h, w] on a `grid` of (h, w) patches.

    A box is xmin, ymin, xmax, ymax as fractions of the image's width and height. One of NaN (a
    part that was not found) or without area gets an empty mask. Raises UnknownName for a rule
    that is not there.
    """
    if rule not in RULES:
        raise UnknownName("voting rule", rule, RULES)
    h, w = grid
    # in units of patches, patch i is [i, i + 1)
    x0, y0, x1, y1 = np.moveaxis(boxes.astype(np.float64) * (w, h, w, h), -1, 0)
    down, across = _covered(y0, y1, h), _covered(x0, x1, w)
    share = np.nan_to_num(down[..., :, None] * across[..., None, :])
    if rule == "overlap":
        return share > ROUNDING
    if rule == "half":
        masks = share >= 0.5 - ROUNDING
    else:
        masks = _holds_centre(y0, y1, h)[..., :, None] & _holds_centre(x0, x1, w)[..., None, :]
    small = ~masks.any((-2, -1)) & (share > 0).any((-2, -1))
    masks[small] = _most(share[small])
    return masks


def _covered(low: np.ndarray, high: np.ndarray, count: int) -> np.ndarray:
    """How much of each of `count` unit intervals lies in [low, high]: [..., count]."""
    start = np.arange(count)
    upper = np.minimum(high[..., None], start + 1)
    return np.clip(upper - np.maximum(low[..., None], start), 0, None)


def _holds_centre(low: np.ndarray, high: np.ndarray, count: int) -> np.ndarray:
    centre = np.arange(count) + 0.5
    return (low[..., None] <= centre) & (centre < high[..., None])


def _most(share: np.ndarray) -> Masks:
    """Of each [n, h, w], the first patch with the largest share."""
    n, h, w = share.shape
    # rounded, so that shares that are equal but for their last bits are
    flat = share.round(6).reshape(n, h * w)
    return (np.arange(h * w) == flat.argmax(1)[:, None]).reshape(n, h, w)
