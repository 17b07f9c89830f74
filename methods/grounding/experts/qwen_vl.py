"""Qwen's vision-language models, by transformers alone: Qwen2-VL, Qwen2.5-VL and Qwen3-VL.

They differ in what their coordinates count to, and `model_type` of config.json says which it is.
Qwen2-VL answers between special tokens, in thousandths. Qwen2.5-VL writes JSON with pixels of the
image after its processor resized it to whole patches, so the fraction is of that size, never of the
file's. Qwen3-VL writes the same JSON with thousandths.

The question is `Wording.prompt`. Models that answer in JSON are trained on JSON, XML and plain text
alike (so their authors say), and the question decides: their grounding examples ask to "output the
bbox coordinates in JSON format". So `IN_JSON` is added, unless the prompt says JSON itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from PIL.Image import Image

from methods.grounding.expert import Wording
from methods.grounding.experts.conversation import (
    THOUSANDTHS,
    Boxes,
    Said,
    Talker,
    cut,
    json_boxes,
    qwen2_boxes,
)
from methods.grounding.experts.loading import Found, cast_inputs, load_model, load_processor
from protocols.errors import ReIDError, UnknownName

if TYPE_CHECKING:
    import torch

IN_JSON = "\nOutput the bbox coordinates in JSON format."
"""Added to the question for models that answer in JSON."""
LEAST_TOKENS = 256
"""Of an image; smaller ones are enlarged, or a person of 64 x 128 pixels would be ten tokens.

The lower end of the range that Qwen's own examples set.
"""

READERS: dict[str, Callable[[Said], Boxes]] = {
    "qwen2_vl": lambda said: qwen2_boxes(said.text),
    "qwen2_5_vl": lambda said: json_boxes(said.text, said.seen),
    "qwen3_vl": lambda said: json_boxes(said.text, THOUSANDTHS),
    "qwen3_vl_moe": lambda said: json_boxes(said.text, THOUSANDTHS),
}
"""How the answers of a `model_type` are read."""


class QwenVL(Talker):
    """One of Qwen's vision-language models.

    Generation is greedy and without the penalty on repeated tokens that the models' own settings
    have: digits repeat in boxes, and with it the padding beside a longer question would change an
    answer. Raises UnknownName for a model of another type, ReIDError without a chat template.
    """

    name = "qwen-vl"
    answer_tokens = 512

    def __init__(
        self, found: Found, *, device: str | torch.device, dtype: torch.dtype, wording: Wording
    ) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor, GenerationConfig

        self.model, self.revision, self.wording = found.model, found.revision, wording
        self.kind = str(found.config.get("model_type"))
        if self.kind not in READERS:
            raise UnknownName("model_type of a Qwen vision-language model", self.kind, READERS)
        self.device, self.dtype = device, dtype
        self.processor = load_processor(AutoProcessor, found)
        if not self.processor.chat_template:
            raise ReIDError(
                f"--expert {self.name}: {found.folder} has no chat template (chat_template.jinja "
                "or chat_template.json). It must hold all files of the model, as they were saved."
            )
        self.network = load_model(AutoModelForImageTextToText, found, device, dtype)
        tokenizer = self.processor.tokenizer
        tokenizer.padding_side = "left"
        self._enlarge()
        ends = self.network.generation_config.eos_token_id or tokenizer.eos_token_id
        self.ends = ends if isinstance(ends, list) else [ends]
        pad = self.ends[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self.network.generation_config = GenerationConfig(
            do_sample=False, eos_token_id=self.ends, pad_token_id=pad
        )

    def question(self, phrase: str) -> str:
        """`wording.prompt`, and `IN_JSON` for models whose documented answer is JSON."""
        asked = super().question(phrase)
        plain = self.kind == "qwen2_vl" or "json" in self.wording.prompt.lower()
        return asked if plain else asked + IN_JSON

    def read(self, said: Said) -> Boxes:
        """By the convention of the model's type."""
        return READERS[self.kind](said)

    def ask(self, images: Sequence[Image], questions: Sequence[str], tokens: int) -> list[Said]:
        """What the model says to each pair of image and question, in at most `tokens` tokens.

        All at once, padded on the left.
        """
        import torch

        if not questions:
            return []
        texts = [self._conversation(question) for question in questions]
        pictures = [image.convert("RGB") for image in images]
        inputs = self.processor(text=texts, images=pictures, padding=True, return_tensors="pt")
        inputs = cast_inputs(inputs, self.device, self.dtype)
        with torch.inference_mode():
            out = self.network.generate(**inputs, max_new_tokens=tokens)
        patch = self.processor.image_processor.patch_size
        said = []
        grids = inputs["image_grid_thw"].tolist()
        for ids, (_, high, wide) in zip(out[:, inputs["input_ids"].shape[1] :], grids, strict=True):
            kept, finished = cut(ids.tolist(), self.ends)
            # special tokens are part of Qwen2-VL's form
            text = self.processor.tokenizer.decode(kept, skip_special_tokens=False)
            said.append(Said(text, finished, (wide * patch, high * patch)))
        return said

    def _enlarge(self) -> None:
        """Sets the fewest pixels an image is resized to; coordinates follow the size seen."""
        images = self.processor.image_processor
        least = LEAST_TOKENS * (images.patch_size * images.merge_size) ** 2
        images.size = {
            "shortest_edge": max(least, images.size["shortest_edge"]),
            "longest_edge": max(least, images.size["longest_edge"]),
        }

    def _conversation(self, question: str) -> str:
        """The question after the image, in the model's chat template."""
        content = [{"type": "image"}, {"type": "text", "text": question}]
        template: Callable[..., Any] = self.processor.apply_chat_template
        return str(
            template(
                [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
            )
        )
