"""Blocks of scores: their type, their size, and the cosine that most methods use.

Sizes: Q queries, G gallery items, D feature dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor

from protocols.errors import ReIDError

Score = Callable[[int, int], Tensor]
"""`score(start, stop)` gives [stop - start, G], float32 or float64; higher is better."""

BLOCK_BYTES = 64_000_000
"""How large a block of float32 scores may be by default."""


class NotFinite(ReIDError):
    """Features of one side hold nan or inf, first in a row."""

    def __init__(self, side: str, row: int) -> None:
        super().__init__(
            f"The {side} features hold nan or inf, first in row {row}. The model diverged, or "
            "overflowed in half precision."
        )
        self.side, self.row = side, row


def block_rows(gallery_size: int) -> int:
    """How many queries make a block of float32 scores of at most `BLOCK_BYTES` (at least one)."""
    return max(1, BLOCK_BYTES // (4 * gallery_size))


def cosine_score(query_features: Tensor, gallery_features: Tensor) -> Score:
    """Cosine similarity of [Q, D] and [G, D] features on one device, as a score for `rank`.

    Half-precision features are upcast and everything is computed in float32 (in float64 if
    either side is), also under autocast or with a lower matmul precision set. A zero vector
    scores 0 with everything.

    A product's rounding depends on its shape. So the products are always made in the same tiles
    of `block_rows(G)` queries, whatever ranges are asked for, and a query's scores never depend
    on the block. The last tile is kept: asking in order computes each once. Treat what the
    score returns as read-only, and use it from one thread.

    Raises ReIDError for features of the wrong shape or type, or not finite (side and row named).
    """
    query, gallery = unit("query", query_features), unit("gallery", gallery_features)
    if query.shape[1] != gallery.shape[1] or query.device != gallery.device:
        raise ReIDError(
            "Query and gallery features must have one width and one device, not "
            f"{list(query.shape)} on {query.device} and {list(gallery.shape)} on {gallery.device}."
        )
    dtype = torch.promote_types(query.dtype, gallery.dtype)
    query, gallery_t = query.to(dtype), gallery.to(dtype).T
    size = block_rows(len(gallery))

    @lru_cache(maxsize=1)
    def tile(index: int) -> Tensor:
        with full_precision(query.device.type):
            return query[index * size : (index + 1) * size] @ gallery_t

    def score(start: int, stop: int) -> Tensor:
        parts = [
            tile(index)[max(start - index * size, 0) : stop - index * size]
            for index in range(start // size, (stop - 1) // size + 1)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    return score


def unit(side: str, features: Tensor) -> Tensor:
    """[N, D] features at unit length, float32 or float64; a zero vector stays zero."""
    if features.ndim != 2 or 0 in features.shape or not features.is_floating_point():
        raise ReIDError(
            f"The {side} features must be a floating-point [N, D], N and D at least 1, not "
            f"{features.dtype} {list(features.shape)}."
        )
    wide = features.detach().to(torch.promote_types(features.dtype, torch.float32))
    largest = torch.linalg.vector_norm(wide, ord=torch.inf, dim=1, keepdim=True)
    if not torch.isfinite(largest).all():
        raise NotFinite(side, int((~torch.isfinite(largest[:, 0])).nonzero()[0]))
    tiny = torch.finfo(wide.dtype).tiny
    wide = wide / largest.clamp_min(tiny)  # first, so that no square overflows or underflows
    return wide.div_(torch.linalg.vector_norm(wide, dim=1, keepdim=True).clamp_min(tiny))


@contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Products in the tensors' own type: no autocast, no TF32 or bfloat16 inside."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device_type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
