"""A setting against mAP: what is drawn where, and that the same input is the same file."""

import math
import statistics

import numpy as np
import pytest
from layout import require_readable

from results.figures import COLUMN, FORMATS, save
from results.sweep_figure import Curve, Panel, _broken, is_logarithmic, spread, sweep_figure

RED = [[20.0, 22.0], [24.0, 25.0], [30.0, 28.0]]
BLUE = [[50.0, 51.0], [], [53.0, 52.0]]


def figure(values=(1, 2, 4), panels=1):
    curves = [Curve("MA->MS", RED), Curve("MS->MA", BLUE)]
    shown = [Panel("" if panels == 1 else f"k={i}", curves) for i in range(panels)]
    return sweep_figure("rmp_heads", list(values), shown, "title", ["said"])


def test_a_line_is_the_means_and_its_band_the_seeds_spread():
    (axes,) = figure().axes
    first, second = axes.get_lines()
    assert list(first.get_xdata()) == [1, 2, 4]
    assert list(first.get_ydata()) == [21.0, 24.5, 29.0]
    # where there is no result the line has a gap
    assert np.array_equal(second.get_ydata(), [50.5, math.nan, 52.5], equal_nan=True)
    band = axes.collections[0].get_paths()[0].vertices
    std = statistics.stdev(RED[0])
    at_first = band[band[:, 0] == 1][:, 1]
    assert (at_first.min(), at_first.max()) == (pytest.approx(21 - std), pytest.approx(21 + std))
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "2", "4"]
    assert axes.get_xlabel() == "rmp_heads"
    low, high = axes.get_ylim()
    assert low < 21 - std
    assert high > 53


def test_values_stand_in_their_order_however_they_were_typed():
    (axes,) = figure((4, 1, 2)).axes
    assert list(axes.get_lines()[0].get_xdata()) == [1, 2, 4]
    assert list(axes.get_lines()[0].get_ydata()) == [24.5, 29.0, 21.0]


def test_names_are_points_with_bars_beside_each_other():
    (axes,) = figure(("original", "part-agnostic", "domain-specific")).axes
    assert axes.get_xscale() == "linear"
    assert len(axes.containers) == 2
    for container in axes.containers:
        assert container.has_yerr
        assert container[0].get_linestyle() == "None"
    first, second = (container[0].get_xdata() for container in axes.containers)
    assert (first < second).all()
    assert np.allclose((first + second) / 2, [0, 1, 2])


def test_one_seed_has_neither_band_nor_bar():
    panel = Panel("", [Curve("MA->MS", [[1.0], [2.0]])])
    (axes,) = sweep_figure("k", [1, 2], [panel], "t").axes
    assert not axes.collections
    (axes,) = sweep_figure("k", ["a", "b"], [panel], "t").axes
    assert not axes.containers[0].has_yerr


def test_panels_have_the_same_scale_and_do_not_overlap():
    drawn = figure(panels=3)
    assert [text.get_text() for text in drawn.texts][2:5] == ["k=0", "k=1", "k=2"]
    assert len({axes.get_ylim() for axes in drawn.axes}) == 1
    save(drawn)
    boxes = [axes.get_tightbbox() for axes in drawn.axes]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    width, height = drawn.get_size_inches() * drawn.dpi
    for box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


def test_titles_of_panels_break_where_many_settings_are_in_them():
    curves = [Curve("MA->MS", RED)]
    panels = [Panel(f"the_first_setting=a-long-value the_second=[1,{i}]", curves) for i in "123"]
    drawn = sweep_figure("k", [1, 2, 4], panels, "title")
    require_readable(drawn)
    heights = [axes.get_window_extent().height for axes in drawn.axes]
    assert heights == pytest.approx([heights[0]] * 3)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_input_is_the_same_file_as_wide_as_a_column(kind):
    assert save(figure(), kind) == save(figure(), kind)
    assert figure().get_size_inches()[0] == pytest.approx(COLUMN)


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ((1, 2, 4, 8, 16), True),
        ((1e-4, 1e-6, 1e-5), True),
        ((1e-6, 5e-6, 1e-5, 5e-5), True),
        ((0.1, 0.2, 0.3), False),
        ((0, 1, 10, 100), False),
        ((1, 100), False),
        ((5, 10, 15, 20), False),
        (("1", "2", "4"), False),
        ((1, 2, "4"), False),
    ],
)
def test_where_the_axis_is_logarithmic(values, answer):
    assert is_logarithmic(values) is answer


def test_a_spread_by_hand():
    assert spread([1.0, 3.0]) == (2.0, pytest.approx(math.sqrt(2)))
    assert spread([5.0]) == (5.0, 0.0)
    assert all(map(math.isnan, spread([])))


def test_long_names_are_broken_and_nothing_is_lost():
    assert _broken("[head,upper,legs]", 12) == "[head,upper,\nlegs]"
    assert _broken("domain-specific", 9) == "domain-\nspecific"
    assert _broken("short", 12) == "short"
