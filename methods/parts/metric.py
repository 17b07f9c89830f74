"""Losses on distances between the images of a batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from methods.parts.losses import full_precision


def batch_hard_triplet(features: Tensor, labels: Tensor, margin: float | None) -> Tensor:
    """Batch-hard triplet loss (Hermans, Beyer and Leibe, 2017, L_BH), mean over the batch.

    features: [B, D], as they are, not normalised; labels: [B]. Every image a is an anchor with its
    hardest positive p, the farthest image of its identity, and its hardest negative n, the nearest
    of another, by Euclidean distance d: max(0, margin + d(a, p) - d(a, n)). With `margin` None the
    hinge is soft: ln(1 + exp(d(a, p) - d(a, n))).

    An anchor that is alone with its identity is its own positive, at distance 0, and is only
    pushed away from others. Where all images are of one identity there is no negative: an anchor
    whose nearest negative is infinitely far loses nothing, so the loss is 0, and its gradient.
    Two equal images have distance 0 and there gradient 0.
    """
    with torch.autocast(features.device.type, enabled=False):
        features = full_precision(features)
        positive, negative, lonely = _hardest(features.detach(), labels)
        to_positive = torch.linalg.vector_norm(features - features[positive], dim=1)
        to_negative = torch.linalg.vector_norm(features - features[negative], dim=1)
        gap = to_positive - to_negative
        hinge = functional.softplus(gap) if margin is None else functional.relu(gap + margin)
        return hinge.masked_fill(lonely, 0).mean()


def _hardest(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of hardest positives [B] and negatives [B], and which anchors [B] have no negative."""
    # by differences: expanding the square costs float32 half of its digits between near images
    distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    same = labels[:, None] == labels
    positive = distances.masked_fill(~same, -torch.inf).argmax(1)
    negative = distances.masked_fill(same, torch.inf).argmin(1)
    return positive, negative, same.all(1)
