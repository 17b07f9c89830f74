"""Boxes out of the ordinary: what is replaced, by what, and what is left alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from harness.catalog import DataCatalog
from harness.part_labels import standin_labels
from methods.grounding.calibration import Calibration, calibrate, crowd
from methods.grounding.quality import box_iou
from protocols.errors import DataError, ReIDError, UnknownName

NAN = float("nan")
PLAIN = np.array([[0.35, 0.02, 0.65, 0.2], [0.2, 0.18, 0.8, 0.55], [0.25, 0.5, 0.75, 0.98]])


def standin_boxes(root, key):
    paths = [image.path for image in DataCatalog(root).source(key, "train").images]
    return standin_labels(root, key, paths).boxes


def alike(count):
    """[count, 3, 4]: boxes of people who all stand in the same place."""
    return np.tile(PLAIN.astype(np.float32), (count, 1, 1))


def people(count, seed=0):
    """[count, 3, 4]: boxes that differ as people do."""
    moved = np.random.default_rng(seed).normal(0, 0.02, (count, 3, 4))
    return (alike(count) + moved).clip(0, 1).astype(np.float32)


@pytest.mark.parametrize("key", ["MA", "D", "MS", "C3"])
def test_true_boxes_are_left_alone(standins, key):
    true = standin_boxes(standins, key)
    found = calibrate(true)
    assert found.replaced.mean() < 0.005
    assert found.replaced.mean(0).max() < 0.012  # legs behind something low are the hardest
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
        given[row, part] = x, y, x + 0.4, y + rng.uniform(0.005, 0.03)
    found = calibrate(given)
    assert found.replaced[kind == "body"].mean() > 0.95
    assert found.replaced[kind == "sliver"].mean() > 0.95
    assert found.replaced[kind == "true"].mean() < 0.005
    for wrong in ("body", "sliver"):
        before, after = (box_iou(b, true)[kind == wrong].mean() for b in (given, found.boxes))
        assert after > before + 0.3, wrong


def test_what_replaces_a_box_lies_where_the_part_does():
    boxes = alike(12)
    boxes[0, 2] = 0, 0, 1, 1
    found = calibrate(boxes)
    assert found.boxes[0, 2].tolist() == pytest.approx(PLAIN[2])
    assert np.argwhere(found.replaced).tolist() == [[0, 2]]
    across = calibrate(boxes, Calibration(width="image"))
    assert across.boxes[0, 2].tolist() == pytest.approx([0, 0.5, 1, 0.98])
    windows = ((0, 1 / 4), (1 / 4, 1 / 2), (1 / 2, 1))
    fixed = calibrate(boxes, Calibration(windows=windows, width="image"))
    assert fixed.boxes[0, 2].tolist() == [0, 0.5, 1, 1]
    usual = calibrate(boxes, Calibration(windows=windows))
    assert usual.boxes[0, 2].tolist() == [0.25, 0.5, 0.75, 1]


def test_a_window_is_of_the_boxes_that_have_passed():
    boxes = np.concatenate([alike(11), np.tile(np.float32([0, 0, 1, 1]), (10, 3, 1))])
    found = calibrate(boxes)
    assert found.replaced.sum() == 30
    assert np.array_equal(found.boxes, alike(21))


def test_the_limits_are_those_that_are_documented():
    heights = np.array([0.2] * 20 + [0.2 * 0.16, 0.2 * 1.99, 0.2 * 0.14, 0.2 * 2.01])
    boxes = np.tile(np.array([0.1, 0.3, 0.9, 0], dtype=np.float32), (len(heights), 3, 1))
    boxes[..., 3] = 0.3 + heights[:, None]
    only = Calibration(centres=False)
    assert calibrate(boxes, only).replaced[:, 0].tolist() == [False] * 22 + [True] * 2
    wide = Calibration(centres=False, large=2.1, small=0.13)
    assert not calibrate(boxes, wide).replaced.any()
    # 0.6 * 3.3 > -log 0.14
    assert not calibrate(boxes, Calibration(centres=False, floor=0.6)).replaced.any()
    turned = boxes[..., [1, 0, 3, 2]]
    assert calibrate(turned, only).replaced[:, 0].tolist() == [False] * 22 + [True] * 2


def test_a_box_of_usual_size_can_be_extreme_for_where_it_is():
    boxes = alike(24)
    boxes[0, 0, [0, 2]] += 0.19  # within 3.3 * 0.06 of the image
    boxes[1, 0, [0, 2]] += 0.22
    boxes[2, 0, [1, 3]] += 0.22
    found = calibrate(boxes)
    assert np.argwhere(found.replaced).tolist() == [[1, 0], [2, 0]]
    assert not calibrate(boxes, Calibration(centres=False)).replaced.any()


def test_what_an_obstacle_leaves_of_a_part_stays():
    boxes = alike(24)
    boxes[0, 2, 3] = 0.51 + 0.1  # legs to the knee: the centre is 0.185 too high, and in the legs
    boxes[1, 2] = 0.25, 0.2, 0.75, 0.31
    found = calibrate(boxes, Calibration(floor=0.01))
    assert np.argwhere(found.replaced).tolist() == [[1, 2]]


def test_whole_bodies_do_not_pass_for_what_is_usual_however_many_there_are():
    boxes = alike(30)
    boxes[:18] = 0.1, 0.01, 0.9, 0.99
    assert np.array_equal(calibrate(boxes).boxes, alike(30))
    lost = calibrate(boxes, Calibration(whole=None))
    assert lost.replaced[:18].sum() == 0


def test_with_too_few_boxes_to_go_by_all_stay():
    boxes = alike(12)
    boxes[:3, 2] = 0, 0, 1, 1
    assert not calibrate(boxes).replaced.any()  # 9 would pass
    assert calibrate(boxes, Calibration(least=9)).replaced.sum() == 3
    everything = np.tile(np.float32([0, 0, 1, 1]), (50, 3, 1))
    assert np.array_equal(calibrate(everything).boxes, everything)


def test_missing_parts_stay_missing_and_no_box_is_no_trouble():
    boxes = np.full((5, 3, 4), NAN, dtype=np.float32)
    boxes[0, 1] = 0.2, 0.3, 0.7, 0.6
    for chosen in (Calibration(), Calibration(missing="window"), Calibration(least=1)):
        found = calibrate(boxes, chosen)
        assert np.array_equal(found.boxes[0], boxes[0], equal_nan=True)
        assert calibrate(boxes[:0], chosen).boxes.shape == (0, 3, 4)
    assert np.array_equal(calibrate(boxes).boxes, boxes, equal_nan=True)


def test_a_missing_part_can_get_the_window():
    boxes = alike(12)
    boxes[4, 1] = NAN
    found = calibrate(boxes, Calibration(missing="window"))
    assert np.array_equal(found.boxes, alike(12))
    assert np.argwhere(found.replaced).tolist() == [[4, 1]]
    assert not calibrate(boxes).replaced.any()


def ten_people():
    """Four images of each of ten people, who stand from the left to the right."""
    boxes, whose = alike(40), np.repeat(np.arange(10), 4)
    boxes[..., [0, 2]] += np.linspace(-0.15, 0.15, 10)[whose][:, None, None]
    return boxes.clip(0, 1), whose


def test_a_box_unlike_others_of_the_same_identity_is_replaced_if_that_is_asked():
    boxes, whose = ten_people()
    boxes[0, 0] = boxes[39, 0]  # the head of somebody else
    assert not calibrate(boxes, None, whose).replaced.any()
    chosen = Calibration(consistent=True)
    assert np.argwhere(calibrate(boxes, chosen, whose).replaced).tolist() == [[0, 0]]
    assert np.argwhere(calibrate(boxes, chosen, whose.tolist()).replaced).tolist() == [[0, 0]]
    assert not calibrate(boxes, Calibration(consistent=True, images=5), whose).replaced.any()
    assert not calibrate(boxes, chosen, np.where(whose == 0, -1, whose)).replaced.any()


def test_consistency_needs_identities_that_fit():
    boxes, whose = ten_people()
    with pytest.raises(ReIDError, match="give identities"):
        calibrate(boxes, Calibration(consistent=True))
    with pytest.raises(DataError, match=r"40 images have \[39\] identities"):
        calibrate(boxes, Calibration(consistent=True), whose[:39])


def test_the_crowd_is_found_where_half_of_the_values_are_elsewhere():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(3, 0.1, 500), rng.uniform(-10, 10, 500)])
    usual, spread = crowd(values)
    assert usual == pytest.approx(3, abs=0.05)
    assert 0.1 < spread < 0.3
    # of 0, 1, 2, 3 the two that are nearest, 40 % being 1.6 of 4
    assert crowd(np.array([0.0, 5.0, 5.5, 9.0])) == pytest.approx(
        (5.25, 0.5 / 1.0488 * (1 + 14 / 4))
    )
    usual, spread = crowd(rng.normal(0, 1, 40_000))
    assert (usual, spread) == (pytest.approx(0, abs=0.2), pytest.approx(1, abs=0.05))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"larg": 3}, "Did you mean 'large'"),
        ({"deviations": -1}, "deviations=-1: .*greater than 0"),
        ({"windows": [[0.5, 0.2]] * 3}, "the top 0.5 is not above the bottom 0.2"),
        ({"width": "part"}, "width='part'"),
        ({"floor": float("inf")}, "floor"),
    ],
)
def test_settings_that_do_not_fit_are_named(values, message):
    with pytest.raises(ReIDError, match=message) as caught:
        Calibration.of(values)
    assert isinstance(caught.value, UnknownName) == ("larg" in values)


def test_settings_are_read_as_json_holds_them():
    chosen = Calibration(windows=((0, 0.2), (0.2, 0.5), (0.5, 1)), whole=None, width="image")
    assert Calibration.of(chosen.model_dump(mode="json")) == chosen
    with pytest.raises(DataError, match="1 windows for 3 parts"):
        calibrate(alike(12), Calibration(windows=((0, 0.5),)))
    with pytest.raises(DataError, match=r"boxes are \[12, 4\]"):
        calibrate(alike(12)[:, 0])


@st.composite
def any_boxes(draw):
    count = draw(st.integers(0, 30))
    values = arrays.arrays(np.float32, (count, 3, 4), elements=st.floats(0, 1, width=32))
    edges = draw(values)
    low, high = (
        np.minimum(edges[..., :2], edges[..., 2:]),
        np.maximum(edges[..., :2], edges[..., 2:]),
    )
    boxes = np.concatenate([low, high], -1)
    usual = draw(arrays.arrays(np.bool_, (count, 3)))
    boxes[usual] = people(count)[usual]
    boxes[draw(arrays.arrays(np.bool_, (count, 3), fill=st.just(False)))] = NAN
    return boxes


any_settings = st.builds(
    Calibration,
    deviations=st.floats(0.5, 6),
    width=st.sampled_from(["image", "usual"]),
    missing=st.sampled_from(["keep", "window"]),
    consistent=st.booleans(),
    centres=st.booleans(),
    whole=st.sampled_from([None, 0.8]),
    least=st.integers(1, 12),
)


@given(any_boxes(), any_settings, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_any_boxes_give_boxes_whatever_their_order(boxes, chosen, random):
    whose = np.arange(len(boxes)) % 3
    given = boxes.copy()
    found = calibrate(boxes, chosen, whose)
    assert np.array_equal(boxes, given, equal_nan=True)  # not changed in place
    assert found.boxes.dtype == np.float32 and found.boxes.shape == boxes.shape
    missing = np.isnan(found.boxes).any(-1)
    assert not (missing & ~np.isnan(boxes).any(-1)).any()
    here = found.boxes[~missing]
    assert (here >= 0).all() and (here <= 1).all() and (here[:, :2] <= here[:, 2:]).all()
    assert np.array_equal(found.boxes[~found.replaced], boxes[~found.replaced], equal_nan=True)
    order = np.array(random.sample(range(len(boxes)), len(boxes)), dtype=int)
    again = calibrate(boxes[order], chosen, whose[order])
    assert np.array_equal(again.boxes, found.boxes[order], equal_nan=True)
    assert np.array_equal(again.replaced, found.replaced[order])
