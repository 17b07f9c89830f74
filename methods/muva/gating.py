"""Mask gating (section 3.2.2): from part masks to who may attend to whom.

    query \\ key   CLS   own local                        other locals   patches
    CLS            yes   yes                              yes            all
    local p        yes   yes                              no             those in mask p
    patch i        yes   local p only if i is in mask p   -              all

An empty mask leaves its local token CLS and itself, so no row is ever empty.
"""

from __future__ import annotations

import torch
from torch import Tensor


def visible_tokens(masks: Tensor, padding: str = "full") -> Tensor:
    """The attention pattern of a block: [B, T, T] bool, true where a query may see a key.

    masks: [B, R, L] bool, true where a patch belongs to a part; T = 1 + R + L tokens in the order
    CLS, local tokens, patches. `padding`: `full` is the table above (released code), `local-rows`
    masks only what the local tokens see of the patches (Pad(A) of Eq. 7).
    """
    B, R, L = masks.shape
    first = 1 + R
    visible = torch.ones(B, first + L, first + L, dtype=torch.bool, device=masks.device)
    visible[:, 1:first, first:] = masks
    if padding == "full":
        visible[:, first:, 1:first] = masks.transpose(1, 2)
        visible[:, 1:first, 1:first] = torch.eye(R, dtype=torch.bool, device=masks.device)
    return visible


def stripes(parts: int, which: tuple[int, ...], grid: tuple[int, int]) -> Tensor:
    """Equal horizontal bands in place of predicted masks (table 8): [len(which), L] bool.

    The image is cut into `parts` bands; a row of patches belongs to the band its centre is in.
    16 rows and 3 bands: rows 0-4, 5-10, 11-15. `which` chooses bands, from the top.
    """
    rows, columns = grid
    band = torch.arange(rows).mul(2).add(1).mul(parts).div(2 * rows, rounding_mode="floor")
    return torch.stack([(band == p).repeat_interleave(columns) for p in which])
