"""Parameter groups whose learning rates differ."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch.nn import Parameter


def biases_apart(
    named: Iterable[tuple[str, Parameter]], lr: float, factor: float
) -> list[dict[str, Any]]:
    """Groups of the parameters that train: weights at `lr`, biases at `factor` times it."""
    trained = [(name, parameter) for name, parameter in named if parameter.requires_grad]
    return [
        {"params": [p for name, p in trained if not name.endswith("bias")], "lr": lr},
        {"params": [p for name, p in trained if name.endswith("bias")], "lr": lr * factor},
    ]
