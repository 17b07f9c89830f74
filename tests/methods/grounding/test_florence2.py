"""Florence-2: its answers read as documented or not at all; the way from image to answer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from methods.grounding.expert import Wording
from methods.grounding.experts import open_expert
from methods.grounding.experts.florence2 import Florence2, read
from tests.methods.grounding.tiny_experts import make_florence2, picture

PHRASES = Wording().phrases
WHEELS = (
    "</s><s>wheels<loc_144><loc_570><loc_870><loc_778>wheels<loc_711><loc_573><loc_866><loc_774>"
    "wheels<loc_148><loc_579><loc_304><loc_774></s>"
)
"""What Florence-2-base answers about the wheels of a car (tests of transformers)."""
WHEELS_IN_PIXELS = [[92, 273, 557, 373], [455, 275, 554, 371], [95, 278, 194, 371]]
"""The same as transformers reads it, of an image of 640 x 480 pixels."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_florence2(tmp_path_factory.mktemp("florence"))


def opened(folder: Path, dtype: torch.dtype = torch.float32) -> Florence2:
    expert = open_expert("florence-2", str(folder), device="cpu", dtype=dtype, wording=Wording())
    assert isinstance(expert, Florence2)
    expert.longest = 20
    return expert


@pytest.fixture(scope="module")
def expert(folder: Path) -> Florence2:
    return opened(folder)


def as_answer(*boxes: tuple[int, ...], phrase: str = "head") -> str:
    parts = (phrase + "".join(f"<loc_{number}>" for number in box) for box in boxes)
    return f"</s><s>{''.join(parts)}</s>"


def test_a_documented_answer() -> None:
    answer = read(WHEELS, "wheels")
    assert answer.problem == ""
    assert answer.raw == WHEELS
    assert answer.boxes[0].corners == pytest.approx((0.1445, 0.5705, 0.8705, 0.7785))
    assert [box.score for box in answer.boxes] == [None] * 3


@pytest.mark.parametrize("size", [(640, 480), (64, 128), (1000, 1000)])
def test_coordinates_are_those_of_the_processor(expert: Florence2, size: tuple[int, int]) -> None:
    theirs = expert.processor.post_process_generation(WHEELS, task=expert.task, image_size=size)
    pixels = theirs[expert.task]["bboxes"]
    width, height = size
    ours = [
        [int(n * side) for n, side in zip(box.corners, (width, height) * 2, strict=True)]
        for box in read(WHEELS, "wheels").boxes
    ]
    assert ours == pixels


def test_several_boxes_after_one_phrase() -> None:
    answer = read(as_answer((1, 2, 3, 4, 5, 6, 7, 8)), "head")
    assert [box.ymax for box in answer.boxes] == [0.0045, 0.0085]


def test_nothing_found() -> None:
    answer = read("</s><s></s>", "head")
    assert (answer.boxes, answer.problem) == ((), "")


def test_case_and_blanks_of_the_phrase_do_not_matter() -> None:
    assert read(as_answer((1, 2, 3, 4), phrase="The  Head "), "the head").boxes


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ("", "does not start"),
        ("</s>", "does not start"),
        ("</s><s>", "no end"),
        ("head<loc_1><loc_2><loc_3><loc_4></s>", "does not start"),
        ("</s><s>head<loc_1><loc_2><loc_3><loc_4>", "no end"),
        ("</s><s>head</s>", "not a phrase with locations: 'head'"),
        ("</s><s><loc_1><loc_2><loc_3><loc_4></s>", "not a phrase"),
        (as_answer((1, 2, 3)), "3 locations"),
        (as_answer((1, 2, 3, 4, 5)), "5 locations"),
        (as_answer((1, 2, 3, 1000)), "location 1000"),
        (as_answer((1, 2, 3, 10000)), "3 locations"),
        (as_answer((3, 2, 1, 4)), "without an inside"),
        (as_answer((1, 4, 3, 2)), "without an inside"),
        (as_answer((1, 2, 1, 4)), "without an inside"),
        (as_answer((1, 2, 3, 2)), "without an inside"),
        (as_answer((1, 2, 3, 4), (3, 2, 1, 4)), "without an inside"),
        (as_answer((1, 2, 3, 4)).replace("</s>", " there</s>"), "does not start"),
        ("</s><s>head<loc_1><loc_2><loc_3><loc_4> there</s>", "not a phrase.*' there'"),
        ("</s><s>head<loc_1><loc_2><loc_3><loc_4></s></s>", "not a phrase"),
        ("</s><s>head<loc_01><loc_2><loc_3><loc_4></s>", "not a phrase"),
        ("</s><s>head<loc_-1><loc_2><loc_3><loc_4></s>", "not a phrase"),
        ("</s><s>head<loc_1><loc_2> <loc_3><loc_4></s>", "2 locations"),
        ("</s><s>head<loc_1><loc_2><pad><loc_3><loc_4></s>", "2 locations"),
        ("</s><s>head<poly><loc_1><loc_2><loc_3><loc_4></poly></s>", "not a phrase"),
        (as_answer((1, 2, 3, 4), phrase="person"), "asked for 'head', it speaks of 'person'"),
        (f"</s><s>head<loc_{'9' * 5000}></s>", "not a phrase"),
    ],
)
def test_anything_else_is_a_problem(raw: str, problem: str) -> None:
    answer = read(raw, "head")
    assert re.search(problem, answer.problem)
    assert (answer.raw, answer.boxes) == (raw, ())


