"""Answers in words: the documented forms are read exactly, and nothing else is read at all."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from methods.grounding.expert import Answer, ScoredBox
from methods.grounding.experts.conversation import (
    Said,
    Unreadable,
    answer,
    cogvlm_boxes,
    cut,
    json_boxes,
    qwen2_boxes,
    verdict,
    with_box,
)

PIXELS = (56, 140)


def in_pixels(text):
    return json_boxes(text, PIXELS)


READERS = (cogvlm_boxes, qwen2_boxes, in_pixels)


def corners(boxes):
    return [box.corners for box in boxes]


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        ("[[086,540,400,760]]", [(0.086, 0.54, 0.4, 0.76)]),
        ("[[086, 540, 400, 760]]", [(0.086, 0.54, 0.4, 0.76)]),
        (" [[000,000,999,999]]\n", [(0, 0, 0.999, 0.999)]),
        (
            "[[001,002,003,004;100,200,300,400]]",
            [(0.001, 0.002, 0.003, 0.004), (0.1, 0.2, 0.3, 0.4)],
        ),
    ],
)
def test_cogvlm_as_documented(text, boxes):
    assert corners(cogvlm_boxes(text)) == boxes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[[086,540,400,760]",
        "[086,540,400,760]",
        "[[086,540,400]]",
        "[[086,540,400,760,111]]",
        "[[86,540,400,760]]",
        "[[0086,540,400,760]]",
        "[[086,540,400,1000]]",
        "[[-86,540,400,760]]",
        "[[.86,540,400,760]]",
        "[[400,540,086,760]]",  # right of left
        "[[086,760,400,540]]",  # below the top
        "[[086,540,086,760]]",  # no width
        "[[086,540,400,540]]",  # no height
        "[[086,540,400,760]] [[086,540,400,760]]",
        "[[086,540,400,760;]]",
        "[[086,540,400,760;100,200,300]]",
        "The head is at [[086,540,400,760]].",
        "[[086,540,400,760]].",
        "[[٠٨٦,540,400,760]]",  # digits, but not of this alphabet
    ],
)
def test_cogvlm_otherwise(text):
    with pytest.raises(Unreadable):
        cogvlm_boxes(text)


NAMED = "<|object_ref_start|>the head<|object_ref_end|>"
BOX = "<|box_start|>(100,200),(300,1000)<|box_end|>"


@pytest.mark.parametrize("text", [NAMED + BOX, BOX, f"\n{BOX} "])
def test_qwen2_as_documented(text):
    assert corners(qwen2_boxes(text)) == [(0.1, 0.2, 0.3, 1.0)]


def test_qwen2_gives_every_box():
    text = f"{NAMED}{BOX}\n{NAMED}<|box_start|>(1,2),(3,4)<|box_end|>"
    assert corners(qwen2_boxes(text)) == [(0.1, 0.2, 0.3, 1.0), (0.001, 0.002, 0.003, 0.004)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        NAMED,
        "(100,200),(300,400)",
        BOX.removesuffix("<|box_end|>"),
        BOX.removeprefix("<|box_start|>"),
        "<|box_start|>(100,200),(300,1001)<|box_end|>",
        "<|box_start|>(300,200),(100,400)<|box_end|>",
        "<|box_start|>(100,200),(100,400)<|box_end|>",
        "<|box_start|>(10.5,200),(300,400)<|box_end|>",
        "<|box_start|>(100,200)<|box_end|>",
        f"It is at {BOX}",
        f"{BOX} of the image",
        BOX + "<|box_start|>(1,2),(3,",
    ],
)
def test_qwen2_otherwise(text):
    with pytest.raises(Unreadable):
        qwen2_boxes(text)


ONE = '[{"bbox_2d": [14, 35, 28, 140], "label": "head"}]'


@pytest.mark.parametrize(
    "text",
    [ONE, f"```json\n{ONE}\n```", f" {ONE}\n", ONE[1:-1], '[{"bbox_2d": [14.0, 35, 28, 140]}]'],
)
def test_json_as_documented(text):
    assert corners(json_boxes(text, PIXELS)) == [(0.25, 0.25, 0.5, 1.0)]
    assert corners(json_boxes(text, (1000, 1000))) == [(0.014, 0.035, 0.028, 0.14)]


def test_json_gives_every_box_and_none_is_an_answer_too():
    two = '[{"bbox_2d": [0, 0, 56, 140]}, {"bbox_2d": [28, 70, 56, 140], "label": ""}]'
    assert corners(in_pixels(two)) == [(0, 0, 1, 1), (0.5, 0.5, 1, 1)]
    assert in_pixels("[]") == [] and in_pixels("```json\n[]\n```") == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "{}",
        "[[14, 35, 28, 140]]",
        ONE[:-1],
        f"```json\n{ONE}",
        f"The head: {ONE}",
        f"{ONE}\nI hope this helps.",
        ONE.replace("140", "141"),
        ONE.replace("14,", "-1,"),
        ONE.replace("14,", "NaN,"),
        ONE.replace("140", "Infinity"),
        ONE.replace("140", "1e999"),
        ONE.replace("14, 35, 28, 140", "0, 0, 1e-200, 1e-200"),  # no area that is a number
        ONE.replace("14,", '"14",'),
        ONE.replace("14,", "true,"),
        ONE.replace("14,", "null,"),
        ONE.replace("14,", "[14],"),
        ONE.replace("14, ", ""),
        ONE.replace("[14, 35, 28, 140]", "null"),
        ONE.replace("14,", "28,"),  # no width
        ONE.replace("35", "140"),  # no height
        ONE.replace("14, 35, 28", "28, 35, 14"),  # right of left
        ONE.replace('"head"', "3"),
        ONE.replace("label", "confidence"),
        ONE.replace('"label": "head"', '"bbox_2d": [0, 0, 1, 1]'),  # which of them?
        f"[{ONE}]",
        "[" * 100_000,
        ONE.replace("140", "1" * 5000),
    ],
)
def test_json_otherwise(text):
    with pytest.raises(Unreadable):
        in_pixels(text)


pieces = st.sampled_from(
    [
        "[[",
        "]]",
        ";",
        ",",
        "012",
        "999",
        " ",
        BOX,
        NAMED,
        ONE,
        "{",
        "}",
        "[",
        '"bbox_2d":',
        "-1e-320",
    ]
)
texts = st.one_of(st.text(), st.lists(pieces, max_size=8).map("".join))
jsons = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.fixed_dictionaries({"bbox_2d": inner}),
)


@given(texts | jsons.map(json.dumps))
def test_whatever_the_text_there_are_boxes_within_the_image_or_a_problem(text):
    for read in READERS:
        understood = answer(Said(text, True, PIXELS), lambda said, read=read: read(said.text), 9)
        assert understood.raw == text
        assert not (understood.boxes and understood.problem)
        for box in understood.boxes:
            assert 0 <= box.xmin < box.xmax <= 1 and 0 <= box.ymin < box.ymax <= 1
            assert box.area > 0 and all(math.isfinite(value) for value in box.corners)


spans = st.tuples(st.integers(0, 999), st.integers(0, 999)).filter(lambda s: s[0] < s[1])


@given(spans, spans)
def test_what_is_written_in_each_form_is_read_back(across, down):
    (x0, x1), (y0, y1) = across, down
    expected = [(x0 / 1000, y0 / 1000, x1 / 1000, y1 / 1000)]
    assert corners(cogvlm_boxes(f"[[{x0:03},{y0:03},{x1:03},{y1:03}]]")) == expected
    assert corners(qwen2_boxes(f"<|box_start|>({x0},{y0}),({x1},{y1})<|box_end|>")) == expected
    written = json.dumps([{"bbox_2d": [x0, y0, x1, y1], "label": "head"}])
    assert corners(json_boxes(written, (1000, 1000))) == expected


def test_an_answer_without_an_end_is_a_problem_however_it_looks():
    said = Said("[[000,000,100,100]]", False, PIXELS)
    cut_off = answer(said, lambda said: cogvlm_boxes(said.text), 20)
    assert cut_off == Answer(said.text, (), "the answer goes on after 20 tokens")


def test_tokens_are_cut_at_the_first_end():
    assert cut([5, 6, 2, 7, 3], [2, 3]) == ([5, 6], True)
    assert cut([2, 2], [2]) == ([], True)
    assert cut([5, 6], [2]) == ([5, 6], False)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("Yes", True),
        (" yes, it does.", True),
        ("NO.", False),
        ("no", False),
        ("", None),
        ("Yesterday", None),
        ("nothing", None),
        ("no-one", None),
        ("The answer is yes", None),
        ("1", None),
    ],
)
def test_verdicts(text, right):
    assert verdict(text).right is right and verdict(text).raw == text


@pytest.mark.parametrize("size", [(64, 128), (128, 64), (400, 900)])
@pytest.mark.parametrize("box", [(0.25, 0.25, 0.75, 0.5), (0, 0, 1, 1), (0.9, 0.9, 1, 1)])
def test_the_box_is_green_on_a_copy(size, box):
    image = Image.new("RGB", size, (200, 10, 10))
    drawn = np.asarray(with_box(image, ScoredBox(*box)))
    green = (drawn == (0, 255, 0)).all(-1)
    rows, columns = np.nonzero(green)
    width, height = size
    assert (columns.min(), rows.min()) == (int(box[0] * width), int(box[1] * height))
    assert columns.max() == round(box[2] * width) - 1
    assert rows.max() == round(box[3] * height) - 1
    assert np.asarray(image)[..., 1].max() == 10


def test_the_box_is_a_line_around_what_it_holds():
    drawn = with_box(Image.new("L", (64, 128)), ScoredBox(0.25, 0.25, 0.75, 0.5))
    row = (np.asarray(drawn)[48] == (0, 255, 0)).all(-1)
    assert np.flatnonzero(row).tolist() == [16, 17, 46, 47]


@pytest.mark.parametrize("size", [(64, 128), (3, 2), (1, 1)])
def test_a_box_smaller_than_a_pixel_is_still_to_be_seen(size):
    drawn = np.asarray(with_box(Image.new("RGB", size), ScoredBox(0.999, 0.999, 1, 1)))
    assert tuple(drawn[-1, -1]) == (0, 255, 0)
    assert (drawn[..., 1] > 0).sum() <= 9
