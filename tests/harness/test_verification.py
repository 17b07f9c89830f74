"""ROC from sorted scores and from bins: what is counted, at which width, how conservatively."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import open_set, verification
from harness.verification import Histogram, Levels


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    scores=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40),
    parts=st.integers(1, 5),
    offset=st.sampled_from([0.0, 1e9, -3e-7]),
)
def test_bins_count_everything_at_their_width_whatever_the_order(scores, parts, offset):
    values = np.array(scores) + offset
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verification, "BINS", 2**6 + 1)
        one, other = Histogram(), Histogram()
        one.add(values[:1], values[1:])
        for part in np.array_split(values[1:][::-1], parts):
            other.add(np.empty(0), part)
        other.add(values[:1], np.empty(0))
    np.testing.assert_array_equal(one.counts, other.counts)
    assert (one.exponent, one.first) == (other.exponent, other.first)
    assert one.counts.sum() == len(values)
    bins = {math.floor(value / one.width) - one.first for value in values}
    assert bins == {*np.flatnonzero(one.counts.sum(axis=0))}
    # as wide as the range needs, or as float64 tells numbers apart
    assert one.width <= max(np.ptp(values) * 2.0**-5, np.abs(values).max() * 2.0**-51, 2.0**-999)


def test_bins_and_sorting_agree_to_the_width_of_a_bin():
    draw = np.random.default_rng(2)
    genuine, impostor = draw.normal(5, 2, 4000), draw.normal(0, 2, 40_000)
    exact, bins = Levels.of_scores(genuine, impostor), Histogram()
    for part in np.array_split(np.arange(40_000), 7):
        bins.add(genuine[part[part < 4000]], impostor[part])
    found = bins.levels()
    assert bins.width <= np.ptp([*genuine, *impostor]) * 2.0**-19
    assert found.auc() == pytest.approx(exact.auc(), abs=1e-6)
    assert found.eer() == pytest.approx(exact.eer(), abs=1e-4)
    rates = verification.RATES
    off = np.nan_to_num(exact.accepted(rates) - found.accepted(rates))
    assert off.min() >= 0 and off.max() <= 2 / 4000  # conservative, by a pair or two of a bin
    # one impostor of a thousand is a share of 0.001, which no rounding loses
    levels = Levels.of_scores(np.array([0.5]), np.array([0.9, *[0.1] * 999]))
    assert levels.accepted((0.001,)).tolist() == [1.0]
    assert math.isnan(levels.accepted((0.0009,))[0])


def test_rates_have_round_numbers_among_them():
    assert {*verification.NAMED, 1e-5, 1e-6, 1.0} <= {*verification.RATES}
    assert {*open_set.NAMED, 1.0} <= {*open_set.RATES}
