"""Accuracy against cost: points, scales and names by hand."""

import pytest
from layout import PLAIN, TWELVE, require_readable, texts, words

from results.cost_figure import CostPanel, cost_figure

ACCURACY = {"muva": (60.0, 1.5), "bot": (40.0, 0.0), "histogram": (20.0, 0.0)}


def points(axes):
    return [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.get_lines()
            if line.get_marker() not in ("None", "_", "|")]  # fmt: skip


def test_points_stand_at_cost_and_accuracy_with_bars_over_seeds():
    panel = CostPanel("parameters (millions)", {"muva": 90.0, "bot": 25.0})
    figure = cost_figure(ACCURACY, [panel], "Accuracy against cost")
    (axes,) = figure.axes
    assert points(axes) == [(90, 60), (25, 40)]
    ends = [c.get_segments()[0][:, 1].tolist() for c in axes.collections]
    assert ends == [[58.5, 61.5]]
    assert axes.get_xscale() == "linear" and axes.get_xlabel() == "parameters (millions)"
    assert {"muva", "bot"} <= {text.get_text() for text in axes.texts}
    assert "histogram" not in words(figure)  # its cost is not known
    require_readable(figure)


def test_costs_far_apart_have_a_logarithmic_scale_and_nothing_its_own_place():
    panel = CostPanel("parameters (millions)", {"muva": 90.0, "bot": 2.0, "histogram": 0.0})
    figure = cost_figure(ACCURACY, [panel], "t")
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    found = dict(points(axes)[:3])
    nothing = next(x for x, y in found.items() if y == 20)
    assert 0 < nothing < 2
    labels = {text.get_text(): x for text, x in
              zip(axes.get_xticklabels(), axes.get_xticks(), strict=True)}  # fmt: skip
    assert labels["0"] == pytest.approx(nothing) and labels["10"] == 10
    require_readable(figure)


def test_panels_have_the_same_scale_of_accuracy():
    panels = [CostPanel("a", {"muva": 1.0}), CostPanel("b", {"bot": 2.0})]
    first, second = cost_figure(ACCURACY, panels, "t").axes
    assert first.get_ylim() == second.get_ylim()
    assert first.get_ylim()[0] < 20 and first.get_ylim()[1] > 61.5


def test_names_that_find_no_room_stand_in_a_key():
    crowded = {name: (50 + 0.01 * i, 0.0) for i, name in enumerate(TWELVE)}
    panel = CostPanel("ms", dict.fromkeys(TWELVE, 1.0))
    figure = cost_figure(crowded, [panel], "t", ["Said."])
    assert not figure.axes[0].texts and len(figure.legends[0].get_texts()) == 12
    require_readable(figure)


def test_names_beside_points_cover_nothing():
    # pairs so close that the names of both would lie on each other at the same side
    spread_out = {name: (10.0 + 7 * (i // 2) + 0.3 * i, 0.4) for i, name in enumerate(PLAIN)}
    panel = CostPanel("ms", {name: 1.0 + i // 2 for i, name in enumerate(PLAIN)})
    figure = cost_figure(spread_out, [panel], "t")
    require_readable(figure)
    (axes,) = figure.axes
    assert len(axes.texts) == len(PLAIN) and not figure.legends
    for text in texts(figure):
        if text in axes.texts:
            box = text.get_window_extent()
            for x, y in points(axes):
                at = axes.transData.transform((x, y))
                assert not box.contains(*at), text.get_text()
