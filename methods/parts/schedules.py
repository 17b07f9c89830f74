"""Learning-rate factors per epoch; epochs count from 1."""

from __future__ import annotations

import math
from collections.abc import Sequence


def warmup_steps(
    epoch: int, warmup: int, milestones: Sequence[int], start: float = 0.1, decay: float = 0.1
) -> float:
    """Linear warm-up from `start`, then a factor of `decay` from each milestone on.

    With warmup 10 and milestones (30, 50): 0.1 + 0.09 e for e < 10; 1 for 10..29; 0.1 for
    30..49; 0.01 from 50 on (MUVA and CLIP-ReID, stage 2).
    """
    if epoch < warmup:
        return start + (1 - start) * epoch / warmup
    return decay ** sum(epoch >= m for m in milestones)


def warmup_cosine(
    epoch: int, epochs: int, base: float, warmup: int, warmup_lr: float, min_lr: float
) -> float:
    """Linear warm-up from `warmup_lr`, then a cosine from `base` to `min_lr`; a factor of `base`.

    The cosine does not wait for the warm-up to end: with epochs 120, base 3.5e-4, warmup 5,
    warmup_lr 1e-5 and min_lr 1e-6 the rate is 1e-5 + 6.8e-5 t for t < 5, else
    1e-6 + (3.5e-4 - 1e-6) (1 + cos(pi t / 120)) / 2 (MUVA and CLIP-ReID, stage 1).
    """
    if epoch < warmup:
        return (warmup_lr + (base - warmup_lr) * epoch / warmup) / base
    return (min_lr + (base - min_lr) * (1 + math.cos(math.pi * epoch / epochs)) / 2) / base
