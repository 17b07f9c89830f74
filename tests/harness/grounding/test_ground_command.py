"""`harness ground` with a model, as typed: what it says, writes, keeps and refuses."""

import json
import re

import numpy as np
import pytest

from harness.grounding import model as ground_model
from harness.grounding.record import GroundRecord, record_file
from methods.grounding import experts
from methods.grounding.labels import PartLabels
from methods.grounding.pickled import read_masks
from tests.harness.grounding.scripted import Script, Scripted, make_data, make_model


@pytest.fixture
def script():
    """What the expert does; a test may change it."""
    return Script()


@pytest.fixture
def opened(script, monkeypatch):
    """The experts that were opened, and how."""
    made = []

    def open_expert(*args, wording, **rest):
        made.append((Scripted(script, wording), args, rest))
        return made[-1][0]

    monkeypatch.setattr(experts, "open_expert", open_expert)
    return made


@pytest.fixture
def ground(harness, opened, tmp_path):
    """Run it on twelve images: `ground("--limit", 3)`; returns what was printed."""
    root, model = make_data(tmp_path / "data", 12), make_model(tmp_path / "model")

    def call(*options, status=0, expert="grounding-dino", datasets="Mine"):
        code, printed = harness(
            "ground", "--data", root, "--datasets", datasets, "--expert", expert,
            "--model", model, "--device", "cpu", "--out", tmp_path / "runs", *options,
        )  # fmt: skip
        assert code == status, printed
        return printed

    return call


@pytest.fixture
def made(tmp_path):
    """The label file, what is in it and its record."""

    def read():
        (file,) = (tmp_path / "runs" / "part_labels").glob("*.safetensors")
        return file, PartLabels.read(file), GroundRecord.read(record_file(file))

    return read


def test_labels_are_the_first_boxes_and_the_record_says_of_whom(ground, made, script, tmp_path):
    script.lost = [3]
    printed = ground("--batch-size", 5)
    file, labels, record = made()
    assert re.fullmatch(r"Mine-[0-9a-f]{16}-grounding-dino-[0-9a-f]{8}\.safetensors", file.name)
    assert labels.images == tuple(f"images/{number:03d}.png" for number in range(12))
    assert labels.missing.tolist() == [[number == 3] * 3 for number in range(12)]
    x = sum([*range(5)] * 3) % 97 / 1000  # of the batch
    np.testing.assert_allclose(labels.boxes[4, 2], [x, 0.01, 0.9, 0.31], rtol=1e-6)
    assert not labels.discarded.any()
    assert labels.calibrated is not None
    assert (record.expert, record.model) == ("grounding-dino", str(tmp_path / "model"))
    assert record.revision == ground_model.remembered_digest(tmp_path / "model")
    assert record.wording["head"] == "the head of the person"
    assert (record.dataset, record.images, record.data) == ("Mine", "train", "real")
    assert (record.precision, record.device, record.count) == ("fp32", "cpu", 12)
    assert record.labels == file.name and record.fingerprint in file.name
    assert record.parts["head"].found == 11 and record.parts["head"].missing == 1
    assert record.options["rule"] == "half" and not record.options["double_check"]
    assert re.search(r"head +11 +1 +0", printed)
    assert "harness show grounding --datasets Mine --data" in printed
    assert str(file) in printed and ".answers" in printed


def test_a_second_call_is_told_that_all_is_done(ground, made, opened):
    ground()
    before = made()[0].stat().st_mtime_ns, made()[2].created_at
    printed = ground()
    assert "Done already: nothing was left to ask or to write." in printed
    assert len(opened) == 1
    assert (made()[0].stat().st_mtime_ns, made()[2].created_at) == before


def test_another_calibration_or_cover_makes_new_labels_of_the_same_answers(ground, made, opened):
    ground()
    _, first, _ = made()
    printed = ground("--calibration", "deviations=0.5", "--calibration", "least=2",
                     "--calibration", "large=1", "--cover", "centre")  # fmt: skip
    assert "Done already" not in printed and len(opened) == 1
    _, labels, record = made()
    np.testing.assert_array_equal(labels.boxes, first.boxes)
    assert labels.settings["deviations"] == 0.5 and labels.rule == "centre"
    assert record.options["calibration"]["deviations"] == 0.5
    assert record.options["rule"] == "centre"


def test_identities_reach_calibration(ground, made):
    ground("--calibration", "consistent=true")
    assert made()[1].settings["consistent"] is True


def test_other_words_and_other_models_have_labels_of_their_own(ground, opened, tmp_path):
    ground()
    printed = ground("--wording", "head=the face")
    assert opened[1][0].wording.head == "the face"
    assert "labels by other experts, too; --set part_labels=" in printed
    (tmp_path / "model" / "config.json").write_text('{"other": 1}')
    ground()
    assert len(opened) == 3
    assert len(list((tmp_path / "runs" / "part_labels").glob("*.safetensors"))) == 3


def test_a_model_is_the_same_wherever_it_lies(ground, made, opened, tmp_path):
    ground()
    before = made()[0]
    (tmp_path / "model").rename(tmp_path / "moved")
    ground("--model", tmp_path / "moved")
    assert len(opened) == 1 and made()[0] == before


