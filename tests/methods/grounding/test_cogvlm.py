"""CogVLM with a stand-in for its own code, which is loaded as the real one is: if allowed."""

import sys

import numpy as np
import pytest
import torch
import transformers.dynamic_module_utils
from PIL import Image

from methods.grounding.expert import ScoredBox, Wording
from methods.grounding.experts import open_expert
from methods.grounding.experts.cogvlm import CogVLM
from protocols.errors import ReIDError
from tests.methods.grounding.tiny_talkers import make_cogvlm, make_tokenizer_model

WORDING = Wording()
MARK = "COGVLM_STAND_IN_MARK"


@pytest.fixture(autouse=True, scope="module")
def copies_of_code(tmp_path_factory):
    """transformers copies code from outside to its cache before it runs it; not to the user's."""
    with pytest.MonkeyPatch.context() as patch:
        cache = str(tmp_path_factory.mktemp("modules"))
        patch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", cache)
        patch.setattr(sys, "path", sys.path[:])
        before = set(sys.modules)
        yield
        for name in set(sys.modules) - before:
            if name.split(".")[0] == "transformers_modules":
                del sys.modules[name]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_cogvlm(tmp_path_factory.mktemp("cogvlm"), tokenizer=True)


def opened(folder, dtype=torch.float32, trust_remote_code=True):
    return open_expert(
        "cogvlm",
        str(folder),
        device="cpu",
        dtype=dtype,
        wording=WORDING,
        trust_remote_code=trust_remote_code,
    )


@pytest.fixture(scope="module")
def loaded(folder):
    return opened(folder)


@pytest.fixture
def expert(loaded, monkeypatch):
    monkeypatch.setattr(loaded.network, "asked", [])
    monkeypatch.setattr(loaded.network, "script", [])
    return loaded


def pictures():
    rng = np.random.default_rng(0)
    sizes = [(64, 128), (300, 100), (20, 20)]
    return [Image.fromarray(rng.integers(0, 255, (h, w, 3), dtype=np.uint8)) for w, h in sizes]


def say(expert, *texts, end=True):
    """Lets the model say these texts, one an image."""
    encode, last = expert.tokenizer.encode, expert.tokenizer.eos_token_id
    for text in texts:
        expert.network.script += [*encode(text, add_special_tokens=False), *([last] * end)]


def test_known_boxes(expert):
    say(expert, "[[086,540,400,760]]", "[[000,000,999,999;100,200,300,400]]", "[[010,020,030,040]]")
    answers = expert.locate(pictures(), WORDING.phrases)
    assert answers[0].raw == "[[086,540,400,760]]"
    assert [[box.corners for box in answer.boxes] for answer in answers] == [
        [(0.086, 0.54, 0.4, 0.76)],
        [(0, 0, 0.999, 0.999), (0.1, 0.2, 0.3, 0.4)],
        [(0.01, 0.02, 0.03, 0.04)],
    ]
    assert not any(answer.problem for answer in answers)


def test_the_papers_prompt_is_asked_as_it_is(expert):
    say(expert, "[[086,540,400,760]]")
    expert.locate(pictures()[:1], ["the head of the person"])
    assert expert.network.asked == [
        "Guide me to the location of the head of the person within the image by providing its "
        "bounding boxes"
    ]


def test_random_weights_give_problems_not_boxes(expert):
    answers = expert.locate(pictures(), WORDING.phrases)
    assert [answer.problem for answer in answers] == ["the answer goes on after 256 tokens"] * 3
    assert all(answer.raw and not answer.boxes for answer in answers)


def test_several_images_say_what_one_does(expert, monkeypatch):
    monkeypatch.setattr(expert, "answer_tokens", 16)
    together = expert.locate(pictures(), WORDING.phrases)
    pairs = zip(pictures(), WORDING.phrases, strict=True)
    assert together == [expert.locate([image], [phrase])[0] for image, phrase in pairs]
    assert len({answer.raw for answer in together}) == 3
    assert expert.locate([], []) == []


def test_the_cache_changes_no_token(expert):
    """The likeliest token after all before it, found once more with the whole text each time."""
    question = "Where is it?"
    inputs = expert.network.build_conversation_input_ids(
        expert.tokenizer, query=question, history=[], images=pictures()[:1]
    )
    ids, types = inputs["input_ids"][None], inputs["token_type_ids"][None]
    images, start = [inputs["images"]], ids.shape[1]
    for _ in range(12):
        mask, places = torch.ones_like(ids), torch.arange(ids.shape[1])[None]
        with torch.inference_mode():
            out = expert.network(
                ids, images, types, places, mask, use_cache=True, return_dict=True
            ).logits
        ids = torch.cat([ids, out[:, -1:].argmax(-1)], dim=1)
        types = torch.cat([types, torch.zeros_like(ids[:, :1])], dim=1)
    expert.network.read.clear()
    said = expert.ask(pictures()[:1], [question], 12)[0]
    assert expert.network.read == [start] + [1] * 11
    assert said.text == expert.tokenizer.decode(ids[0, start:]) and not said.finished


