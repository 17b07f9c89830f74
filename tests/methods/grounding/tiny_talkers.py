"""Tiny random experts that talk, in folders as the hub's: real configs, processors, tokenizers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

STAND_IN = Path(__file__).parent / "cogvlm_stand_in"
"""Code that stands in for what the hub's CogVLM brings along."""

NAMES = "endoftext im_start im_end object_ref_start object_ref_end box_start box_end"
NAMES += " vision_start vision_end image_pad video_pad"
SPECIAL = [f"<|{name}|>" for name in NAMES.split()]
"""Special tokens of Qwen's vision models."""

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The form of Qwen's chat templates."""

QWEN = {
    "qwen2_vl": ("Qwen2VL", 14, {"embed_dim": 16, "hidden_size": 32, "mlp_ratio": 2}),
    "qwen2_5_vl": (
        "Qwen2_5_VL",
        14,
        {
            "hidden_size": 16,
            "intermediate_size": 32,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [0],
        },
    ),
    "qwen3_vl": (
        "Qwen3VL",
        16,
        {
            "hidden_size": 16,
            "intermediate_size": 32,
            "out_hidden_size": 32,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
    ),
}
"""model_type: prefix of the classes, patch size, what is its own of the vision config."""


def byte_tokenizer() -> Any:
    """One token a byte, and Qwen's special ones."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({letter: n for n, letter in enumerate(letters)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(SPECIAL)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )


def make_qwen_vl(folder: Path, kind: str = "qwen2_5_vl") -> Path:
    """A random Qwen vision model of a `model_type`, and its processor, saved."""
    import transformers

    prefix, patch, own = QWEN[kind]
    tokenizer = byte_tokenizer()
    token = tokenizer.convert_tokens_to_ids
    pixels = {"shortest_edge": 4 * patch**2, "longest_edge": 300 * (2 * patch) ** 2}
    images = transformers.Qwen2VLImageProcessor(patch_size=patch, size=pixels)
    video = "Qwen3VL" if kind == "qwen3_vl" else "Qwen2VL"
    processor = getattr(transformers, f"{prefix}Processor")(
        image_processor=images,
        tokenizer=tokenizer,
        video_processor=getattr(transformers, f"{video}VideoProcessor")(patch_size=patch),
        chat_template=TEMPLATE,
    )
    processor.save_pretrained(folder)
    text = {
        "vocab_size": len(tokenizer),
        "initializer_range": 0.5,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2]},
        "bos_token_id": None,
        "eos_token_id": token("<|im_end|>"),
        "pad_token_id": token("<|endoftext|>"),
    }
    if kind == "qwen3_vl":
        text["head_dim"] = 16
    config = getattr(transformers, f"{prefix}Config")(
        text_config=text,
        vision_config={
            "depth": 1,
            "num_heads": 2,
            "patch_size": patch,
            "initializer_range": 0.5,
            **own,
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{prefix}ForConditionalGeneration")(config)
    # as the released ones: sampling and a penalty on what was said
    ends = [token("<|im_end|>"), token("<|endoftext|>")]
    values = {"do_sample": True, "temperature": 0.1, "repetition_penalty": 1.05}
    model.generation_config.update(eos_token_id=ends, pad_token_id=ends[1], **values)
    model.save_pretrained(folder)
    return folder


def make_tokenizer_model(folder: Path) -> Path:
    """A small SentencePiece model as Llama's: digits apart, unknown bytes as bytes."""
    import sentencepiece

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "tokenizer.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["Guide me to the head of the person [[012,345,678,999]]"] * 4),
            model_writer=file,
            vocab_size=300,
            model_type="bpe",
            byte_fallback=True,
            split_digits=True,
            character_coverage=1.0,
            minloglevel=2,
        )
    settings = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>"}
    settings |= {"unk_token": "<unk>", "pad_token": "<unk>", "legacy": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def make_cogvlm(folder: Path, tokenizer: bool = False) -> Path:
    """A folder as the hub's CogVLM: random weights and the code to run them.

    It has a tokenizer of its own only if asked for, as the hub's has none.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    for code in STAND_IN.glob("*.py"):
        shutil.copy(code, folder)
    width, vocabulary, patch = 16, 300, 14
    config = {
        "architectures": ["CogVLMForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_cogvlm.CogVLMConfig",
            "AutoModelForCausalLM": "modeling_cogvlm.CogVLMForCausalLM",
        },
        "vocab_size": vocabulary,
        "hidden_size": width,
        "template_version": "base",
        "vision_config": {"image_size": 2 * patch, "patch_size": patch},
        "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config))
    draw = torch.Generator().manual_seed(0)
    shapes = {
        "embed.weight": (vocabulary, width),
        "patches.weight": (width, 3, patch, patch),
        "patches.bias": (width,),
        "attention.weight": (3 * width, width),
        "attention.bias": (3 * width,),
        "lm_head.weight": (vocabulary, width),
    }
    weights = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return make_tokenizer_model(folder) if tokenizer else folder
