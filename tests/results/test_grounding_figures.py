"""Figures of boxes: what is on them, where, that text is free, that the same input is one file."""

import io

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from PIL import Image

from results.box_drawing import (
    CALIBRATED,
    COLOURS,
    DISCARDED,
    BoxPicture,
    name_lines,
)
from results.box_heights import BINS, Heights, height_figure
from results.figures import COLUMN, DPI, save
from results.grounding_figures import Cases, box_figure, occlusion_figure, vote_figure
from results.sheet import breadth

PARTS = ("head", "upper", "legs")
GRID = (4, 2)
NAN = (np.nan,) * 4
BOXES = np.array([(0.3, 0, 0.7, 0.2), (0.1, 0.2, 0.9, 0.5), (0.2, 0.5, 0.8, 1)], np.float32)
LONG = "0002_c1s1_000451_03_of_a_folder_with_long_names"


def picture(name="0002_c1s1_000451_03", boxes=BOXES, calibrated=None, discarded=(0, 0, 0),
            shape=(32, 16), seed=0):  # fmt: skip
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
    boxes = np.array(boxes, np.float32)
    after = boxes if calibrated is None else np.array(calibrated, np.float32)
    return BoxPicture(name, image, boxes, after, np.array(discarded, bool),
                      rng.random((3, *GRID)) < 0.5)  # fmt: skip


WHOLE = np.array([BOXES[0], (0, 0, 1, 1), NAN], np.float32)
WRONG = picture(boxes=WHOLE, calibrated=[*BOXES[:2], NAN], discarded=(1, 0, 0))


def cases(*counts):
    return [
        Cases(f"group {i}", "A rule in words that is somewhat long.", tuple([WRONG] * count))
        for i, count in enumerate(counts)
    ]


def heights(part="legs", raw=(0.4, 0.5, 1.0), calibrated=(0.4, 0.5, 0.45)):
    return Heights(part, np.array(raw), np.array(calibrated), 1, 2, 3)


FIGURES = {
    "boxes": lambda: box_figure([picture(), WRONG], PARTS, "Boxes", ["MA"]),
    "votes": lambda: vote_figure([picture(), WRONG], PARTS, GRID, "Masks", ["MA"]),
    "occlusion": lambda: occlusion_figure(cases(2, 0, 1), PARTS, "Covered", ["MA"]),
    "heights": lambda: height_figure([heights(part) for part in PARTS], "Heights", ["MA"]),
}


def edges(axes):
    """Colour, line style, (x0, y0, x1, y1) of every box on an image."""
    boxes = [p for p in axes.patches if isinstance(p, Rectangle)]
    return [
        (to_hex(p.get_edgecolor()).upper(), p.get_linestyle(), corners(p))
        for p in boxes
    ]  # fmt: skip


def corners(patch):
    return [round(float(value), 3) for value in patch.get_bbox().extents]


def letters(axes):
    return [text.get_text() for text in axes.texts]


def dashes(style):
    return Rectangle((0, 0), 1, 1, linestyle=style).get_linestyle()


def test_a_part_is_its_colour_and_letter_a_calibrated_box_is_dashed():
    first, second = box_figure([picture(), WRONG], PARTS, "t").axes
    at = BOXES.round(3).astype(float)
    assert edges(first) == [
        (colour, "solid", pytest.approx(box.tolist(), abs=1e-3))
        for colour, box in zip(COLOURS, at, strict=False)
    ]
    assert letters(first) == ["H", "U", "L"] and letters(second) == ["H", "U"]
    shown = edges(second)
    assert [(colour, style) for colour, style, _ in shown] == [
        (COLOURS[0], dashes(DISCARDED)),
        (COLOURS[1], "solid"),
        (COLOURS[1], dashes(CALIBRATED)),
    ]
    assert shown[1][2] == [0, 0, 1, 1] and shown[2][2] == pytest.approx(at[1].tolist(), abs=1e-3)


def test_it_says_what_was_not_found_and_what_lines_mean():
    figure = box_figure([picture(), WRONG], PARTS, "Boxes of parts", ["MA", "seed 0"])
    texts = [text.get_text() for text in figure.texts]
    assert texts[:3] == ["Boxes of parts", "MA", "seed 0"] and "no legs" in texts
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said == ["H: head", "U: upper", "L: legs", "as the expert gave it", "calibrated",
                    "discarded"]  # fmt: skip
    plain = box_figure([picture()], PARTS, "t").legends[0]
    assert [text.get_text() for text in plain.get_texts()] == said[:4]


def test_a_part_that_was_not_found_may_have_a_calibrated_box():
    filled = picture(boxes=[*BOXES[:2], NAN], calibrated=BOXES)
    axes = box_figure([filled], PARTS, "t").axes[0]
    assert [style for _, style, _ in edges(axes)] == ["solid", "solid", dashes(CALIBRATED)]
    assert letters(axes) == ["H", "U", "L"]
    figure = occlusion_figure([Cases("a", "b", (filled,))], PARTS, "t")
    assert "filled in" in [text.get_text() for text in figure.texts]


