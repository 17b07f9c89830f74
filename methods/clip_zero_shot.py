"""CLIP's image encoder as it is: what Re-ID training starts from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from methods.cards import CARDS
from methods.interface import Batch, Method, SourceInfo, Transform, Transforms
from methods.parts.clip import (
    CLIP_MEAN_STD,
    TINY_PRESET,
    ClipConfig,
    image_encoder,
    load_clip,
    weights_files,
)


class ClipZeroShot(Method):
    """The projected CLS token of CLIP's vision transformer, compared by cosine."""

    Config = ClipConfig
    card = CARDS["clip-zero-shot"]
    same_for_all_sources = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "tiny": TINY_PRESET}

    def __init__(self, config: ClipConfig, sources: SourceInfo) -> None:
        super().__init__(config, sources)
        self.config = config
        self.image_encoder = image_encoder(load_clip(config), config.image_size)

    @classmethod
    def weights_files(cls, config: ClipConfig) -> list[Path]:
        """The file CLIP's weights are in."""
        return weights_files(config)

    def transforms(self) -> Transforms:
        """Resize and normalise; nothing is trained, so nothing is augmented."""
        plain = Transform(self.config.image_size, *CLIP_MEAN_STD)
        return Transforms(train=plain, eval=plain)

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """features: [B, D], D the width of CLIP's joint space."""
        return {"features": self.image_encoder(batch.images)}
