"""MUVA (arXiv:2603.14012): CLIP's image encoder with local tokens, aligned with multi-grained text.

    f = CLS | head | upper | legs, projected [B, 4 E]; b = BN neck of f; tested on L2(b), eval mode.

Stage 1 learns prompts, stage 2 the image side. At test time only the image side is needed and no
part labels: the masks are predicted. Settings, switches and fidelity: `methods.muva.config`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor
from torch.nn.functional import normalize

from methods.cards import CARDS
from methods.interface import (
    PARTS,
    Batch,
    Method,
    PartMaps,
    PartNeeds,
    SourceInfo,
    Stage,
    TrainBatch,
    Transforms,
)
from methods.muva import checkpoint
from methods.muva.config import MuvaConfig
from methods.muva.encoder import Encoded, PartEncoder
from methods.muva.gating import stripes
from methods.muva.prompts import PromptedText, endings
from methods.muva.rmp import MaskPredictionBlock
from methods.muva.stages import EncoderStage, PromptStage
from methods.parts.clip import (
    TINY_PRESET,
    image_encoder,
    load_clip,
    patch_grid,
    weights_files,
)
from methods.parts.identity import person_transforms
from methods.parts.necks import bn_neck, identity_classifier


class Muva(Method):
    """Multi-grained vision-language alignment with adaptively masked self-attention."""

    Config = MuvaConfig
    card = CARDS["muva"]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "tiny": {
            **TINY_PRESET,
            # a few hundred images make few batches: small ones, at higher rates
            "identities": 4,
            "stage1_epochs": 10,
            "stage1_lr": 3.5e-3,
            "epochs": 14,
            "lr": 3e-4,
            "warmup_epochs": 2,
            "lr_milestones": (10, 13),
            # 0.02 at a width of 768 is 0.05 at 128: the gain of a layer goes with std * sqrt(width)
            "rmp_init_std": 0.05,
        },
    }
    training_only: ClassVar[tuple[str, ...]] = ("classifier.", "text.")

    def __init__(self, config: MuvaConfig, sources: SourceInfo) -> None:
        super().__init__(config, sources)
        self.config = config
        clip = load_clip(config)
        visual = image_encoder(clip, config.image_size)
        self.part_rows = tuple(PARTS.index(part) for part in config.parts)
        fixed = config.parts and config.partition == "stripes"
        self.encoder = PartEncoder(
            visual,
            len(config.parts),
            partial(
                MaskPredictionBlock,
                heads=config.heads_for(sources.domains),
                layer_norm=config.rmp_layer_norm,
                residual=config.rmp_residual,
                init_std=config.rmp_init_std,
            ),
            stripes=stripes(len(PARTS), self.part_rows, visual.grid_size) if fixed else None,
            shared_positions=config.chosen("local_positions") == "shared",
            padding=config.chosen("attention_padding"),
            threshold=config.mask_threshold,
        )
        self.text: PromptedText | None = None
        if config.language:
            texts = endings(("global", *config.parts), config.prompt, sources.domains)
            self.text = PromptedText(clip, sources.num_classes, texts, config.prompt_tokens)
        self.bn_neck = bn_neck(self.encoder.output_dim, config.chosen("bn_momentum"))
        self.classifier = identity_classifier(self.encoder.output_dim, sources.num_classes)

    @classmethod
    def weights_files(cls, config: MuvaConfig) -> list[Path]:
        """The file CLIP's weights are in."""
        return weights_files(config)

    @classmethod
    def planned_epochs(cls, config: MuvaConfig) -> float:
        """Stage 2's, and stage 1's by what they cost beside them."""
        stage1 = config.stage1_epochs * PromptStage.cost if config.language else 0.0
        return config.epochs + stage1

    @classmethod
    def part_needs(cls, config: MuvaConfig) -> PartNeeds | None:
        """Masks of the parts on this config's patch grid; none where the bands are fixed."""
        if not config.predicts_masks():
            return None
        instead = "partition=stripes"
        return PartNeeds(patch_grid(config), config.calibration, config.part_labels, instead)

    @classmethod
    def translate(cls, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The released code's checkpoint in our names."""
        return checkpoint.from_authors(state)

    def assumed(self) -> list[str]:
        """Heads of the RMP, and what `fidelity` decides of the image side."""
        c = self.config
        said = [f"{k}={c.chosen(k)}" for k in ("attention_padding", "local_positions")]
        if c.rmp_heads is None and c.predicts_masks():
            heads = c.heads_for(self.sources.domains)
            said.insert(0, f"rmp_heads={heads} (8 if trained on MS or on several sources)")
        return said if c.parts else []

    def transforms(self) -> Transforms:
        """Flipped in training, cropped and erased only where table 11 says so."""
        return person_transforms(self.config, self.config.train_interpolation)

    def stages(self) -> list[Stage]:
        """Stage 1 trains the prompts, stage 2 the image side; without language there is only 2."""
        encoder = EncoderStage(self)
        return [PromptStage(self), encoder] if self.text is not None else [encoder]

    def pseudo_masks(self, batch: TrainBatch) -> Tensor | None:
        """G of the chosen parts: [B, R, L] bool; None where no masks are learned."""
        if not self.config.predicts_masks():
            return None
        if batch.part_masks is None:
            raise ValueError("the batch holds no part masks")
        return batch.part_masks[:, list(self.part_rows)].flatten(2)

    def known_parts(self, batch: TrainBatch) -> Tensor | None:
        """[B, R] bool: the chosen parts whose masks are to be learned; None for all of them."""
        return None if batch.part_known is None else batch.part_known[:, list(self.part_rows)]

    def forward(self, images: Tensor, masks: Tensor | None = None) -> tuple[Encoded, Tensor]:
        """f with mask scores, and b: [B, (1 + R) E]; `masks` [B, R, L] replace predicted ones."""
        encoded = self.encoder(images, masks)
        return encoded, self.bn_neck(encoded.features)

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """features: [B, (1 + R) E], L2-normalised b."""
        _, neck = self(batch.images)
        return {"features": normalize(neck, dim=1)}

    def part_maps(self, batch: Batch) -> PartMaps | None:
        """Predicted masks and the local tokens' attention of every layer (figure 7)."""
        if not self.config.parts:
            return None
        rows, columns = self.encoder.visual.grid_size
        masks, attention = self.encoder.maps(batch.images)
        grid = (*masks.shape[:3], rows, columns)
        return PartMaps(self.config.parts, masks.reshape(grid), attention.reshape(grid))
