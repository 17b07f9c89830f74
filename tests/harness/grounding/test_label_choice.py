"""Which of several experts' labels a training takes, and what of them reaches it."""

from dataclasses import replace

import numpy as np
import pytest

from harness.catalog import DataCatalog
from harness.grounding.record import ground_file
from harness.part_labels import PartLabelFinder
from methods.grounding.labels import PartLabels
from methods.interface import PartNeeds
from protocols.errors import ReIDError
from protocols.types import Fold

GRID = (6, 2)
FOLD = Fold(("D",), "train", ())


@pytest.fixture
def catalog(real):
    return DataCatalog(real)


@pytest.fixture
def write(catalog, tmp_path):
    """Write what an expert has said of D's images: stripes, changed by `change`."""

    def label(expert, tag="", which="train", change=lambda labels: labels):
        paths = [image.path for image in catalog.source("D", which).images]
        file = ground_file(tmp_path, "D", catalog.source_fingerprint("D", which), expert, tag)
        file.parent.mkdir(exist_ok=True)
        change(PartLabels.stripes(paths)).write(file)
        return file

    return label


def find(catalog, out, **needs):
    return PartLabelFinder(catalog, out).find(FOLD, PartNeeds(GRID, **needs))


def upside_down(labels):
    return replace(labels, boxes=labels.boxes[:, ::-1].copy())


@pytest.mark.parametrize("tag", ["", "0123abcd"])
def test_the_only_expert_is_found(catalog, write, tmp_path, tag):
    write("grounding-dino", tag)
    (masks,) = find(catalog, tmp_path).sources
    assert masks[0, :, :, 0].argmax(1).tolist() == [0, 2, 4]


def test_experts_that_agree_need_no_choice(catalog, write, tmp_path):
    write("stripes")
    write("annotations")
    assert find(catalog, tmp_path).digest


def test_of_experts_that_differ_one_has_to_be_named(catalog, write, tmp_path):
    write("stripes")
    other = write("qwen-vl", "0123abcd", change=upside_down)
    with pytest.raises(ReIDError, match=r"D-\w{16}-qwen-vl-0123abcd\.s.* and .*D-\w{16}-stripes"):
        find(catalog, tmp_path)
    with pytest.raises(ReIDError, match=r"such as --set part_labels=.*-qwen-vl-0123abcd"):
        PartLabelFinder(catalog, tmp_path).require("muva", [FOLD], PartNeeds(GRID))
    (masks,) = find(catalog, None, file=str(other)).sources
    assert masks[0, :, :, 0].argmax(1).tolist() == [4, 2, 0]


def test_labels_of_the_training_images_come_before_those_of_all(catalog, write, tmp_path):
    write("stripes", which="all")
    write("stripes", change=upside_down)
    (masks,) = find(catalog, tmp_path).sources
    assert masks[0, :, :, 0].argmax(1).tolist() == [4, 2, 0]


def test_what_nobody_trusts_reaches_the_training(catalog, write, tmp_path):
    def doubt(labels):
        discarded = np.zeros((len(labels.images), 3), dtype=bool)
        discarded[1, 2] = True
        return replace(labels, discarded=discarded)

    trusted = write("stripes")
    plain = find(catalog, tmp_path).digest
    trusted.unlink()
    write("stripes", change=doubt)
    masks = find(catalog, tmp_path)
    assert masks.digest != plain
    known = masks.known_tensor()
    assert not known[1, 2]
    assert known.sum() == known.numel() - 1
    assert not masks.tensor()[1, 2].any()


def test_experts_that_trust_other_boxes_differ(catalog, write, tmp_path):
    """The same masks: where one knows that there is no part, the other does not know."""

    def absent(labels):
        boxes = labels.boxes.copy()
        boxes[0, 0] = np.nan
        return replace(labels, boxes=boxes)

    def doubt(labels):
        discarded = np.zeros((len(labels.images), 3), dtype=bool)
        discarded[0, 0] = True
        return replace(labels, discarded=discarded)

    write("stripes", change=absent)
    write("annotations", change=doubt)
    with pytest.raises(ReIDError, match="name the one to be used"):
        find(catalog, tmp_path)
