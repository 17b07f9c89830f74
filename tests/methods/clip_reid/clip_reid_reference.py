"""CLIP-ReID's losses written out term by term, in float64, for reading rather than for speed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def log_share(scores: Sequence[Tensor], chosen: int) -> Tensor:
    """log(exp s_chosen / sum_k exp s_k)."""
    return scores[chosen] - torch.stack([s.exp() for s in scores]).sum().log()


def positives(rows: Tensor, columns: Tensor, labels: Sequence[int]) -> Tensor:
    """Mean over rows of the mean of -log p over all columns of the row's identity."""
    total = torch.zeros((), dtype=torch.float64)
    for a, label in enumerate(labels):
        scores = [rows[a] @ column for column in columns]
        same = [k for k, other in enumerate(labels) if other == label]
        total = total - sum(log_share(scores, k) for k in same) / len(same)
    return total / len(labels)


def loss_i2t(images: Tensor, texts: Tensor, labels: Sequence[int]) -> Tensor:
    """images, texts: [B, E], the text of every image, so one identity's several times."""
    return positives(images, texts, labels)


def loss_t2i(images: Tensor, texts: Tensor, labels: Sequence[int]) -> Tensor:
    return positives(texts, images, labels)


def smoothed(logits: Tensor, labels: Sequence[int], smoothing: float) -> Tensor:
    """Cross-entropy with (1 - e) on the label plus e / C everywhere, mean over rows."""
    total = torch.zeros((), dtype=torch.float64)
    for row, label in zip(logits, labels, strict=True):
        for k in range(len(row)):
            target = smoothing / len(row) + (1 - smoothing) * (k == label)
            total = total - target * log_share(list(row), k)
    return total / len(logits)


def triplet(features: Tensor, labels: Sequence[int], margin: float) -> Tensor:
    """Farthest of the same identity, nearest of another, Euclidean distance."""
    total = torch.zeros((), dtype=torch.float64)
    for a, label in enumerate(labels):
        # an image is its own positive only if it has no other, where the distance is 0
        distance = [((features[a] - f) ** 2).sum().clamp_min(1e-300).sqrt() for f in features]
        same = [d for k, d in enumerate(distance) if labels[k] == label and k != a]
        other = [d for k, d in enumerate(distance) if labels[k] != label]
        total = total + (margin + max(same) - min(other)).clamp_min(0)
    return total / len(labels)


def batch_norm(values: Tensor, weight: Tensor) -> Tensor:
    """By the statistics of the batch, without a bias."""
    centred = values - values.mean(0)
    return centred / ((centred**2).mean(0) + 1e-5).sqrt() * weight


def stage_2(
    f: dict[str, Tensor],
    necks: tuple[Tensor, Tensor],
    classifiers: tuple[Tensor, Tensor],
    texts: Tensor | None,
    labels: Sequence[int],
    id_weight: float,
) -> dict[str, Tensor]:
    """Every term of L: features f_a, f_b, f_p [B, ...], weights of BN necks and classifiers."""
    b, p = (batch_norm(f[name], w) for name, w in zip(("f_b", "f_p"), necks, strict=True))
    found = {
        "id": id_weight * smoothed(b @ classifiers[0].T, labels, 0.1),
        "id_p": id_weight * smoothed(p @ classifiers[1].T, labels, 0.1),
        "triplet": sum(triplet(f[name], labels, 0.3) for name in ("f_a", "f_b", "f_p")),
    }
    if texts is not None:
        found["i2t"] = smoothed(f["f_p"] @ texts.T, labels, 0.1)
    return found


def stage_1_rate(epoch: int, epochs: int = 120) -> float:
    """Learning rate of an epoch of stage 1."""
    if epoch < 5:
        return 1e-5 + 6.8e-5 * epoch
    return 1e-6 + (3.5e-4 - 1e-6) * (1 + math.cos(math.pi * epoch / epochs)) / 2
