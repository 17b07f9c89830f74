"""Masks in the authors' format: what is read back is what was written, by anybody."""

import pickle
import pickletools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.grounding.labels import PartLabels
from methods.grounding.pickled import read_masks
from methods.grounding.pickled_writer import write_masks
from methods.interface import PARTS
from protocols.errors import DataError

IMAGES = ("train/0002_c1.jpg", "train/0007_c3.jpg", "other/ä b.png")
HEAD, WHOLE, NOTHING = (0.0, 0.0, 1.0, 0.25), (0.0, 0.0, 1.0, 1.0), (np.nan,) * 4


def labels(boxes, images=IMAGES, **more):
    return PartLabels(images, boxes=np.array(boxes, np.float32), **more)


PLAIN = labels([[HEAD, WHOLE, NOTHING]] * 3, exact=True)


def corners():
    return st.lists(st.floats(0, 1, width=32), min_size=2, max_size=2).map(sorted)


@st.composite
def drawn_boxes(draw):
    box = st.builds(lambda x, y: (x[0], y[0], x[1], y[1]), corners(), corners()) | st.just(NOTHING)
    images = draw(st.integers(1, 4))
    return [[draw(box) for _ in PARTS] for _ in range(images)]


@settings(deadline=None, max_examples=60)
@given(
    drawn_boxes(),
    st.sampled_from([(16, 8), (24, 8), (1, 1), (5, 3)]),
    st.sampled_from(["half", "centre", "overlap"]),
    st.booleans(),
)
def test_what_is_read_is_what_was_written(tmp_path_factory, boxes, grid, rule, calibrate):
    images = tuple(f"folder/{i}.jpg" for i in range(len(boxes)))
    mine = labels(boxes, images, rule=rule)
    path = tmp_path_factory.getbasetemp() / "round.pkl"
    empty = write_masks(path, mine, images[::-1], grid, calibrate)
    expected = mine.masks_for(images[::-1], grid, calibrate)
    back = read_masks(path, grid)
    assert back.images == tuple(f"{i}.jpg" for i in range(len(boxes)))[::-1]
    assert np.array_equal(back.masks, expected)
    assert empty == (~expected.any((-2, -1))).sum()


def test_any_reader_of_pickles_gets_plain_arrays(tmp_path):
    path = tmp_path / "masks.pkl"
    write_masks(path, PLAIN, IMAGES, (4, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = pickle.loads(path.read_bytes())
    assert list(loaded) == ["0002_c1.jpg", "0007_c3.jpg", "ä b.png"]
    for value in loaded.values():
        assert (value.dtype, value.shape) == (np.dtype("float32"), (3, 8))
        assert value.flags.c_contiguous and value.flags.writeable
    minus = -np.inf
    head = [0, 0, minus, minus, minus, minus, minus, minus]  # row by row
    assert loaded["0007_c3.jpg"].tolist() == [head, [0] * 8, [minus] * 8]


def test_it_names_what_numpy_1_and_2_both_have(tmp_path):
    path = tmp_path / "masks.pkl"
    write_masks(path, PLAIN, IMAGES, (4, 2))
    opcodes = list(pickletools.genops(path.read_bytes()))
    named = [argument for opcode, argument, _ in opcodes if opcode.name == "GLOBAL"]
    assert named == ["numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"]
    assert not [opcode for opcode, *_ in opcodes if opcode.name in ("STACK_GLOBAL", "INST", "OBJ")]
    assert max(opcode.proto for opcode, *_ in opcodes) <= 3


def test_what_is_calibrated_or_discarded_is_what_training_takes(tmp_path):
    path = tmp_path / "masks.pkl"
    discarded = np.zeros((3, 3), bool)
    discarded[1, 1] = True
    calibrated = PLAIN.boxes.copy()
    calibrated[:, 1] = HEAD
    mine = labels(PLAIN.boxes, calibrated=calibrated, discarded=discarded)
    for calibrate, covered in ((True, 2), (False, 8)):
        assert write_masks(path, mine, IMAGES, (4, 2), calibrate) == 4
        masks = read_masks(path, (4, 2)).masks
        assert masks.sum((-2, -1)).tolist() == [[2, covered, 0], [2, 0, 0], [2, covered, 0]]


def test_nothing_is_written_of_images_that_cannot_be_told_apart(tmp_path):
    path = tmp_path / "masks.pkl"
    twins = ("a/1.jpg", "b/1.jpg", "b/2.jpg")
    with pytest.raises(DataError, match=r"1\.jpg for example \(a/1\.jpg and b/1\.jpg\)"):
        write_masks(path, labels(PLAIN.boxes, twins), twins, (4, 2))
    with pytest.raises(DataError, match=r"1 of 2 images have no part labels: a/3\.jpg"):
        write_masks(path, PLAIN, [IMAGES[0], "a/3.jpg"], (4, 2))
    with pytest.raises(DataError, match="on 4x2 patches"):
        masks = PartLabels(IMAGES, masks=np.ones((3, 3, 4, 2), bool))
        write_masks(path, masks, IMAGES, (16, 8))
    assert not path.exists()


def test_a_file_of_many_images_is_small(tmp_path):
    path = tmp_path / "masks.pkl"
    images = tuple(f"{i:05d}.jpg" for i in range(200))
    write_masks(path, PartLabels.stripes(images), images, (16, 8))
    assert path.stat().st_size < 200 * (3 * 128 * 4 + 100)
