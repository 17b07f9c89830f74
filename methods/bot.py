"""Plain strong baselines: a backbone from ImageNet, ID loss behind a BN neck, triplets before it.

    f = backbone(image) [B, D];  b = BN neck of f;  L = L_id(W b) + L_tri(f)

`bot-resnet50` is BoT (Luo et al., "Bag of Tricks and a Strong Baseline for Deep Person
Re-identification", CVPRW 2019): ResNet-50 with last stride 1, warm-up, random erasing, label
smoothing; tested on b by cosine. Of its tricks the centre loss is left out: the paper's gain from
it is small, and it takes an optimiser of its own.

`bot-vit` is the same on a vision transformer, as TransReID's baseline trains it (He et al., ICCV
2021, section 3.1, "ViT-BoT"; values of its released Market-1501 config): the CLS token of ViT-B/16,
SGD with a cosine, soft-margin triplets, no label smoothing, stochastic depth; tested on f by
cosine. The paper squares the distances in L_tri, its code does not, nor is it done here.

`backbone` may be any other of timm's in both; the recipe stays.

Fidelity of `bot-resnet50` (paper against released code; each also settable alone):

    key             paper      released
    warmup_start    0          0.01      the factor that warm-up rises from: t/10, or 0.01 + 0.099 t
    lr_milestones   41, 71     40, 70    "40 < t <= 70" in the paper's rates of epoch t

What differs from both: an erased rectangle is filled with noise per pixel (Random Erasing's own
choice, and TransReID's), where BoT's code fills it with one constant colour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
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
    Transform,
    Transforms,
)
from methods.parts.clip import RANDOM
from methods.parts.imagenet import (
    ImageNetConfig,
    feature_width,
    load_backbone,
    normalises_batches,
    pixel_statistics,
    undo_last_stride,
    weights_files,
)
from methods.parts.losses import identity_loss
from methods.parts.metric import batch_hard_triplet
from methods.parts.necks import bn_neck, identity_classifier, require_batch, require_two_images
from methods.parts.rates import biases_apart
from methods.parts.schedules import warmup_cosine, warmup_steps

MOMENTUM = 0.9
"""Of SGD."""

TINY: Mapping[str, Any] = {
    "weights": RANDOM,
    "image_size": (96, 48),
    "identities": 8,
    "pad": 4,
    "erase": 0.0,
}
"""What both `tiny` presets share. A model that starts from nothing needs steps, so batches are
small, and images as they are: with erasing it learns too little in so few epochs."""


class BotConfig(ImageNetConfig):
    """Settings of both; defaults that differ are in the two below."""

    epochs: int = Field(default=120, ge=1)
    optimizer: Literal["adam", "sgd"] = "adam"
    lr: float = Field(default=3.5e-4, gt=0)
    bias_lr_factor: float = Field(default=1.0, gt=0, description="times lr, for biases")
    weight_decay: float = Field(default=5e-4, ge=0)
    warmup_epochs: int = Field(default=10, ge=0)
    identities: int = Field(default=16, ge=1, description="P of the PK sampler")
    instances: int = Field(default=4, ge=1, description="K of the PK sampler")
    label_smoothing: float = Field(default=0.1, ge=0, lt=1, description="of L_id")
    margin: float | None = Field(default=0.3, ge=0, description="of L_tri; null for a soft one")
    drop_path: float = Field(default=0.0, ge=0, lt=1, description="rate of stochastic depth")
    interpolation: Literal["bilinear", "bicubic"] = Field("bilinear", description="in training")
    flip: float = Field(default=0.5, ge=0, le=1)
    pad: int = Field(default=10, ge=0, description="pixels a random crop moves in")
    erase: float = Field(default=0.5, ge=0, le=1)
    test_on: Literal["neck", "backbone"] = Field("neck", description="b or f")

    @model_validator(mode="after")
    def _more_than_one_image(self) -> BotConfig:
        require_two_images(self.identities, self.instances)
        return self

    def lr_factor(self, epoch: int) -> float:
        """What every base learning rate is multiplied by in this epoch."""
        raise NotImplementedError


class BotResNetConfig(BotConfig):
    """BoT's; `differences` says what a key means under each `fidelity` as long as it is None."""

    differences: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "warmup_start": {"paper": 0.0, "released": 0.01},
        "lr_milestones": {"paper": (41, 71), "released": (40, 70)},
    }

    fidelity: Literal["released", "paper"] = "released"
    warmup_start: float | None = Field(default=None, ge=0, le=1)
    lr_milestones: tuple[int, ...] | None = None
    last_stride: Literal[1, 2] = Field(1, description="of the last stage; 1 for ResNets only")

    def chosen(self, key: str) -> Any:
        """The value of a key of `differences`: what it is set to, or what `fidelity` says."""
        value = getattr(self, key)
        return self.differences[key][self.fidelity] if value is None else value

    def lr_factor(self, epoch: int) -> float:
        """Linear warm-up, then steps."""
        milestones, start = self.chosen("lr_milestones"), self.chosen("warmup_start")
        return warmup_steps(epoch, self.warmup_epochs, milestones, start)


