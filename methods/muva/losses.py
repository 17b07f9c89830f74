"""MUVA's own losses; L_id and L_imp are in `methods.parts.losses`.

Shape letters: B batch, U identities in it, C identities, d feature size, R parts, L patches.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from methods.parts.losses import similarities

DICE_SMOOTHING = 1e-3


def prompt_loss(
    text: Tensor, memory: Tensor, labels: Tensor, counts: Tensor, temperature: float = 1.0
) -> Tensor:
    """L_cmp (Eq. 1): each identity's text against the visual prototypes of all.

    text: [U, d], L2-normalised; memory: VPM-1 [C, d], L2-normalised rows; labels: [U]; counts: [U]
    how often each is in the batch. Returns the mean over the batch.
    """
    each = functional.cross_entropy(
        similarities(text, memory) / temperature, labels, reduction="none"
    )
    return (each * counts).sum() / counts.sum()


def image_to_text_loss(
    features: Tensor,
    memory: Tensor,
    labels: Tensor,
    similarity: str = "dot",
    smoothing: float = 0.1,
) -> Tensor:
    """L_i2tce (Eq. 4): images against the texts of all identities, with smoothed labels.

    features: f [B, d]; memory: TPM [C, d], L2-normalised rows; labels: [B]. `similarity`: `cosine`
    (paper) or `dot`, where f is not normalised (released code). Returns the mean over the batch.
    """
    if similarity == "cosine":
        features = functional.normalize(features, dim=1)
    return functional.cross_entropy(
        similarities(features, memory), labels, label_smoothing=smoothing
    )


def mask_bce(logits: Tensor, masks: Tensor, known: Tensor | None = None) -> Tensor:
    """L_bce (Eq. 8), mean over layers, images, parts and patches.

    logits: M [layers, B, R, L] before the sigmoid; masks: G [B, R, L], 0 or 1; known: [B, R] bool,
    the masks that count, None for all. 0 if none does.
    """
    target = masks.to(logits.dtype).expand_as(logits)
    if known is None:
        return functional.binary_cross_entropy_with_logits(logits, target)
    each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return _mean_of_known(each.mean(-1), known)


def mask_dice(
    logits: Tensor, masks: Tensor, kind: str = "soft", known: Tensor | None = None
) -> Tensor:
    """L_dice (Eq. 8). logits: M [layers, B, R, L]; masks: G [B, R, L], 0 or 1; known as for L_bce.

    `soft` (released code): 1 - (2 sum PG + s) / (sum P + sum G + s) per layer, image and part, with
    s = 1e-3, and the mean of it. `per-patch` (paper): the mean over all patches of
    1 - 2 P G / (P + G), which is 1 on background whatever P is.
    """
    P = logits.sigmoid()
    G = masks.to(P.dtype).expand_as(P)
    if kind == "per-patch":
        # P > 0 in theory, 0 in floating point
        total = (P + G).clamp_min(torch.finfo(P.dtype).tiny)
        each = 1 - 2 * P * G / total
        return each.mean() if known is None else _mean_of_known(each.mean(-1), known)
    overlap, total = (P * G).sum(-1), P.sum(-1) + G.sum(-1)
    each = 1 - (2 * overlap + DICE_SMOOTHING) / (total + DICE_SMOOTHING)
    return each.mean() if known is None else _mean_of_known(each, known)


def _mean_of_known(each: Tensor, known: Tensor) -> Tensor:
    """The mean of values [layers, B, R] where `known` [B, R]; 0, and its gradient, if nowhere."""
    counts = known.expand_as(each)
    return (each * counts).sum() / counts.sum().clamp(min=1)
