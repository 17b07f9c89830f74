"""Tiny random experts in a folder, of the real classes: config, weights, tokenizer, processor.

What they answer means nothing. That they answer at all takes the whole path of a real one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from methods.grounding.experts.loading import quiet

WORDS = [
    "the",
    "head",
    "upper",
    "body",
    "legs",
    "of",
    "person",
    "every",
    "a",
    "face",
    "trousers",
    ".",
    ",",
]
"""All that a tiny tokenizer of words knows."""

SIDE = 64
"""Pixels that tiny image processors scale to."""

FLORENCE_WORDS = [
    "Locate",
    "locate",
    "the",
    "head",
    "upper",
    "body",
    "legs",
    "of",
    "person",
    "every",
    "in",
    "image",
    "caption",
    "phrases",
]


def picture(width: int = 48, height: int = 96, seed: int = 0) -> Image.Image:
    """A random RGB image."""
    noise = torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(seed))
    return Image.fromarray(noise.to(torch.uint8).numpy(), "RGB")


def make_grounding_dino(folder: Path, seed: int = 0) -> Path:
    """A Grounding DINO of 10 queries, 1 encoder and 2 decoder layers, in `folder`."""
    from transformers import (
        BertConfig,
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
        SwinConfig,
    )

    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    with quiet():
        tokenizer = BertTokenizer({token: number for number, token in enumerate(tokens)})
        size = {"shortest_edge": SIDE, "longest_edge": 2 * SIDE}
        processor = GroundingDinoProcessor(GroundingDinoImageProcessor(size=size), tokenizer)
        backbone: dict[str, Any] = {
            "image_size": SIDE,
            "embed_dim": 8,
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 1, 2, 2],
            "window_size": 4,
            "out_features": ["stage2", "stage3", "stage4"],
        }
        config = GroundingDinoConfig(
            backbone_config=SwinConfig(**backbone),
            text_config=BertConfig(
                vocab_size=len(tokens),
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=16,
                max_position_embeddings=32,
            ),
            d_model=64,  # the smallest: its group norms have 32 groups of more than one number
            num_queries=10,
            encoder_layers=1,
            decoder_layers=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            max_text_len=32,
        )
        _save(GroundingDinoForObjectDetection, config, processor, folder, seed)
    return folder


def make_florence2(folder: Path, seed: int = 0) -> Path:
    """A Florence-2 whose vocabulary has all 1000 location tokens, in `folder`."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import (
        BartConfig,
        BartTokenizer,
        CLIPImageProcessor,
        Florence2Config,
        Florence2ForConditionalGeneration,
        Florence2Processor,
        Florence2VisionConfig,
    )

    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(ByteLevel.alphabet())]
    locations = [f"<loc_{bin_}>" for bin_ in range(1000)]
    with quiet():
        tokenizer = BartTokenizer(
            {piece: number for number, piece in enumerate(pieces)},
            [],
            extra_special_tokens={"image_token": "<image>"},
        )
        tokenizer.add_tokens(locations, special_tokens=True)
        images = CLIPImageProcessor(
            size={"height": SIDE, "width": SIDE}, do_center_crop=False, image_seq_length=5
        )
        rules: dict[str, dict[str, Any]] = {
            task: {}
            for task in ("description_with_bboxes_or_polygons", "phrase_grounding", "pure_text")
        }
        processor = Florence2Processor(images, tokenizer, 0, rules)
        config = Florence2Config(
            text_config=BartConfig(
                vocab_size=len(tokenizer),
                d_model=16,
                encoder_layers=1,
                decoder_layers=1,
                encoder_ffn_dim=16,
                decoder_ffn_dim=16,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                max_position_embeddings=256,
                init_std=0.5,  # so that answers depend on image and phrase
            ),
            vision_config=Florence2VisionConfig(
                depths=(1, 1, 1, 1),
                embed_dim=(8, 8, 8, 16),
                num_heads=(1, 1, 1, 2),
                num_groups=(1, 1, 1, 2),
                window_size=4,
                projection_dim=16,
            ),
            image_token_id=tokenizer.image_token_id,
        )
        # every answer starts with <s>
        starts = {"forced_bos_token_id": 0}
        _save(Florence2ForConditionalGeneration, config, processor, folder, seed, starts)
    return folder


def _save(
    kind: Any,
    config: object,
    processor: Any,
    folder: Path,
    seed: int,
    generation: dict[str, int] | None = None,
) -> None:
    """A model of random weights and its processor, as `save_pretrained` writes them."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(config)
    for name, value in (generation or {}).items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