class BotVitConfig(BotConfig):
    """Those of TransReID's baseline."""

    backbone: str = "vit_base_patch16_224"
    optimizer: Literal["adam", "sgd"] = "sgd"
    lr: float = Field(default=8e-3, gt=0)
    bias_lr_factor: float = Field(default=2.0, gt=0, description="times lr, for biases")
    weight_decay: float = Field(default=1e-4, ge=0)
    warmup_epochs: int = Field(default=5, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="of L_id")
    margin: float | None = Field(default=None, ge=0, description="of L_tri; null for a soft one")
    drop_path: float = Field(default=0.1, ge=0, lt=1, description="rate of stochastic depth")
    interpolation: Literal["bilinear", "bicubic"] = Field("bicubic", description="in training")
    test_on: Literal["neck", "backbone"] = Field("backbone", description="b or f")

    def lr_factor(self, epoch: int) -> float:
        """Linear warm-up from a hundredth, then a cosine to two thousandths."""
        return warmup_cosine(epoch, self.epochs, 1.0, self.warmup_epochs, 0.01, 0.002)


class Bot(Method):
    """A backbone from ImageNet with a BN neck; what the two baselines share."""

    config: BotConfig
    training_only: ClassVar[tuple[str, ...]] = ("classifier.",)

    def __init__(self, config: BotConfig, sources: SourceInfo) -> None:
        super().__init__(config, sources)
        self.config = config
        self.backbone = load_backbone(config, config.drop_path)
        width = feature_width(self.backbone)
        self.bn_neck = bn_neck(width)
        self.classifier = identity_classifier(width, sources.num_classes)

    @classmethod
    def weights_files(cls, config: BotConfig) -> list[Path]:
        """The file the backbone's weights are in."""
        return weights_files(config)

    @classmethod
    def planned_epochs(cls, config: BotConfig) -> int:
        """One stage's."""
        return config.epochs

    def assumed(self) -> list[str]:
        """What is tested on, and the stride of a ResNet's last stage."""
        keys = [k for k in ("last_stride", "test_on") if k in type(self.config).model_fields]
        return [f"{key}={getattr(self.config, key)}" for key in keys]

    def transforms(self) -> Transforms:
        """Flipped, cropped and erased in training; only resized, bilinear, everywhere else."""
        c, statistics = self.config, pixel_statistics(self.config)
        train = Transform(c.image_size, *statistics, c.interpolation, c.flip, c.pad, c.erase)
        return Transforms(train=train, eval=Transform(c.image_size, *statistics))

    def stages(self) -> list[Stage]:
        """One."""
        return [WholeBatchStage(self) if normalises_batches(self.backbone) else BotStage(self)]

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """features: [B, D], L2-normalised b or f."""
        features = self.backbone(batch.images)
        if self.config.test_on == "neck":
            features = self.bn_neck(features)
        return {"features": normalize(features, dim=1)}


class BotResNet50(Bot):
    """BoT."""

    Config = BotResNetConfig
    card = CARDS["bot-resnet50"]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "tiny": {
            **TINY,
            "backbone": "test_resnet",
            "epochs": 24,
            "lr": 1e-2,
            "warmup_epochs": 2,
            "lr_milestones": (16, 21),
        },
    }

    def __init__(self, config: BotResNetConfig, sources: SourceInfo) -> None:
        super().__init__(config, sources)
        if config.last_stride == 1:
            undo_last_stride(self.backbone, config.backbone)


class BotVit(Bot):
    """TransReID's baseline."""

    Config = BotVitConfig
    card = CARDS["bot-vit"]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "tiny": {
            **TINY,
            "backbone": "test_vit",
            "optimizer": "adam",
            "epochs": 50,
            "lr": 3e-3,
            "warmup_epochs": 5,
        },
    }


class BotStage(Stage):
    """ID loss and batch-hard triplets on P x K batches."""

    name = "identity"

    def __init__(self, method: Bot) -> None:
        self.method, self.settings = method, method.config
        self.epochs = method.config.epochs

    def prepare(self, data: SourceData) -> None:
        """Raises ReIDError where a batch would hold one image."""
        require_batch(self.settings.identities, self.settings.instances, data.num_classes)

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam or SGD over everything but the bias of the BN neck, which is fixed."""
        c = self.settings
        groups = biases_apart(self.method.named_parameters(), c.lr, c.bias_lr_factor)
        if c.optimizer == "sgd":
            return torch.optim.SGD(groups, momentum=MOMENTUM, weight_decay=c.weight_decay)
        return torch.optim.Adam(groups, weight_decay=c.weight_decay)

    def lr_factor(self, epoch: int) -> float:
        """That of the config."""
        return self.settings.lr_factor(epoch)

    def batches(self, epoch: int, data: SourceData) -> Iterable[TrainBatch]:
        """P x K batches."""
        return data.pk_batches(epoch, self.settings.identities, self.settings.instances)

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """features: f [B, D]."""
        return {"features": self.method.backbone(batch.images)}

    def losses(self, outputs: dict[str, Tensor], batch: TrainBatch) -> dict[str, Tensor]:
        """L_id of b, behind the neck, and L_tri of f, before it."""
        features = outputs["features"]
        logits = self.method.classifier(self.method.bn_neck(features))
        return {
            "id": identity_loss(logits, batch.labels, self.settings.label_smoothing),
            "triplet": batch_hard_triplet(features, batch.labels, self.settings.margin),
        }


class WholeBatchStage(BotStage):
    """For a backbone with batch normalisation: features of an image depend on its batch mates.

    So all of it looks across the batch and belongs behind the cut: where memory is short there is
    nothing to be gained from fewer images at a time.
    """

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """images: [B, 3, H, W], as they are."""
        return {"images": batch.images}

    def losses(self, outputs: dict[str, Tensor], batch: TrainBatch) -> dict[str, Tensor]:
        """Those of the features, computed on the whole batch."""
        return super().losses({"features": self.method.backbone(outputs["images"])}, batch)
