"""Part labels: votes against hand-drawn grids and a slow reference, calibration, the file."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch

from harness.catalog import DataCatalog
from harness.part_labels import standin_labels
from methods.grounding.annotations import read_csv
from methods.grounding.calibration import Calibration, calibrate
from methods.grounding.labels import PartLabels
from methods.grounding.voting import vote
from methods.interface import PARTS
from protocols.errors import DataError, UnknownName

NAN = float("nan")
THIRDS = [[0, 0, 1, 1 / 3], [0, 1 / 3, 1, 2 / 3], [0, 2 / 3, 1, 1]]


def drawn(text):
    return np.array([[c == "#" for c in line] for line in text.split()])


BOX = (0.25, 0.3, 0.8, 0.9)
"""On 4 x 4 patches: columns 1.0 .. 3.2, rows 1.2 .. 3.6."""
DRAWN = {
    # corner patches: row 1 is covered to 0.8, row 3 to 0.6, column 3 to 0.2
    "half": ".... .##. .##. .##.",
    # the centre of row 3, 3.5, is within; that of row 1, 1.5, too; that of column 3 is not
    "centre": ".... .##. .##. .##.",
    "overlap": ".... .### .### .###",
}


@pytest.mark.parametrize("rule", DRAWN)
def test_votes_on_a_hand_drawn_grid(rule):
    masks = vote(np.array(BOX, dtype=np.float32), (4, 4), rule)
    assert (masks == drawn(DRAWN[rule])).all()


def test_the_rules_differ_where_a_corner_is_covered_to_a_third():
    box = np.array([0.2, 0.2, 1, 1], dtype=np.float32)  # 0.4 .. 2 on 2 x 2
    assert (vote(box, (2, 2), "half") == drawn(".# ##")).all()  # 0.36 of the corner
    assert (vote(box, (2, 2), "centre") == drawn("## ##")).all()  # (0.5, 0.5) is within
    assert (vote(box, (2, 2), "overlap") == drawn("## ##")).all()


def test_half_of_a_patch_is_enough_whatever_the_rounding():
    for rows in range(1, 40):
        box = np.array([0, 0, 1, 0.5 / rows], dtype=np.float32)
        assert vote(box, (rows, 1))[0, 0], rows


@pytest.mark.parametrize("rule", ["half", "centre"])
def test_a_box_smaller_than_a_patch_gets_the_one_it_covers_most(rule):
    box = np.array([0.3, 0.3, 0.45, 0.55], dtype=np.float32)  # between four patches of 3 x 3
    assert (vote(box, (3, 3), rule) == drawn("... .#. ...")).all()


def test_no_box_and_no_area_give_no_mask():
    boxes = np.array([[NAN] * 4, [0.5, 0.2, 0.5, 0.8]], dtype=np.float32)
    assert not vote(boxes, (4, 4)).any()
    assert not vote(boxes, (4, 4), "overlap").any()


def test_an_unknown_rule():
    with pytest.raises(UnknownName, match="Did you mean 'centre'"):
        vote(np.zeros((1, 4), dtype=np.float32), (2, 2), "center")


def slow_vote(box, grid, rule):
    """Patch by patch, from the definition."""
    h, w = grid
    x0, y0, x1, y1 = (float(v) for v in box)
    shares = np.zeros(grid)
    mask = np.zeros(grid, dtype=bool)
    for r in range(h):
        for c in range(w):
            top, left, bottom, right = r / h, c / w, (r + 1) / h, (c + 1) / w
            tall = max(0.0, min(bottom, y1) - max(top, y0))
            wide = max(0.0, min(right, x1) - max(left, x0))
            shares[r, c] = tall * wide * h * w
            y, x = (top + bottom) / 2, (left + right) / 2
            mask[r, c] = {
                "half": shares[r, c] >= 0.5 - 1e-6,
                "centre": x0 <= x < x1 and y0 <= y < y1,
                "overlap": shares[r, c] > 1e-6,
            }[rule]
    if rule != "overlap" and not mask.any() and shares.any():
        mask.flat[np.argmax(shares.round(6))] = True
    return mask


@given(
    corners=st.lists(st.tuples(*[st.integers(0, 97)] * 4), min_size=1, max_size=6),
    grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    rule=st.sampled_from(["half", "centre", "overlap"]),
)
@settings(max_examples=80, deadline=None)
def test_votes_are_those_of_the_reference(corners, grid, rule):
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]
    boxes = np.array(boxes, dtype=np.float32) / np.float32(97)
    found = vote(boxes, grid, rule)
    assert found.shape == (len(boxes), *grid)
    for box, mask in zip(boxes, found, strict=True):
        assert (mask == slow_vote(box, grid, rule)).all()


def standin_boxes(root, key):
    paths = [image.path for image in DataCatalog(root).source(key, "train").images]
    return standin_labels(root, key, paths).boxes


def overlap(one, other):
    """IoU of boxes [..., 4]."""
    both = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    both = np.clip(both, 0, None).prod(-1)
    areas = [(b[..., 2:] - b[..., :2]).prod(-1) for b in (one, other)]
    return both / (sum(areas) - both)


@pytest.mark.parametrize("key", ["MA", "D", "MS", "C3"])
def test_true_boxes_are_left_alone(standins, key):
    true = standin_boxes(standins, key)
    found = calibrate(true)
    assert found.replaced.mean() < 0.02
    assert np.array_equal(found.boxes[~found.replaced], true[~found.replaced], equal_nan=True)


def test_whole_bodies_and_slivers_are_replaced_and_truth_comes_nearer(standins):
    true = standin_boxes(standins, "MA")
    rng = np.random.default_rng(0)
    kind = rng.choice(["true", "body", "sliver"], true.shape[:2], p=[0.8, 0.1, 0.1])
    kind[np.isnan(true[..., 0])] = "true"
    given = true.copy()
    for row, part in np.argwhere(kind == "body"):
        given[row, part] = rng.uniform((0, 0, 0.75, 0.92), (0.25, 0.05, 1, 1))
    for row, part in np.argwhere(kind == "sliver"):
        x, y = rng.uniform(0, 0.5), rng.uniform(0, 0.9)
        given[row, part] = x, y, x + 0.4, y + rng.uniform(0.005, 0.05)
    found = calibrate(given)
    assert found.replaced[kind == "body"].mean() > 0.95
    assert found.replaced[kind == "sliver"].mean() > 0.95
    assert found.replaced[kind == "true"].mean() < 0.03
    for wrong in ("body", "sliver"):
        before, after = (overlap(b, true)[kind == wrong].mean() for b in (given, found.boxes))
        assert after > before + 0.1, wrong
    assert np.nanmean(overlap(found.boxes, true)) > np.nanmean(overlap(given, true)) + 0.03


def test_what_replaces_a_box_is_as_wide_as_the_image_and_as_high_as_the_part():
    boxes = np.tile(np.array([[0.3, 0.1, 0.6, 0.2]] * 3, dtype=np.float32), (9, 1, 1))
    boxes[0, 2] = 0, 0, 1, 1
    found = calibrate(boxes)
    assert found.boxes[0, 2].tolist() == pytest.approx([0, 0.1, 1, 0.2])
    assert np.argwhere(found.replaced).tolist() == [[0, 2]]
    windows = ((0, 1 / 4), (1 / 4, 1 / 2), (1 / 2, 1))
    fixed = calibrate(boxes, Calibration(windows=windows))
    assert fixed.boxes[0, 2].tolist() == [0, 0.5, 1, 1]


def test_the_limits_are_those_that_are_documented():
    heights = np.array([0.2] * 20 + [0.2 * 0.60, 0.2 * 1.68, 0.2 * 0.58, 0.2 * 1.70])
    boxes = np.tile(np.array([0, 0, 1, 0], dtype=np.float32), (len(heights), 3, 1))
    boxes[..., 3] = heights[:, None]
    odd = calibrate(boxes).replaced
    assert odd[:, 0].tolist() == [False] * 22 + [True] * 2
    assert not calibrate(boxes, Calibration(floor=0.2)).replaced.any()


def test_missing_parts_stay_missing_and_no_box_is_no_trouble():
    boxes = np.full((5, 3, 4), NAN, dtype=np.float32)
    boxes[0, 1] = 0.2, 0.3, 0.7, 0.6
    found = calibrate(boxes)
    assert np.array_equal(found.boxes, boxes, equal_nan=True)
    assert not found.replaced.any()
    assert calibrate(boxes[:0]).boxes.shape == (0, 3, 4)


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


def test_masks_come_in_the_order_asked_for():
    masks = three().masks_for(("b/2.jpg", "a/2.jpg"), (4, 2), calibrate=False)
    assert (masks[0, 2] == drawn(".. .. ## ##")[:, :2]).all()
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
        ({"boxes": GOOD}, {"version": "2"}, "version 2 of part labels; this is version 1"),
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


HEADER = "image,part,xmin,ymin,xmax,ymax\n"


def test_boxes_from_a_csv(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text(
        HEADER + "1.jpg,head,10,0,30,25\n1.jpg,Upper body,0,25,50,60\nb/2.jpg,legs,,,,\n"
    )
    labels = read_csv(path).labels(["a/1.jpg", "b/2.jpg"], lambda image: (50, 100))
    assert labels.images == ("a/1.jpg", "b/2.jpg")
    assert labels.boxes[0, 0].tolist() == pytest.approx([0.2, 0, 0.6, 0.25])
    assert labels.boxes[0, 1].tolist() == pytest.approx([0, 0.25, 1, 0.6])
    assert labels.missing.tolist() == [[False, False, True], [True, True, True]]
    with pytest.raises(DataError, match=r"1 of 2 images have no part labels: c/3\.jpg"):
        read_csv(path).labels(["a/1.jpg", "c/3.jpg"], lambda image: (50, 100))
    with pytest.raises(DataError, match=r"boxes.csv:3: .* ends at 50,60, outside of a/1.jpg"):
        read_csv(path).labels(["a/1.jpg"], lambda image: (50, 59))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("image,part,x,y,w,h\n", ":1: expected the header image,part,xmin"),
        (HEADER, "no lines"),
        (HEADER + "1.jpg,head,1,2,3\n", ":2: expected 6 values"),
        (HEADER + "1.jpg,head,1,2,3,4\n1.jpg,leg,1,2,3,4\n", ":3: part is 'leg'.*mean 'legs'"),
        (HEADER + "1.jpg,head,1,2,1,4\n", ":2: the box is 1,2,1,4; expected xmin,ymin,xmax,ymax"),
        (HEADER + "1.jpg,head,1,,3,4\n", ":2: the box is"),
        (HEADER + "1.jpg,head,a,2,3,4\n", ":2: the box is"),
        (HEADER + "1.jpg,head,nan,2,3,4\n", ":2: the box is"),
        (HEADER + "1.jpg,head,-1,2,3,4\n", ":2: the box is"),
        (HEADER + ",head,1,2,3,4\n", ":2: expected the path"),
        (HEADER + "1.jpg,head,1,2,3,4\n1.jpg,HEAD,1,2,3,4\n", ":3: a second head.*csv:2"),
        (HEADER + "1.jpg,head,1_8,2,30,4\n", ":2: the box is 1_8,2,30,4; expected"),
        (HEADER + '\n1.jpg,"head,1,2\n2.jpg,head,,,,\n', "not CSV from line 3 on.*not closed"),
        (HEADER + '1.jpg,"head,1,2\n2.jpg,head",1,2,3,4\n', ":2: part is 'head,1,2"),
        (
            HEADER + "a/1.jpg,head,,,,\n\n1.jpg,legs,,,,\nb/1.jpg,head,,,,\n",
            ":4: 1.jpg may be a/1.jpg or b/1.jpg; name the image by its path",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, complaint):
    path = tmp_path / "boxes.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=complaint):
        read_csv(path)


def csv_of(tmp_path, *lines):
    path = tmp_path / "boxes.csv"
    path.write_text(HEADER + "\n".join(lines) + "\n")
    return read_csv(path)


def square(image):
    return 100, 100


def test_an_image_may_be_named_by_path_in_one_line_and_by_file_name_in_another(tmp_path):
    boxes = csv_of(
        tmp_path, "1.jpg,legs,0,50,100,100", "a/1.jpg,head,10,0,30,25", "1.jpg,upper,0,25,50,60"
    )
    labels = boxes.labels(["a/1.jpg"], square)
    assert labels.boxes[0].tolist() == [
        pytest.approx([0.1, 0, 0.3, 0.25]),
        pytest.approx([0, 0.25, 0.5, 0.6]),
        pytest.approx([0, 0.5, 1, 1]),
    ]
    assert boxes.unused([["a/1.jpg"]]) == []


def test_the_same_part_under_path_and_file_name_is_refused(tmp_path):
    boxes = csv_of(tmp_path, "a/1.jpg,head,10,0,30,25", "1.jpg,head,10,0,30,26")
    complaint = r"boxes\.csv:3: a second head of a/1\.jpg.* the first is .*boxes\.csv:2"
    with pytest.raises(DataError, match=complaint):
        boxes.labels(["a/1.jpg"], square)


def test_a_file_name_that_two_images_have_is_joined_to_neither(tmp_path):
    boxes = csv_of(tmp_path, "a/1.jpg,head,10,0,30,25", "b/2.jpg,head,,,,", "1.jpg,legs,0,50,9,90")
    labels = boxes.labels(["a/1.jpg", "b/2.jpg"], square)
    assert labels.missing.tolist() == [[False, True, False], [True] * 3]
    both = ["a/1.jpg", "b/1.jpg", "b/2.jpg"]
    assert boxes.unused([both]) == [(f"{tmp_path}/boxes.csv:4", "1.jpg")]


def test_lines_of_images_that_no_data_set_has_are_told_in_their_order(tmp_path):
    boxes = csv_of(
        tmp_path,
        "typo.jpg,head,,,,",
        "a/1.jpg,head,,,,",
        "x/1.jpg,head,,,,",  # the path is another's
        "2.jpg,head,,,,",
        "typo.jpg,legs,,,,",
    )
    where = f"{tmp_path}/boxes.csv"
    left = [(f"{where}:2", "typo.jpg"), (f"{where}:4", "x/1.jpg"), (f"{where}:6", "typo.jpg")]
    assert boxes.unused([["a/1.jpg"], ["b/2.jpg"]]) == left
    assert boxes.unused([["a/1.jpg"]]) == [*left[:2], (f"{where}:5", "2.jpg"), left[2]]
