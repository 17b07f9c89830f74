"""CLIP's attention block with one fused attention, and with only the tokens that are read.

Shape letters: B batch, T tokens, D width, H heads.
"""

from __future__ import annotations

from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from protocols.errors import ReIDError


def masked_block(
    block: ResidualAttentionBlock, x: Tensor, visible: Tensor | None, queries: int | None = None
) -> Tensor:
    """One of CLIP's blocks with one fused attention under a mask that all heads share.

    x: [B, T, D]; visible: [B, T, T] bool or None for all. With `queries` only the first that many
    tokens are carried on (the others are still keys): [B, queries, D].
    """
    n = x.shape[1] if queries is None else queries
    q, k, v = project(block.attn, block.ln_1(x), n)
    mask = None if visible is None else visible[:, None, :n]
    mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    x = x[:, :n] + block.ls_1(block.attn.out_proj(mixed.transpose(1, 2).flatten(2)))
    return x + block.ls_2(block.mlp(block.ln_2(x)))


def project(attn: nn.MultiheadAttention, x: Tensor, queries: int) -> tuple[Tensor, ...]:
    """Queries of the first tokens, keys and values of all: [B, H, queries or T, D / H] each."""
    D = attn.embed_dim
    weight, bias = attn.in_proj_weight, attn.in_proj_bias
    if queries == x.shape[1]:
        projected = functional.linear(x, weight, bias).chunk(3, dim=-1)
    else:
        q = functional.linear(x[:, :queries], weight[:D], bias[:D])
        projected = (q, *functional.linear(x, weight[D:], bias[D:]).chunk(2, dim=-1))
    return tuple(y.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for y in projected)


def require_clip(visual: nn.Module, who: str) -> None:
    """Refuse, in the name of the method `who`, what would silently be another model.

    Raises ReIDError unless `visual` is a vision transformer with CLIP's blocks and pooling.
    """
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", [])
    plain = all(type(block) is ResidualAttentionBlock for block in blocks)
    if not plain or not isinstance(visual, VisionTransformer) or visual.pool_type != "tok":
        raise ReIDError(
            f"{who} needs a vision transformer of open_clip with plain attention blocks whose "
            "output is the CLS token, such as ViT-B-16, ViT-B-32 or ViT-L-14; this backbone's "
            "is another."
        )
    if visual.attn_pool is not None or not isinstance(visual.patch_dropout, nn.Identity):
        raise ReIDError(f"{who} needs a CLIP without attentional pooling and patch dropout.")
