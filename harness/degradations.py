"""Images made worse, five levels each: occluded, blurred, of low resolution, too dark, too JPEG.

Kinds and levels are as in Hendrycks and Dietterich (ICLR 2019), which Chen et al. (Benchmarks for
Corruption Invariant Person Re-identification, NeurIPS 2021) took over for Re-ID; occlusion is
that of Zhuo et al. (Occluded Person Re-identification, ICME 2018): something stands before a part
of the person. Lengths are shares of the image's height, so that small and large images lose alike.

| kind | levels 1 to 5 |
|---|---|
| `occluded` | 10, 20, 30, 40, 50 % of the image behind one occluder (`harness.occluders`) |
| `blurred` | Gaussian of 0.5, 1, 1.5, 2, 2.5 % of the height and a motion of 1, 2, 4, 6, 8 % |
| `low-resolution` | down by 2, 3, 4, 5, 6 and up again, bicubic (MLR benchmarks: 2, 3, 4) |
| `light` | exposure of 0.7, 1.4, 2.1, 2.8, 3.5 stops less, or of 0.6 of that more |
| `jpeg` | quality 40, 25, 15, 10, 5, colours at half the resolution |

Everything is drawn from the kind and the image's name. Pixels are the same on every machine and
with every release of Pillow, but those of `jpeg`: they are what its libjpeg-turbo makes of them,
and another encoder may differ.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image as PillowImage

from harness.occluders import occlude
from harness.seeds import generator
from protocols.variants import Degradation

VERSION = 1
"""Goes up when a pixel changes; part of the fingerprint of degraded images."""
SEED = 0

COVERED = (0.1, 0.2, 0.3, 0.4, 0.5)
SIGMAS = (0.005, 0.01, 0.015, 0.02, 0.025)
MOTIONS = (0.01, 0.02, 0.04, 0.06, 0.08)
"""Of the height."""
FACTORS = (2, 3, 4, 5, 6)
STOPS = (0.7, 1.4, 2.1, 2.8, 3.5)
BRIGHTER = 0.6
"""Of the stops: what is clipped is lost sooner than what is dark."""
QUALITIES = (40, 25, 15, 10, 5)
_UNIT = 2**11
"""What the weights of a blur add up to: two blurs of 8 bits are exact in 32."""


def degrade(image: PillowImage.Image, degradation: Degradation, name: str) -> PillowImage.Image:
    """An RGB image made worse, of the same size; `name` is its file's, without folders.

    The level is in no draw: an occluder grows where it stands, what is too dark gets darker.
    """
    rng = generator(SEED, "degradation", degradation.kind, name)
    return _KINDS[degradation.kind](image, degradation.level - 1, rng)


def _occluded(image: PillowImage.Image, level: int, rng: np.random.Generator) -> PillowImage.Image:
    return PillowImage.fromarray(occlude(np.asarray(image), COVERED[level], rng))


def _blurred(image: PillowImage.Image, level: int, rng: np.random.Generator) -> PillowImage.Image:
    """Out of focus, and moved along a line that is nearer to the horizontal."""
    slope = rng.random() - 0.5
    gaussian = _gaussian(SIGMAS[level] * image.height)
    pixels = np.asarray(image).astype(np.int32)
    reach = len(gaussian) // 2
    places = range(-reach, reach + 1)
    pixels = _summed(pixels, [(at, 0, weight) for at, weight in zip(places, gaussian, strict=True)])
    pixels = _summed(pixels, [(0, at, weight) for at, weight in zip(places, gaussian, strict=True)])
    pixels = (pixels + _UNIT**2 // 2) // _UNIT**2
    steps = round(MOTIONS[level] * image.height / 2)
    path = [(round(slope * at), at, 1) for at in range(-steps, steps + 1)]
    pixels = (_summed(pixels, path) + len(path) // 2) // len(path)
    return PillowImage.fromarray(pixels.astype(np.uint8))


def _gaussian(sigma: float) -> list[int]:
    """Whole weights that add up to `_UNIT`, as far as three sigmas."""
    reach = int(np.ceil(3 * sigma))
    exact = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights = [round(weight) for weight in (_UNIT * exact / exact.sum()).tolist()]
    weights[reach] += _UNIT - sum(weights)
    return weights


def _summed(pixels: np.ndarray, moves: list[tuple[int, int, int]]) -> np.ndarray:
    """Weighted sum of pixels [H, W, 3] moved (down, across, weight); edges go on as they end."""
    height, width = pixels.shape[:2]
    room = max(max(abs(down), abs(across)) for down, across, _ in moves)
    padded = np.pad(pixels, ((room, room), (room, room), (0, 0)), mode="edge")
    total = np.zeros_like(pixels)
    for down, across, weight in moves:
        top, left = room + down, room + across
        total += weight * padded[top : top + height, left : left + width]
    return total


def _low_resolution(
    image: PillowImage.Image, level: int, rng: np.random.Generator
) -> PillowImage.Image:
    """What a camera of fewer pixels would have seen, as large as it was."""
    factor = FACTORS[level]
    pixels = np.asarray(image).astype(np.int32)
    small = _resized(pixels, max(1, round(image.height / factor)))
    small = _resized(small.swapaxes(0, 1), max(1, round(image.width / factor)))
    large = _resized(_resized(small, image.width).swapaxes(0, 1), image.height)
    return PillowImage.fromarray(large.astype(np.uint8))


def _resized(pixels: np.ndarray, count: int) -> np.ndarray:
    """Pixels [N, M, 3] as [count, M, 3], bicubic (Keys, 1981), as wide as pixels that become one.

    Pillow's own has changed between its releases.
    """
    scale = max(1.0, len(pixels) / count)
    places = (np.arange(count) + 0.5) * len(pixels) / count - 0.5
    reach = int(np.ceil(2 * scale))
    taps = np.floor(places)[:, None] + np.arange(1 - reach, reach + 1)
    x = np.abs(taps - places[:, None]) / scale
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    exact = np.where(x < 1, near, np.where(x < 2, far, 0))
    weights = np.rint(_UNIT * exact / exact.sum(1, keepdims=True)).astype(np.int32)
    weights[np.arange(count), weights.argmax(1)] += _UNIT - weights.sum(1, dtype=np.int32)
    rows = taps.astype(np.int64).clip(0, len(pixels) - 1)
    total = np.zeros((count, *pixels.shape[1:]), np.int32)
    for row, weight in zip(rows.T, weights.T, strict=True):
        total += weight[:, None, None] * pixels[row]
    return ((total + _UNIT // 2) // _UNIT).clip(0, 255)


def _light(image: PillowImage.Image, level: int, rng: np.random.Generator) -> PillowImage.Image:
    """Exposure is a factor of linear light; pixels are sRGB (IEC 61966-2-1) before and after."""
    stops = BRIGHTER * STOPS[level] if rng.integers(2) else -STOPS[level]
    table = [_encoded(min(1.0, 2**stops * _linear(value / 255))) for value in range(256)]
    return image.point([round(255 * value) for value in table] * 3)


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def _encoded(light: float) -> float:
    return 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055


def _jpeg(image: PillowImage.Image, level: int, rng: np.random.Generator) -> PillowImage.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITIES[level], subsampling="4:2:0")
    with PillowImage.open(file) as found:
        return found.convert("RGB")


_KINDS: dict[str, Callable[[PillowImage.Image, int, np.random.Generator], PillowImage.Image]] = {
    "occluded": _occluded,
    "blurred": _blurred,
    "low-resolution": _low_resolution,
    "light": _light,
    "jpeg": _jpeg,
}
