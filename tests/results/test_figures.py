"""Figures of part masks: what is on them, where, and that the same input is the same file."""

import io

import matplotlib
import numpy as np
import pytest
from PIL import Image

from results.figures import (
    COLUMN,
    DARKEST,
    DPI,
    MaskPicture,
    dimmed,
    mask_figure,
    outline,
    save,
    shown_layers,
)

PARTS = ("head", "upper", "legs")
GRID = (4, 2)


def picture(name="0001_c1", layers=4, parts=3, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (32, 16, 3)).astype(np.uint8)
    return MaskPicture(name, image, rng.random((layers, parts, *GRID)), rng.random((parts, *GRID)))


def draw(count=1, layers=4, **more):
    pictures = [picture(f"{i:04}_c1", layers, seed=i) for i in range(count)]
    return mask_figure(pictures, PARTS, (32, 16), "Part masks: muva on D", ["MA", "seed 0"], **more)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, [0]), (4, [0, 1, 2, 3]), (6, [0, 1, 2, 3, 4, 5]), (12, [0, 2, 4, 7, 9, 11])],
)
def test_layers_are_all_or_an_even_choice(count, expected):
    assert shown_layers(count) == expected


@pytest.mark.parametrize("count", range(7, 60))
def test_the_first_and_the_last_layer_are_always_shown(count):
    layers = shown_layers(count)
    assert (layers[0], layers[-1], len(set(layers))) == (0, count - 1, 6)
    assert max(np.diff(layers)) - min(np.diff(layers)) <= 1


def test_a_block_is_the_original_and_a_row_per_part():
    figure = draw(count=3, layers=12)
    assert len(figure.axes) == 3 * (1 + 3 * (6 + 1))
    block = figure.axes[: 1 + 3 * 7]
    assert [a.get_title() for a in block[1:8]] == ["layer 1", "3", "5", "8", "10",
                                                  "12", "attention"]  # fmt: skip
    assert [a.get_ylabel() for a in block if a.get_ylabel()] == list(PARTS)
    assert block[0].get_xlabel() == "0000_c1"
    tops = [a.get_position().y1 for a in block]
    assert tops[1] > tops[8] > tops[15]
    for axes in figure.axes:
        where = axes.get_position()
        assert 0 <= where.x0 < where.x1 <= 1 and 0 <= where.y0 < where.y1 <= 1


def test_no_cell_lies_on_another():
    boxes = [a.get_position() for a in draw(count=4, layers=12).axes]
    for i, one in enumerate(boxes):
        for other in boxes[:i]:
            apart = one.x1 <= other.x0 + 1e-9 or other.x1 <= one.x0 + 1e-9
            assert apart or one.y1 <= other.y0 + 1e-9 or other.y1 <= one.y0 + 1e-9


LONG = "0002_c1s1_000451_03_of_a_folder_with_long_names"


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize(("count", "name"), [(1, "0002_c1s1_000451_03"), (4, LONG)])
def test_no_text_lies_on_a_picture_or_on_another(parts, count, name):
    pictures = [picture(name, 12, parts, seed) for seed in range(count)]
    figure = mask_figure(pictures, PARTS[:parts], (32, 16), "Part masks", ["MA"])
    save(figure)  # lays out
    texts = [*figure.texts]
    for axes in figure.axes:
        texts += [t for t in (axes.title, axes.xaxis.label, axes.yaxis.label) if t.get_text()]
    boxes = [t.get_window_extent() for t in texts]
    cells = [a.get_window_extent() for a in figure.axes]
    assert len(texts) == 3 + count * (1 + 7 + parts)
    for i, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0
        for other in [*boxes[:i], *cells]:
            # an extent is a little larger than the letters: two pixels do not count
            apart = box.x1 < other.x0 + 2 or other.x1 < box.x0 + 2
            assert apart or box.y1 < other.y0 + 2 or other.y1 < box.y0 + 2, texts[i]


def test_it_says_what_it_is():
    texts = [t.get_text() for t in draw(layers=12).texts]
    assert texts[:2] == ["Part masks: muva on D", "MA\nseed 0"]
    assert "Layers 1, 3, 5, 8, 10, 12 of 12." in texts[2].replace("\n", " ")
    assert "All 4 layers." in draw().texts[2].get_text()


