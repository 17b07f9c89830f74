"""What stands before people in occluded images: a person, a wall, a post, a bush, a car.

An occluder is a texture and the order in which it covers an image. How much of it is there is how
far that order is gone, so it stands where it stands and grows. Places are shares of the image's
height and width: an image of another size has the same occluder.

Arithmetic is that of single numpy operations, which round alike on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Drawn = tuple[np.ndarray, np.ndarray]
"""Depth [H, W], the smaller the sooner covered, and texture [H, W, 3] in 0..255."""

_BODY = (-.4, -.04, 0, -.06, .14, .19, .2, .2, .19, .17, .17, .15, .14, .12, .1, .1)  # fmt: skip
"""How far somebody reaches to the side, from the crown to the feet."""
_CAR = (0, .03, .1, .12, .13, .16, .34, .38, .4, .4, .39, .36, .22, .2, .19, .16, .02)  # fmt: skip
"""How high a car is, from its front to its back."""
_BEYOND = 9.0
"""Depth of what is never covered."""


def occlude(pixels: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """A copy of pixels [H, W, 3] uint8 of which an occluder covers a `share`, to the pixel.

    Two shares with equal generators have the same occluder; the larger covers all the other does.
    """
    height, width = pixels.shape[:2]
    down, across = _middles(height)[:, None], _middles(width)[None, :]
    draw = _OCCLUDERS[int(rng.integers(len(_OCCLUDERS)))]
    depth, texture = draw(down, 1 - across if rng.integers(2) else across, rng)
    order = np.argsort(depth, axis=None, kind="stable")
    covered = order[: round(share * len(order))]
    found = pixels.reshape(-1, 3).copy()
    found[covered] = texture.clip(0, 255).round().astype(np.uint8).reshape(-1, 3)[covered]
    return found.reshape(pixels.shape)


def _person(down: np.ndarray, across: np.ndarray, rng: np.random.Generator) -> Drawn:
    """Somebody who comes in from a side, in clothes of two colours."""
    crown = 0.02 + 0.15 * rng.random()
    along = (down - crown) / (1 - crown)
    depth = np.where(along < 0, _BEYOND, across - _between(np.array(_BODY), along))
    shirt, trousers, hair = _colour(rng), _colour(rng, 10, 120), _colour(rng, 10, 60)
    skin = (0.5 + 0.6 * rng.random()) * np.array([210.0, 165.0, 135.0])
    colour = np.where(along[..., None] < 0.55, shirt, trousers)
    colour = np.where(along[..., None] < 0.2, skin, colour)
    colour = np.where(along[..., None] < 0.07, hair, colour)
    return depth, colour * _shade(down, across, rng, (24, 12), 0.5)


def _wall(down: np.ndarray, across: np.ndarray, rng: np.random.Generator) -> Drawn:
    """The edge of a wall or a door, hardly out of the vertical."""
    depth = across + 0.2 * (rng.random() - 0.5) * down
    return depth, _painted(rng) * _shade(down, across, rng, (10, 3), 0.5)


def _post(down: np.ndarray, across: np.ndarray, rng: np.random.Generator) -> Drawn:
    """A post, round as its light says, somewhere between the sides."""
    middle = 0.25 + 0.5 * rng.random() + 0.1 * (rng.random() - 0.5) * down
    depth = np.abs(across - middle)
    light = (1.1 - 2 * depth)[..., None]
    return depth, _painted(rng) * light * _shade(down, across, rng, (40, 3), 0.3)


def _bush(down: np.ndarray, across: np.ndarray, rng: np.random.Generator) -> Drawn:
    """A bush from below, with a ragged outline."""
    crowns = _between(rng.random(6), across)
    depth = 1 - down - 0.3 * crowns - 0.15 * _noise(down, across, rng, (40, 20))
    green = np.array([60.0, 90.0, 40.0]) + _colour(rng, 0, 30)
    return depth, green * _shade(down, across, rng, (48, 24), 1.4)


def _car(down: np.ndarray, across: np.ndarray, rng: np.random.Generator) -> Drawn:
    """A part of a car from below, dark at its bumper."""
    part = 0.3 + 0.3 * rng.random()
    along = (1 - part) * rng.random() + part * across
    depth = 1 - down - _between(np.array(_CAR), along)
    colour = np.where(down[..., None] > 0.93, 40.0, _painted(rng))
    # light falls from above
    return depth, colour * (1.4 - 0.5 * down)[..., None] * _shade(down, across, rng, (6, 4), 0.2)


_OCCLUDERS: Sequence[Callable[[np.ndarray, np.ndarray, np.random.Generator], Drawn]] = (
    _person,
    _wall,
    _post,
    _bush,
    _car,
)


def _middles(count: int) -> np.ndarray:
    """Where the middles of that many pixels are, of 0..1."""
    return (np.arange(count) + 0.5) / count


def _between(knots: np.ndarray, place: np.ndarray) -> np.ndarray:
    """What stands at places in 0..1 between knots [K, ...] that are evenly spaced, on lines."""
    steps = place.clip(0, 1) * (len(knots) - 1)
    below = np.minimum(steps.astype(np.int64), len(knots) - 2)
    share = (steps - below).reshape(place.shape + (1,) * (knots.ndim - 1))
    found: np.ndarray = knots[below] * (1 - share) + knots[below + 1] * share
    return found


def _noise(
    down: np.ndarray, across: np.ndarray, rng: np.random.Generator, cells: tuple[int, int]
) -> np.ndarray:
    """Smooth noise [H, W] in 0..1, of so many cells down and across."""
    knots = rng.random((cells[0] + 1, cells[1] + 1))
    lines = _between(knots, down[:, 0])
    return _between(lines.T, across[0]).T


def _shade(
    down: np.ndarray,
    across: np.ndarray,
    rng: np.random.Generator,
    cells: tuple[int, int],
    strength: float,
) -> np.ndarray:
    """How bright a texture is, [H, W, 1] around 1: coarse and fine noise."""
    coarse, fine = _noise(down, across, rng, cells), _noise(down, across, rng, (64, 32))
    return (1 + strength * (coarse - 0.5) + 0.5 * strength * (fine - 0.5))[..., None]


def _colour(rng: np.random.Generator, low: int = 20, high: int = 235) -> np.ndarray:
    """Red, green and blue [3]."""
    return rng.integers(low, high, 3).astype(np.float64)


def _painted(rng: np.random.Generator) -> np.ndarray:
    """A colour [3] of what stands in a street: closer to grey than any."""
    return 0.8 * rng.integers(40, 210) + 0.2 * _colour(rng)
