"""CogVLM, the expert of MUVA's paper, asked through the code that comes with its weights.

The model's folder on the hub holds Python that builds its input and runs it (`trust_remote_code`).
That code was written for transformers 4.35. From 4.42 on its `generate` fails, since it overrides
methods that have changed; its users go back to 4.36 or 4.40. So `generate` is not called here: the
model is, over and over, and the likeliest token is taken, which is what a greedy `generate` comes
to. That code imports xformers and einops too. It could not be run for the tests, which hold this
file to a stand-in with the same interface; whether the rest of it runs with the transformers
installed here is not known, and where it does not, the error says so.

It squeezes every image to 490 x 490 pixels, whatever its form, so coordinates are thousandths of
width and height. Its config names the prompt template: `base`, which is the question alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL.Image import Image

from methods.grounding.expert import Wording
from methods.grounding.experts.conversation import Boxes, Said, Talker, cogvlm_boxes, cut
from methods.grounding.experts.loading import Found, load_model, load_processor, quiet
from protocols.errors import ReIDError

if TYPE_CHECKING:
    import torch

TOKENIZER_FILES = ("tokenizer.model", "tokenizer.json")
LANGUAGE = 0
"""The type of a token that is a word; 1 is a piece of the image."""
STRANGE = (
    AssertionError,
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
    NotImplementedError,
    TypeError,
    ValueError,
)
"""What code raises that meets libraries it was not written for."""


class CogVLM(Talker):
    """CogVLM's grounding generalist; one image at a time, as its code builds its input.

    Raises ReIDError where the model's own code does not run, and without a tokenizer.
    """

    name = "cogvlm"
    TOKENIZER = "lmsys/vicuna-7b-v1.5"
    """Where the tokenizer is from if the model's folder has none; the hub's has none."""

    def __init__(
        self, found: Found, *, device: str | torch.device, dtype: torch.dtype, wording: Wording
    ) -> None:
        from transformers import AutoModelForCausalLM

        self.model, self.revision, self.wording = found.model, found.revision, wording
        self.device, self.dtype = device, dtype
        self.tokenizer = self._tokenizer(found)
        self.network = load_model(AutoModelForCausalLM, found, device, dtype)

    def read(self, said: Said) -> Boxes:
        """Thousandths in double brackets."""
        return cogvlm_boxes(said.text)

    def ask(self, images: Sequence[Image], questions: Sequence[str], tokens: int) -> list[Said]:
        """What the model says to each pair of image and question, in at most `tokens` tokens."""
        pairs = list(zip(images, questions, strict=True))
        try:
            return [self._ask(image, question, tokens) for image, question in pairs]
        except STRANGE as error:
            raise self._does_not_run(error) from error

    def _ask(self, image: Image, question: str, tokens: int) -> Said:
        inputs = self.network.build_conversation_input_ids(
            self.tokenizer, query=question, history=[], images=[image]
        )
        ids, finished = cut(self._likeliest(inputs, tokens), [self.tokenizer.eos_token_id])
        return Said(self.tokenizer.decode(ids), finished, image.size)

    def _likeliest(self, inputs: dict[str, Any], tokens: int) -> list[int]:
        """The likeliest token after all before it, `tokens` times or until the end."""
        import torch

        ids, types, mask = (
            inputs[key][None].to(self.device)
            for key in ("input_ids", "token_type_ids", "attention_mask")
        )
        images = [[picture.to(self.device, self.dtype) for picture in inputs["images"]]]
        said: list[int] = []
        cache = None
        with torch.inference_mode():
            while len(said) < tokens and self.tokenizer.eos_token_id not in said[-1:]:
                step = self.network.prepare_inputs_for_generation(
                    ids,
                    token_type_ids=types,
                    images=images,
                    past_key_values=cache,
                    attention_mask=mask,
                    use_cache=True,
                )
                output = self.network(**step, return_dict=True)
                cache = output.past_key_values
                best = output.logits[:, -1].argmax(-1, keepdim=True)
                said.append(int(best))
                ids = torch.cat([ids, best], dim=1)
                types = torch.cat([types, torch.full_like(best, LANGUAGE)], dim=1)
                mask = torch.cat([mask, torch.ones_like(best)], dim=1)
        return said

    def _tokenizer(self, found: Found) -> Any:
        """Of the model's folder, or `TOKENIZER`: data alone, no code of theirs is run."""
        from transformers import LlamaTokenizer

        if any((found.folder / name).is_file() for name in TOKENIZER_FILES):
            tokenizer = load_processor(LlamaTokenizer, found)
        else:
            tokenizer = load_processor(LlamaTokenizer, replace(found, folder=self._fetch(found)))
        if tokenizer.pad_token_id is None:
            # it only holds the places that the image's pieces take
            tokenizer.pad_token = tokenizer.unk_token
        return tokenizer

    def _fetch(self, found: Found) -> Path:
        """The folder of `TOKENIZER`, from the hub or its cache."""
        from huggingface_hub import snapshot_download

        wanted = ["tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"]
        try:
            with quiet():
                folder = Path(snapshot_download(self.TOKENIZER, allow_patterns=wanted))
            if not (folder / wanted[0]).is_file():
                raise FileNotFoundError(f"{folder} has no {wanted[0]}")
            return folder
        except Exception as error:
            raise ReIDError(
                f"--expert {self.name}: {found.model} has no tokenizer of its own, and "
                f"{self.TOKENIZER}, which it is meant to be used with, can't be fetched: "
                f"{' '.join(str(error).split())[:300]} Put its tokenizer.model and "
                "tokenizer_config.json into a folder with the model's files, and give that folder "
                "with --model."
            ) from error

    def _does_not_run(self, error: Exception) -> ReIDError:
        import transformers

        return ReIDError(
            f"The code that comes with {self.model} does not run with transformers "
            f"{transformers.__version__}: {type(error).__name__}: {error}. It was written for "
            "transformers 4.35 to 4.41, with xformers and einops, on a GPU. Use an environment "
            "that has these, or another --expert."
        )
