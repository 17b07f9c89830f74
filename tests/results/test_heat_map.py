"""Heat maps: numbers, colours and gaps by hand."""

import numpy as np
import pytest
from layout import TWELVE, require_readable, texts
from matplotlib import colormaps
from matplotlib.colors import to_rgba

from results.heat_map import Grid, heat_map

SOURCES, TARGETS = ["MA", "D", "MA+D"], ["MA", "D", "MS"]
OWN = np.array([[True, False, False], [False, True, False], [True, True, False]])
NAN = np.nan
VALUES = np.array([[80.0, 20.0, NAN], [40.0, NAN, 60.0], [NAN, NAN, 30.04]])


@pytest.fixture(scope="module")
def axes():
    return heat_map(SOURCES, TARGETS, OWN, [Grid("muva", VALUES)], "title").axes[0]


def test_each_cell_has_its_number_where_its_source_and_target_are(axes):
    cell = axes.get_xlim()[1] / 3
    row = axes.get_ylim()[0] / 3
    found = {
        (int(text.get_position()[1] // row), int(text.get_position()[0] // cell)): text.get_text()
        for text in axes.texts
    }
    assert found == {
        (0, 0): "80.0", (0, 1): "20.0", (0, 2): "\u2013",
        (1, 0): "40.0", (1, 1): "", (1, 2): "60.0",
        (2, 0): "", (2, 1): "", (2, 2): "30.0",
    }  # fmt: skip
    assert [text.get_text() for text in axes.get_yticklabels()] == SOURCES
    assert [text.get_text() for text in axes.get_xticklabels()] == TARGETS


def test_colours_go_from_the_least_to_the_most_and_ink_can_be_read_on_them(axes):
    colours = [patch.get_facecolor() for patch in axes.patches]
    viridis = colormaps["viridis"]
    assert colours[0] == viridis(1.0) and colours[1] == viridis(0.0)
    assert colours[5] == viridis((60 - 20) / 60)
    assert colours[2] == to_rgba("white") and colours[4] == to_rgba("0.85")
    ink = {text.get_text(): text.get_color() for text in axes.texts}
    assert ink["80.0"] == "black" and ink["20.0"] == "white"


def test_only_a_number_of_an_own_domain_is_hatched(axes):
    (hatch,) = axes.collections
    ends = np.concatenate(hatch.get_segments())
    row = axes.get_ylim()[0] / 3
    assert ends[:, 0].max() < axes.get_xlim()[1] / 3 and ends[:, 1].max() < row


def test_a_difference_is_white_at_nothing_and_even_around_it():
    grid = Grid("", np.array([[NAN, 10.0, 0.0], [-20.0, NAN, NAN], [NAN, NAN, NAN]]))
    figure = heat_map(SOURCES, TARGETS, OWN, [grid], "t", metric="points", difference=True)
    colours = [patch.get_facecolor() for patch in figure.axes[0].patches]
    orange = colormaps["PuOr_r"]
    assert colours[1] == orange(0.75) and colours[3] == orange(0.0)
    assert colours[2] == orange(0.5) and min(colours[2][:3]) > 0.95


def test_grids_of_one_figure_have_the_same_colours_and_names_are_read():
    sources = ["MA", "D", "MS", "C3", "D+MS+C3", "MA+MS+C3", "MA+D+C3", "MA+C3+C2+CS[all]"]
    targets = ["MA", "D", "MS", "C3"]
    own = np.array([[t in s.split("+") for t in targets] for s in sources])
    values = np.random.default_rng(0).uniform(1, 100, (12, 8, 4))
    grids = [Grid(name, one) for name, one in zip(TWELVE, values, strict=True)]
    figure = heat_map(sources, targets, own, grids, "mAP from sources to targets", ["Said."])
    require_readable(figure)
    assert figure.get_size_inches()[1] < 11
    low, high = values.min(), values.max()
    for axes, one in zip(figure.axes, values, strict=False):
        expected = colormaps["viridis"]((one[0, 0] - low) / (high - low))
        assert axes.patches[0].get_facecolor() == pytest.approx(expected, abs=0.02)
    numbers = [text for text in texts(figure) if text.get_text().endswith(f"{values[0, 0, 0]:.1f}")]
    assert numbers


def test_many_targets_leave_the_digit_behind_the_point_out():
    targets = [f"T{i}" for i in range(14)]
    grid = Grid("muva", np.full((1, 14), 45.67))
    figure = heat_map(["MA"], targets, np.zeros((1, 14), bool), [grid], "t")
    require_readable(figure)
    assert [text.get_text() for text in figure.axes[0].texts] == ["46"] * 14
