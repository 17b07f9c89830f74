"""The part masks of a fold's training images, however they were made."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from methods.grounding.voting import Masks


@dataclass(frozen=True, eq=False)
class FoldMasks:
    """The masks of a fold's training images: one array [n, R, h, w] for each source, in order.

    `known`: for each source [n, R], the parts of which somebody knows where they are, None for
    all of them; empty if that is so for every source.
    """

    sources: tuple[Masks, ...]
    known: tuple[Masks | None, ...] = ()

    @property
    def digest(self) -> str:
        """16 hex digits of the SHA-256 of the masks and their shapes, however they were made."""
        total = hashlib.sha256()
        for masks in self.sources:
            total.update(f"{masks.shape}\n".encode())
            total.update(np.packbits(masks).tobytes())
        for source, known in enumerate(self.known):
            if known is not None:
                total.update(f"known {source}\n".encode())
                total.update(np.packbits(known).tobytes())
        return total.hexdigest()[:16]

    def of(self, rows: Sequence[Masks]) -> FoldMasks:
        """Of every source the images where `rows` [n] are True."""
        pairs = zip(self.known, rows, strict=True) if self.known else ()
        return FoldMasks(
            tuple(masks[mine] for masks, mine in zip(self.sources, rows, strict=True)),
            tuple(None if known is None else known[mine] for known, mine in pairs),
        )

    def tensor(self) -> Tensor:
        """All of them: [N, R, h, w] bool."""
        return torch.from_numpy(np.concatenate(self.sources))

    def known_tensor(self) -> Tensor | None:
        """Which of them somebody knows: [N, R] bool; None for all."""
        if all(known is None for known in self.known):
            return None
        each = [
            np.ones(masks.shape[:2], dtype=bool) if known is None else known
            for masks, known in zip(self.sources, self.known, strict=True)
        ]
        return torch.from_numpy(np.concatenate(each))
