"""mAP on protocols with intervals: what is drawn where, by hand."""

import numpy as np
import pytest
from layout import TWELVE, require_readable, texts

from results.interval_figure import interval_figure

ROWS = ["MA->D", "MA->MS", "MA+MS+C3->D"]


def test_points_and_bars_stand_in_the_row_of_their_protocol():
    methods = {"a": [(50.0, 45.0, 55.0), None, (30.0, 20.0, 40.0)], "b": [(60.0, 58.0, 61.0)] * 3}
    (axes,) = interval_figure(ROWS, methods, "title").axes
    first, second = axes.get_lines()
    assert list(first.get_xdata()) == [50, 30]
    assert list(second.get_xdata()) == [60, 60, 60]
    segments = [bars.get_segments() for bars in axes.collections]
    assert [(s[0][0], s[1][0]) for s in segments[0]] == [(45, 55), (20, 40)]
    rows = dict(zip([t.get_text() for t in axes.get_yticklabels()], axes.get_yticks(), strict=True))
    assert list(rows) == ROWS
    assert axes.yaxis_inverted()
    # a above b, both around the middle of their row, a's second row left out
    ours, theirs = first.get_ydata(), second.get_ydata()
    assert ours[0] < rows["MA->D"] < theirs[0]
    assert ours[0] + theirs[0] == pytest.approx(2 * rows["MA->D"])
    assert ours[1] + theirs[2] == pytest.approx(2 * rows["MA+MS+C3->D"])


def test_twelve_methods_on_sixteen_protocols_fit_on_a_page():
    values = np.random.default_rng(0).uniform(10, 90, (12, 16))
    rows = [f"MA+MS+C{i}->D" for i in range(16)]
    methods = {
        name: [(v, v - 3, v + 3) for v in mine] for name, mine in zip(TWELVE, values, strict=True)
    }
    figure = interval_figure(rows, methods, "mAP on each protocol", ["Said."])
    require_readable(figure)
    assert figure.get_size_inches()[1] < 11
    assert sum(text.get_text() in rows for text in texts(figure)) == 16


def test_one_method_on_one_protocol():
    require_readable(interval_figure(["MA->D"], {"muva": [(50.0, 45.0, 55.0)]}, "title"))
