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

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from methods.cards import CARDS
from methods.interface import (
    Batch,
    Method,
    SourceData,
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
from methods.parts.identity import IdentityConfig, person_transforms
from methods.parts.losses import full_precision, identity_loss, prototypical_loss
from methods.parts.memory import centroids, update_with_hardest
from methods.parts.necks import bn_neck, identity_classifier, require_batch
from methods.parts.schedules import warmup_steps


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


class IdentityStage(Stage):
    """ID loss and prototypical loss against a memory rebuilt every epoch."""

    name = "identity"

    def __init__(self, method: VisionOnly) -> None:
        self.method = method
        self.config = method.config
        self.epochs = method.config.epochs
        self.memory = torch.empty(0)
        self.features = torch.empty(0)

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam over everything that is not frozen."""
        trained = [p for p in self.method.parameters() if p.requires_grad]
        return torch.optim.Adam(trained, lr=self.config.lr, weight_decay=self.config.weight_decay)

    def lr_factor(self, epoch: int) -> float:
        """Linear warm-up, then steps."""
        return warmup_steps(epoch, self.config.warmup_epochs, self.config.lr_milestones)

    def prepare(self, data: SourceData) -> None:
        """Nothing to make; raises ReIDError where a batch would hold one image."""
        require_batch(self.config.identities, self.config.instances, data.num_classes)

    @torch.no_grad()
    def begin_epoch(self, epoch: int, data: SourceData) -> None:
        """VPM-2: the centroids of L2(b) in eval mode, under the evaluation transform."""
        self.method.eval()
        pairs = (
            (normalize(full_precision(self.method.neck_features(b.images)), dim=1), b.labels)
            for b in data.in_order()
        )
        self.memory = centroids(pairs, data.num_classes, data.device)

    def batches(self, epoch: int, data: SourceData) -> Iterable[TrainBatch]:
        """P x K batches."""
        return data.pk_batches(epoch, self.config.identities, self.config.instances)

    def losses(self, batch: TrainBatch) -> dict[str, Tensor]:
        """L_id and L_imp of Eq. 2."""
        neck = self.method.neck_features(batch.images)
        features = normalize(full_precision(neck), dim=1)
        self.features = features.detach()
        logits = self.method.classifier(neck)
        return {
            "id": identity_loss(logits, batch.labels, self.config.chosen("label_smoothing")),
            "imp": prototypical_loss(features, self.memory, batch.labels, self.config.temperature),
        }

    def after_step(self, batch: TrainBatch) -> None:
        """Move the memory toward the hardest instance of each identity (Eq. 3)."""
        update_with_hardest(self.memory, self.features, batch.labels, self.config.memory_momentum)
