"""Euclidean distance through the engine that ranks by cosine, with the same exactness.

|q - g|^2 = |q|^2 - 2 (q.g - |g|^2 / 2), so the nearest items of a query have the largest
q.g - |g|^2 / 2. That is a product of rows with one more dimension, and among rows of one length
products order as cosines do: a further dimension, zero in the queries, makes all gallery rows
equally long (as in Bachrach et al., RecSys 2014). Distances do not change when everything is moved,
so the gallery's mean is taken off first, which leaves smaller numbers to subtract.

Sizes: Q queries, G gallery items, D feature dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.cosine import Features, Floats
from harness.scores import Score, cosine_score


def euclidean_rows(query: Tensor | Floats, gallery: Tensor | Floats) -> tuple[Tensor, Tensor]:
    """Rows whose cosines order as minus the Euclidean distances of [Q, D] and [G, D] features.

    Float64, [Q, D + 2] and [G, D + 2], so twice the memory of float32 features beside them, and
    while they are made twice again. Equal gallery rows stay equal. Raises ReIDError for features of
    the wrong shape or type, or not finite (side and row named).
    """
    q, g = _longer("query", query), _longer("gallery", gallery)
    centre = _centre(g[:, :-2])
    q[:, :-2] -= centre
    g[:, :-2] -= centre
    half = g.square().sum(1) / 2
    scale = torch.exp2((2 * half.max()).sqrt().clamp_min(1e-300).log2().ceil())
    q[:, -2] = scale
    g[:, -2] = -half / scale
    squares = g.square().sum(1)
    g[:, -1] = (squares.max() - squares).sqrt()
    return q, g


def euclidean_score(query: Tensor | Floats, gallery: Tensor | Floats) -> Score:
    """Minus the Euclidean distances, [Q, G] float64, as a score that compares between queries.

    Raises what `euclidean_rows` raises.
    """
    q, g = euclidean_rows(query, gallery)
    centre = _centre(_finite("gallery", gallery))
    squares = (_finite("query", query) - centre).square().sum(1)
    lengths = torch.linalg.vector_norm(q, dim=1) * torch.linalg.vector_norm(g, dim=1).max()
    cosine = cosine_score(q, g)

    def score(start: int, stop: int) -> Tensor:
        product = cosine(start, stop) * lengths[start:stop, None]
        return -(squares[start:stop, None] - 2 * product).clamp_min(0).sqrt()

    return score


def _centre(gallery: Tensor) -> Tensor:
    """The mean in so few digits that taking it off float32 features rounds nothing."""
    return gallery.mean(0).float().double()


def _longer(side: str, values: Tensor | Floats) -> Tensor:
    """A float64 copy with two more dimensions, which are zero."""
    return torch.nn.functional.pad(_finite(side, values), (0, 2))


def _finite(side: str, values: Tensor | Floats) -> Tensor:
    features = Features(side, values)
    rows = torch.as_tensor(features.values).double().cpu()
    if not torch.isfinite(rows).all():
        raise features.refuse()
    return rows
