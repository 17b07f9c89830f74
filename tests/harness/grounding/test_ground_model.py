"""Which model an expert is, before it is loaded; who counts as a second person."""

import pytest
import torch

from harness.grounding import model as ground_model
from harness.grounding.answers import Said
from harness.grounding.model import choose_device, choose_precision, identify, remembered_digest
from harness.grounding.questions import crowded
from methods.grounding.expert import Answer, ScoredBox, Wording
from methods.grounding.experts import EXPERTS, loading
from protocols.errors import ReIDError
from tests.harness.grounding.scripted import BESIDE, FULL, make_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FIND = loading.find


@pytest.fixture(autouse=True)
def hub(tmp_path, standin_cache, monkeypatch):
    """The hub's cache, empty, and no way to look anything up."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(loading, "find", lambda *args, **rest: pytest.fail("looked up"))
    return tmp_path / "hub"


def test_a_commit_is_a_commit():
    found = identify("florence-2", None, COMMIT)
    assert (found.model, found.revision) == (EXPERTS["florence-2"].model, COMMIT)


def test_what_a_branch_stood_for_when_it_was_fetched_is_not_looked_up_again(hub):
    refs = hub / "models--who--what" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(COMMIT)
    (refs / "v2").write_text(COMMIT[::-1])
    assert identify("florence-2", "who/what", None).revision == COMMIT
    assert identify("florence-2", "who/what", "v2").revision == COMMIT[::-1]


def test_what_is_not_here_is_looked_up(monkeypatch):
    asked = []

    def find(name, model, revision, **rest):
        asked.append((name, model, revision, rest["trust_remote_code"]))
        return loading.Found(name, model, None, COMMIT, {})

    monkeypatch.setattr(loading, "find", find)
    assert identify("cogvlm", "who/what", "main", trust=True).revision == COMMIT
    assert asked == [("cogvlm", "who/what", "main", True)]


@pytest.mark.parametrize("revision", [None, "main"])
def test_the_commit_of_code_that_is_run_is_typed_not_remembered(hub, monkeypatch, revision):
    refs = hub / "models--who--what" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(COMMIT)
    monkeypatch.setattr(loading, "find", FIND)
    with pytest.raises(ReIDError, match=r"only run from a commit.* --revision"):
        identify("cogvlm", "who/what", revision, trust=True)


def test_the_home_of_an_unknown_user_is_no_folder(monkeypatch):
    monkeypatch.setattr(loading, "find", FIND)
    with pytest.raises(ReIDError, match=r"--model ~nobody-of-that-name/m: .* is not a folder"):
        identify("florence-2", "~nobody-of-that-name/m", None)


def test_a_folder_is_read_again_where_a_file_has_changed(tmp_path, monkeypatch):
    model, read = make_model(tmp_path / "model"), []
    digest = loading.folder_digest
    monkeypatch.setattr(loading, "folder_digest", lambda f: read.append(f) or digest(f))
    first = remembered_digest(model)
    assert remembered_digest(model) == first == digest(model)
    assert len(read) == 1
    (model / "config.json").write_text('{"a": 1}')
    assert remembered_digest(model) == digest(model) != first
    assert len(read) == 2


def test_the_tag_is_of_the_model_its_revision_and_the_words():
    one, other = (identify("florence-2", "who/what", c) for c in (COMMIT, COMMIT[::-1]))
    words = Wording(), Wording(head="face")
    tags = {found.tag(said) for found in (one, other) for said in words}
    assert len(tags) == 4 and all(len(tag) == 8 for tag in tags)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error():
    assert choose_device(None) == choose_device("auto") == torch.device("cpu")
    with pytest.raises(ReIDError, match="sees no GPU"):
        choose_device("cuda")


def test_the_precision_is_the_devices():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert [choose_precision(None, d) for d in (cpu, gpu)] == ["fp32", "bf16"]
    assert choose_precision("bf16", cpu) == "bf16"
    with pytest.raises(ReIDError, match="fp16 needs a GPU"):
        choose_precision("fp16", cpu)


def test_a_gpu_that_is_too_small_is_told_of(monkeypatch):
    class Properties:
        total_memory = 24e9

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Small GPU")
    said = ground_model.short_of_memory(EXPERTS["cogvlm"], torch.device("cuda"))
    assert said == "Small GPU has 24 GB of memory; MUVA, table 13 says 34 GB."
    Properties.total_memory = 40e9
    assert not ground_model.short_of_memory(EXPERTS["cogvlm"], torch.device("cuda"))
    assert not ground_model.short_of_memory(EXPERTS["florence-2"], torch.device("cuda"))


@pytest.mark.parametrize(
    ("boxes", "crowd"),
    [
        ([], False),
        ([FULL], False),
        ([FULL, BESIDE], True),
        ([BESIDE, FULL], True),
        ([FULL, (0.1, 0.05, 0.85, 1.0)], False),  # the same person twice
        ([FULL, (0.0, 0.0, 0.1, 0.9)], False),  # somebody far away
        ([(0.5, 0.5, 0.5, 0.5)] * 2, False),  # without area there is nobody
    ],
)
def test_a_second_person_is_another_box_of_some_size(boxes, crowd):
    answer = Answer("raw", tuple(ScoredBox(*box) for box in boxes))
    assert crowded(Said.of(answer)) is crowd