SPANS = st.tuples(st.integers(0, 998), st.integers(1, 999)).map(
    lambda pair: (min(pair), max(pair) + (pair[0] == pair[1]))
)
BOXES = st.tuples(SPANS, SPANS).map(
    lambda both: (*(both[0][:1] + both[1][:1]), both[0][1], both[1][1])
)


@given(st.lists(BOXES, max_size=5))
def test_what_is_written_is_read(bins: list[tuple[int, ...]]) -> None:
    answer = read(as_answer(*bins), "head")
    assert answer.problem == ""
    read_again = [tuple(int(n * 1000) for n in box.corners) for box in answer.boxes]
    assert read_again == bins
    assert all(0 < n < 1 for box in answer.boxes for n in box.corners)


PIECES = st.one_of(
    st.sampled_from(["</s>", "<s>", "head", " ", "<pad>", "<poly>", "</poly>", "<loc_", ">", "<"]),
    st.integers(-5, 1100).map("<loc_{}>".format),
    st.text(max_size=3),
)


@given(st.lists(PIECES, max_size=12).map("".join), st.booleans())
def test_garbage_gives_no_strange_box(text: str, framed: bool) -> None:
    answer = read(f"</s><s>{text}</s>" if framed else text, "head")
    assert not (answer.boxes and answer.problem)
    for box in answer.boxes:
        assert 0 <= box.xmin < box.xmax <= 1
        assert 0 <= box.ymin < box.ymax <= 1


def test_what_is_asked(expert: Florence2, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    numbers = expert.processor.tokenizer(WHEELS, add_special_tokens=False)["input_ids"]

    def generate(**options: object) -> torch.Tensor:
        asked.update(options)
        return torch.tensor([numbers, [*numbers[:6], 2, *[1] * (len(numbers) - 7)]])

    monkeypatch.setattr(expert.network, "generate", generate)
    first, second = expert.locate([picture(), picture(100, 50)], ["wheels", "wheels"])
    prompt = expert.processor.decode(asked["input_ids"][0])
    assert prompt == "<image>" * 5 + "<s>Locate wheels in the image.</s>"
    # the whole image, squeezed
    assert asked["pixel_values"].shape == (2, 3, 64, 64)
    # or the phrase could not be said of a second box
    assert asked["no_repeat_ngram_size"] == 0
    assert first == read(WHEELS, "wheels")
    # the padding beside a longer answer is no part of it
    assert second.raw == "</s><s>whee</s>"


def test_many_at_once_are_as_one_by_one(expert: Florence2) -> None:
    images = [picture(), picture(100, 50, seed=1), picture(30, 90, seed=2), picture()]
    phrases = [*PHRASES, "every person"]
    together = expert.locate(images, phrases)
    alone = [
        expert.locate([image], [phrase])[0] for image, phrase in zip(images, phrases, strict=True)
    ]
    assert together == alone
    assert len({answer.raw for answer in together}) == 4
    assert expert.locate([], []) == []


def test_an_answer_cut_short_is_a_problem(expert: Florence2) -> None:
    answer = expert.locate([picture()], ["head"])[0]
    assert answer.raw.startswith("</s><s>")
    assert "no end" in answer.problem


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(folder: Path, dtype: torch.dtype) -> None:
    half = opened(folder, dtype)
    assert {parameter.dtype for parameter in half.network.parameters()} == {dtype}
    assert not half.network.training
    assert half.locate([picture()], ["head"])[0].raw.startswith("</s><s>")
