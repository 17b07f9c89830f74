"""Qwen's vision-language models, tiny and random: from the folder to the answer, per convention."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from methods.grounding.expert import ScoredBox, Wording
from methods.grounding.experts import EXPERTS, open_expert
from methods.grounding.experts.qwen_vl import IN_JSON, READERS
from protocols.errors import ReIDError
from tests.methods.grounding.tiny_talkers import QWEN, make_qwen_vl

WORDING = Wording()
SIZES = [(64, 128), (200, 20), (700, 700)]
"""Width and height in pixels: two that are enlarged, one that is reduced."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = tmp_path_factory.mktemp("qwen")
    return {kind: make_qwen_vl(made / kind, kind) for kind in QWEN}


def opened(folder, dtype=torch.float32):
    return open_expert("qwen-vl", str(folder), device="cpu", dtype=dtype, wording=WORDING)


@pytest.fixture(scope="module")
def experts(folders):
    return {kind: opened(folder) for kind, folder in folders.items()}


@pytest.fixture(params=list(QWEN))
def expert(request, experts, monkeypatch):
    monkeypatch.setattr(experts[request.param], "answer_tokens", 24)
    return experts[request.param]


def pictures():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (h, w, 3), dtype=np.uint8)) for w, h in SIZES]


def say(monkeypatch, expert, *texts, end="<|im_end|>"):
    """Lets the model say these texts, in one batch; returns what it was asked."""
    tokenizer, asked = expert.processor.tokenizer, []

    def generate(input_ids, **others):
        asked.extend(tokenizer.batch_decode(input_ids))
        said = [torch.tensor(tokenizer.encode(text + end)) for text in texts]
        pad = tokenizer.pad_token_id
        said = torch.nn.utils.rnn.pad_sequence(said, batch_first=True, padding_value=pad)
        return torch.cat([input_ids, said], dim=1)

    monkeypatch.setattr(expert.network, "generate", generate)
    return asked


def test_random_weights_give_problems_not_boxes(expert):
    answers = expert.locate(pictures(), WORDING.phrases)
    assert [answer.problem for answer in answers] == ["the answer goes on after 24 tokens"] * 3
    assert all(answer.raw and not answer.boxes for answer in answers)
    box = ScoredBox(0.1, 0.1, 0.9, 0.5)
    assert [one.right for one in expert.judge(pictures(), [box] * 3, WORDING.phrases)] == [None] * 3


def test_all_at_once_says_what_one_by_one_does(expert):
    pairs = list(zip(pictures(), ("a head", *WORDING.phrases[1:]), strict=True))
    together = expert.locate(*zip(*pairs, strict=True))
    assert together == [expert.locate([image], [phrase])[0] for image, phrase in pairs]
    assert len({answer.raw for answer in together}) == 3
    assert expert.locate([], []) == []


SCRIPTS = {
    "qwen2_vl": "<|object_ref_start|>it<|object_ref_end|><|box_start|>({},{}),({},{})<|box_end|>",
    "qwen2_5_vl": '```json\n[{{"bbox_2d": [{}, {}, {}, {}], "label": "it"}}]\n```',
    "qwen3_vl": '[{{"bbox_2d": [{}, {}, {}, {}]}}]',
}
SEEN = [(336, 644), (1428, 168), (476, 476)]
"""`SIZES` as Qwen2.5-VL sees them: multiples of 28, 256 to 300 times 28 x 28 pixels or next to it.

64 x 128 is enlarged (256 * 28² / 64 / 128)^0.5 = 4.95 times, to 316.8 x 633.6, and filled up.
"""


@pytest.mark.parametrize("kind", SCRIPTS)
def test_known_boxes_of_each_convention(kind, experts, monkeypatch):
    texts = [SCRIPTS[kind].format(7, 14, 28, 21)] * 3
    say(monkeypatch, experts[kind], *texts)
    answers = experts[kind].locate(pictures(), WORDING.phrases)
    assert [answer.raw for answer in answers] == texts
    sizes = SEEN if kind == "qwen2_5_vl" else [(1000, 1000)] * 3
    expected = [(7 / w, 14 / h, 28 / w, 21 / h) for w, h in sizes]
    assert [answer.boxes[0].corners for answer in answers] == expected
    assert not any(answer.problem for answer in answers)


