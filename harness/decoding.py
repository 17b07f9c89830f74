"""Image files as RGB pixels: JPEGs by simplejpeg, everything else and every doubt by Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image as PillowImage

from protocols.errors import DataError

JPEG = b"\xff\xd8"
"""How such a file begins, whatever its name."""
COLOURS = ("YCbCr", "RGB", "Gray")
"""Of JPEGs that both decoders turn into RGB alike; CMYK is not among them."""
LARGEST = 2**24
"""Pixels: what claims to be larger is Pillow's, which refuses a bomb before it takes memory."""


def decode(path: Path) -> PillowImage.Image:
    """An image file as RGB, whatever its colour mode. Raises DataError naming the file."""
    try:
        decoded = _plain_jpeg(path.read_bytes())
        if decoded is not None:
            return decoded
        with PillowImage.open(path) as image:
            return _to_rgb(image)
    except Exception as error:
        raise DataError(
            f"{path} could not be decoded ({error}). Replace the file from the data set's archive; "
            "`harness check --data DIR` lists every damaged one."
        ) from error


def _plain_jpeg(content: bytes) -> PillowImage.Image | None:
    """A JPEG as RGB; None for what Pillow has to look at.

    That is every other kind of file, and every damaged one: `strict` refuses what Pillow may mend.
    libjpeg-turbo makes the same pixels for both, here in about half the time.
    """
    if not content.startswith(JPEG):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
        if colours not in COLOURS or height * width > LARGEST:
            return None
        # four bytes a pixel, as Pillow has it in memory
        pixels = simplejpeg.decode_jpeg(content, "RGBX", strict=True)
    except ValueError:
        return None
    return PillowImage.frombytes("RGB", (width, height), pixels, "raw", "RGBX")


def _to_rgb(image: PillowImage.Image) -> PillowImage.Image:
    if image.mode == "F":
        raise ValueError("it has floating-point pixels, whose range nobody knows")
    if image.mode.startswith("I"):
        # Pillow would clip 16 bits to 8, which makes everything white
        grey = np.asarray(image).astype(np.float64) / 257
        return PillowImage.fromarray(grey.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")
