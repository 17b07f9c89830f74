"""MUVA's losses, memories, BN neck and learning rates, written slowly from their equations.

C identities, d feature size, R parts, L patches. Labels are plain lists.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from muva_reference import unit
from torch import Tensor


def cross_entropy(scores: Tensor, labels: Sequence[int], smoothing: float = 0.0) -> Tensor:
    """-sum_c q_c log softmax(scores)_c, mean over rows; q = (1 - e) one-hot + e / C."""
    total = scores.new_zeros(())
    for row, label in zip(scores, labels, strict=True):
        top = row.max().detach()
        log_sum = top + torch.log(torch.exp(row - top).sum())
        for c in range(len(row)):
            q = smoothing / len(row) + (1 - smoothing if c == label else 0.0)
            total = total - q * (row[c] - log_sum)
    return total / len(scores)


def loss_cmp(text: Tensor, memory: Tensor, labels: Sequence[int], tau: float = 1.0) -> Tensor:
    """Eq. 1, mean over the texts given, however often an identity is among them."""
    return cross_entropy(unit(text) @ unit(memory).T / tau, labels)


def loss_id(b: Tensor, weight: Tensor, labels: Sequence[int], smoothing: float) -> Tensor:
    """Eq. 2, first line. b: [B, d]; weight: [C, d]."""
    return cross_entropy(b @ weight.T, labels, smoothing)


def loss_imp(b: Tensor, memory: Tensor, labels: Sequence[int], tau: float = 0.01) -> Tensor:
    """Eq. 2, second line, on cosines."""
    return cross_entropy(unit(b) @ unit(memory).T / tau, labels)


def loss_i2tce(
    f: Tensor, memory: Tensor, labels: Sequence[int], similarity: str, smoothing: float
) -> Tensor:
    """Eq. 4 (cosine), or the released code's plain dot product."""
    if similarity == "cosine":
        f, memory = unit(f), unit(memory)
    return cross_entropy(f @ memory.T, labels, smoothing)


def loss_bce(logits: Tensor, truth: Tensor) -> Tensor:
    """Eq. 8, first line. logits: M [layers, B, R, L]; truth: G [B, R, L]. A mean over all."""
    total = logits.new_zeros(())
    for of_layer in logits:
        p = torch.sigmoid(of_layer)
        total = total - (truth * torch.log(p) + (1 - truth) * torch.log(1 - p)).sum()
    return total / logits.numel()


def loss_dice(logits: Tensor, truth: Tensor, kind: str) -> Tensor:
    """`soft`: 1 - (2 sum PG + 1e-3) / (sum P + sum G + 1e-3) per layer, sample and part, the mean;
    `per-patch`: Eq. 8 as printed, 1 - 2 PG / (P + G) of each patch, the mean."""
    ratios = []
    for of_layer in logits:
        for of_sample, true_parts in zip(of_layer, truth, strict=True):
            for scores, g in zip(of_sample, true_parts, strict=True):
                p = torch.sigmoid(scores)
                if kind == "soft":
                    ratios.append((2 * (p * g).sum() + 1e-3) / (p.sum() + g.sum() + 1e-3))
                else:
                    ratios.append((2 * p * g / (p + g)).mean())
    return 1 - torch.stack(ratios).mean()


# ---------------------------------------------------------------------------------- memories


def centroids(features: Tensor, labels: Sequence[int], num_classes: int) -> Tensor:
    """VPM: the unit vector along the mean of each identity's features [N, d]."""
    rows = []
    for c in range(num_classes):
        own = torch.stack([f for f, label in zip(features, labels, strict=True) if label == c])
        rows.append(unit(own.mean(0)))
    return torch.stack(rows)


def update_memory(
    memory: Tensor, features: Tensor, labels: Sequence[int], gamma: float = 0.2
) -> Tensor:
    """Eq. 3 with the batch's hardest instance of each identity; returns the memory that follows."""
    after = memory.clone()
    for c in sorted(set(labels)):
        own = [f for f, label in zip(features, labels, strict=True) if label == c]
        hardest = min(own, key=lambda f: float(f @ memory[c]))
        after[c] = unit(gamma * memory[c] + (1 - gamma) * hardest)
    return after


def batch_norm(f: Tensor, weight: Tensor, mean: Tensor | None, var: Tensor | None) -> Tensor:
    """The BN neck, bias 0: on running statistics, or on the batch's own if they are None."""
    if mean is None or var is None:
        mean, var = f.mean(0), ((f - f.mean(0)) ** 2).mean(0)
    return (f - mean) / (var + 1e-5).sqrt() * weight


# ----------------------------------------------------------------------- learning rates (4.2)


def prompt_lr(epoch: int) -> float:
    """Stage 1, epochs 1 to 120."""
    if epoch < 5:
        return 1e-5 + 6.8e-5 * epoch
    return 1e-6 + 0.5 * (3.5e-4 - 1e-6) * (1 + math.cos(math.pi * epoch / 120))


def encoder_factor(epoch: int) -> float:
    """Stage 2, epochs 1 to 60."""
    if epoch < 10:
        return 0.1 + 0.09 * epoch
    if epoch < 30:
        return 1.0
    return 0.1 if epoch < 50 else 0.01