def test_pixels_beyond_what_the_model_saw_are_a_problem(experts, monkeypatch):
    texts = [SCRIPTS["qwen2_5_vl"].format(7, 14, w + 1, 21) for w, _ in SEEN]
    say(monkeypatch, experts["qwen2_5_vl"], *texts)
    answers = experts["qwen2_5_vl"].locate(pictures(), WORDING.phrases)
    assert [answer.problem for answer in answers] == [
        f"a coordinate is not within 0 and {w}" for w, _ in SEEN
    ]


@pytest.mark.parametrize(
    ("kind", "other"),
    [("qwen2_vl", "qwen2_5_vl"), ("qwen2_5_vl", "qwen2_vl"), ("qwen3_vl", "qwen2_vl")],
)
def test_the_form_of_another_model_is_not_read(kind, other, experts, monkeypatch):
    say(monkeypatch, experts[kind], SCRIPTS[other].format(7, 14, 28, 21))
    assert experts[kind].locate(pictures()[:1], ["it"])[0].problem


def test_nothing_found_is_no_problem(experts, monkeypatch):
    say(monkeypatch, experts["qwen2_5_vl"], "```json\n[]\n```")
    answer = experts["qwen2_5_vl"].locate(pictures()[:1], ["it"])[0]
    assert (answer.boxes, answer.problem) == ((), "")


def test_an_answer_that_was_cut_off_is_not_read(experts, monkeypatch):
    say(monkeypatch, experts["qwen3_vl"], SCRIPTS["qwen3_vl"].format(7, 14, 28, 21), end="")
    answer = experts["qwen3_vl"].locate(pictures()[:1], ["it"])[0]
    assert answer.problem == "the answer goes on after 512 tokens" and not answer.boxes


def test_what_is_asked(expert, monkeypatch):
    asked = say(monkeypatch, expert, "[]")
    expert.locate(pictures()[:1], ["the head of the person"])
    added = "" if expert.kind == "qwen2_vl" else IN_JSON
    question = WORDING.prompt.replace("{part}", "the head of the person") + added
    assert f"<|vision_end|>{question}<|im_end|>\n<|im_start|>assistant\n" in asked[0]


def test_json_is_asked_for_once(experts, monkeypatch):
    expert = experts["qwen3_vl"]
    monkeypatch.setattr(expert, "wording", Wording(prompt="Where is {part}? Answer in JSON."))
    assert expert.question("it") == "Where is it? Answer in JSON."


def test_the_second_look(experts, monkeypatch):
    expert = experts["qwen2_5_vl"]
    asked = say(monkeypatch, expert, "Yes", "No, it does not.", "Perhaps")
    seen, original = [], type(expert.processor).__call__

    def watched(self, images=None, text=None, **others):
        seen.extend(images)
        return original(self, images=images, text=text, **others)

    monkeypatch.setattr(type(expert.processor), "__call__", watched)
    images = [Image.new("RGB", size) for size in SIZES]
    boxes = [ScoredBox(0.25, 0.25, 0.75, 0.75)] * 3
    verdicts = expert.judge(images, boxes, WORDING.phrases)
    assert [verdict.right for verdict in verdicts] == [True, False, None]
    assert verdicts[1].raw == "No, it does not."
    assert [
        image.getpixel((w // 4, h // 4)) for image, (w, h) in zip(seen, SIZES, strict=True)
    ] == [(0, 255, 0)] * 3
    assert all(image.getpixel((0, 0)) == (0, 0, 0) for image in seen + images)
    assert WORDING.check.replace("{part}", WORDING.head) in asked[0]


def test_half_precision_runs(folders):
    expert = opened(folders["qwen2_5_vl"], torch.bfloat16)
    assert next(expert.network.parameters()).dtype == torch.bfloat16
    expert.answer_tokens = 4
    assert expert.locate(pictures(), WORDING.phrases)[2].raw


def test_who_it_is(experts, folders):
    expert = experts["qwen2_5_vl"]
    assert (expert.name, expert.model) == ("qwen-vl", str(folders["qwen2_5_vl"]))
    assert len({one.revision for one in experts.values()}) == 3


def test_other_models_and_folders_with_files_missing(folders, tmp_path):
    folder = make_qwen_vl(tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ReIDError, match="no chat template"):
        opened(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "qwen2_audio"}))
    with pytest.raises(ReIDError, match="qwen2_audio"):
        opened(folder)


def test_every_kind_of_model_that_is_let_in_can_be_read():
    assert set(EXPERTS["qwen-vl"].families) == set(READERS)
