"""Grounding DINO: what it is asked, how its numbers become boxes, batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL.Image import Image
from torch import Tensor

from methods.grounding.expert import Answer, Wording
from methods.grounding.experts import open_expert
from methods.grounding.experts.grounding_dino import GroundingDino, as_text
from tests.methods.grounding.tiny_experts import make_grounding_dino, picture

PHRASES = Wording().phrases


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_grounding_dino(tmp_path_factory.mktemp("dino"))


def opened(folder: Path, dtype: torch.dtype = torch.float32) -> GroundingDino:
    expert = open_expert(
        "grounding-dino", str(folder), device="cpu", dtype=dtype, wording=Wording()
    )
    assert isinstance(expert, GroundingDino)
    return expert


@pytest.fixture
def expert(folder: Path) -> GroundingDino:
    return opened(folder)


class Told:
    """In place of the network: gives the same numbers whatever it is shown."""

    def __init__(self, scores: list[list[float]], boxes: list[list[float]]) -> None:
        self.logits = torch.tensor(scores).logit()
        self.boxes = torch.tensor(boxes)
        self.asked: list[dict[str, Tensor]] = []

    def __call__(self, **inputs: Tensor) -> Any:
        from transformers.models.grounding_dino import modeling_grounding_dino as dino

        self.asked.append(inputs)
        rows = len(inputs["input_ids"])
        return dino.GroundingDinoObjectDetectionOutput(
            logits=self.logits.repeat(rows, 1, 1), pred_boxes=self.boxes.repeat(rows, 1, 1)
        )


def near(left: Answer, right: Answer) -> None:
    """The same answer, but for rounding."""
    assert (left.problem, len(left.boxes)) == (right.problem, len(right.boxes))
    for one, other in zip(left.boxes, right.boxes, strict=True):
        assert one.corners == pytest.approx(other.corners, abs=1e-4)
        assert one.score == pytest.approx(other.score, abs=1e-4)
    assert json.loads(left.raw)["words"] == json.loads(right.raw)["words"]


@pytest.mark.parametrize("size", [(40, 100), (100, 40)])
def test_boxes_are_fractions_of_the_image(expert: GroundingDino, size: tuple[int, int]) -> None:
    told = Told([[0.5, 0.1, 0.2], [0.1, 0.9, 0.3]], [[0.5, 0.25, 0.5, 0.25], [0.1, 0.9, 0.4, 0.4]])
    expert.network = told
    answer = expert.locate([picture(*size)], ["head"])[0]
    best, second = answer.boxes
    # what is beyond the border is cut off
    assert best.corners == pytest.approx((0.0, 0.7, 0.3, 1.0))
    assert second.corners == pytest.approx((0.25, 0.125, 0.75, 0.375))
    assert (best.score, second.score) == pytest.approx((0.9, 0.5))
    # the processor's own pixels
    width, height = size
    pixels = expert.processor.post_process_grounded_object_detection(
        told(**told.asked[0]), told.asked[0]["input_ids"], target_sizes=[(height, width)]
    )[0]["boxes"]
    scale = torch.tensor([width, height, width, height])
    assert second.corners == pytest.approx((pixels[0] / scale).tolist())


def test_what_is_asked(expert: GroundingDino) -> None:
    assert as_text(" The Head of the person") == as_text("the head of the person.")
    told = Told([[0.5]], [[0.5, 0.5, 0.5, 0.5]])
    expert.network = told
    expert.locate([picture(40, 100)], ["The HEAD"])
    asked = told.asked[0]
    words = expert.processor.tokenizer.convert_ids_to_tokens(asked["input_ids"][0])
    assert words == ["[CLS]", "the", "head", ".", "[SEP]"]
    # the shorter side to 64, the longer to no more than 128
    assert asked["pixel_values"].shape == (1, 3, 128, 51)
    assert asked["pixel_mask"].all()


def test_the_raw_answer_keeps_what_is_below_the_threshold(expert: GroundingDino) -> None:
    boxes = [[0.5, 0.5, 0.2, 0.2], [0.4, 0.4, 0.2, 0.2], [0.3, 0.3, 0.2, 0.2]]
    expert.network = Told([[0.01, 0.04, 0.02], [0.01, 0.07, 0.06], [0.1, 0.01, 0.24]], boxes)
    answer = expert.locate([picture()], ["head"])[0]
    assert (answer.boxes, answer.problem) == ((), "")
    kept = json.loads(answer.raw)
    assert kept["boxes"] == [boxes[2], boxes[1]]
    assert kept["scores"] == [0.24, 0.07]
    expert.box_threshold = 0.2
    assert len(expert.locate([picture()], ["head"])[0].boxes) == 1


def test_words_of_a_box_are_kept(expert: GroundingDino) -> None:
    # [CLS] the head of the person . [SEP]
    of_the_person = [0.1, 0.1, 0.1, 0.1, 0.3, 0.9, 0.1, 0.1]
    expert.network = Told([of_the_person], [[0.5, 0.5, 0.2, 0.2]])
    answer = expert.locate([picture()], ["the head of the person"])[0]
    assert json.loads(answer.raw)["words"] == ["the person"]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_a_problem(expert: GroundingDino, number: float) -> None:
    told = Told([[0.5, 0.9]], [[0.5, 0.5, 0.2, number]])
    expert.network = told
    answer = expert.locate([picture()], ["head"])[0]
    assert "not finite" in answer.problem
    assert answer.boxes == ()
    told.boxes = torch.tensor([[0.5, 0.5, 0.2, 0.2]])
    assert len(expert.locate([picture()], ["head"])[0].boxes) == 1
    told.logits = torch.tensor([[number, 0.1]])
    assert "not finite" in expert.locate([picture()], ["head"])[0].problem
    # words that are not there
    told.logits = torch.tensor([[-float("inf"), 0.1]])
    assert len(expert.locate([picture()], ["head"])[0].boxes) == 1


def test_a_box_without_an_inside_is_none(expert: GroundingDino) -> None:
    expert.network = Told([[0.9]], [[0.5, 0.5, 0.0, 0.2]])
    answer = expert.locate([picture()], ["head"])[0]
    assert (answer.boxes, answer.problem) == ((), "")


def test_many_at_once_are_as_one_by_one(expert: GroundingDino) -> None:
    first, second, third = picture(), picture(100, 50, seed=1), picture(30, 90, seed=2)
    images = [first, second, first, third, first, second]
    phrases = [*PHRASES, "every person", "legs", "a face"]
    together = expert.locate(images, phrases)
    for image, phrase, answer in zip(images, phrases, together, strict=True):
        near(answer, expert.locate([image], [phrase])[0])
    assert together == expert.locate(images, phrases)
    assert len({answer.raw for answer in together}) == len(images)
    assert expert.locate([], []) == []


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (64, 64)])
def test_images_of_any_form(expert: GroundingDino, size: tuple[int, int]) -> None:
    assert not expert.locate([picture(*size)], ["head"])[0].problem


def test_an_image_is_prepared_once(expert: GroundingDino, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    prepare = expert._prepare

    def counted(image: Image) -> Tensor:
        sizes.append(image.size)
        return prepare(image)

    monkeypatch.setattr(expert, "_prepare", counted)
    image = picture()
    expert.locate([image, picture(30, 30), image], PHRASES)
    assert sizes == [(48, 96), (30, 30)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(folder: Path, dtype: torch.dtype) -> None:
    expert = opened(folder, dtype)
    assert {parameter.dtype for parameter in expert.network.parameters()} == {dtype}
    assert not expert.network.training
    for answer in expert.locate([picture(), picture(100, 50)], PHRASES[:2]):
        assert answer.boxes
        assert not answer.problem
        assert all(0 <= n <= 1 for box in answer.boxes for n in (*box.corners, box.score or 0))


def test_its_second_look_is_at_the_inside(expert: GroundingDino) -> None:
    boxes = expert.locate([picture()], ["head"])[0].boxes
    expert.network = Told([[0.9]], [[0.5, 0.5, 0.9, 0.9]])
    assert expert.judge([picture()], boxes[:1], ["head"])[0].right
    expert.network = Told([[0.9]], [[0.5, 0.5, 0.2, 0.9]])
    assert not expert.judge([picture()], boxes[:1], ["head"])[0].right
