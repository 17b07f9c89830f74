"""What methods share that train a CLIP image encoder on identities: P x K batches and a memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import normalize

from methods.interface import SourceData, Stage, TrainBatch, Transform, Transforms
from methods.parts.clip import CLIP_MEAN_STD, ClipConfig
from methods.parts.losses import full_precision, identity_loss, prototypical_loss
from methods.parts.memory import centroids, update_with_hardest
from methods.parts.necks import require_batch, require_two_images
from methods.parts.schedules import warmup_steps


class IdentityConfig(ClipConfig):
    """Settings of the training on identities; defaults: MUVA, section 4.2 and its released code.

    `differences` says what a key means under each `fidelity` as long as it is None; read such keys
    through `chosen`.
    """

    differences: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "label_smoothing": {"paper": 0.0, "released": 0.1},
        "bn_momentum": {"paper": 0.1, "released": 0.19},
    }

    fidelity: Literal["released", "paper"] = "released"
    label_smoothing: float | None = Field(default=None, ge=0, lt=1, description="of L_id")
    bn_momentum: float | None = Field(default=None, gt=0, le=1)
    epochs: int = Field(default=60, ge=1)
    lr: float = Field(default=5e-6, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    warmup_epochs: int = Field(default=10, ge=0)
    lr_milestones: tuple[int, ...] = (30, 50)
    identities: int = Field(default=16, ge=1, description="P of the PK sampler")
    instances: int = Field(default=4, ge=1, description="K of the PK sampler")
    temperature: float = Field(default=0.01, gt=0, description="tau of L_imp")
    memory_momentum: float = Field(default=0.2, ge=0, le=1, description="gamma of Eq. 3")
    flip: float = Field(default=0.5, ge=0, le=1)
    random_crop_erase: bool = Field(default=False, description="table 11")

    @model_validator(mode="after")
    def _more_than_one_image(self) -> IdentityConfig:
        require_two_images(self.identities, self.instances)
        return self

    def chosen(self, key: str) -> Any:
        """The value of a key of `differences`: what it is set to, or what `fidelity` says."""
        value = getattr(self, key)
        return self.differences[key][self.fidelity] if value is None else value


def person_transforms(
    config: IdentityConfig, interpolation: Literal["bilinear", "bicubic"] = "bicubic"
) -> Transforms:
    """Flipped in training, cropped and erased where asked for; only resized everywhere else."""
    pad, erase = (10, 0.5) if config.random_crop_erase else (0, 0.0)
    size = config.image_size
    train = Transform(size, *CLIP_MEAN_STD, interpolation, config.flip, pad, erase)
    return Transforms(train=train, eval=Transform(size, *CLIP_MEAN_STD))


class MemoryStage(Stage):
    """L_id and L_imp (MUVA, Eq. 2) against VPM-2, a memory rebuilt every epoch.

    A subclass says what b is (`memory_neck`), what trains (`optimizer`), what a step computes of
    every image (`forward`) and what its `losses` are, those of `identity_losses` among them.
    """

    def __init__(self, method: nn.Module, classifier: nn.Module, config: IdentityConfig) -> None:
        self.module, self.classifier, self.settings = method, classifier, config
        self.epochs = config.epochs
        self.memory = torch.empty(0)
        self.features = torch.empty(0)

    def memory_neck(self, batch: TrainBatch) -> Tensor:
        """b of images under the evaluation transform, for the memory: [B, D]."""
        raise NotImplementedError

    def lr_factor(self, epoch: int) -> float:
        """Linear warm-up, then steps."""
        return warmup_steps(epoch, self.settings.warmup_epochs, self.settings.lr_milestones)

    def prepare(self, data: SourceData) -> None:
        """Raises ReIDError where a batch would hold one image."""
        require_batch(self.settings.identities, self.settings.instances, data.num_classes)

    @torch.no_grad()
    def begin_epoch(self, epoch: int, data: SourceData) -> None:
        """VPM-2: the centroids of L2(b) in eval mode, under the evaluation transform."""
        self.module.eval()

        def features() -> Iterator[tuple[Tensor, Tensor]]:
            for batch in data.in_order():
                yield normalize(full_precision(self.memory_neck(batch)), dim=1), batch.labels

        self.memory = centroids(features(), data)

    def batches(self, epoch: int, data: SourceData) -> Iterable[TrainBatch]:
        """P x K batches."""
        return data.pk_batches(epoch, self.settings.identities, self.settings.instances)

    def identity_losses(self, neck: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """L_id and L_imp of b: [B, D]; keeps L2(b) for the memory."""
        features = normalize(full_precision(neck), dim=1)
        self.features = features.detach()
        smoothing = self.settings.chosen("label_smoothing")
        return {
            "id": identity_loss(self.classifier(neck), labels, smoothing),
            "imp": prototypical_loss(features, self.memory, labels, self.settings.temperature),
        }

    def after_step(self, batch: TrainBatch) -> None:
        """Move VPM-2 toward the hardest instance of each identity (Eq. 3)."""
        momentum = self.settings.memory_momentum
        update_with_hardest(self.memory, self.features, batch.labels, momentum)
