"""The floor: HSV histograms of horizontal stripes, compared with the Bhattacharyya coefficient.

Nothing is trained. A trained method that stays below it on real images has not learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor

from methods.cards import CARDS
from methods.interface import Batch, Method, MethodConfig, SourceInfo, Transform, Transforms


class ColourHistogramConfig(MethodConfig):
    """`bins` per channel (hue, saturation, value) in each of `stripes` equal horizontal bands."""

    image_size: tuple[PositiveInt, PositiveInt] = (128, 64)
    stripes: int = Field(default=6, ge=1)
    bins: tuple[PositiveInt, PositiveInt, PositiveInt] = (8, 4, 4)

    @model_validator(mode="after")
    def _stripes_have_rows(self) -> ColourHistogramConfig:
        if self.stripes > self.image_size[0]:
            raise ValueError(f"stripes={self.stripes} is more than the image has rows")
        return self


class ColourHistogram(Method):
    """Square roots of joint HSV histograms, so that cosine is the Bhattacharyya coefficient."""

    Config = ColourHistogramConfig
    card = CARDS["colour-histogram"]
    same_for_all_sources = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "tiny": {}}

    def __init__(self, config: ColourHistogramConfig, sources: SourceInfo) -> None:
        super().__init__(config, sources)
        self.config = config

    def transforms(self) -> Transforms:
        """Pixels as they are, in 0..1."""
        plain = Transform(self.config.image_size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        return Transforms(train=plain, eval=plain)

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """features: [B, stripes * bins[0] * bins[1] * bins[2]], each stripe of unit length."""
        counts = self.config.bins
        index = torch.zeros_like(batch.images[:, 0], dtype=torch.long)
        for channel, bins in zip(hsv(batch.images).unbind(1), counts, strict=True):
            index = index * bins + (channel * bins).long().clamp(0, bins - 1)
        size = counts[0] * counts[1] * counts[2]
        stripes = [
            torch.zeros(len(index), size, device=index.device).scatter_add_(
                1, part.flatten(1), torch.ones_like(part.flatten(1), dtype=torch.float32)
            )
            / part[0].numel()
            for part in index.tensor_split(self.config.stripes, dim=1)
        ]
        return {"features": torch.cat(stripes, dim=1).sqrt()}


def hsv(images: Tensor) -> Tensor:
    """RGB [B, 3, H, W] in 0..1 to hue, saturation, value, each in 0..1 (hue 0 where grey)."""
    value, largest = images.max(1)
    chroma = value - images.min(1).values
    red, green, blue = images.unbind(1)
    safe = chroma.clamp_min(1e-12)
    hue = torch.stack(
        [((green - blue) / safe) % 6, (blue - red) / safe + 2, (red - green) / safe + 4], dim=1
    )
    hue = hue.gather(1, largest[:, None])[:, 0] / 6 * (chroma > 0)
    return torch.stack([hue, chroma / value.clamp_min(1e-12), value], dim=1)
