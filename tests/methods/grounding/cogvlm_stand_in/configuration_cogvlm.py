"""Stands in for the configuration that CogVLM's folder brings along."""

from typing import Any

from transformers import PretrainedConfig


class CogVLMConfig(PretrainedConfig):
    """The settings of it that matter here, in the old form of a configuration."""

    _auto_class = "AutoConfig"

    def __init__(
        self,
        vision_config: dict[str, int] | None = None,
        vocab_size: int = 32,
        hidden_size: int = 16,
        template_version: str = "base",
        pad_token_id: int = 0,
        bos_token_id: int = 1,
        eos_token_id: int = 2,
        **others: Any,
    ) -> None:
        self.vision_config = vision_config or {"image_size": 28, "patch_size": 14}
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.template_version = template_version
        super().__init__(
            pad_token_id=pad_token_id,
            bos_token_id=bos_token_id,
            eos_token_id=eos_token_id,
            **others,
        )
