"""Critical-difference diagrams: places, bars and names by hand."""

import numpy as np
import pytest
from layout import TWELVE, require_readable, words

from results.critical_difference import critical_difference_figure

NAMES, RANKS = ["b", "a", "d", "c"], [2.0, 1.25, 3.75, 3.0]


def lines(figure):
    """x and y of every line, by its width."""
    found = {}
    for line in figure.axes[0].get_lines():
        found.setdefault(line.get_linewidth(), []).append((line.get_xdata(), line.get_ydata()))
    return found


@pytest.fixture(scope="module")
def figure():
    return critical_difference_figure(NAMES, RANKS, 1.5, [(1, 0), (0, 3, 2)], "title", ["said"])


def test_lines_lead_from_mean_ranks_to_names(figure):
    found = lines(figure)
    ticks = sorted(x[0] for x, _ in found[0.6] if len(x) == 2)
    one, four = ticks[0], ticks[-1]
    step = (four - one) / 3
    leaders = [(x, y) for x, y in found[0.6] if len(x) == 3]
    assert sorted(x[0] for x, _ in leaders) == pytest.approx(
        [one + step * (rank - 1) for rank in sorted(RANKS)]
    )
    # the better half at the left, the others at the right, the outermost first
    depth = {round(x[0], 6): (y[-1], x[-1] < one) for x, y in leaders}
    a, b, c, d = (depth[round(one + step * (rank - 1), 6)] for rank in (1.25, 2.0, 3.0, 3.75))
    assert a[1] and b[1] and not c[1] and not d[1]
    assert a[0] < b[0] and d[0] < c[0]
    assert all(label in words(figure) for label in ("a  1.25", "b  2.00", "c  3.00", "d  3.75"))


def test_bars_join_cliques_and_none_hides_another(figure):
    bars = lines(figure)[2.2]
    ticks = sorted(x[0] for x, _ in lines(figure)[0.6] if len(x) == 2)
    one, step = ticks[0], (ticks[-1] - ticks[0]) / 3
    ends = [(1 + (x[0] - one) / step, 1 + (x[1] - one) / step) for x, _ in bars]
    assert ends[0] == pytest.approx((1.25, 2.0), abs=0.1)
    assert ends[1] == pytest.approx((2.0, 3.75), abs=0.1)
    assert bars[0][1][0] < bars[1][1][0]  # they share b


def test_the_critical_difference_is_drawn_to_the_axis_scale(figure):
    rules = [x for x, y in lines(figure)[0.8] if y[0] == y[1]]
    axis = max(rules, key=lambda x: x[1] - x[0])
    (length,) = [x for x in rules if x is not axis]
    assert (length[1] - length[0]) / (axis[1] - axis[0]) == pytest.approx(1.5 / 3)
    assert "critical difference 1.50" in words(figure)


def test_one_that_is_longer_than_the_axis_says_so():
    figure = critical_difference_figure(["a", "b"], [1.2, 1.8], 1.39, [(0, 1)], "t")
    assert "1.39 (longer than the axis)" in words(figure)
    require_readable(figure)


def test_twelve_strange_names_are_read():
    ranks = list(np.linspace(1.3, 11.7, 12))
    figure = critical_difference_figure(TWELVE, ranks, 3.2, [(0, 1, 2), (2, 3)], "t", ["Said."])
    require_readable(figure)
    assert all(f"{rank:.2f}" in words(figure) for rank in ranks)


def test_names_of_one_rank_do_not_lie_on_each_other():
    require_readable(critical_difference_figure(["a", "b", "c"], [2.0] * 3, 1.9, [(0, 1, 2)], "t"))
