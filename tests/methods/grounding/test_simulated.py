"""An expert's errors: each kind as it is described, as many as asked for, drawn from a seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.grounding.quality import box_iou
from methods.grounding.simulated import KINDS, simulate
from protocols.errors import ReIDError, UnknownName

PLAIN = np.float32([[0.35, 0.1, 0.65, 0.25], [0.2, 0.2, 0.8, 0.5], [0.25, 0.5, 0.75, 0.9]])


def true_boxes(count):
    """[count, 3, 4]: boxes of people who all stand in the same place."""
    return np.tile(PLAIN, (count, 1, 1))


def size(boxes):
    """Width and height [..., 2]."""
    return boxes[..., 2:] - boxes[..., :2]


def test_at_rate_0_the_boxes_are_the_true_ones():
    true = true_boxes(50)
    true[3, 1] = np.nan
    assert np.array_equal(simulate(true, 0, 5), true, equal_nan=True)


def test_the_share_that_was_asked_for_is_hit_each_part_by_itself():
    true = true_boxes(4000)
    hit = (simulate(true, 0.3, 0) != true).any(-1)
    assert hit.mean(0) == pytest.approx([0.3] * 3, abs=0.025)
    assert (hit[:, 0] & hit[:, 1]).mean() == pytest.approx(0.09, abs=0.015)


def test_all_kinds_are_equally_likely():
    true = true_boxes(4000)
    given = simulate(true, 1, 0)
    person = np.float32([0.2, 0.1, 0.8, 0.9])
    assert np.isnan(given[..., 0]).mean() == pytest.approx(1 / 5, abs=0.02)
    assert (given == person).all(-1).mean() == pytest.approx(1 / 5, abs=0.02)


def test_a_whole_body_is_around_all_parts_that_can_be_seen():
    true = true_boxes(2)
    true[1, 2] = np.nan
    given = simulate(true, 1, 0, ["body"])
    assert (given[0] == np.float32([0.2, 0.1, 0.8, 0.9])).all()
    assert (given[1] == np.float32([0.2, 0.1, 0.8, 0.5])).all()


def test_a_fragment_is_a_low_piece_within_the_part():
    true = true_boxes(500)
    given = simulate(true, 1, 0, ["fragment"])
    assert (given[..., :2] >= true[..., :2] - 1e-6).all()
    assert (given[..., 2:] <= true[..., 2:] + 1e-6).all()
    share = size(given) / size(true)
    assert share.min((0, 1)) == pytest.approx([0.5, 0.1], abs=0.01)
    assert share.max((0, 1)) == pytest.approx([1, 0.5], abs=0.01)


def test_somebody_else_has_the_part_at_another_place():
    true = true_boxes(500)[:, :1]
    given = simulate(true, 1, 0, ["other"])
    whole = (given > 0).all(-1) & (given < 1).all(-1)  # those that are not cut off
    share = (size(given) / size(true))[whole]
    assert np.ptp(share, axis=1).max() < 1e-4  # width and height alike
    assert share.min() > 0.69 and share.max() < 1.31
    moved = ((given - true).reshape(-1, 2, 2).mean(1))[whole.ravel()]
    assert abs(moved[:, 0]).min() > 0.219 and abs(moved[:, 0]).max() < 0.401
    assert (moved[:, 0] > 0).mean() == pytest.approx(0.5, abs=0.1)
    assert abs(moved[:, 1]).max() < 0.101


def test_over_an_obstacle_one_edge_goes_half_way_to_the_border_or_further():
    true = true_boxes(500)
    given = simulate(true, 1, 0, ["occlusion"])
    moved = given != true
    assert (moved.sum(-1) == 1).all() and not moved[..., 1].any()
    assert moved.mean((0, 1))[[0, 2, 3]] == pytest.approx([1 / 3] * 3, abs=0.05)
    way = ((given - true) / (np.float32([0, 1, 1, 1]) - true))[moved]
    assert way.min() == pytest.approx(0.5, abs=0.01) and way.max() == pytest.approx(1, abs=0.01)


def test_a_hidden_part_gets_a_whole_body_and_no_other_box():
    true = true_boxes(300)
    true[:, 2] = np.nan
    true[0] = np.nan
    for kind in KINDS:
        found = ~np.isnan(simulate(true, 1, 0, [kind])).any(-1)
        assert found[1:, 2].all() == (kind == "body") and not found[0].any()
        assert found[1:, 2].any() == (kind == "body")


def test_a_higher_rate_adds_errors_and_more_images_change_none():
    true = true_boxes(200)
    few, many = simulate(true, 0.1, 3), simulate(true, 0.4, 3)
    hit = ~((few == true).all(-1))
    assert hit.any() and np.array_equal(few[hit], many[hit], equal_nan=True)
    assert np.array_equal(simulate(true[:50], 0.4, 3), many[:50], equal_nan=True)
    assert not np.array_equal(simulate(true, 0.4, 4), many, equal_nan=True)


def test_what_a_kind_does_does_not_depend_on_which_others_there_are():
    true = true_boxes(200)
    mixed = simulate(true, 1, 3, ["other", "occlusion", "fragment"])
    alone = np.stack([simulate(true, 1, 3, [kind]) for kind in ("fragment", "other", "occlusion")])
    assert (alone == mixed).all(-1).sum(0).tolist() == np.ones((200, 3)).tolist()


def test_jitter_moves_every_edge_a_little():
    true = true_boxes(2000)
    moved = (simulate(true, 0, 0, jitter=0.05) - true) / np.tile(size(true), 2)
    assert moved.std((0, 1)) == pytest.approx([0.05] * 4, rel=0.1)
    assert abs(moved.mean()) < 0.005


@given(st.floats(0, 1), st.integers(0, 2**31), st.sampled_from(KINDS), st.floats(0, 2))
@settings(max_examples=50, deadline=None)
def test_any_errors_are_boxes(rate, seed, kind, jitter):
    rng = np.random.default_rng(seed)
    edges = rng.random((20, 3, 2, 2)).astype(np.float32)
    true = np.sort(edges, 2).reshape(20, 3, 4)
    true[rng.random((20, 3)) < 0.2] = np.nan
    out = simulate(true, rate, seed, [kind, "body"], jitter)
    assert out.dtype == np.float32
    here = out[~np.isnan(out).any(-1)]
    assert not np.isnan(here).any()
    assert (here >= 0).all() and (here <= 1).all() and (here[:, :2] <= here[:, 2:]).all()


def test_every_kind_is_an_error():
    true = true_boxes(300)
    for kind in KINDS:
        assert box_iou(simulate(true, 1, 0, [kind]), true).mean() < 0.75, kind


def test_what_is_not_there_is_refused():
    with pytest.raises(UnknownName, match="Did you mean 'fragment'"):
        simulate(true_boxes(2), 0.1, 0, ["fragments"])
    with pytest.raises(ReIDError, match="rate 20: expected a share"):
        simulate(true_boxes(2), 20, 0)
    with pytest.raises(ReIDError, match="no kinds"):
        simulate(true_boxes(2), 0.1, 0, [])
