"""Residual Mask Prediction (section 3.2.1, Eq. 5): from tokens to part mask scores.

Shape letters: B batch, R parts, L patches, D width, h heads.
"""

from __future__ import annotations

import torch
from open_clip.transformer import QuickGELU
from torch import Tensor, nn

from protocols.errors import ReIDError


class CrossAttention(nn.Module):
    """Multi-head cross-attention of a few queries, without key and value projections of L tokens.

    With R queries and L >> R keys, Wk is folded into the query and Wv applied after the weighted
    sum: softmax((Wk_h^T q_h) . x) and Wv_h (sum a x) equal the plain form up to rounding, and
    2 L D^2 products a sample are never made.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ReIDError(f"rmp_heads={heads} does not divide the width {width} of this encoder.")
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(width, width, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width))

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """queries: [B, R, D]; tokens: [B, L, D], keys and values. Returns [B, R, D]."""
        B, R, D = queries.shape
        per_head = (self.heads, D // self.heads, D)
        q = self.to_q(queries).view(B, R, self.heads, -1)
        folded = torch.einsum("brhc,hcd->bhrd", q, self.to_k.weight.view(per_head))
        scores = folded.reshape(B, self.heads * R, D) @ tokens.transpose(1, 2)
        weights = (scores * self.scale).softmax(dim=-1)
        context = (weights @ tokens).view(B, self.heads, R, D)
        values = torch.einsum("bhrd,hcd->brhc", context, self.to_v.weight.view(per_head))
        return self.to_out(values.reshape(B, R, D))


class MaskPredictionBlock(nn.Module):
    """One layer's RMP: MLP(LN(CrossAttn(LN(r), LN(F)) + r)), Eq. 5 without the sum over layers.

    `layer_norm` and `residual` are the switches of table 10. All weights are drawn from a
    truncated normal of `init_std`, all biases start at 0.
    """

    def __init__(
        self,
        width: int,
        patches: int,
        heads: int,
        layer_norm: bool = True,
        residual: bool = True,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.ln_attn1, self.ln_attn2, self.ln_mlp = (
            nn.LayerNorm(width) if layer_norm else nn.Identity() for _ in range(3)
        )
        self.cross_attn = CrossAttention(width, heads)
        self.mlp = nn.Sequential(
            nn.Linear(width, patches), QuickGELU(), nn.Linear(patches, patches)
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=init_std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, local: Tensor, patches: Tensor) -> Tensor:
        """local: [B, R, D] tokens r; patches: [B, L, D] tokens F. Returns scores [B, R, L]."""
        located = self.cross_attn(self.ln_attn1(local), self.ln_attn2(patches))
        if self.residual:
            located = located + local
        return self.mlp(self.ln_mlp(located))