def test_a_limit_says_what_is_left_and_how_to_go_on(ground, tmp_path, opened):
    printed = ground("--limit", 5)
    assert "5 images, boxes" in printed
    assert "Mine: 7 of 12 images are left, so no labels are written yet." in printed
    (command,) = re.findall(r"`(harness ground .*?)` asks about them", printed)
    assert "--limit" not in command and "--device cpu" in command
    assert not list((tmp_path / "runs" / "part_labels").glob("*.safetensors"))
    assert "5 of 12 are done" in ground("--shard=1/1")


def test_a_shard_says_who_writes_and_how_one_process_would_go_on(ground, tmp_path):
    printed = ground("--shard", "1/2", "--batch-size", 4, "--export", tmp_path / "masks.pkl")
    assert "no labels are written yet (the shard that ends last writes them)." in printed
    (command,) = re.findall(r"`(harness ground .*?)` asks about them", printed)
    assert "--shard" not in command and f"--export {tmp_path / 'masks.pkl'}" in command


def test_an_answer_that_can_not_be_read_is_nobodys_label(ground, made, script):
    script.mute = [2, 7]
    printed = ground()
    _, labels, record = made()
    assert labels.discarded.any(1).nonzero()[0].tolist() == [2, 7]
    assert labels.missing[2].all()
    assert record.parts["legs"].unparsable == 2 and record.parts["legs"].missing == 0
    assert re.search(r"part +found +missing +unparsable +calibration replaces +discarded", printed)
    assert re.search(r"head +10 +0 +2 +0 +2", printed)


def test_boxes_that_a_second_look_finds_wrong_are_discarded(ground, made, script):
    script.wrong, script.unsure = [1, 4], [6]
    printed = ground("--double-check")
    _, labels, record = made()
    assert labels.discarded.any(1).nonzero()[0].tolist() == [1, 4]
    assert not labels.missing.any()
    assert record.options["double_check"] is True and record.parts["head"].discarded == 2
    assert "3 second looks said neither yes nor no" in printed
    # what was checked has no say if nobody asks for it
    ground()
    assert not made()[1].discarded.any()


def test_images_of_several_people_are_discarded(ground, made, script):
    script.crowds = [5]
    printed = ground("--single-person")
    _, labels, record = made()
    assert labels.discarded.all(1).nonzero()[0].tolist() == [5]
    assert record.crowded == 1
    assert "1 image with several people, discarded: images/005.png." in printed


def test_discarded_boxes_have_no_say_in_calibration(ground, made, script):
    script.wrong = [11]
    ground("--double-check", "--calibration", "whole=null", "--calibration", "missing=window")
    _, labels, _ = made()
    np.testing.assert_array_equal(labels.calibrated[11], labels.boxes[11])


def test_a_damaged_image_is_counted_and_named(ground, made, tmp_path):
    (tmp_path / "data" / "images" / "008.png").write_bytes(b"no image")
    printed = ground()
    _, labels, record = made()
    assert labels.missing[8].all() and labels.discarded[8].all()
    assert record.damaged == 1 and record.parts["head"].missing == 0
    assert "1 damaged image, left out: images/008.png." in printed
    (tmp_path / "data" / "images" / "009.png").write_bytes(b"no image")
    printed = ground(status=1)
    assert "2 images of Mine can not be used" in printed and "images/009.png" in printed


def test_masks_are_exported_as_the_authors_have_them(ground, made, tmp_path):
    file = tmp_path / "masks.pkl"
    assert "Masks on 6x2 patches" in ground("--export", file, "--grid", "6x2")
    _, labels, _ = made()
    masks = read_masks(file, (6, 2)).masks
    np.testing.assert_array_equal(masks, labels.masks_for(labels.images, (6, 2)))
    assert not (tmp_path / "none.pkl").exists()
    ground("--export", tmp_path / "none.pkl", "--wording", "head=x", "--limit", 2)
    assert not (tmp_path / "none.pkl").exists()


def test_what_a_source_says_of_its_pace_is_said_before_it_starts(ground, opened, monkeypatch):
    printed = ground(expert="cogvlm", status=0)
    assert "MUVA, table 13: 7.2 s an image, one at a time, and 34 GB" in printed
    assert "12 images take 87 s at that pace" in printed
    assert printed.index("table 13") < printed.index("Loading")
    assert "table 13" not in ground(expert="cogvlm")


def test_a_model_that_does_not_fit_is_an_error(ground, monkeypatch):
    def short(*args, **rest):
        raise MemoryError

    monkeypatch.setattr(experts, "open_expert", short)
    assert "does not fit into the memory of cpu (fp32)" in ground(status=1)


def test_answers_are_a_line_an_image(ground, tmp_path):
    ground()
    (file,) = tmp_path.glob("runs/part_labels/Mine-grounding-dino-*.answers/*.jsonl")
    head, *lines = map(json.loads, file.read_text().splitlines())
    assert head["revision"] and [line["image"] for line in lines] == [
        f"images/{number:03d}.png" for number in range(12)
    ]
    assert lines[3]["answers"]["head"]["raw"] == "the head of the person of 3"
    assert len(lines[3]["answers"]["head"]["boxes"][0]) == 5
