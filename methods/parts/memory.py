"""The visual prototypical memory (MUVA's VPM): one L2-normalised row an identity."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from methods.interface import SourceData


def centroids(pairs: Iterable[tuple[Tensor, Tensor]], data: SourceData) -> Tensor:
    """L2-normalised mean of the features of each identity.

    pairs: (features [B, D], labels [B]) for every batch of `data.in_order()`. Returns [C, D],
    float32 unless the features are float64. Sums run in float64, so that neither the batch size
    nor the number of processes shows.
    """
    total: Tensor | None = None
    kind = torch.float32
    for features, labels in pairs:
        if total is None:
            kind = torch.promote_types(features.dtype, kind)
            size = (data.num_classes, features.shape[1])
            total = torch.zeros(size, dtype=torch.float64, device=data.device)
        total.index_add_(0, labels, features.double())
    if total is None:
        raise ValueError("a memory needs at least one batch of features")
    # the mean and the sum have one direction
    return functional.normalize(data.summed(total), dim=1).to(kind)


@torch.no_grad()
def update_with_hardest(
    memory: Tensor, features: Tensor, labels: Tensor, momentum: float = 0.2
) -> None:
    """Move the rows of the identities in the batch toward their hardest instance, in place.

    Per identity: the instance least similar to its row (the first of equals) is v, and
    row <- L2(momentum * row + (1 - momentum) * v) (MUVA, Eq. 3).
    memory: [C, D]; features: [B, D], L2-normalised; labels: [B].
    """
    similarity = (features * memory[labels]).sum(1)
    present, instances = labels.unique(return_inverse=True)
    # [identities present, B]: the similarity where the instance is this identity's, else infinity
    own = torch.arange(len(present), device=labels.device)[:, None] == instances
    table = torch.where(own, similarity, torch.full_like(similarity, torch.inf))
    hardest = table.argmin(1)
    moved = momentum * memory[present] + (1 - momentum) * features[hardest].to(memory.dtype)
    memory[present] = functional.normalize(moved, dim=1)
