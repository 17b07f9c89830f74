"""Grounding DINO: a detector that is told by a phrase what to find; boxes with scores.

Its text is lower case and ends with a dot, which separates phrases. A query's score is that of
the word it fits best, so a box found for "the head of the person" may be the person's: its words
are in the raw answer, and the shorter a phrase, the less of this.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from methods.grounding.expert import Answer, Expert, ScoredBox, Wording
from methods.grounding.experts.loading import Found, cast_inputs, load_model, load_processor, quiet

DECIMALS = 6
"""Of numbers in the raw answer: about what float32 has."""


class GroundingDino(Expert):
    """Thresholds are the defaults of the processor in transformers.

    box_threshold: the least score of a box; text_threshold: of a word that counts as found in it;
    floor: the least score of what `raw` keeps, so that thresholds can be thought over.
    """

    box_threshold = 0.25
    text_threshold = 0.25
    floor = 0.05

    def __init__(
        self, found: Found, *, device: str | torch.device, dtype: torch.dtype, wording: Wording
    ) -> None:
        from transformers import GroundingDinoForObjectDetection, GroundingDinoProcessor

        self.name, self.model, self.revision = found.expert, found.model, found.revision
        self.wording, self.device, self.dtype = wording, device, dtype
        self.processor = load_processor(GroundingDinoProcessor, found)
        self.network = load_model(GroundingDinoForObjectDetection, found, device, dtype)

    @torch.inference_mode()
    def locate(self, images: Sequence[Image], phrases: Sequence[str]) -> list[Answer]:
        """See `Expert.locate`; an image given with several phrases is prepared once.

        `raw` is JSON: centre x, centre y, width, height of each box as the model gives them
        (fractions of the image), its score and its words, the best first.
        """
        answers: dict[int, Answer] = {}
        with quiet():
            different = {id(image): image for image in images}
            prepared = {key: self._prepare(image) for key, image in different.items()}
            # padding to the size of another image would change what the model sees
            by_size: dict[tuple[int, ...], list[int]] = {}
            for pair, (image, _) in enumerate(zip(images, phrases, strict=True)):
                by_size.setdefault(tuple(prepared[id(image)].shape), []).append(pair)
            for pairs in by_size.values():
                pixels = torch.stack([prepared[id(images[pair])] for pair in pairs])
                found = self._ask(pixels, [phrases[pair] for pair in pairs])
                answers.update(zip(pairs, found, strict=True))
        return [answers[pair] for pair in range(len(images))]

    def _prepare(self, image: Image) -> Tensor:
        """One image as the model takes it, [3, H, W]."""
        inputs = self.processor.image_processor(images=[image], return_tensors="pt")
        pixels = inputs["pixel_values"][0]
        assert isinstance(pixels, Tensor)
        return pixels

    def _ask(self, pixels: Tensor, phrases: Sequence[str]) -> list[Answer]:
        """The answers for images of one size [B, 3, H, W], a phrase each."""
        texts = [as_text(phrase) for phrase in phrases]
        inputs = self.processor.tokenizer(
            texts, padding=True, return_token_type_ids=True, return_tensors="pt"
        )
        mask = torch.ones(pixels[:, 0].shape, dtype=torch.long)
        inputs = cast_inputs(
            {**inputs, "pixel_values": pixels, "pixel_mask": mask}, self.device, self.dtype
        )
        outputs = self.network(**inputs)
        outputs.logits, outputs.pred_boxes = outputs.logits.float(), outputs.pred_boxes.float()
        return [self._read(outputs, inputs["input_ids"], row) for row in range(len(texts))]

    def _read(self, outputs: Any, input_ids: Tensor, row: int) -> Answer:
        """The answer of one row of a batch."""
        logits, boxes = outputs.logits[row], outputs.pred_boxes[row]
        # words that are not there have a logit of minus infinity
        if torch.isnan(logits).any() or logits.max().isposinf() or not boxes.isfinite().all():
            problem = "the model's numbers are not finite; full precision may help"
            return Answer(json.dumps({"boxes": [], "scores": [], "words": []}), problem=problem)
        one = type(outputs)(logits=logits[None], pred_boxes=boxes[None])
        kept = self.processor.post_process_grounded_object_detection(
            one, input_ids[row : row + 1], self.floor, self.text_threshold
        )[0]
        order = kept["scores"].argsort(descending=True, stable=True)
        scores = kept["scores"][order].tolist()
        # the processor keeps the order of the queries
        centred = boxes[logits.sigmoid().amax(1) > self.floor][order].tolist()
        words = [kept["text_labels"][place] for place in order.tolist()]
        raw = json.dumps(
            {
                "boxes": [[round(number, DECIMALS) for number in box] for box in centred],
                "scores": [round(score, DECIMALS) for score in scores],
                "words": words,
            }
        )
        fractions = kept["boxes"][order].clamp(0, 1).tolist()
        scored = (
            ScoredBox(xmin, ymin, xmax, ymax, score)
            for (xmin, ymin, xmax, ymax), score in zip(fractions, scores, strict=True)
            if score > self.box_threshold
        )
        # one without an inside is nowhere
        return Answer(raw, tuple(box for box in scored if box.area > 0))


def as_text(phrase: str) -> str:
    """A phrase as the model was trained to read it: "the head of the person."."""
    return phrase.strip().lower().rstrip(".") + "."
