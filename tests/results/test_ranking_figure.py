"""Figures of rankings: the frames, what is on them and where, and the same file again."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from results.figures import COLUMN, save
from results.ranking_figure import (
    RIGHT,
    WRONG,
    Picture,
    RankedRow,
    ranking_figure,
    shortened,
)


def picture(seed=0, size=(32, 16), label=("12", "c3")):
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    return Picture(image, label)


def row(right=(True, False), later=None, name="0012_c1.jpg", size=(32, 16), **more):
    gallery = [picture(i + 1, size) for i in range(len(right))]
    return RankedRow(name, "AP 50.0 %, first hit at 1 of 30, 2 matches", picture(0, size, **more),
                     gallery, right, later)  # fmt: skip


def draw(rows, top=3):
    return ranking_figure(rows, "Ranking: muva on D", ["Trained on MA."], top)


def frames(figure):
    """(colour, line style, strokes of its sign) of every image."""
    return [
        (to_hex(axes.spines["left"].get_edgecolor()), axes.spines["left"].get_linestyle(),
         len(axes.lines))
        for axes in figure.axes
    ]  # fmt: skip


def test_right_and_wrong_differ_by_colour_line_and_sign():
    right, wrong = (RIGHT.lower(), "solid", 1), (WRONG.lower(), (0.0, (2.2, 1.2)), 2)
    query, *gallery = frames(draw([row((True, False, True))]))
    assert gallery == [right, wrong, right]
    assert query[0] == "#000000" and query[2] == 0
    *_, later = frames(draw([row((False, False), picture(9))]))
    assert later == right


def test_the_first_right_one_stands_apart():
    figure = draw([row((False, False, False), picture(9)), row((True, False, False))])
    left = [axes.get_position().x0 for axes in figure.axes]
    assert len(left) == 5 + 4
    pitch = left[2] - left[1]
    assert left[4] - left[3] == pytest.approx(left[1] - left[0]) and left[4] - left[3] > pitch
    assert left[:4] == left[5:]
    said = [text.get_text() for text in figure.texts]
    assert any("the first right one where it comes later" in " ".join(said) for _ in [0])
    nothing = " ".join(text.get_text() for text in draw([row()]).texts)
    assert "where it comes later" not in nothing


def test_an_image_keeps_its_shape():
    for size in ((32, 16), (10, 200), (300, 10), (1, 1)):
        rows = [row(), row(), RankedRow("odd", "", picture(0, size), [], [])]
        axes = draw(rows).axes[-1]
        left, right, bottom, top = axes.get_images()[0].get_extent()
        assert (bottom - top) / (right - left) == pytest.approx(size[0] / size[1])
        wide, high = axes.get_xlim()[1], axes.get_ylim()[0]
        assert min(left, top) >= -1e-9 and right <= wide + 1e-9 and bottom <= high + 1e-9
        assert min(left, top) == pytest.approx(0)


@pytest.mark.parametrize("labels", [("12", "c3"), ("123456", "c12")])
@pytest.mark.parametrize(
    ("rows", "top"), [(1, 10), (3, 10), (1, 1)], ids=["one query", "three", "one image"]
)
def test_nothing_lies_on_anything_else_in_a_papers_column(rows, top, labels):
    long = "a folder with a very long name/and another one/" + "0012_c1s1_000451_03" * 4 + ".jpg"
    drawn = [row((False,) * top, picture(9), long, label=labels) for _ in range(rows)]
    figure = draw(drawn, top)
    assert figure.get_figwidth() == pytest.approx(COLUMN)
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.texts]
    boxes += [axes.get_window_extent() for axes in figure.axes]
    boxes += [legend.get_window_extent(renderer) for legend in figure.legends]
    width, height = figure.get_size_inches() * figure.dpi
    for i, one in enumerate(boxes):
        assert one.x0 >= 0 and one.y0 >= 0 and one.x1 <= width and one.y1 <= height
        for other in boxes[:i]:
            apart = one.x1 <= other.x0 + 2 or other.x1 <= one.x0 + 2
            assert apart or one.y1 <= other.y0 + 2 or other.y1 <= one.y0 + 2


def test_many_queries_stand_in_two_columns_read_one_after_the_other():
    rows = [row((True,), name=f"query {i:02}") for i in range(30)]
    figure = draw(rows, 1)
    assert figure.get_figwidth() == pytest.approx(2 * COLUMN)
    places = [t.get_position() for t in figure.texts if t.get_text().startswith("query ")]
    assert len(places) == 30
    left, right = places[:15], places[15:]
    assert len({x for x, _ in left}) == 1 and right[0][0] > 0.5 > left[0][0]
    assert [y for _, y in left] == sorted((y for _, y in left), reverse=True)
    assert [y for _, y in left] == pytest.approx([y for _, y in right])


def test_a_gallery_may_be_smaller_or_empty():
    assert len(draw([row((True, False)), row(())], top=10).axes) == 3 + 1


def test_a_wide_figure_for_many_images():
    assert draw([row((True,) * 30)], top=30).get_figwidth() > 2 * COLUMN


def test_names_are_shortened_in_the_middle():
    name = "Market-1501-v15.09.15/query/1206_c3s3_012203_03.jpg"
    assert shortened(name, 9.0, 6.0) == name
    short = shortened(name, 1.0, 6.0)
    head, tail = short.split("…")
    assert name.startswith(head) and name.endswith(tail) and len(tail) > len(head) > 0
    assert len(shortened(name, 1.2, 6.0)) > len(short)
    assert len(shortened(name, 0.0, 6.0)) <= 2


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_same_input_is_the_same_file(kind):
    rows = [row(name="<a> & $b$ ünï")]
    first = save(draw(rows), kind)
    assert first == save(draw(rows), kind)
    assert first != save(draw([row((False, True))]), kind)
    if kind == "svg":
        content = first.decode()
        assert ">&lt;a&gt; &amp; $b$ ünï<" in content and ">12 c3<" in content
