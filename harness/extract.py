"""From image files to features: decoded and degraded in workers, encoded batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from harness.data import ImageFiles, image_batches, in_order
from harness.progress import EVALUATION_PASS, Progress
from methods.interface import Batch, Method
from protocols.errors import ReIDError
from protocols.variants import FLIP, Reading

BATCH_SIZE = 128
Encoded = dict[str, Tensor]
"""What `encode` returned, a row an image: [N, ...] each, float32, on the CPU."""


@dataclass(frozen=True)
class Extractor:
    """Turns image files below `root` into features, in evaluation mode."""

    method: Method
    root: Path
    device: torch.device
    workers: int = 0
    progress: Progress = field(default_factory=Progress)

    def __call__(
        self, paths: Sequence[str], doing: str = "features", how: Reading = Reading()
    ) -> Encoded:
        """Features in the order of `paths`, read as `how` says.

        Raises ReIDError for `how.flip` of a method whose score is its own.
        """
        rows = in_order(len(paths), BATCH_SIZE)
        return gathered(len(paths), self.batches(paths, rows, doing, how))

    @torch.no_grad()
    def batches(
        self, paths: Sequence[str], rows: Sequence[Sequence[int]], doing: str, how: Reading
    ) -> Iterator[tuple[Tensor, Encoded]]:
        """Features of some rows of `paths`, a batch at a time: (rows [B], what was encoded).

        The last digits of a feature depend on how many images are encoded with it.
        """
        if how.flip and type(self.method).score is not Method.score:
            name = type(self.method).__name__
            raise ReIDError(f"'{FLIP}' adds up features, and {name} has a score of its own.")
        self.method.eval()
        transform = self.method.transforms().eval
        files = ImageFiles(self.root, paths, transform, degradation=how.degradation)
        for at, images in image_batches(files, rows, self.workers, self.device):
            encoded = self._encode(images, how)
            self.progress.advance(len(at) * EVALUATION_PASS, doing)
            yield at, encoded

    def _encode(self, images: Tensor, how: Reading) -> Encoded:
        """Features of images [B, 3, H, W].

        With `how.flip` those of the images and of their mirror images, added up before anything is
        normalised, as PCB (Sun et al., ECCV 2018) and fast-reid do it; a sum and a mean rank alike.
        """
        precise: AbstractContextManager = nullcontext()
        if how.bf16:
            precise = torch.autocast(self.device.type, torch.bfloat16)
        with precise:
            encoded = self._floats(images)
            if how.flip:
                mirrored = self._floats(images.flip(3))
                encoded = {key: value + mirrored[key] for key, value in encoded.items()}
        return {key: value.cpu() for key, value in encoded.items()}

    def _floats(self, images: Tensor) -> Encoded:
        return {k: v.float() for k, v in self.method.encode(Batch(images)).items()}


def gathered(count: int, parts: Iterable[tuple[Tensor, Encoded]]) -> Encoded:
    """Features of `count` images from parts (rows [B], features), each written where it belongs.

    No more is held than the result and one part.
    """
    found: Encoded = {}
    for rows, part in parts:
        if not found:
            found = {k: v.new_empty((count, *v.shape[1:])) for k, v in part.items()}
        for key, value in part.items():
            found[key][rows] = value
    return found
