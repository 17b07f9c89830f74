"""Losses that several methods share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def full_precision(values: Tensor) -> Tensor:
    """What a loss is computed in: float32 under mixed precision, else as it is."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def similarities(features: Tensor, memory: Tensor) -> Tensor:
    """features [B, D] . memory [C, D]^T: [B, C], never in half precision.

    Autocast would take the product to bfloat16, whose 8 bits a temperature of 0.01 makes visible.
    """
    with torch.autocast(features.device.type, enabled=False):
        return full_precision(features) @ full_precision(memory).T


def identity_loss(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy over the training identities (MUVA, Eq. 2, first line).

    logits: [B, C]; labels: [B]; with `smoothing` e the target is (1 - e) on the label plus e / C
    everywhere. Returns the mean over the batch.
    """
    return functional.cross_entropy(logits, labels, label_smoothing=smoothing)


def prototypical_loss(
    features: Tensor, memory: Tensor, labels: Tensor, temperature: float
) -> Tensor:
    """Contrast features with one prototype an identity (MUVA, Eq. 2, second line).

    features: [B, D], L2-normalised; memory: [C, D], L2-normalised rows; labels: [B].
    Returns the mean over the batch of the cross-entropy of the cosine over `temperature`.
    """
    return functional.cross_entropy(similarities(features, memory) / temperature, labels)
