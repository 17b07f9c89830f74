"""True boxes with the errors that an expert makes, to measure what calibration mends.

Each part of each image is hit with a probability of its own, and then has one of these errors, all
equally likely. The kinds are those of MUVA's figures 5 and 8 and of its section 5:

body        the box of the whole person in place of the part's: around all parts of the image that
            can be seen ("values approximating the entire image height", Fig. 5 a, b)
fragment    a piece of the part: 0.1 to 0.5 of its height, 0.5 to 1 of its width, anywhere in it
            ("over-splitting", Fig. 5 c, d)
missing     nothing was found
other       the same part of somebody else in the image ("the VGE is confused to determine the main
            person", section 5): 0.7 to 1.3 times the size, its centre 0.22 to 0.4 of the image to
            the left or right and up to 0.1 higher or lower, cut off where the image ends
occlusion   a box that reaches over an obstacle: half of the way or more to the image's left, right
            or lower edge. Obstacles that leave enough of a part are none of an expert's errors
            ("the VGE still performs well to locate uncovered regions"): the remainder is the truth

A part that can't be seen has no box to split, to move or to grow: only `body` hits it, the person
taken for the part. In an image without any part it stays missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from methods.grounding.voting import Boxes
from protocols.errors import ReIDError, UnknownName

Draws = np.ndarray  # [N, R, 4], evenly from 0 to 1
DRAWS = 4


def body(boxes: np.ndarray, draws: Draws) -> np.ndarray:
    """[N, R, 4]: for each part the box around all parts of its image."""
    # fmin and fmax pass over NaN
    corners = np.fmin.reduce(boxes[..., :2], axis=1), np.fmax.reduce(boxes[..., 2:], axis=1)
    return np.broadcast_to(np.concatenate(corners, -1)[:, None], boxes.shape)


def fragment(boxes: np.ndarray, draws: Draws) -> np.ndarray:
    """[N, R, 4]: a piece of each box."""
    corner, sides = boxes[..., :2], boxes[..., 2:] - boxes[..., :2]
    share = np.stack([0.5 + 0.5 * draws[..., 0], 0.1 + 0.4 * draws[..., 1]], -1)
    start = corner + sides * (1 - share) * draws[..., 2:]
    return np.concatenate([start, start + sides * share], -1)


def missing(boxes: np.ndarray, draws: Draws) -> np.ndarray:
    """[N, R, 4]: no box anywhere."""
    return np.full(boxes.shape, np.nan)


def other(boxes: np.ndarray, draws: Draws) -> np.ndarray:
    """[N, R, 4]: boxes of somebody beside."""
    centre, sides = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    side = np.where(draws[..., 0] < 0.5, -1, 1)
    across, down = side * (0.22 + 0.18 * draws[..., 1]), 0.2 * draws[..., 2] - 0.1
    centre = centre + np.stack([across, down], -1)
    half = sides * (0.35 + 0.3 * draws[..., 3:])
    return np.concatenate([centre - half, centre + half], -1).clip(0, 1)


def occlusion(boxes: np.ndarray, draws: Draws) -> np.ndarray:
    """[N, R, 4]: boxes that reach over something to the left, to the right or below."""
    edges = np.array([0, 2, 3])[np.minimum(3 * draws[..., 0], 2).astype(int)]
    grown = boxes + (np.array([0, 0, 1, 1]) - boxes) * (0.5 + 0.5 * draws[..., 1:2])
    return np.where(np.arange(4) == edges[..., None], grown, boxes)


ERRORS: dict[str, Callable[[np.ndarray, Draws], np.ndarray]] = {
    "body": body,
    "fragment": fragment,
    "missing": missing,
    "other": other,
    "occlusion": occlusion,
}
KINDS: tuple[str, ...] = tuple(ERRORS)


def simulate(
    boxes: Boxes, rate: float, seed: int, kinds: Sequence[str] = KINDS, jitter: float = 0.0
) -> Boxes:
    """True boxes [N, R, 4] (fractions, NaN where hidden) as an expert might give them.

    rate: 0..1, the share of parts that are hit. jitter: every edge is moved, besides, by a normal
    draw of this many sides of its box; none by default, so that rate 0 gives the true boxes.
    An image's errors depend on the seed and on its place alone: a higher rate adds errors to those
    that were there, and more images leave the errors of the first ones as they are.
    Raises UnknownName for a kind that is not there, ReIDError for a rate or no kinds at all.
    """
    for kind in kinds:
        if kind not in ERRORS:
            raise UnknownName("kind of error", kind, KINDS)
    if not 0 <= rate <= 1:
        raise ReIDError(f"rate {rate:g}: expected a share from 0 to 1.")
    if not kinds:
        raise ReIDError(f"no kinds of errors: expected some of {', '.join(KINDS)}.")
    true, shape = boxes.astype(np.float64), boxes.shape[:2]
    luck, kind = np.moveaxis(np.random.default_rng([seed, 0]).random((*shape, 2)), -1, 0)
    which = np.where(luck < rate, np.floor(kind * len(kinds)), -1)
    out = true.copy()
    for i, name in enumerate(kinds):
        # each kind has draws of its own: what one does never depends on which others there are
        draws = np.random.default_rng([seed, 1 + KINDS.index(name)]).random((*shape, DRAWS))
        hit = which == i
        out[hit] = ERRORS[name](true, draws)[hit]
    if jitter:
        noise = np.random.default_rng([seed, 1 + len(KINDS)]).normal(size=out.shape)
        sides = np.tile(out[..., 2:] - out[..., :2], 2)
        out = _in_order(out + jitter * noise * sides).clip(0, 1)
    return out.astype(np.float32)


def _in_order(boxes: np.ndarray) -> np.ndarray:
    low, high = boxes[..., :2], boxes[..., 2:]
    return np.concatenate([np.minimum(low, high), np.maximum(low, high)], -1)
