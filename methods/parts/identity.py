"""What methods share that train a CLIP image encoder on identities: P x K batches and a memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from methods.interface import Transform, Transforms
from methods.parts.clip import CLIP_MEAN_STD, ClipConfig


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
        if self.identities * self.instances < 2:
            raise ValueError("identities x instances must be 2 or more: a BN neck needs a batch")
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
