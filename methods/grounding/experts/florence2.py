"""Florence-2: a small vision-language model that writes boxes as location tokens.

It is asked by its task <OPEN_VOCABULARY_DETECTION>, which takes one phrase and answers with that
phrase and its boxes. <CAPTION_TO_PHRASE_GROUNDING> takes a caption and gives boxes of every noun
phrase in it: of "the head of the person" also the person's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from PIL.Image import Image

from methods.grounding.expert import Answer, Expert, ScoredBox, Wording
from methods.grounding.experts.loading import Found, cast_inputs, load_model, load_processor, quiet

BINS = 1000
"""What a location token counts to, in width as in height."""

_LOCATION = r"<loc_(0|[1-9][0-9]{0,3})>"
_LABELLED = re.compile(rf"(?P<label>[^<>]+)(?P<places>(?:{_LOCATION})+)")
_START, _END = "</s><s>", "</s>"


class Florence2(Expert):
    """Answers are the most likely ones, token by token.

    longest: tokens of an answer (a box takes about ten); a longer one is cut and has a `problem`.
    """

    task = "<OPEN_VOCABULARY_DETECTION>"
    longest = 256

    def __init__(
        self, found: Found, *, device: str | torch.device, dtype: torch.dtype, wording: Wording
    ) -> None:
        from transformers import Florence2ForConditionalGeneration, Florence2Processor

        self.name, self.model, self.revision = found.expert, found.model, found.revision
        self.wording, self.device, self.dtype = wording, device, dtype
        self.processor = load_processor(Florence2Processor, found)
        self.network = load_model(Florence2ForConditionalGeneration, found, device, dtype)
        # an end put there by force would hide that an answer was cut
        self.network.generation_config.forced_eos_token_id = None

    @torch.inference_mode()
    def locate(self, images: Sequence[Image], phrases: Sequence[str]) -> list[Answer]:
        """See `Expert.locate`; `raw` has all special tokens but padding."""
        if not images:
            return []
        with quiet():
            inputs = self.processor(
                images=list(images),
                text=[self.task + phrase for phrase in phrases],
                padding=True,
                return_tensors="pt",
            )
            written = self.network.generate(
                **cast_inputs(inputs, self.device, self.dtype),
                max_new_tokens=self.longest,
                do_sample=False,
                num_beams=1,
                # the model's own setting forbids the phrase to be said of a second box
                no_repeat_ngram_size=0,
            )
            texts = self.processor.batch_decode(written, skip_special_tokens=False)
        padding = re.compile(f"(?:{re.escape(self.processor.tokenizer.pad_token)})+$")
        raws = [padding.sub("", text) for text in texts]
        return [read(raw, phrase) for raw, phrase in zip(raws, phrases, strict=True)]


def read(raw: str, phrase: str) -> Answer:
    """An answer's boxes, in the order given, if it is exactly of the documented form.

        </s><s>wheels<loc_144><loc_570><loc_870><loc_778>wheels<loc_711>...</s>

    The phrase asked for, then xmin, ymin, xmax, ymax of each of its boxes in thousandths of width
    and height, a location standing for the middle of its thousandth; nothing, if nothing was
    found. Anything else is a `problem`.
    """
    if not raw.startswith(_START):
        return Answer(raw, problem=f"it does not start with {_START}")
    if not raw.endswith(_END) or len(raw) < len(_START) + len(_END):
        return Answer(raw, problem="it has no end: cut for its length")
    body = raw[len(_START) : -len(_END)]
    boxes: list[ScoredBox] = []
    read_to = 0
    while read_to < len(body):
        part = _LABELLED.match(body, read_to)
        if part is None:
            return Answer(raw, problem=f"not a phrase with locations: {body[read_to:][:60]!r}")
        if _plain(part["label"]) != _plain(phrase):
            return Answer(raw, problem=f"asked for {phrase!r}, it speaks of {part['label']!r}")
        bins = [int(number) for number in re.findall(_LOCATION, part["places"])]
        problem = _problem(bins)
        if problem:
            return Answer(raw, problem=problem)
        middles = [(number + 0.5) / BINS for number in bins]
        boxes += [ScoredBox(*middles[at : at + 4]) for at in range(0, len(middles), 4)]
        read_to = part.end()
    return Answer(raw, tuple(boxes))


def _problem(bins: Sequence[int]) -> str:
    """Why these locations are not boxes; empty if they are."""
    if len(bins) % 4:
        return f"{len(bins)} locations, expected four a box"
    if max(bins) >= BINS:
        return f"location {max(bins)}, expected 0 to {BINS - 1}"
    for at in range(0, len(bins), 4):
        xmin, ymin, xmax, ymax = bins[at : at + 4]
        if xmax <= xmin or ymax <= ymin:
            return f"a box without an inside: {xmin}, {ymin}, {xmax}, {ymax}"
    return ""


def _plain(text: str) -> str:
    """Without regard to case and to the number of spaces."""
    return " ".join(text.lower().split())
