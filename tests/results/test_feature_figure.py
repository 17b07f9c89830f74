"""Maps of features: which points have which colour, where panels stand, the same file again."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from results.feature_figure import MOST, Colouring, feature_figure, largest
from results.figures import COLUMN, save

POINTS = np.random.default_rng(0).normal(size=(30, 2))


def panel(title="By identity", groups=None, coloured=("D 1", "D 2")):
    groups = ["D 1"] * 10 + ["D 2"] * 8 + [""] * 12 if groups is None else groups
    return Colouring(title, groups, coloured)


def test_the_largest_groups_of_each_in_turn():
    one = ["a", "b", "b", "c", "c", ""]
    assert largest([[name for name in one if name]]) == ["b", "c", "a"]
    assert largest([["a", "b", "b"], ["x"], ["y", "z", "z"]], 4) == ["b", "x", "z", "a"]
    assert largest([[str(i) for i in range(20)]]) == [str(i) for i in range(MOST)]
    assert largest([]) == []


def test_every_point_is_drawn_once_in_the_look_of_its_group():
    figure = feature_figure(POINTS, [panel()], "Feature map")
    (axes,) = figure.axes
    drawn = [np.stack(line.get_data(), 1) for line in axes.lines]
    for found, rows in zip(drawn, (slice(18, 30), slice(0, 10), slice(10, 18)), strict=True):
        assert np.array_equal(found, POINTS[rows])
    looks = [(line.get_color(), line.get_marker()) for line in axes.lines]
    assert len(set(looks)) == len({c for c, _ in looks}) == len({m for _, m in looks}) == 3
    key = [(text.get_text(), handle.get_color(), handle.get_marker())
           for text, handle in zip(figure.legends[0].get_texts(), figure.legends[0].legend_handles,
                                   strict=True)]  # fmt: skip
    assert key == [("D 1", *looks[1]), ("D 2", *looks[2]), ("others", *looks[0])]


def test_no_others_where_every_point_has_a_group():
    whole = panel(groups=["D 1"] * 15 + ["D 2"] * 15)
    (legend,) = feature_figure(POINTS, [whole], "Feature map").legends
    assert [text.get_text() for text in legend.get_texts()] == ["D 1", "D 2"]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_panels_stand_apart_in_a_papers_column(count):
    names = [f"a data set of a long name {i}" for i in range(MOST)]
    groups = [names[i % MOST] for i in range(30)]
    panels = [panel(), panel("By domain", groups, names), panel("By camera")][:count]
    figure = feature_figure(POINTS, panels, "Feature map", ["t-SNE"])
    assert figure.get_figwidth() == COLUMN
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.texts]
    boxes += [axes.get_window_extent() for axes in figure.axes]
    boxes += [legend.get_window_extent(renderer) for legend in figure.legends]
    assert len(boxes) == 2 + 3 * count
    width, height = figure.get_size_inches() * figure.dpi
    for i, one in enumerate(boxes):
        assert one.x0 >= 0 and one.y0 >= 0 and one.x1 <= width and one.y1 <= height
        for other in boxes[:i]:
            apart = one.x1 <= other.x0 + 1 or other.x1 <= one.x0 + 1
            assert apart or one.y1 <= other.y0 + 1 or other.y1 <= one.y0 + 1


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_same_input_is_the_same_file(kind):
    first = save(feature_figure(POINTS, [panel()], "Feature map"), kind)
    assert first == save(feature_figure(POINTS, [panel()], "Feature map"), kind)
    assert first != save(feature_figure(-POINTS, [panel()], "Feature map"), kind)
