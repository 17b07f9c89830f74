"""Boxes to patches: hand-drawn grids and a slow reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.grounding.voting import vote
from protocols.errors import UnknownName

NAN = float("nan")


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
