"""`harness show grounding`: four figures beside each label file, a table, JSON; what can't be."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image as PillowImage

from harness.catalog import DataCatalog
from harness.files import write_atomic
from harness.grounding.answers import Answers, Head, Line, Said
from harness.grounding.outcome import calibrated, count
from harness.grounding.record import (
    GroundRecord,
    answers_folder,
    figure_folder,
    ground_file,
    record_file,
)
from harness.grounding.table import images_of
from harness.options import console
from harness.part_labels import standin_labels
from methods.grounding.calibration import Calibration
from methods.grounding.labels import PartLabels
from methods.grounding.simulated import simulate
from methods.interface import PARTS

TAG = "0123abcd"
MOMENT = "2026-01-02T03:04:05+00:00"
NAN = (np.nan,) * 4
USUAL = ((0.4, 0.0, 0.6, 0.2), (0.3, 0.2, 0.7, 0.5), (0.3, 0.5, 0.7, 1.0))
FIGURES = ["boxes", "heights", "masks", "occlusion"]


def wrong_boxes(count):
    """Usual boxes but for a whole body, a missing part and one far aside: [count, 3, 4]."""
    boxes = np.array([USUAL] * count, np.float32)
    boxes[0, 2] = (0, 0, 1, 1)
    boxes[1, 0] = NAN
    boxes[2, 1] = (0.0, 0.2, 0.2, 0.5)
    return boxes


def keep(out, catalog, key, boxes, *, expert="grounding-dino", tag=TAG, exact=False, **recorded):
    """Labels and record as `harness ground` leaves them; returns the label file."""
    images = catalog.source(key, "train").images
    mark = catalog.source_fingerprint(key, "train")
    labels = PartLabels(tuple(i.path for i in images), np.array(boxes, np.float32), exact=exact)
    labels, replaced = calibrated(labels, Calibration(least=3), [i.pid for i in images])
    path = ground_file(out, key, mark, expert, tag)
    write_atomic(path, labels.write)
    about = {"labels": path.name, "dataset": key, "images": "train", "fingerprint": mark,
             "data": catalog.kind, "expert": expert, "model": "some/model" if tag else "",
             "revision": "f" * 40 if tag else "", "count": len(images),
             "parts": count(labels, replaced), "created_at": MOMENT}  # fmt: skip
    GroundRecord(**{**about, **recorded}).write(record_file(path))
    return path


@pytest.fixture
def root(tmp_path):
    """A data set of one's own with eight small images of four people."""
    folder = tmp_path / "data" / "Mine"
    folder.mkdir(parents=True)
    lines = ["path,pid,camid,split"]
    for i in range(8):
        PillowImage.new("RGB", (20, 40), (30 * i, 90, 0)).save(folder / f"{i}.png")
        lines.append(f"{i}.png,{1 + i // 2},{i % 2},train")
    (folder / "dataset.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "data"


@pytest.fixture
def show(harness, tmp_path, root):
    """The command on those images; nothing goes to MLflow."""
    out = tmp_path / "runs"

    def call(*more, data=True):
        given = ("--data", root) if data else ()
        return harness("show", "grounding", "--out", out, *given, "--tracking", "off", *more)

    call.out, call.catalog = out, DataCatalog(root)
    return call


def test_stand_ins_are_measured_against_their_true_boxes(harness, tmp_path, standins, monkeypatch):
    monkeypatch.setattr(console, "width", 80, raising=False)
    catalog = DataCatalog(standins)
    images = catalog.source("C3", "train").images
    true = standin_labels(standins, "C3", [image.path for image in images])
    boxes = simulate(true.boxes, 0.3, 1)
    path = keep(tmp_path, catalog, "C3", boxes)
    command = ("show", "grounding", "--out", tmp_path, "--tracking", "off", "--images", 3)
    status, printed = harness(*command)
    assert status == 0 and f"grounding-dino on C3: {len(images)} images, some/model" in printed
    said = [line for line in printed.splitlines() if not line.startswith("Figure:")]
    assert "  height: the median" in printed and max(map(len, said)) <= 80
    files = [figure_folder(path) / f"{name}.png" for name in FIGURES]
    assert sorted(figure_folder(path).iterdir()) == files
    for file in files:
        assert PillowImage.open(file).format == "PNG" and f"Figure:  {file}\n" in printed
    first = [file.read_bytes() for file in files]

    status, printed = harness(*command, "--json")
    (shown,) = json.loads(printed)
    assert [file.read_bytes() for file in files] == first
    assert sorted(shown["files"]) == [str(file) for file in files]
    labels = PartLabels.read(path)
    seen = ~np.isnan(true.boxes).any(-1)
    for name, mine in (("raw", labels.boxes), ("calibrated", labels.calibrated)):
        ious = np.array([[iou(*pair) for pair in zip(*row, strict=True)]
                         for row in zip(mine, true.boxes, strict=True)])  # fmt: skip
        assert shown["iou"][name]["mean"] == pytest.approx(ious[seen].mean(), abs=1e-6)
        assert shown["iou"][name]["legs"] == pytest.approx(ious[:, 2][seen[:, 2]].mean(), abs=1e-6)
    assert shown["iou"]["raw"]["mean"] < shown["iou"]["calibrated"]["mean"]
    assert (shown["dataset"], shown["data"], shown["which"]) == ("C3", "stand-in", "train")


def iou(one, two):
    if np.isnan(one).any() or np.isnan(two).any():
        return 0.0
    low, high = np.maximum(one[:2], two[:2]), np.minimum(one[2:], two[2:])
    both = np.prod(np.clip(high - low, 0, None))
    return both / (np.prod(one[2:] - one[:2]) + np.prod(two[2:] - two[:2]) - both)


def test_the_table_counts_what_became_of_every_part(show):
    path = keep(show.out, show.catalog, "Mine", wrong_boxes(8))
    status, printed = show("--format", "svg", "--grid", "24x8")
    rows = [line.split() for line in printed.splitlines()]
    assert ["head", "7", "1", "0", "0", "0", "0.200", "0.200"] in rows
    assert ["upper", "8", "0", "0", "1", "0", "0.300", "0.300"] in rows
    assert ["legs", "8", "0", "0", "1", "0", "0.500", "0.500"] in rows
    assert status == 0 and "IoU" not in printed
    table = printed.partition("height: the median")[0]
    assert max(map(len, table.splitlines())) < 80
    svg = {name: (figure_folder(path) / f"{name}.svg").read_text() for name in FIGURES}
    for text in ("Boxes of parts: grounding-dino on Mine", "8 training images. Model: some/model, "
                 "ffffffffffff.", "no head"):  # fmt: skip
        assert f">{text}<" in svg["boxes"]
    assert "24 x 8 patches" in svg["masks"] and "rendered" not in svg["masks"]
    assert "8 boxes, 1 replaced, 0 not found" in svg["heights"]
    assert svg["occlusion"].count("1 of 8 images") == 2 and "0 of 8 images" in svg["occlusion"]


def test_every_expert_is_shown_or_the_one_that_is_named(show):
    dino = keep(show.out, show.catalog, "Mine", wrong_boxes(8))
    by_hand = keep(show.out, show.catalog, "Mine", [USUAL] * 8, expert="annotations", tag="")
    record_file(by_hand).unlink()  # as labels are that were copied here
    status, printed = show("--expert", "annotations", "--json", "--images", 1)
    (shown,) = json.loads(printed)
    assert status == 0 and not figure_folder(dino).exists()
    assert (shown["expert"], shown["labels"]) == ("annotations", str(by_hand))
    assert shown["parts"]["head"] == {
        "found": 8, "missing": 0, "unparsable": 0, "replaced": 0, "discarded": 0,
        "median_height": 0.2, "median_height_calibrated": 0.2}  # fmt: skip
    status, printed = show("--json", "--images", 1)
    assert [one["expert"] for one in json.loads(printed)] == ["annotations", "grounding-dino"]
    status, printed = show("--expert", "grounding-dyno")
    assert status == 1 and "grounding-dino" in printed and "--expert" in printed


def test_labels_that_are_masks_have_the_figure_of_masks_only(show):
    path = keep(show.out, show.catalog, "Mine", [USUAL] * 8, expert="masks", tag="")
    labels = PartLabels.read(path)
    masks = labels.masks_for(labels.images, (6, 3))
    bare = replace(labels, boxes=None, calibrated=None, masks=masks, settings={})
    write_atomic(path, bare.write)
    status, printed = show("--json")
    (shown,), _ = json.JSONDecoder().raw_decode(printed)
    assert status == 0 and shown["files"] == [str(figure_folder(path) / "masks.png")]
    assert shown["parts"]["head"]["median_height"] is None
    status, printed = show("--format", "svg")
    assert "holds masks and no boxes" in printed
    assert "6 x 3 patches" in (figure_folder(path) / "masks.svg").read_text()


def test_labels_of_other_images_are_named_and_not_drawn(show, root):
    path = keep(show.out, show.catalog, "Mine", wrong_boxes(8))
    PillowImage.new("RGB", (20, 40), (1, 2, 3)).save(root / "Mine" / "3.png")
    status, printed = show()
    assert status == 1 and f"{path} is of other images of Mine" in printed
    assert f"harness ground --data {root} --datasets Mine" in printed
    assert not figure_folder(path).exists()
    fresh = keep(show.out, DataCatalog(root), "Mine", wrong_boxes(8))
    status, printed = show("--images", 1)
    assert status == 0 and f"{path} is of other images of Mine" in printed
    assert figure_folder(fresh).exists() and not figure_folder(path).exists()


def test_real_images_have_to_be_named(show):
    path = keep(show.out, show.catalog, "Mine", wrong_boxes(8))
    status, printed = show(data=False)
    assert status == 1 and "give their folder with --data DIR" in printed
    assert not figure_folder(path).exists()


def test_a_damaged_file_is_named_and_the_rest_is_shown(show):
    good = keep(show.out, show.catalog, "Mine", wrong_boxes(8))
    bad = keep(show.out, show.catalog, "Mine", wrong_boxes(8), expert="cogvlm")
    unrecorded = keep(show.out, show.catalog, "Mine", wrong_boxes(8), expert="qwen-vl")
    bad.write_bytes(b"torn")
    record_file(unrecorded).write_text("{")
    status, printed = show("--images", 1)
    assert status == 1
    assert f"{bad} is no part-label file" in printed
    assert f"{record_file(unrecorded)} is no record of a grounding" in printed
    for path, there in ((good, True), (unrecorded, True), (bad, False)):
        assert figure_folder(path).exists() == there


def test_an_image_that_does_not_decode_is_told_of(show, root):
    torn = root / "Mine" / "0.png"
    torn.write_bytes(torn.read_bytes()[:40])
    catalog = DataCatalog(root)
    path = keep(show.out, catalog, "Mine", [USUAL] * 8)
    status, printed = show("--images", 8, "--format", "svg")
    assert status == 0 and str(torn) in printed
    content = (figure_folder(path) / "boxes.svg").read_text()
    assert ">1<" in content and ">0<" not in content


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "holds no part labels. `harness ground --data"),
        (("--datasets", "Mine,MS"), "holds no part labels of Mine, MS. `harness ground --data"),
        (("--format", "gif"), "--format"),
        (("--grid", "16"), "--grid '16': expected rows x columns"),
    ],
)
def test_what_cannot_be_done_is_said(show, more, said):
    status, printed = show(*more)
    assert status == 1 and said in printed


