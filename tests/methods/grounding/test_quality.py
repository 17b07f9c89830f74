"""How near boxes are to the truth; and that calibration brings them nearer than they were."""

import numpy as np
import pytest

from harness.catalog import DataCatalog
from harness.part_labels import standin_labels
from methods.grounding.calibration import Calibration
from methods.grounding.quality import box_iou, compare, measure
from methods.grounding.simulated import KINDS, simulate

NAN = float("nan")
KEYS = ("MA", "MS", "D", "C3")
ABOVE_5 = (0.06, 0.1, 0.2, 0.3, 0.4, 0.5)
SEEDS = range(3)


@pytest.fixture(scope="module")
def labelled(standins):
    """Data set -> (true boxes, identities) of its training images."""
    found = {}
    for key in KEYS:
        images = DataCatalog(standins).source(key, "train").images
        labels = standin_labels(standins, key, [image.path for image in images])
        found[key] = labels.boxes, [image.pid for image in images]
    return found


def crowd_of(count, spread, seed=0):
    """[count, 3, 4]: boxes of people unlike the stand-ins', who differ by `spread`."""
    rng = np.random.default_rng(seed)
    tall = np.clip(rng.normal(0.9, 0.05 * spread, count), 0.4, 1)
    crown, centre = rng.uniform(0, 1, count) * (1 - tall), rng.normal(0.5, 0.05 * spread, count)
    parts = []
    for top, bottom, width in ((0, 0.2, 0.28), (0.17, 0.55, 0.7), (0.52, 1, 0.5)):
        half = width / 2 * np.exp(rng.normal(0, 0.15 * spread, count))
        x = centre + rng.normal(0, 0.02 * spread, count)
        y0, y1 = (
            crown + (at + rng.normal(0, 0.015 * spread, count)) * tall for at in (top, bottom)
        )
        parts.append(np.stack([x - half, y0, x + half, y1], -1))
    return np.stack(parts, 1).clip(0, 1).astype(np.float32)


def test_iou_of_boxes_by_hand():
    one = np.float32([[0, 0, 1, 1], [0, 0, 0.5, 0.5], [0, 0, 0.4, 0.4], [NAN] * 4, [0.2] * 4])
    two = np.float32(
        [[0, 0, 0.5, 0.5], [0.25, 0, 0.75, 0.5], [0.5, 0.5, 1, 1], [0, 0, 1, 1], [0.2] * 4]
    )
    assert box_iou(one, two).tolist() == pytest.approx([1 / 4, 1 / 3, 0, 0, 0])


def test_means_are_over_what_can_be_seen_and_a_missing_box_counts_as_0():
    true = np.float32([[[0, 0, 1, 0.5], [0, 0.5, 1, 1]], [[0, 0, 1, 0.5], [NAN] * 4]])
    boxes = np.float32([[[0, 0, 1, 0.25], [NAN] * 4], [[0, 0, 1, 0.5], [0, 0, 1, 1]]])
    found = measure(boxes, true, grid=(4, 1))
    assert found.parts == pytest.approx((0.75, 0))
    assert found.iou == pytest.approx((0.5 + 0 + 1) / 3)
    assert found.mask_parts == pytest.approx((0.75, 0)) and found.mask_iou == pytest.approx(0.5)
    assert (found.hidden, found.found) == (1, 1)
    # on two patches a quarter of the image is half of a patch, which is enough
    assert measure(boxes, true, grid=(2, 1)).mask_parts == (1, 0)
    assert measure(boxes, true, grid=(2, 1), rule="overlap").mask_parts == (1, 0)
    unseen = measure(boxes[1:, 1:], true[1:, 1:])
    assert (unseen.iou, unseen.parts, unseen.mask_iou) == (None, (None,), None)


