"""Transforms: what is drawn for an image, done to its pixels and to its part masks alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor

from methods.interface import Transform

RESAMPLING = {
    "bilinear": PillowImage.Resampling.BILINEAR,
    "bicubic": PillowImage.Resampling.BICUBIC,
}


@dataclass(frozen=True)
class Move:
    """What a transform does to where things are: flip, then shift, in pixels to right and down.

    What is shifted in from outside is black.
    """

    flip: bool = False
    down: int = 0
    right: int = 0


def draw_move(transform: Transform, rng: np.random.Generator) -> Move:
    """Flip and crop of one image."""
    flip = bool(transform.flip) and rng.random() < transform.flip
    if not transform.pad:
        return Move(flip)
    top, left = rng.integers(0, 2 * transform.pad + 1, size=2)
    return Move(flip, transform.pad - int(top), transform.pad - int(left))


def apply(
    transform: Transform,
    image: PillowImage.Image,
    rng: np.random.Generator,
    move: Move | None = None,
) -> Tensor:
    """A decoded image to [3, H, W] float32, as `transform` says; draws from `rng` only.

    `move` is what `draw_move` has drawn from `rng` just before; it is drawn here if None.
    """
    move = move or draw_move(transform, rng)
    tensor = normalised(transform, torch.from_numpy(moved(transform, image, move)))
    if transform.erase and rng.random() < transform.erase:
        _erase(tensor, rng)
    return tensor


def moved(transform: Transform, image: PillowImage.Image, move: Move) -> np.ndarray:
    """A decoded image as pixels [H, W, 3] uint8, all of `transform` but the last steps."""
    height, width = transform.size
    image = image.resize((width, height), RESAMPLING[transform.interpolation])
    if move.flip:
        image = image.transpose(PillowImage.Transpose.FLIP_LEFT_RIGHT)
    # a copy, because torch takes no array that can't be written
    pixels = np.array(image, dtype=np.uint8)
    return _shift(pixels, move) if move.down or move.right else pixels


def normalised(transform: Transform, pixels: Tensor) -> Tensor:
    """Pixels [..., H, W, 3] uint8 to [..., 3, H, W] float32, where they lie."""
    first = pixels.movedim(-1, -3).to(torch.float32, memory_format=torch.contiguous_format)
    # a GPU multiplies by the inverse of a plain number, and the last digit is another
    whole = torch.tensor(255.0, device=pixels.device)
    mean, std = (
        torch.tensor(v, device=pixels.device)[:, None, None]
        for v in (transform.mean, transform.std)
    )
    return first.div_(whole).sub_(mean).div_(std)


def _shift(pixels: np.ndarray, move: Move) -> np.ndarray:
    """[H, W, ...] shifted; zeros come in."""
    shifted = np.zeros_like(pixels)
    (to_y, from_y), (to_x, from_x) = _overlap(move.down), _overlap(move.right)
    shifted[to_y, to_x] = pixels[from_y, from_x]
    return shifted


def _overlap(by: int) -> tuple[slice, slice]:
    """Where what stays in sight goes to, and where it comes from."""
    if by < 0:
        return slice(by), slice(-by, None)
    return slice(by, None), slice(-by or None)


def move_masks(masks: np.ndarray, move: Move, size: tuple[int, int]) -> np.ndarray:
    """Part masks [R, h, w] bool of an image of `size` pixels, moved as the image was.

    A patch belongs to a part if at least half of its pixels do; no part comes in from outside.
    """
    if move.flip:
        masks = masks[:, :, ::-1]
    if not (move.down or move.right):
        return masks
    (y, down), (x, across) = (_patches(n, c) for n, c in zip(size, masks.shape[1:], strict=True))
    pixels = _shift(masks[:, y][:, :, x].transpose(1, 2, 0), move)
    covered = np.add.reduceat(np.add.reduceat(pixels, down, 0, dtype=np.int64), across, 1)
    area = np.diff([*down, size[0]])[:, None] * np.diff([*across, size[1]])
    return (2 * covered >= area[..., None]).transpose(2, 0, 1)


def _patches(pixels: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The patch of every pixel, and the first pixel of every patch."""
    of = np.arange(pixels) * count // pixels
    return of, np.searchsorted(of, np.arange(count))


def _erase(tensor: Tensor, rng: np.random.Generator) -> None:
    """Random erasing (Zhong et al., AAAI 2020): noise over 2-40 % of the area, aspect 0.3-3.3."""
    _, height, width = tensor.shape
    for _ in range(100):
        area = rng.uniform(0.02, 0.4) * height * width
        aspect = rng.uniform(0.3, 1 / 0.3)
        h, w = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if 0 < h < height and 0 < w < width:
            top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
            noise = rng.standard_normal((3, h, w), dtype=np.float32)
            tensor[:, top : top + h, left : left + w] = torch.from_numpy(noise)
            return
