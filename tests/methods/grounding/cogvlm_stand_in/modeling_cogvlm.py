"""Stands in for the model that CogVLM's folder brings along: its interface, and next to no weights.

What callers meet is as there: `build_conversation_input_ids` for one image, `forward` that wants
images as a list of lists and token types, caches as tuples of tuples, and a `generate` that fails
where transformers no longer has what it overrides.
"""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.functional import resize, to_tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_cogvlm import CogVLMConfig

LANGUAGE, VISION = 0, 1

if "COGVLM_STAND_IN_MARK" in os.environ:
    Path(os.environ["COGVLM_STAND_IN_MARK"]).write_text("this code ran")


class CogVLMForCausalLM(PreTrainedModel):
    """One layer of attention over patches and words."""

    config_class = CogVLMConfig
    _auto_class = "AutoModelForCausalLM"

    def __init__(self, config: CogVLMConfig) -> None:
        super().__init__(config)
        width, side = config.hidden_size, config.vision_config["patch_size"]
        self.embed = nn.Embedding(config.vocab_size, width)
        self.patches = nn.Conv2d(3, width, side, side)
        self.attention = nn.Linear(width, 3 * width)
        self.lm_head = nn.Linear(width, config.vocab_size, bias=False)
        self.script: list[int] = []
        """What to say next, whatever the weights would."""
        self.asked: list[str] = []
        self.read: list[int] = []
        """How many tokens each call got."""
        self.post_init()

    def generate(self, *arguments: Any, **options: Any) -> None:
        """Fails, as the original's does with any transformers of today."""
        raise AttributeError("no attribute '_extract_past_from_model_output'")

    def build_conversation_input_ids(
        self,
        tokenizer: Any,
        *,
        query: str,
        history: list[tuple[str, str]] | None = None,
        images: list[Any] | None = None,
        template_version: str | None = None,
    ) -> dict[str, Any]:
        """Beginning, image, words: ids [L], types [L], mask [L] and the image [3, S, S]."""
        assert (template_version or self.config.template_version) == "base" and not history
        assert images is not None and len(images) == 1
        self.asked.append(query)
        side = self.config.vision_config["image_size"]
        count = (side // self.config.vision_config["patch_size"]) ** 2
        words = tokenizer.encode(query, add_special_tokens=False)
        ids = [tokenizer.bos_token_id] + [tokenizer.pad_token_id] * count + words
        types = [LANGUAGE] + [VISION] * count + [LANGUAGE] * len(words)
        return {
            "input_ids": torch.tensor(ids),
            "token_type_ids": torch.tensor(types),
            "attention_mask": torch.ones(len(ids), dtype=torch.long),
            "images": [to_tensor(resize(images[0], [side, side]))],
        }

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        token_type_ids: Tensor,
        images: Any = None,
        past_key_values: Any = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """What `forward` wants for the next token; with a cache, the last one alone."""
        assert attention_mask is not None and token_type_ids.shape == input_ids.shape
        assert attention_mask.shape == input_ids.shape
        assert (token_type_ids[:, -1] == LANGUAGE).all()
        position_ids = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        if past_key_values:
            input_ids, position_ids = input_ids[:, -1:], position_ids[:, -1:]
            token_type_ids = token_type_ids[:, -1:]
        return {
            "input_ids": input_ids,
            "token_type_ids": token_type_ids,
            "images": images,
            "position_ids": position_ids,
            "past_key_values": past_key_values,
            "use_cache": options.get("use_cache"),
            "attention_mask": attention_mask,
        }

    def forward(
        self,
        input_ids: Tensor,
        images: list[list[Tensor]],
        token_type_ids: Tensor,
        position_ids: Tensor,
        attention_mask: Tensor,
        past_key_values: tuple[tuple[Tensor, Tensor], ...] | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> CausalLMOutputWithPast:
        """Logits [1, L, V] in float32, and the cache: per layer keys and values [1, P, D]."""
        assert return_dict and use_cache and len(images) == len(input_ids)
        self.read.append(input_ids.shape[1])
        x = self.embed(input_ids)
        if past_key_values is None:
            seen = self.patches(images[0][0][None]).flatten(2).transpose(1, 2)
            x = x.index_put((token_type_ids == VISION,), seen.flatten(0, 1))
        x = x + torch.sin(position_ids[..., None].to(x.dtype))
        query, key, value = self.attention(x).chunk(3, dim=-1)
        if past_key_values is not None:
            assert past_key_values[0][0].shape[1] + 1 == attention_mask.shape[1]
            key = torch.cat([past_key_values[0][0], key], dim=1)
            value = torch.cat([past_key_values[0][1], value], dim=1)
        causal = past_key_values is None
        x = x + functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
        logits = self.lm_head(x).float()
        if self.script:
            logits[:, -1, self.script.pop(0)] = 1e4
        return CausalLMOutputWithPast(logits=logits, past_key_values=((key, value),))
