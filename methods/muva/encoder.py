"""CLIP's image encoder with a local token for each part and AM-MSA in every layer (section 3.2).

Shape letters: B batch, R parts, L patches, T = 1 + R + L tokens, D width, E joint space, H heads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from methods.muva.gating import visible_tokens
from methods.muva.rmp import MaskPredictionBlock
from methods.parts.attention import masked_block, project, require_clip

TOKEN_STD = 0.02
"""Standard deviation of the truncated normal that local tokens are drawn from (section 4.2)."""


@dataclass(frozen=True)
class Encoded:
    """features: [B, (1 + R) E], the projected CLS and local tokens side by side (f);
    mask_logits: [layers, B, R, L], M of Eq. 5; None where no mask was predicted."""

    features: Tensor
    mask_logits: Tensor | None


class PartEncoder(nn.Module):
    """From images to multi-grained features and part masks.

    Tokens are [CLS, local tokens, patches]. In each layer the RMP looks at the block's input,
    adds to the scores of the layer before, and the thresholded scores gate the block's attention.
    The gate is detached: an identity loss reaches no RMP, the mask loss reaches the blocks below.

    `stripes`: fixed masks [R, L] instead of predicted ones. `make_block` builds one layer's RMP.
    Raises ReIDError for a vision transformer whose blocks or pooling are not CLIP's.
    """

    def __init__(
        self,
        visual: VisionTransformer,
        num_parts: int,
        make_block: Callable[[int, int], MaskPredictionBlock],
        *,
        stripes: Tensor | None = None,
        shared_positions: bool = False,
        padding: str = "full",
        threshold: float = 0.5,
    ) -> None:
        super().__init__()
        require_clip(visual, "MUVA")
        self.visual = visual
        self.num_parts, self.padding, self.threshold = num_parts, padding, threshold
        self.shared_positions = shared_positions
        width, patches = visual.conv1.out_channels, visual.grid_size[0] * visual.grid_size[1]
        blocks = visual.transformer.resblocks
        self.register_buffer("stripes", stripes, persistent=False)
        self.stripes: Tensor | None
        self.mask_predictor = nn.ModuleList()
        if num_parts:
            self.local_tokens = nn.Parameter(torch.empty(num_parts, width))
            nn.init.trunc_normal_(self.local_tokens, std=TOKEN_STD)
            if not shared_positions:
                # they start as copies of the CLS row and then train separately
                rows = visual.positional_embedding.detach()
                rows = torch.cat([rows[:1].repeat(1 + num_parts, 1), rows[1:]])
                visual.positional_embedding = nn.Parameter(rows)
            if stripes is None:
                self.mask_predictor.extend(make_block(width, patches) for _ in blocks)
        self.output_dim = (1 + num_parts) * visual.output_dim

    def tokens(self, images: Tensor) -> Tensor:
        """images: [B, 3, H, W] to what the first block gets: [B, T, D]."""
        visual, R = self.visual, self.num_parts
        patches = visual.conv1(images).flatten(2).transpose(1, 2)
        prefix = visual.class_embedding[None]
        positions = visual.positional_embedding
        if R:
            prefix = torch.cat([prefix, self.local_tokens])
            if self.shared_positions:
                positions = torch.cat([positions[:1].expand(1 + R, -1), positions[1:]])
        prefix = prefix.to(patches.dtype).expand(len(images), -1, -1)
        x = torch.cat([prefix, patches], dim=1) + positions.to(patches.dtype)
        return visual.ln_pre(x)

    def forward(self, images: Tensor, masks: Tensor | None = None) -> Encoded:
        """images: [B, 3, H, W]; masks: [B, R, L] bool gate every layer instead of predicted ones.

        With masks given, or with stripes, the RMP is bypassed.
        """
        x, logits = self._layers(images, masks)
        x = self.visual.ln_post(x)
        if self.visual.proj is not None:
            x = x @ self.visual.proj
        return Encoded(x.flatten(1), torch.stack(logits) if logits else None)

    def maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """For pictures: mask probabilities and the local tokens' attention, both [layers, B, R, L].

        Attention is the mean over heads and leaves out what goes to CLS and the token itself.
        """
        attention: list[Tensor] = []
        _, logits = self._layers(images, attention=attention)
        if self.stripes is not None:
            shape = (len(attention), len(images), -1, -1)
            return self.stripes.float().expand(shape), torch.stack(attention)
        return torch.stack(logits).sigmoid(), torch.stack(attention)

    def _layers(
        self, images: Tensor, masks: Tensor | None = None, attention: list[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """CLS and local tokens that leave the last block [B, 1 + R, D], and each layer's M.

        `attention` is given what the local tokens look at in each layer.
        """
        x, first = self.tokens(images), 1 + self.num_parts
        logits: list[Tensor] = []
        fixed = self._fixed_gate(images, masks)
        blocks = self.visual.transformer.resblocks
        for layer, block in enumerate(blocks):
            gate = self._predict(layer, x, logits) if fixed is None else fixed
            if attention is not None:
                attention.append(local_attention(block, x, gate, self.num_parts))
            # nobody looks at the patches that leave the last block
            last = layer == len(blocks) - 1
            x = masked_block(block, x, gate, queries=first if last else None)
        return x, logits

    def _fixed_gate(self, images: Tensor, masks: Tensor | None) -> Tensor | None:
        """The gate of every layer where it does not depend on the layer: [B, T, T] bool."""
        if not self.num_parts:
            return None
        if self.stripes is not None:
            masks = self.stripes.expand(len(images), -1, -1)
        return None if masks is None else visible_tokens(masks, self.padding)

    def _predict(self, layer: int, x: Tensor, logits: list[Tensor]) -> Tensor | None:
        """Append this layer's scores M_l [B, R, L] to `logits`; returns its gate (Eq. 5, 6)."""
        if not self.num_parts:
            return None
        first = 1 + self.num_parts
        scores = self.mask_predictor[layer](x[:, 1:first], x[:, first:])
        logits.append(logits[-1] + scores if logits else scores)
        return visible_tokens(logits[-1].detach().sigmoid() > self.threshold, self.padding)


def local_attention(
    block: ResidualAttentionBlock, x: Tensor, visible: Tensor | None, parts: int
) -> Tensor:
    """What the local tokens give to each patch in a block, mean over heads: [B, R, L]."""
    q, k, _ = project(block.attn, block.ln_1(x), 1 + parts)
    scores = q[:, :, 1:] @ k.transpose(2, 3) * q.shape[-1] ** -0.5
    if visible is not None:
        scores = scores.masked_fill(~visible[:, None, 1 : 1 + parts], -torch.inf)
    return scores.softmax(dim=-1).mean(1)[..., 1 + parts :]