def test_what_was_drawn_is_in_mlflow(harness, show, root):
    keep(show.out, show.catalog, "Mine", wrong_boxes(8))
    command = ("show", "grounding", "--out", show.out, "--data", root, "--images", 1)
    status, printed = harness(*command)
    assert status == 0 and "MLflow" not in printed
    assert "0 mirrored, 1 up to date" in harness("sync", "--out", show.out)[1]


def test_what_has_been_answered_so_far_is_shown(show):
    images = show.catalog.source("Mine", "train").images
    contents = show.catalog.contents.digests(image.path for image in images)
    folder = answers_folder(show.out, "Mine", "grounding-dino", TAG)
    head = Head(expert="grounding-dino", model="some/model", revision="f" * 40, wording={},
                precision="fp32", device="cpu")  # fmt: skip
    given = [Said(raw="", boxes=((*box, 0.5),)) for box in USUAL]
    said = dict(zip(PARTS, given, strict=True))
    with Answers(folder).writing(head, "1-of-1") as writer:
        writer.add([
            Line(image=i.path, content=contents[i.path], size=(20, 40), answers=said)
            for i in images[:5]
        ])  # fmt: skip
    status, printed = show("--images", 8)
    assert status == 0 and "grounding-dino on Mine, so far: 5 images" in printed
    drawn = folder.with_suffix(".figures")
    assert sorted(path.stem for path in drawn.iterdir()) == FIGURES
    keep(show.out, show.catalog, "Mine", wrong_boxes(8))
    status, printed = show("--images", 1)
    assert "so far" not in printed


def test_one_image_is_an_image():
    one, two = (SimpleNamespace(images=range(count)) for count in (1, 2))
    assert (images_of(one), images_of(two)) == ("1 image", "2 images")
    assert images_of(two, "training ") == "2 training images"