def test_the_axes_of_an_image_are_fractions_of_it_in_its_own_shape():
    figure = box_figure([picture(shape=(60, 20)), picture(shape=(20, 20))], PARTS, "t")
    for axes, shape in zip(figure.axes, (3, 1), strict=True):
        assert (axes.get_xlim(), axes.get_ylim()) == ((0, 1), (1, 0))
        where = axes.get_window_extent()
        assert where.height / where.width == pytest.approx(shape, rel=0.01)


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (5, 1), (6, 2), (11, 2)])
def test_a_figure_is_as_wide_as_a_column_or_two(count, columns):
    image = Image.open(io.BytesIO(save(box_figure([picture()] * count, PARTS, "t"))))
    assert image.width == pytest.approx(columns * COLUMN * DPI, abs=1)


def test_masks_are_tinted_patches_with_their_grid():
    one = picture()
    figure = vote_figure([one], PARTS, GRID, "t")
    assert len(figure.axes) == 4
    for part, axes in enumerate(figure.axes[1:]):
        over = axes.images[1].get_array()
        assert over.shape == (*GRID, 4)
        assert np.array_equal(over[..., 3] > 0, one.masks[part])
        lines, border = axes.collections
        assert len(lines.get_segments()) == GRID[0] - 1 + GRID[1] - 1
        assert np.array(border.get_segments()).max() <= 1
        assert [edge[0] for edge in edges(axes)] == [COLOURS[part]]
    texts = " ".join(text.get_text() for text in figure.texts)
    assert "4 x 2 patches" in texts
    for mask in one.masks:
        assert f"{mask.sum()} patch" in texts


def test_masks_without_boxes():
    one = picture()
    bare = BoxPicture("x", one.image, None, None, one.discarded, one.masks & False)
    figure = vote_figure([bare], PARTS, GRID, "t")
    assert not figure.legends and not any(edges(axes) for axes in figure.axes)
    texts = [text.get_text() for text in figure.texts]
    assert texts.count("not found") == 3 and "image" in texts
    assert save(figure)


def test_an_occluded_image_is_shown_once_a_part():
    figure = occlusion_figure(cases(1, 0, 2), PARTS, "t")
    assert len(figure.axes) == 9
    colours = [{edge[0] for edge in edges(axes)} for axes in figure.axes[:3]]
    assert colours == [{COLOURS[0]}, {COLOURS[1]}, set()]
    texts = [text.get_text() for text in figure.texts]
    assert texts.count("No such image was found.") == 1
    for state in ("discarded", "replaced", "not found"):
        assert texts.count(state) == 3
    lefts = [axes.get_position().x0 for axes in figure.axes[:6]]
    assert lefts == sorted(lefts)


def test_heights_are_counted_raw_and_calibrated():
    figure = height_figure([heights()], "t")
    (axes,) = figure.axes
    before, after = axes.patches
    for stairs, values in ((before, (0.4, 0.5, 1.0)), (after, (0.4, 0.5, 0.45))):
        counts, limits, _ = stairs.get_data()
        assert np.array_equal(counts, np.histogram(values, np.linspace(0, 1, BINS + 1))[0])
        assert (limits[0], limits[-1]) == (0, 1)
    assert before.get_hatch() and not after.get_hatch()
    assert {line.get_linestyle() for line in axes.lines} == {":", "--"}
    assert [line.get_xdata()[0] for line in axes.lines] == [0.5, 0.45]
    texts = " ".join(text.get_text() for text in figure.texts)
    assert "3 boxes, 1 replaced, 3 discarded, 2 not found" in texts
    assert "median 0.500 raw, 0.450 calibrated." in texts


@pytest.mark.parametrize("raw", [(), (0.5,), (0.5,) * 9, (0.0, 1.0 + 1e-7)])
def test_heights_of_few_boxes_of_equal_ones_and_of_none(raw):
    figure = height_figure([heights(raw=raw, calibrated=raw)], "t")
    assert ("no box was found" in letters(figure.axes[0])) == (not raw)
    assert figure.axes[0].patches[0].get_data()[0].sum() == len(raw)
    assert save(figure)


def test_long_names_are_broken_where_they_may_be():
    assert name_lines("0002_c1s1_000451_03", 0.6) == ["0002_c1s1_", "000451_03"]
    for name in (LONG, "x" * 60, "a.b.c"):
        assert "".join(name_lines(name, 0.6)) == name
        assert max(map(len, name_lines(name, 0.6))) <= 16


