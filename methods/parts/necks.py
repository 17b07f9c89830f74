"""The BN neck (Luo et al., CVPRW 2019) and the identity classifier behind it."""

from __future__ import annotations

from torch import nn

from protocols.errors import ReIDError


def bn_neck(width: int, momentum: float = 0.1) -> nn.BatchNorm1d:
    """BatchNorm1d over [B, width] whose bias is fixed at 0 and whose weight trains."""
    neck = nn.BatchNorm1d(width, momentum=momentum)
    neck.bias.requires_grad_(False)
    return neck


def identity_classifier(width: int, num_classes: int) -> nn.Linear:
    """Linear layer from features to identities, no bias, weights drawn from N(0, 0.001)."""
    classifier = nn.Linear(width, num_classes, bias=False)
    nn.init.normal_(classifier.weight, std=0.001)
    return classifier


def require_two_images(identities: int, instances: int) -> None:
    """Raise ValueError, for a config's validation, if a P x K batch is a single image."""
    if identities * instances < 2:
        raise ValueError("identities x instances must be 2 or more: a BN neck needs a batch")


def require_batch(identities: int, instances: int, num_classes: int) -> None:
    """Raise ReIDError if a P x K batch of these training identities holds a single image."""
    if min(identities, num_classes) * instances < 2:
        raise ReIDError(
            f"A BN neck needs batches of two images; with {num_classes} training identities, "
            f"identities={identities} and instances={instances} they hold one. "
            "--set instances=4 mends it."
        )
