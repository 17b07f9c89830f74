"""CLIP's image encoders, tapped in three places: f_a, f_b and f_p.

          ViT                                      RN50
    f_a   CLS after the last block but one (768)   layer3, average-pooled (1024)
    f_b   ln_post of CLS after the last (768)      layer4, average-pooled (2048)
    f_p   f_b . proj (512)                         token 0 of the attention pool (1024)

Shape letters: B batch, T tokens, D width, E joint space.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from methods.parts.attention import masked_block, require_clip
from methods.parts.clip import image_encoder, resize_positions
from protocols.errors import ReIDError

if TYPE_CHECKING:
    from open_clip.model import CLIP

WHO = "CLIP-ReID"
REDUCTION = 16
"""Pixels a side that a cell of the ResNet's map stands for, its last stage at stride 1."""


class Taps(NamedTuple):
    """Features of a batch: f_a [B, D_a], f_b [B, D_b], f_p [B, E]."""

    f_a: Tensor
    f_b: Tensor
    f_p: Tensor


class TappedViT(nn.Module):
    """CLIP's vision transformer for images of `size` (height, width); all of it trains.

    `overlap`: patches at three quarters of their size, 12 pixels of 16, which are 211 tokens at
    256 x 128. Raises ReIDError for another kind of model, or a size that is no multiple of a patch.
    """

    def __init__(self, clip: CLIP, size: tuple[int, int], overlap: bool = False) -> None:
        super().__init__()
        require_clip(clip.visual, WHO)
        positions, grid = clip.visual.positional_embedding, clip.visual.grid_size
        visual = image_encoder(clip, size)
        visual.conv1.requires_grad_(True)
        if overlap:
            stride = [side * 3 // 4 for side in visual.patch_size]
            rows, columns = (
                (n - side) // step + 1
                for n, side, step in zip(size, visual.patch_size, stride, strict=True)
            )
            visual.conv1.stride, visual.grid_size = tuple(stride), (rows, columns)
            resized = resize_positions(positions.detach(), grid, (rows, columns))
            visual.positional_embedding = nn.Parameter(resized)
        self.visual: VisionTransformer = visual
        self.widths = (visual.conv1.out_channels,) * 2 + (visual.output_dim,)

    def forward(self, images: Tensor) -> Taps:
        """images: [B, 3, H, W]."""
        visual = self.visual
        patches = visual.conv1(images).flatten(2).transpose(1, 2)
        cls = visual.class_embedding.to(patches.dtype).expand(len(images), 1, -1)
        x = torch.cat([cls, patches], dim=1) + visual.positional_embedding.to(patches.dtype)
        x = visual.ln_pre(x)
        *blocks, last = visual.transformer.resblocks
        for block in blocks:
            x = masked_block(block, x, None)
        # of the last block nobody looks at the patches
        f_b = visual.ln_post(masked_block(last, x, None, queries=1)[:, 0])
        return Taps(x[:, 0], f_b, f_b @ visual.proj)


class TappedResNet(nn.Module):
    """CLIP's ResNet for images of `size` (height, width), its last stage at stride 1.

    `frozen`: its batch norms keep CLIP's statistics. Raises ReIDError for another kind of model,
    or a size that is no multiple of 16.
    """

    def __init__(self, clip: CLIP, size: tuple[int, int], frozen: bool = False) -> None:
        super().__init__()
        visual = clip.visual
        if not isinstance(visual, ModifiedResNet):
            raise ReIDError(f"{WHO} knows CLIP's own ResNets, such as RN50; this is another model.")
        if size[0] % REDUCTION or size[1] % REDUCTION:
            raise ReIDError(
                f"image_size {size[0]}x{size[1]} is no multiple of {REDUCTION}: "
                "choose a height and a width that are."
            )
        first = visual.layer4[0]
        first.stride, first.avgpool, first.downsample[0] = 1, nn.Identity(), nn.Identity()
        pool = visual.attnpool
        side = round((len(pool.positional_embedding) - 1) ** 0.5)
        grid = (size[0] // REDUCTION, size[1] // REDUCTION)
        positions = resize_positions(pool.positional_embedding.detach(), (side, side), grid)
        pool.positional_embedding = nn.Parameter(positions)
        self.visual, self.frozen = visual, frozen
        wide = positions.shape[1]
        self.widths = (wide // 2, wide, visual.output_dim)

    def train(self, mode: bool = True) -> TappedResNet:
        """As any module's, but for batch norms that are frozen."""
        super().train(mode)
        if self.frozen:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, images: Tensor) -> Taps:
        """images: [B, 3, H, W]."""
        visual = self.visual
        x3 = visual.layer3(visual.layer2(visual.layer1(visual.stem(images))))
        x4 = visual.layer4(x3)
        return Taps(x3.mean((2, 3)), x4.mean((2, 3)), pooled_token(visual.attnpool, x4))


def pooled_token(pool: AttentionPool2d, x: Tensor) -> Tensor:
    """Token 0 of an attention pool, the only query: [B, C, h, w] to [B, E]."""
    cells = x.flatten(2).transpose(1, 2)
    tokens = torch.cat([cells.mean(1, keepdim=True), cells], dim=1)
    tokens = tokens + pool.positional_embedding.to(tokens.dtype)
    projected = (pool.q_proj(tokens[:, :1]), pool.k_proj(tokens), pool.v_proj(tokens))
    q, k, v = (y.unflatten(-1, (pool.num_heads, -1)).transpose(1, 2) for y in projected)
    mixed = functional.scaled_dot_product_attention(q, k, v)
    return pool.c_proj(mixed.transpose(1, 2).flatten(2)[:, 0])