@pytest.mark.parametrize(("count", "name"), [(1, LONG), (2, "W" * 40), (6, "0002_c1s1_000451_03")])
@pytest.mark.parametrize("kind", ["boxes", "votes", "occlusion"])
def test_no_text_lies_on_an_image_or_on_another(kind, count, name):
    tall = picture(name, WRONG.boxes, WRONG.calibrated, shape=(90, 20), seed=1)
    pictures = [picture(name), *[tall] * (count - 1)]
    said = ["288 training images. Model: somebody/some-model-with-a-name, 0123456789ab."]
    groups = [Cases(f"group ({i} of 9 images)", "A rule that takes " * 5, tuple(some))
              for i, some in enumerate((pictures, (), pictures[:1]))]  # fmt: skip
    figure = {
        "boxes": lambda: box_figure(pictures, PARTS, "Boxes: grounding-dino on MA", said),
        "votes": lambda: vote_figure(pictures, PARTS, GRID, "Masks: grounding-dino on MA", said),
        "occlusion": lambda: occlusion_figure(groups, PARTS, "Covered: cogvlm on MA", said),
    }[kind]()
    assert_free(figure)


@pytest.mark.parametrize("raw", [(), (0.5,) * 20000])
def test_no_text_lies_on_a_histogram_or_on_another(raw):
    figure = height_figure(
        [heights(part, raw, raw) for part in PARTS], "Heights", ["MA " * 40, "W" * 60]
    )
    assert_free(figure)


def assert_free(figure):
    """Every text is on the paper, on no image and on no other text."""
    save(figure)  # lays out
    texts = [*figure.texts, *(t for legend in figure.legends for t in legend.get_texts())]
    boxes = [text.get_window_extent() for text in texts]
    paper = figure.bbox
    cells = [axes.get_window_extent() for axes in figure.axes]
    for i, box in enumerate(boxes):
        assert box.x0 >= -2 and box.x1 <= paper.x1 + 2, texts[i]
        assert box.y0 >= -2 and box.y1 <= paper.y1 + 2, texts[i]
        for other in [*boxes[:i], *cells]:
            # an extent is a little larger than the letters: some pixels do not count
            apart = box.x1 < other.x0 + 3 or other.x1 < box.x0 + 3
            assert apart or box.y1 < other.y0 + 3 or other.y1 < box.y0 + 3, texts[i]
    for i, cell in enumerate(cells):
        for other in cells[:i]:
            apart = cell.x1 <= other.x0 + 1 or other.x1 <= cell.x0 + 1
            assert apart or cell.y1 <= other.y0 + 1 or other.y1 <= cell.y0 + 1


def test_letters_of_boxes_in_one_place_stand_apart():
    same = picture(boxes=[(0, 0, 1, 1)] * 3)
    tiny = picture(boxes=[(0.5, 0.5, 0.51, 0.51)] * 3)
    figure = box_figure([same, tiny], PARTS, "t")
    save(figure)
    for axes in figure.axes:
        found = [text.get_window_extent() for text in axes.texts]
        for i, one in enumerate(found):
            assert not any(one.overlaps(other) for other in found[:i])
            assert axes.get_window_extent().overlaps(one)


@pytest.mark.parametrize("kind", ["png", "svg"])
@pytest.mark.parametrize("name", FIGURES)
def test_the_same_input_is_the_same_file_whatever_the_user_has_set(name, kind):
    first = save(FIGURES[name](), kind)
    with matplotlib.rc_context({"font.size": 30, "axes.titlesize": 40, "savefig.dpi": 20,
                                "hatch.color": "red", "savefig.bbox": "tight",
                                "text.hinting": "none"}):  # fmt: skip
        breadth.cache_clear()
        assert save(FIGURES[name](), kind) == first


def test_notes_keep_within_the_figure_and_lines_are_its_own():
    figure = box_figure([picture("a\nb\tc")], PARTS, "Boxes", [f"Model: {'m' * 200}\nof\nmine."])
    save(figure)
    texts = [text for text in figure.texts if text.get_text()]
    assert not any("\n" in text.get_text() or "\t" in text.get_text() for text in texts)
    width = figure.bbox.width
    assert max(text.get_window_extent().x1 for text in texts) <= width


@pytest.mark.filterwarnings("error")
def test_names_in_other_scripts_give_no_warnings():
    save(box_figure([picture("\u65e5\u672c")], PARTS, "Boxes", ["\u65e5"]))


def test_a_box_without_area_was_found_all_the_same():
    flat = np.array([(0.3, 0.2, 0.3, 0.2), BOXES[1], NAN], np.float32)
    one = picture(boxes=flat)
    one.masks[:] = False
    figure = vote_figure([one], PARTS, GRID, "Masks")
    said = [text.get_text() for text in figure.texts]
    assert said.count("0 patches") == 2 and said.count("not found") == 1


def test_a_dollar_is_a_dollar():
    one = picture("cost $a_b$ $")
    content = save(box_figure([one], PARTS, r"own:$\frac{$ on $x^2$"), "svg").decode()
    assert r"own:$\frac{$ on $x^2$" in content
