"""Covered people told from boxes: each rule by hand, on the border, and which of them is first."""

import numpy as np
import pytest

from harness.grounding.occlusion import APART, CASES, SHORT, occluded

NAN = (np.nan,) * 4
USUAL = ((0.4, 0.0, 0.6, 0.2), (0.3, 0.2, 0.7, 0.5), (0.3, 0.5, 0.7, 1.0))


def case(boxes, replaced=(0, 0, 0), discarded=(0, 0, 0), crowded=False):
    """The case of one image among nine usual ones; None for none."""
    others = 9
    mine = np.array([boxes, *[USUAL] * others], np.float32)
    flags = [np.array([one, *[(0, 0, 0)] * others], bool) for one in (replaced, discarded)]
    crowd = np.array([crowded] + [False] * others)
    found = occluded(mine, *flags, crowd)
    assert list(found) == list(CASES)
    assert not any(rows[1:].any() for rows in found.values())
    names = [name for name, rows in found.items() if rows[0]]
    assert len(names) <= 1
    return names[0] if names else None


def changed(part, box):
    boxes = list(USUAL)
    boxes[part] = box
    return boxes


def lower(share):
    """Legs as high as this share of usual ones."""
    return changed(2, (0.3, 0.5, 0.7, 0.5 + 0.5 * share))


def aside(share):
    """An upper body this share of its own width beside the legs."""
    move = 0.4 * share
    return changed(1, (0.3 - move, 0.2, 0.7 - move, 0.5))


def test_the_usual_is_no_case():
    assert case(USUAL) is None


@pytest.mark.parametrize(("share", "found"), [(SHORT - 0.05, "slight"), (SHORT + 0.05, None)])
def test_a_low_box_is_slight_occlusion(share, found):
    assert case(lower(share)) == found
    if found:
        # a box that was replaced says nothing of what is covered
        assert case(lower(share), replaced=(0, 0, 1)) is None


def test_a_missing_or_discarded_part_or_most_boxes_replaced_are_severe():
    assert case(changed(0, NAN)) == "severe"
    assert case(USUAL, discarded=(0, 1, 0)) == "severe"
    assert case(USUAL, replaced=(1, 1, 0)) == "severe"
    assert case(USUAL, replaced=(1, 0, 0)) is None
    assert case([NAN] * 3) == "severe"


@pytest.mark.parametrize(("share", "found"), [(APART - 0.05, None), (APART + 0.05, "people")])
def test_parts_beside_each_other_are_of_several_people(share, found):
    assert case(aside(share)) == found
    assert case(aside(share), replaced=(0, 1, 0)) == found


def test_several_people_come_first_then_what_is_severe():
    assert case(USUAL, crowded=True) == "people"
    assert case(changed(0, NAN), crowded=True, discarded=(1, 1, 1)) == "people"
    missing = lower(0.3)
    missing[0] = NAN
    assert case(missing) == "severe"


def test_without_any_box_nothing_is_measured():
    found = occluded(np.full((2, 3, 4), np.nan, np.float32), *np.zeros((2, 2, 3), bool))
    assert found["severe"].all() and not found["slight"].any() and not found["people"].any()