def test_a_comparison_is_of_the_same_errors_before_and_after(labelled):
    true, _ = labelled["MA"]
    none, some = compare(true, (0, 0.2), 1)
    assert (none.rate, none.raw.iou, none.raw.mask_iou) == (0, 1, 1)
    assert some.raw == measure(simulate(true, 0.2, 1), true)
    assert some.gain == some.calibrated.iou - some.raw.iou
    assert 0.02 < np.mean(some.replaced) < 0.2
    off = Calibration(whole=None, centres=False, large=1e6, small=0)
    untouched = compare(true, (0.2,), 1, off)[0]
    assert untouched.gain == 0 and untouched.replaced == (0, 0, 0)


@pytest.mark.parametrize("key", KEYS)
def test_calibration_pays_at_every_rate_above_5_percent(labelled, key):
    true, _ = labelled[key]
    for seed in SEEDS:
        for here in compare(true, ABOVE_5, seed):
            assert here.gain > 0, (seed, here.rate)
            assert here.calibrated.mask_iou > here.raw.mask_iou, (seed, here.rate)


def test_calibration_pays_for_seeds_that_hit_what_it_can_not_mend(labelled):
    """Where boxes that are rightly small, of legs behind something low, outweigh what is mended."""
    for seed in (408, 544):
        (here,) = compare(labelled["C3"][0], (0.06,), seed)
        assert here.gain > 0, seed


def test_of_a_few_images_calibration_costs_little(labelled):
    """The spread of few values looks smaller than it is."""
    true = labelled["C3"][0]
    rng = np.random.default_rng(0)
    some = [true[rng.permutation(len(true))[:20]] for _ in range(60)]
    losses = [-compare(few, (0,), 0)[0].gain for few in some]
    assert np.mean(losses) < 0.004 and max(losses) < 0.02


@pytest.mark.parametrize("key", KEYS)
def test_calibration_costs_next_to_nothing_where_there_are_no_errors(labelled, key):
    true, _ = labelled[key]
    here = compare(true, (0,), 0)[0]
    assert here.calibrated.iou > 0.995 and min(here.calibrated.parts) > 0.99
    assert here.calibrated.mask_iou > 0.995 and min(here.calibrated.mask_parts) > 0.99


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_error_is_made_worse_and_most_are_mended(labelled, kind):
    """What nobody found can't be mended; somebody else is lost where a head may be anywhere."""
    for key in KEYS:
        for here in compare(labelled[key][0], ABOVE_5, 0, kinds=[kind]):
            assert here.gain > -0.005, (key, here.rate)
            if kind in ("body", "fragment"):
                assert here.gain > 0, (key, here.rate)


def test_windows_of_the_usual_width_mend_more_than_those_across_the_image(labelled):
    for key in KEYS:
        usual = compare(labelled[key][0], (0.2,), 0)[0]
        across = compare(labelled[key][0], (0.2,), 0, Calibration(width="image"))[0]
        assert 0 < across.gain < usual.gain / 2, key


def test_consistency_with_an_identity_pays_as_well(labelled):
    for key in KEYS:
        true, whose = labelled[key]
        rates = (0, 0.1, 0.3, 0.5)
        found = compare(true, rates, 0, Calibration(consistent=True), identities=whose)
        assert found[0].gain > -0.01 and all(here.gain > 0 for here in found[1:]), key


@pytest.mark.parametrize("spread", [0.5, 1, 1.5])
def test_people_unlike_the_standins_gain_too(spread):
    true = crowd_of(600, spread)
    none, *some = compare(true, (0, *ABOVE_5), 0)
    assert none.gain > -0.01
    assert all(here.gain > 0 for here in some)


def test_people_who_are_small_in_their_images_gain_too():
    true = crowd_of(600, 1) * 0.7 + 0.15
    none, *some = compare(true, (0, *ABOVE_5), 0)
    assert none.gain > -0.01
    assert all(here.gain > 0 for here in some)


def test_nothing_to_see_is_no_trouble():
    true = np.full((5, 3, 4), NAN, np.float32)
    (here,) = compare(true, (0.5,), 0)
    assert here.raw.iou is None and here.gain == 0
