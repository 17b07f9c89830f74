"""Decode images in full, to find the ones a training run would stumble over."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

Progress = Callable[[int, int], None]
"""Called with (images done, images in all), now and then."""

MAX_PIXELS = 50_000_000
"""More than this is no crop of a person but a mistake, or a file made to fill the memory."""

_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""All that people pictures come in; others (EPS starts Ghostscript) are not for us to run."""
_BATCH = 512


@dataclass(frozen=True)
class BadImage:
    """A file that does not decode, and why, in words."""

    path: str
    reason: str


@dataclass(frozen=True)
class Audit:
    """What decoding every file showed.

    `modes` counts Pillow's colour modes ("RGB", "L", ...). `sha256` is over the contents of all
    files in the order given, hex; empty if one of them could not even be read.
    """

    bad: tuple[BadImage, ...]
    modes: dict[str, int]
    sha256: str


class _Seen(NamedTuple):
    digest: bytes
    mode: str
    reason: str


def verify_images(paths: Iterable[Path], progress: Progress | None = None) -> list[BadImage]:
    """The files that are no whole image, in the order given. Another colour mode is no fault."""
    return list(audit(paths, progress).bad)


def audit(paths: Iterable[Path], progress: Progress | None = None) -> Audit:
    """Read and decode every file, on as many threads as there are cores (at most 16)."""
    from PIL import Image

    Image.init()  # Pillow loads its decoders late, and a decoder not loaded is a KeyError below
    paths = list(paths)
    seen: list[_Seen] = []
    with (
        # Filters are process-wide, so set here and not in the threads; we judge sizes ourselves.
        warnings.catch_warnings(action="ignore"),
        ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool,
    ):
        # In batches, so that Ctrl-C does not wait for a hundred thousand queued files.
        for start in range(0, len(paths), _BATCH):
            seen += pool.map(_look, paths[start : start + _BATCH])
            if progress:
                progress(len(seen), len(paths))
    unread = any(not s.digest for s in seen)
    total = hashlib.sha256(b"".join(s.digest for s in seen)).hexdigest()
    return Audit(
        bad=tuple(BadImage(str(p), s.reason) for p, s in zip(paths, seen, strict=True) if s.reason),
        modes=dict(sorted(Counter(s.mode for s in seen if s.mode).items())),
        sha256="" if unread else total,
    )


def _look(path: Path) -> _Seen:
    try:
        content = path.read_bytes()
    except OSError as error:
        return _Seen(b"", "", f"can not be read: {error.strerror or error}")
    digest = hashlib.sha256(content).digest()
    if not content:
        return _Seen(digest, "", "empty file (0 bytes)")
    mode, reason = _decode(content)
    return _Seen(digest, mode, reason)


def _decode(content: bytes) -> tuple[str, str]:
    """(colour mode, "") of a whole image, ("", reason) of anything else."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                return "", f"{width} x {height} pixels: far too large for the crop of a person"
            image.load()
            return image.mode, ""
    except UnidentifiedImageError:
        return "", "not an image (whatever its name says)"
    except Image.DecompressionBombError:
        return "", "far too large for the crop of a person (decompression bomb)"
    except (
        Exception
    ) as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct...
        return "", f"damaged: {error}"
