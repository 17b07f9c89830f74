"""Losses per epoch: lines, bands, scales and gaps by hand."""

import math

import numpy as np
import pytest
from layout import require_readable, texts

from results.loss_figure import LossPanel, loss_figure

NAN = math.nan


def test_a_line_is_the_mean_over_runs_and_its_band_their_deviation():
    panel = LossPanel(
        "MA: encoder", "encoder", {"id": [[4.0, 3.0], [2.0, 3.0]], "bce": [[2.5] * 2]}
    )
    (axes,) = loss_figure([panel], "Losses of muva").axes
    ours, other = axes.get_lines()
    assert list(ours.get_xdata()) == [1, 2]
    assert list(ours.get_ydata()) == [3, 3] and list(other.get_ydata()) == [2.5, 2.5]
    (band,) = axes.collections
    at = band.get_paths()[0].vertices
    assert at[at[:, 0] == 1][:, 1].max() == pytest.approx(3 + math.sqrt(2))
    assert axes.get_yscale() == "linear"


def test_losses_far_apart_have_a_logarithmic_scale_in_plain_numbers():
    panels = [
        LossPanel("MA: encoder", "encoder", {"imp": [[30.0, 3.0]], "dice": [[0.7, 0.5]]}),
        LossPanel("D: encoder", "encoder", {"imp": [[20.0, 10.0]]}),
        LossPanel("D: held out", "held out", {"mAP": [[2.0, 60.0]]}, even=True),
    ]
    figure = loss_figure(panels, "t")
    first, second, held = figure.axes
    assert first.get_yscale() == second.get_yscale() == "log" and held.get_yscale() == "linear"
    assert first.get_ylim() == second.get_ylim() != held.get_ylim()
    assert [text.get_text() for text in first.get_yticklabels()] == [
        "0.5",
        "1",
        "2",
        "5",
        "10",
        "20",
    ]
    require_readable(figure)


def test_what_is_no_number_is_a_gap():
    (axes,) = loss_figure(
        [LossPanel("t", "k", {"id": [[3.0, NAN, 1.0], [NAN, NAN, 2.0]]})], "t"
    ).axes
    (line,) = axes.get_lines()
    assert np.array_equal(line.get_ydata(), [3.0, NAN, 1.5], equal_nan=True)
    nothing = loss_figure([LossPanel("t", "k", {"id": [[NAN]]})], "t")
    require_readable(nothing)


def test_one_epoch_is_a_point_and_a_hundred_are_no_band_of_markers():
    (axes,) = loss_figure([LossPanel("t", "k", {"id": [[3.0]]})], "t").axes
    assert list(axes.get_xticks()) == [1]
    assert axes.get_lines()[0].get_marker() == "o"
    (axes,) = loss_figure([LossPanel("t", "k", {"id": [list(np.linspace(4, 1, 100))]})], "t").axes
    assert axes.get_lines()[0].get_markevery() == 12
    assert min(axes.get_xticks()) >= 1 and max(axes.get_xticks()) == 100


def test_sixteen_panels_fit_on_a_page():
    values = list(np.geomspace(30, 0.1, 60))
    panels = [LossPanel(f"MA+D+C{i}: encoder", "encoder", {"id": [values]}) for i in range(16)]
    figure = loss_figure(panels, "Losses of " + "m" * 60, ["Said."])
    require_readable(figure)
    assert figure.get_size_inches()[1] < 11
    assert sum(text.get_text() == "epoch" for text in texts(figure)) == 2