def test_a_figure_is_as_wide_as_a_column_or_two():
    for count, columns in ((1, 1), (2, 2), (5, 2)):
        image = Image.open(io.BytesIO(save(draw(count))))
        assert image.width == pytest.approx(columns * COLUMN * DPI, abs=1)


def test_a_mask_is_brightness():
    image = np.full((4, 4, 3), 200, np.uint8)
    bright = dimmed(image, np.array([[1.0, 0.0], [0.5, 1.0]]))
    dark, half = round(200 * DARKEST), round(200 * (DARKEST + 0.5 * (1 - DARKEST)))
    assert bright[:, :, 0].tolist() == [
        [200, 200, dark, dark],
        [200, 200, dark, dark],
        [half, half, 200, 200],
        [half, half, 200, 200],
    ]


def test_an_outline_is_the_border_between_in_and_out():
    mask = np.array([[True, True, False], [False, True, False]])
    lines = {tuple(map(tuple, line)) for line in outline(mask).tolist()}
    assert lines == {
        ((0, 0), (1, 0)), ((1, 0), (2, 0)),  # above
        ((0, 0), (0, 1)), ((1, 1), (1, 2)),  # left
        ((2, 0), (2, 1)), ((2, 1), (2, 2)),  # right
        ((0, 1), (1, 1)), ((1, 2), (2, 2)),  # below
    }  # fmt: skip
    assert outline(np.zeros((2, 3), bool)).shape == (0, 2, 2)


def test_masks_are_outlined_where_they_are_above_one_half():
    one = picture(layers=1)
    one.masks[0, 0] = 0.5
    one.masks[0, 0, 1, 0] = 0.51
    figure = mask_figure([one], PARTS, (32, 16), "t")
    (lines,) = figure.axes[1].collections  # a patch is 8 x 8 pixels
    ends = {tuple(map(tuple, line)) for line in np.array(lines.get_segments()).tolist()}
    assert ends == {((0, 8), (8, 8)), ((0, 16), (8, 16)), ((0, 8), (0, 16)), ((8, 8), (8, 16))}
    assert not figure.axes[0].collections and not figure.axes[2].collections
    assert save(figure)


def test_the_masks_shown_are_those_of_their_layer_and_part():
    figure, one = draw(layers=12), picture(layers=12)
    shown = figure.axes[1 + 7 + 3].images[0].get_array()  # second part, fourth column: layer 8
    assert np.array_equal(shown, dimmed(one.image, one.masks[7, 1]))
    heat = figure.axes[1 + 2 * 7 + 6].images[1]
    assert np.array_equal(heat.get_array(), one.attention[2])
    assert heat.get_clim() == (0, one.attention[2].max())


def test_a_part_without_attention_is_drawn():
    one = picture()
    nothing = MaskPicture("x", one.image, one.masks * 0, one.attention * 0)
    figure = mask_figure([nothing], PARTS, (32, 16), "t")
    assert figure.axes[-1].images[1].get_clim() == (0, 1)
    assert save(figure)


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_same_input_is_the_same_file_whatever_the_user_has_set(kind):
    first = save(draw(), kind)
    with matplotlib.rc_context({"font.size": 30, "axes.titlesize": 40, "savefig.dpi": 20,
                                "savefig.bbox": "tight"}):  # fmt: skip
        assert save(draw(), kind) == first
    if kind == "png":
        assert "Software" not in Image.open(io.BytesIO(first)).info


def test_a_dollar_is_a_dollar():
    one = picture("cost $a_b$ $")
    title = r"Part masks: own:$\frac{$ on $x^2$"
    content = save(mask_figure([one], ("$h$", "u", "l"), (32, 16), title), "svg").decode()
    for text in (r"own:$\frac{$ on $x^2$", "$h$", "cost $a_b$ $"):
        assert text in content


def test_no_window_system_is_asked_for(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    before = matplotlib.rcParams._get_backend_or_none()
    save(draw())
    assert matplotlib.rcParams._get_backend_or_none() == before
