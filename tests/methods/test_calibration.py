"""Boxes out of the ordinary: what is replaced, by what, and what is left alone."""

import numpy as np
import pytest

from harness.catalog import DataCatalog
from harness.part_labels import standin_labels
from methods.grounding.calibration import Calibration, calibrate

NAN = float("nan")


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
