"""CLIP-ReID's config: what the backbone decides, and what is left open.

    key                ViT          RN50           (each also settable alone)
    lr                 5e-6         3.5e-4
    weight_decay       1e-4         5e-4
    epochs             60           120            of stage 2
    lr_milestones      30, 50       40, 70
    warmup_start       0.1          0.01           what the first of 10 epochs begins at
    stage1_epochs      120          60
    id_weight          0.25         1.0            w_id; 1.0 without language
    batch_norm         -            batch          statistics inside of the image encoder

There is no `fidelity`: nothing is known in which the paper and the released code differ. What is
known of neither is chosen so: everything in the image encoder trains, the patch convolution too;
stage 1 sees features in eval mode, and the last batch of its epoch may be smaller; random erasing
covers 2 to 40 % of the area at an aspect of 0.3 to 3.3 (Zhong et al., AAAI 2020).

A ResNet's batch norm looks at the whole batch, layer by layer. `batch_norm=batch` lets it, so a
batch can't be computed in parts: fewer images at a time save no memory, more GPUs a run no time.
`frozen` keeps CLIP's statistics and trains weights and biases; parts are as good as the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from methods.parts.clip import ClipConfig
from methods.parts.necks import require_two_images

NO_SIE = (
    "it adds an embedding of an image's camera, and nobody may know that of a test image: `encode` "
    "gets images alone, and a camera of the target would index the table of the sources' cameras. "
    "Leave sie out"
)


class ClipReidConfig(ClipConfig):
    """CLIP-ReID's settings; a key that is None is what the backbone decides: see `chosen`."""

    by_backbone: ClassVar[Mapping[str, tuple[Any, Any]]] = {
        "lr": (5e-6, 3.5e-4),
        "weight_decay": (1e-4, 5e-4),
        "epochs": (60, 120),
        "lr_milestones": ((30, 50), (40, 70)),
        "warmup_start": (0.1, 0.01),
        "stage1_epochs": (120, 60),
        "id_weight": (0.25, 1.0),
        "batch_norm": (None, "batch"),
    }

    language: bool = Field(default=True, description="off: the baseline, no stage 1, no text loss")
    sie: bool = Field(default=False, description="camera embedding; refused: see NO_SIE")
    olp: bool = Field(default=False, description="overlapping patches, stride 12 of patches of 16")

    stage1_epochs: int | None = Field(default=None, ge=1)
    stage1_lr: float = Field(default=3.5e-4, gt=0)
    stage1_weight_decay: float = Field(default=1e-4, ge=0)
    stage1_warmup_epochs: int = Field(default=5, ge=0)
    stage1_warmup_lr: float = Field(default=1e-5, ge=0)
    stage1_min_lr: float = Field(default=1e-6, ge=0)
    stage1_batch: int = Field(default=64, ge=1, description="images, without a PK sampler")
    stage1_temperature: float = Field(default=1.0, gt=0)
    prompt_tokens: int = Field(default=4, ge=1, description="learnable vectors an identity")

    epochs: int | None = Field(default=None, ge=1)
    lr: float | None = Field(default=None, gt=0)
    bias_lr_scale: float = Field(default=2.0, gt=0)
    weight_decay: float | None = Field(default=None, ge=0)
    warmup_epochs: int = Field(default=10, ge=0)
    warmup_start: float | None = Field(default=None, ge=0, le=1)
    lr_milestones: tuple[int, ...] | None = None
    identities: int = Field(default=16, ge=1, description="P of the PK sampler")
    instances: int = Field(default=4, ge=1, description="K of the PK sampler")
    id_weight: float | None = Field(default=None, ge=0, description="w_id")
    label_smoothing: float = Field(default=0.1, ge=0, lt=1, description="in every cross-entropy")
    margin: float = Field(default=0.3, ge=0, description="of the triplet losses")
    batch_norm: Literal["batch", "frozen"] | None = None

    flip: float = Field(default=0.5, ge=0, le=1)
    pad: int = Field(default=10, ge=0, description="pixels of border that a crop moves in")
    erase: float = Field(default=0.5, ge=0, le=1, description="probability of random erasing")

    @property
    def resnet(self) -> bool:
        """Whether the backbone is one of CLIP's ResNets."""
        return self.backbone.startswith("RN")

    def chosen(self, key: str) -> Any:
        """The value of a key of `by_backbone`: what it is set to, or what the backbone decides."""
        value = getattr(self, key)
        if value is not None:
            return value
        if key == "id_weight" and not self.language:
            return 1.0
        return self.by_backbone[key][self.resnet]

    @model_validator(mode="after")
    def _possible(self) -> ClipReidConfig:
        if self.sie:
            raise ValueError(f"sie=on: {NO_SIE}")
        require_two_images(self.identities, self.instances)
        if self.olp and self.resnet:
            raise ValueError(f"olp=on: backbone={self.backbone} has no patches; leave olp out")
        if self.batch_norm and not self.resnet:
            raise ValueError(
                f"batch_norm={self.batch_norm} does nothing with backbone={self.backbone}, "
                "which has no batch norm inside; leave it out"
            )
        return self
