"""MUVA without language and without parts: table 6, "vision-only, single-grained".

CLIP's image encoder, a BN neck, the ID loss and the intra-modal prototypical loss; neither
stage 1 nor the image-to-text loss. One stage: L = L_id + L_imp.

    f = projected CLS token [B, D]; b = BN neck of f; tested on L2(b) in eval mode.

Fidelity (where MUVA's paper and its released code differ; each also settable alone):

    key               paper   released
    label_smoothing   0       0.1       of L_id
    bn_momentum       0.1     0.19      the released code runs the BN neck twice a step on the
                                        same batch, which is one update of 1 - 0.9 * 0.9
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from methods.cards import CARDS
from methods.interface import (
    Batch,
    Method,
    SourceInfo,
    Stage,
    TrainBatch,
    Transforms,
)
from methods.parts.clip import (
    TINY_PRESET,
    ClipConfig,
    image_encoder,
    load_clip,
    weights_files,
)
from methods.parts.identity import IdentityConfig, MemoryStage, person_transforms
from methods.parts.necks import bn_neck, identity_classifier


class VisionOnlyConfig(IdentityConfig):
    """Settings; defaults are those of MUVA's second stage (paper, section 4.2)."""


class VisionOnly(Method):
    """CLIP's image encoder with a BN neck, trained on identities alone."""

    Config = VisionOnlyConfig
    card = CARDS["vision-only"]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "tiny": {
            **TINY_PRESET,
            "epochs": 10,
            "lr": 3e-4,
            "warmup_epochs": 2,
            "lr_milestones": (7, 9),
        },
    }
    training_only: ClassVar[tuple[str, ...]] = ("classifier.",)

    def __init__(self, config: VisionOnlyConfig, sources: SourceInfo) -> None:
        super().__init__(config, sources)
        self.config = config
        self.image_encoder = image_encoder(load_clip(config), config.image_size)
        width = self.image_encoder.output_dim
        self.bn_neck = bn_neck(width, config.chosen("bn_momentum"))
        self.classifier = identity_classifier(width, sources.num_classes)

    @classmethod
    def weights_files(cls, config: ClipConfig) -> list[Path]:
        """The file CLIP's weights are in."""
        return weights_files(config)

    @classmethod
    def planned_epochs(cls, config: VisionOnlyConfig) -> int:
        """One stage's."""
        return config.epochs

    def transforms(self) -> Transforms:
        """Bicubic and flipped in training, bilinear everywhere else (released)."""
        return person_transforms(self.config)

    def stages(self) -> list[Stage]:
        """One."""
        return [IdentityStage(self)]

    def neck_features(self, images: Tensor) -> Tensor:
        """b: [B, D], what classifier, memory and test look at."""
        return self.bn_neck(self.image_encoder(images))

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """features: [B, D], L2-normalised b."""
        return {"features": normalize(self.neck_features(batch.images), dim=1)}


class IdentityStage(MemoryStage):
    """ID loss and prototypical loss, and nothing else."""

    name = "identity"

    def __init__(self, method: VisionOnly) -> None:
        super().__init__(method, method.classifier, method.config)
        self.method = method

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam over everything that is not frozen."""
        c = self.method.config
        trained = [p for p in self.method.parameters() if p.requires_grad]
        return torch.optim.Adam(trained, lr=c.lr, weight_decay=c.weight_decay)

    def memory_neck(self, batch: TrainBatch) -> Tensor:
        """b as it is."""
        return self.method.neck_features(batch.images)

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """features: f [B, D]."""
        return {"features": self.method.image_encoder(batch.images)}

    def losses(self, outputs: dict[str, Tensor], batch: TrainBatch) -> dict[str, Tensor]:
        """L_id and L_imp of Eq. 2."""
        return self.identity_losses(self.method.bn_neck(outputs["features"]), batch.labels)
