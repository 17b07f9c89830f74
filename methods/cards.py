"""What is known of each built-in method, as data: light to import, printed by `harness list`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class MethodCard:
    """Who a method is.

    `version` is part of every run's identity: raise it when a change to the code changes numbers.
    `pretraining` names what the initial weights have seen, by preset. `type` is the group in which
    it stands in a table; `saw` are keys of data sets that its pre-training saw (§ in rows that test
    on them); `extra_data` says that it was pre-trained on person images beyond ImageNet and CLIP
    (‡), `target_use` that it adapts to the target when it is tested (†).
    """

    name: str
    summary: str
    paper: str
    licence: str
    modality: str
    pretraining: tuple[str, ...]
    version: str = "1"
    type: str = ""
    saw: tuple[str, ...] = ()
    extra_data: bool = False
    target_use: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return asdict(self)


CLIP_PRETRAINING = (
    "paper: OpenAI CLIP, 400 M image-text pairs collected from the Internet",
    "tiny: rendered people of identities and styles that are in no stand-in split",
)

SCRATCH_PRETRAINING = "tiny: nothing; a small model trained from scratch on the sources alone"

CARDS = {
    card.name: card
    for card in (
        MethodCard(
            name="colour-histogram",
            summary="HSV histograms of horizontal stripes; nothing is trained: the floor",
            paper="no single one; the floor every trained method must clear",
            licence="Apache-2.0",
            modality="image",
            type="Floor",
            pretraining=(),
        ),
        MethodCard(
            name="clip-zero-shot",
            summary="CLIP's image encoder as it is; nothing is trained",
            paper="Radford et al., ICML 2021",
            licence="MIT (open_clip, OpenAI weights)",
            modality="image",
            type="VLM-based",
            pretraining=CLIP_PRETRAINING,
        ),
        MethodCard(
            name="vision-only",
            summary="CLIP's image encoder, ID loss and prototypical memory; no text",
            paper="MUVA, 2026, table 6: vision-only, single-grained",
            licence="Apache-2.0; weights MIT",
            modality="image",
            type="Vision-only",
            pretraining=CLIP_PRETRAINING,
            version="2",
        ),
        MethodCard(
            name="bot-resnet50",
            summary="BoT: ResNet-50, ID loss behind a BN neck, triplets before it",
            paper="Luo et al., CVPRW 2019: Bag of Tricks",
            licence="Apache-2.0; timm Apache-2.0, weights BSD-3-Clause (torchvision)",
            modality="image",
            type="Vision-only",
            pretraining=("paper: ImageNet-1k with labels (timm tv_in1k)", SCRATCH_PRETRAINING),
        ),
        MethodCard(
            name="bot-vit",
            summary="BoT on a vision transformer, as TransReID's baseline trains it",
            paper="He et al., ICCV 2021: ViT-BoT, the baseline of TransReID",
            licence="Apache-2.0; timm and weights Apache-2.0",
            modality="image",
            type="Vision-only",
            pretraining=(
                "paper: ImageNet-21k, then ImageNet-1k, with labels (timm orig_in21k_ft_in1k)",
                SCRATCH_PRETRAINING,
            ),
        ),
        MethodCard(
            name="clip-reid",
            summary="a text learned for each identity, then CLIP's image encoder; two stages",
            paper="Li et al., CLIP-ReID, AAAI 2023",
            licence="Apache-2.0; weights MIT",
            modality="image",
            type="VLM-based",
            pretraining=CLIP_PRETRAINING,
        ),
        MethodCard(
            name="muva",
            summary="multi-grained vision-language alignment: prompts, part masks, two stages",
            paper="MUVA, arXiv:2603.14012, 2026",
            licence="Apache-2.0; weights MIT",
            modality="image",
            type="VLM-based",
            pretraining=CLIP_PRETRAINING,
        ),
    )
}
