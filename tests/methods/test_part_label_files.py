"""Part labels: the images they are of, and the file they are kept in."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch

from methods.grounding.labels import PartLabels
from methods.interface import PARTS
from protocols.errors import DataError

NAN = float("nan")
THIRDS = [[0, 0, 1, 1 / 3], [0, 1 / 3, 1, 2 / 3], [0, 2 / 3, 1, 1]]


IMAGES = ("a/1.jpg", "a/2.jpg", "b/2.jpg")


def three():
    boxes = np.tile(np.array(THIRDS, dtype=np.float32), (3, 1, 1))
    boxes[1, 0] = NAN
    boxes[2, 2] = 0.25, 0.5, 0.75, 1
    return PartLabels(IMAGES, boxes=boxes, made="by hand")


def test_a_file_holds_what_was_written(tmp_path):
    three().write(tmp_path / "boxes.safetensors")
    again = PartLabels.read(tmp_path / "boxes.safetensors")
    assert (again.images, again.made, again.masks) == (IMAGES, "by hand", None)
    assert np.array_equal(again.boxes, three().boxes, equal_nan=True)
    masks = PartLabels(IMAGES, masks=np.random.default_rng(0).random((3, 3, 4, 2)) < 0.5)
    masks.write(tmp_path / "masks.safetensors")
    assert load_file(tmp_path / "masks.safetensors")["masks"].dtype == np.uint8
    assert (PartLabels.read(tmp_path / "masks.safetensors").masks == masks.masks).all()


def test_a_file_holds_what_was_made_of_the_boxes(tmp_path):
    discarded = np.zeros((3, 3), dtype=bool)
    discarded[1, 2] = True
    labels = replace(
        three(),
        calibrated=three().boxes[::-1].copy(),
        discarded=discarded,
        rule="overlap",
        settings={"deviations": 2.5},
        exact=True,
    )
    labels.write(tmp_path / "boxes.safetensors")
    again = PartLabels.read(tmp_path / "boxes.safetensors")
    assert np.array_equal(again.calibrated, labels.calibrated, equal_nan=True)
    assert again.discarded.tolist() == discarded.tolist()
    assert (again.rule, again.settings, again.exact) == ("overlap", {"deviations": 2.5}, True)


def test_equal_labels_are_equal_files(tmp_path):
    for name in "ab":
        three().write(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_files_of_the_first_version_are_read(tmp_path):
    path = saved(tmp_path / "labels.safetensors", {"boxes": GOOD}, version="1")
    again = PartLabels.read(path)
    assert np.array_equal(again.boxes, GOOD)
    assert (again.calibrated, again.discarded, again.rule) == (None, None, "half")


def test_calibrated_boxes_are_taken_where_calibration_is_on():
    boxes = np.tile(np.array([0, 0, 1, 1], dtype=np.float32), (3, 3, 1))
    labels = PartLabels(IMAGES, boxes=boxes, calibrated=three().boxes)
    assert labels.masks_for(IMAGES, (2, 1), calibrate=False).all()
    masks = labels.masks_for(IMAGES[::-1], (4, 2))
    assert masks[0, 2].tolist() == [[False, False]] * 2 + [[True, True]] * 2


def test_discarded_parts_have_no_mask_and_are_not_known():
    discarded = np.zeros((3, 3), dtype=bool)
    labels = replace(three(), discarded=discarded)
    assert labels.known_for(IMAGES) is None
    discarded = discarded.copy()
    discarded[2, 0] = True
    labels = replace(three(), discarded=discarded)
    for calibrate in (False, True):
        masks = labels.masks_for(IMAGES[::-1], (3, 1), calibrate)
        assert not masks[0, 0].any()
        assert masks[0, 1].any()
    assert labels.known_for(IMAGES[::-1]).tolist() == (~discarded[::-1]).tolist()
    assert labels.known_for(IMAGES[:2]) is None


def test_the_voting_rule_is_the_labels_own():
    boxes = np.tile(np.array([0, 0, 1, 0.6], dtype=np.float32), (3, 3, 1))
    labels = PartLabels(IMAGES, boxes=boxes, exact=True)
    assert labels.masks_for(IMAGES, (2, 1)).mean() == 0.5
    assert replace(labels, rule="overlap").masks_for(IMAGES, (2, 1)).all()
    assert labels.masks_for(IMAGES, (2, 1), rule="overlap").all()


def test_masks_come_in_the_order_asked_for():
    masks = three().masks_for(("b/2.jpg", "a/2.jpg"), (4, 2), calibrate=False)
    assert masks[0, 2].tolist() == [[False, False]] * 2 + [[True, True]] * 2
    assert not masks[1, 0].any()
    assert three().missing.tolist() == [[False] * 3, [True, False, False], [False] * 3]


def test_a_file_name_finds_an_image_only_if_it_is_the_only_one():
    labels = three()
    assert labels.find(["other/1.jpg", "1.jpg"]) == [None, None]  # both might be a/1.jpg
    assert labels.find(["other/1.jpg"]) == [0]
    assert labels.find(["2.jpg", "a/2.jpg"]) == [None, 1]
    by_name = PartLabels(("1.jpg", "2.jpg"), boxes=three().boxes[:2])
    assert by_name.find(["x/2.jpg", "x/1.jpg"]) == [1, 0]
    assert by_name.find(["x/2.jpg", "y/2.jpg"]) == [None, None]
    assert PartLabels(("2.jpg", "a/2.jpg"), boxes=three().boxes[:2]).find(["b/2.jpg"]) == [None]


def test_calibration_looks_at_the_images_that_are_asked_for():
    ordinary = np.tile(np.array(THIRDS, dtype=np.float32), (20, 1, 1))
    ordinary[10:, 0] = 0, 0, 1, 1  # another data set, of other pictures
    labels = PartLabels(tuple(f"{i}.jpg" for i in range(20)), boxes=ordinary)
    whole = labels.masks_for([f"{i}.jpg" for i in range(10, 20)], (3, 1))
    assert whole[:, 0].all()
    mixed = labels.masks_for([f"{i}.jpg" for i in range(11)], (3, 1))
    assert mixed[10, 0].ravel().tolist() == [True, False, False]
    raw = labels.masks_for([f"{i}.jpg" for i in range(11)], (3, 1), calibrate=False)
    assert raw[10, 0].all()


def test_images_without_labels_are_counted_and_named():
    with pytest.raises(DataError, match=r"4 of 5 images .* c/1.jpg, c/2.jpg, c/3.jpg and 1 more"):
        three().masks_for(["a/1.jpg", *(f"c/{i}.jpg" for i in range(1, 4)), "9.jpg"], (4, 4))


def test_masks_on_another_grid_are_refused():
    labels = PartLabels(IMAGES, masks=np.zeros((3, 3, 16, 8), dtype=bool))
    assert labels.masks_for(IMAGES, (16, 8)).shape == (3, 3, 16, 8)
    with pytest.raises(DataError, match="on 16x8 patches and the model has 12x6"):
        labels.masks_for(IMAGES, (12, 6))


def saved(path, tensors, **about):
    base = {
        "format": "part-labels",
        "version": "1",
        "parts": json.dumps(PARTS),
        "images": json.dumps(IMAGES),
        "made": "",
    }
    save_file(tensors, path, {k: v for k, v in {**base, **about}.items() if v is not None})
    return path


GOOD = np.tile(np.array(THIRDS, dtype=np.float32), (3, 1, 1))


def changed(row, part, box):
    boxes = GOOD.copy()
    boxes[row, part] = box
    return {"boxes": boxes}


@pytest.mark.parametrize(
    ("tensors", "about", "complaint"),
    [
        ({"boxes": GOOD}, {"format": "else"}, "not a file of part labels"),
        ({"boxes": GOOD}, {"version": "9"}, "version 9 of part labels; this is version 2"),
        ({"boxes": GOOD}, {"version": None}, "version None"),
        ({"boxes": GOOD}, {"parts": '["legs", "upper", "head"]'}, "parts are legs, upper, head"),
        ({"boxes": GOOD}, {"images": "a"}, "images is no JSON list"),
        ({"boxes": GOOD}, {"images": '["a", "b", "a"]'}, "named twice, a for example"),
        ({"boxes": GOOD}, {"images": '["a"]'}, r"expected float32 \[1, 3, 4\]"),
        ({"boxes": GOOD}, {"images": "[" * 100_000}, "images is no JSON list"),
        ({"boxes": GOOD.astype("f8")}, {}, "float64"),
        ({"boxes": GOOD[:, :, :2]}, {}, r"\[3, 3, 2\]"),
        ({"boxes": GOOD, "masks": GOOD}, {}, "it holds boxes, masks"),
        ({"other": GOOD}, {}, "it holds other"),
        (changed(1, 2, (0.5, 0, 0.4, 1)), {}, "of legs in a/2.jpg is out of order"),
        (changed(0, 0, (0, 0, 1, 1.01)), {}, "of head in a/1.jpg is not within 0..1"),
        (changed(0, 1, (0, 0, 1, float("inf"))), {}, "is not within 0..1"),
        (changed(2, 1, (0, NAN, 1, 1)), {}, "of upper in b/2.jpg is NaN in part"),
        ({"masks": np.full((3, 3, 2, 2), 2, "u1")}, {}, "expected uint8, 0 or 1"),
        ({"masks": np.zeros((3, 3, 2, 2), "f4")}, {}, "masks are float32"),
        ({"boxes": GOOD, "discarded": np.full((3, 3), 2, "u1")}, {}, "discarded are uint8"),
        ({"boxes": GOOD, "discarded": np.zeros((3, 2), "u1")}, {}, "expected one value a part"),
        ({"masks": np.zeros((3, 3, 2, 2), "u1"), "calibrated": GOOD}, {}, "no calibrated boxes"),
        ({"boxes": GOOD, "calibrated": GOOD[:2]}, {}, "boxes are float32"),
        ({"boxes": GOOD}, {"rule": "halff"}, "Did you mean"),
        ({"boxes": GOOD}, {"settings": '{"deviation": 1}'}, "are no settings of a calibration"),
        ({"boxes": GOOD}, {"settings": "["}, "are no settings of a calibration"),
        ({"boxes": GOOD}, {"about": "[1]"}, "metadata about is no JSON object of texts"),
        ({"boxes": GOOD}, {"about": '{"format": 1}'}, "metadata about is no JSON object"),
        ({"masks": np.zeros((3, 2, 2, 2), "u1")}, {}, r"expected \[3, 3, rows, columns\]"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_right_is_named(tmp_path, tensors, about, complaint):
    path = saved(tmp_path / "labels.safetensors", tensors, **about)
    with pytest.raises(DataError, match=complaint) as error:
        PartLabels.read(path)
    assert str(path) in str(error.value)


def test_what_is_no_safetensors_file_is_named(tmp_path):
    path = tmp_path / "labels.safetensors"
    with pytest.raises(DataError, match=r"labels.safetensors can not be read"):
        PartLabels.read(path)
    path.write_bytes(b"{}")
    with pytest.raises(DataError, match=r"labels.safetensors is no part-label file"):
        PartLabels.read(path)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_types_that_numpy_has_no_name_for_are_named(tmp_path, kind):
    path = tmp_path / "labels.safetensors"
    save_torch({"boxes": torch.zeros(1, 3, 4, dtype=kind)}, path, {"format": "part-labels"})
    with pytest.raises(
        DataError, match=r"labels\.safetensors: boxes is B?F8?\w+; expected boxes f"
    ):
        PartLabels.read(path)


def test_what_calibration_has_moved_or_made_is_told_from_the_boxes():
    labels = three()
    assert labels.replaced is None
    calibrated = labels.boxes.copy()
    calibrated[0, 1] = 0, 0, 1, 0.5
    calibrated[1, 0] = 0, 0, 1, 0.25  # it was missing
    moved = [[False, True, False], [True, False, False], [False] * 3]
    assert replace(labels, calibrated=calibrated).replaced.tolist() == moved
