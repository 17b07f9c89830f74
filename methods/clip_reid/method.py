"""CLIP-ReID (Li et al., AAAI 2023): a text for each identity is learned, then the image encoder.

    f_a, f_b, f_p: see `methods.clip_reid.encoder`; tested on L2(f_b | f_p), before the BN necks.

Stage 1 learns the prompts against fixed image features, stage 2 the image side against fixed texts.
At test time the image encoder is all that is needed. Settings, backbones and what is left open:
`methods.clip_reid.config`. `language=off` is the paper's baseline: stage 2 without any text.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from methods.cards import CARDS
from methods.clip_reid import checkpoint
from methods.clip_reid.config import ClipReidConfig
from methods.clip_reid.encoder import TappedResNet, TappedViT, Taps
from methods.clip_reid.stages import EncoderStage, PromptStage, WholeBatchStage
from methods.interface import Batch, Method, SourceInfo, Stage, Transform, Transforms
from methods.parts.clip import CLIP_MEAN_STD, TINY_PRESET, load_clip, weights_files
from methods.parts.necks import bn_neck, identity_classifier
from methods.parts.prompts import LearnedTexts

ENDING = "person."
IMAGENET_MEAN_STD = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class ClipReid(Method):
    """Two-stage training of CLIP with learned identity prompts."""

    Config = ClipReidConfig
    card = CARDS["clip-reid"]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "tiny": {
            **TINY_PRESET,
            # a few hundred images make few batches: small ones, at higher rates
            "identities": 4,
            "stage1_batch": 16,
            "stage1_epochs": 20,
            "stage1_lr": 3.5e-3,
            "epochs": 24,
            "lr": 3e-4,
            "warmup_epochs": 2,
            "lr_milestones": (16, 21),
            # of 96 x 48 pixels what 10 is of 256 x 128
            "pad": 4,
        },
    }
    training_only: ClassVar[tuple[str, ...]] = ("bn_neck", "classifier", "text.")

    def __init__(self, config: ClipReidConfig, sources: SourceInfo) -> None:
        super().__init__(config, sources)
        self.config = config
        clip, size = load_clip(config), config.image_size
        self.encoder: TappedViT | TappedResNet
        if config.resnet:
            frozen = config.chosen("batch_norm") == "frozen"
            self.encoder = TappedResNet(clip, size, frozen)
        else:
            self.encoder = TappedViT(clip, size, config.olp)
        self.text: LearnedTexts | None = None
        if config.language:
            self.text = LearnedTexts(clip, sources.num_classes, [[ENDING]], config.prompt_tokens)
        _, wide, joint = self.encoder.widths
        self.bn_neck, self.bn_neck_p = bn_neck(wide), bn_neck(joint)
        self.classifier = identity_classifier(wide, sources.num_classes)
        self.classifier_p = identity_classifier(joint, sources.num_classes)

    @classmethod
    def weights_files(cls, config: ClipReidConfig) -> list[Path]:
        """The file CLIP's weights are in."""
        return weights_files(config)

    @classmethod
    def planned_epochs(cls, config: ClipReidConfig) -> float:
        """Stage 2's, and stage 1's by what they cost beside them."""
        stage1 = config.chosen("stage1_epochs") * PromptStage.cost if config.language else 0.0
        return config.chosen("epochs") + stage1

    @classmethod
    def translate(cls, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The released code's checkpoint in our names; ReIDError for one trained with cameras."""
        return checkpoint.from_authors(state)

    def transforms(self) -> Transforms:
        """Flipped, cropped and erased in training, bicubic; bilinear everywhere else."""
        c = self.config
        mean, std = IMAGENET_MEAN_STD if c.resnet else CLIP_MEAN_STD
        train = Transform(c.image_size, mean, std, "bicubic", c.flip, c.pad, c.erase)
        return Transforms(train=train, eval=Transform(c.image_size, mean, std))

    def stages(self) -> list[Stage]:
        """Stage 1 trains the prompts, stage 2 the image side; without language there is only 2."""
        alone = self.config.chosen("batch_norm") != "batch"
        encoder = EncoderStage(self) if alone else WholeBatchStage(self)
        return [PromptStage(self), encoder] if self.text is not None else [encoder]

    def texts(self, labels: Tensor) -> Tensor:
        """Text features of identities [U], not normalised: [U, E]."""
        assert self.text is not None
        return self.text(labels).flatten(1)

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """features: [B, D_b + E], L2-normalised f_b | f_p."""
        taps: Taps = self.encoder(batch.images)
        return {"features": normalize(torch.cat([taps.f_b, taps.f_p], dim=1), dim=1)}