def test_an_answer_that_was_cut_off_is_not_read(expert, monkeypatch):
    length = len(expert.tokenizer.encode("[[086,540,400,760]]", add_special_tokens=False))
    monkeypatch.setattr(expert, "answer_tokens", length)
    say(expert, "[[086,540,400,760]]", end=False)
    answer = expert.locate(pictures()[:1], ["it"])[0]
    assert answer.raw == "[[086,540,400,760]]" and not answer.boxes
    assert answer.problem == f"the answer goes on after {length} tokens"


def test_the_second_look(expert, monkeypatch):
    say(expert, "Yes", "No.", "the head")
    seen, original = [], expert.network.build_conversation_input_ids

    def watched(*arguments, images, **others):
        seen.extend(images)
        return original(*arguments, images=images, **others)

    monkeypatch.setattr(expert.network, "build_conversation_input_ids", watched)
    images = [Image.new("RGB", (64, 128))] * 3
    verdicts = expert.judge(images, [ScoredBox(0.25, 0.25, 0.75, 0.5)] * 3, WORDING.phrases)
    assert [verdict.right for verdict in verdicts] == [True, False, None]
    assert [image.getpixel((16, 32)) for image in seen] == [(0, 255, 0)] * 3
    assert images[0].getpixel((16, 32)) == (0, 0, 0)
    asked = [WORDING.check.replace("{part}", phrase) for phrase in WORDING.phrases]
    assert expert.network.asked == asked


def test_half_precision_runs(folder):
    expert = opened(folder, torch.bfloat16)
    assert expert.network.lm_head.weight.dtype == torch.bfloat16
    say(expert, "[[086,540,400,760]]")
    assert expert.locate(pictures()[:1], ["it"])[0].boxes


def test_its_code_runs_only_if_allowed(tmp_path, monkeypatch):
    folder, mark = make_cogvlm(tmp_path / "model", tokenizer=True), tmp_path / "mark"
    monkeypatch.setenv(MARK, str(mark))
    with pytest.raises(ReIDError, match="--trust-remote-code"):
        opened(folder, trust_remote_code=False)
    assert not mark.exists()
    # code of a content that was not imported before
    code = folder / "modeling_cogvlm.py"
    code.write_text(code.read_text() + "\n# another version\n")
    opened(folder)
    assert mark.read_text() == "this code ran"


@pytest.mark.parametrize("kind", [AttributeError, ImportError, NotImplementedError, TypeError])
def test_code_that_meets_other_libraries_is_named(kind, expert, monkeypatch):
    def broken(*arguments, **options):
        raise kind("'str' object has no attribute 'shape'")

    monkeypatch.setattr(expert.network, "prepare_inputs_for_generation", broken)
    with pytest.raises(ReIDError) as raised:
        expert.locate(pictures()[:1], ["it"])
    assert "'str' object has no attribute 'shape'" in str(raised.value)
    assert transformers.__version__ in str(raised.value) and expert.model in str(raised.value)


def test_too_little_memory_is_passed_on(expert, monkeypatch):
    def full(*arguments, **options):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(expert.network, "prepare_inputs_for_generation", full)
    with pytest.raises(torch.OutOfMemoryError):
        expert.locate(pictures()[:1], ["it"])


def test_the_tokenizer_is_fetched_where_the_folder_has_none(tmp_path, monkeypatch):
    import huggingface_hub

    folder = make_cogvlm(tmp_path / "model")
    beside, fetched = make_tokenizer_model(tmp_path / "tokenizer"), []

    def fetch(name, **options):
        fetched.append(name)
        return str(beside)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    expert = opened(folder)
    assert fetched == [CogVLM.TOKENIZER] == ["lmsys/vicuna-7b-v1.5"]
    say(expert, "[[086,540,400,760]]")
    assert expert.locate(pictures()[:1], ["it"])[0].boxes


def test_without_a_tokenizer_it_says_what_to_do(tmp_path, monkeypatch):
    import huggingface_hub

    def fetch(name, **options):
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    with pytest.raises(ReIDError, match=r"no network Put its tokenizer.model and tokenizer_config"):
        opened(make_cogvlm(tmp_path / "model"))


def test_who_it_is(expert, folder):
    assert (expert.name, expert.model) == ("cogvlm", str(folder))
    assert len(expert.revision) == 16
