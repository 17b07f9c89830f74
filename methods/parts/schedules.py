"""Learning-rate factors per epoch; epochs count from 1."""

from __future__ import annotations

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
