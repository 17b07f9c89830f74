"""`harness ground`: which options go with which expert, and experts that are no models."""

import json
import re

import numpy as np
import pytest

from harness.catalog import DataCatalog
from harness.grounding.record import GroundRecord, record_file
from harness.part_labels import standin_labels
from methods.grounding.labels import PartLabels
from methods.grounding.pickled_writer import write_masks
from tests.harness.grounding.scripted import make_data, make_model
from tests.methods.grounding.tiny_experts import make_grounding_dino


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Nothing is written anywhere else."""
    monkeypatch.chdir(tmp_path)
    make_model(tmp_path / "model")
    return tmp_path


@pytest.fixture
def made(here):
    """The labels and the record of one data set by one expert."""

    def read(key="MA", expert="simulated"):
        (file,) = (here / "runs" / "part_labels").glob(f"{key}-*-{expert}*.safetensors")
        return PartLabels.read(file), GroundRecord.read(record_file(file))

    return read


@pytest.fixture
def truth(standins):
    def of(key):
        images = DataCatalog(standins).source(key, "train").images
        return standin_labels(standins, key, [image.path for image in images])

    return of


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("--expert cogvml", r"Unknown --expert 'cogvml'. Did you mean 'cogvlm'"),
        ("--expert stripes --model x", "--model means nothing to --expert stripes; leave it out. "
         "It is for cogvlm, grounding-dino, florence-2, qwen-vl"),
        ("--expert cogvlm --from x.csv", "--expert cogvlm reads no file; leave --from out"),
        ("--expert grounding-dino --error-rate 0.1", "--error-rate means nothing to .* It is for "
         "simulated"),
        ("--expert grounding-dino --seed 1", "--seed means nothing to"),
        ("--expert annotations --batch-size 4", "--batch-size means nothing to --expert annot"),
        ("--expert masks --from x --calibration floor=1", "--calibration means nothing to"),
        ("--expert masks --from x --cover half", "--cover means nothing to --expert masks"),
        ("--expert stripes --calibration floor=1", "--calibration means nothing"),
        ("--expert simulated --from x.csv", "reads no file; leave --from out"),
        ("--expert simulated --trust-remote-code", "--trust-remote-code means nothing"),
        ("--expert simulated --double-check", "--double-check means nothing"),
        ("--expert simulated --limit 3", "--limit means nothing"),
        ("--expert cogvlm --grid 16x8", "--grid is for --expert masks and for --export"),
        ("--expert simulated --export x.pkl --grid 16", "expected rows x columns"),
        ("--expert simulated --export x.pkl --datasets MA,D", "one file holds the masks of one"),
        ("--expert simulated --cover hafl", "Unknown --cover 'hafl'. Did you mean 'half'"),
        ("--expert simulated --calibration flor=1", "Unknown key of --calibration 'flor'. Did you "
         "mean 'floor'"),
        ("--expert simulated --calibration floor", "expected key=value"),
        ("--expert simulated --calibration floor=-1", "--calibration floor=-1: input should be"),
        ("--expert simulated --calibration windows=[[0,1]]", "--calibration windows=.*1 windows"),
        ("--expert annotations --calibration floor=1", "known to be true"),
        ("--expert grounding-dino --wording heed=x", "Unknown key of --wording 'heed'. Did you "
         "mean 'head'"),
        ("--expert cogvlm --wording prompt=where?", "--wording prompt='where.': expected {part}"),
        ("--expert cogvlm --wording head=", "--wording head='': expected a phrase"),
        ("--expert grounding-dino --device gpu", "Unknown --device 'gpu'"),
        ("--expert grounding-dino --device cpu --precision fp16", "fp16 needs a GPU"),
        ("--expert grounding-dino --precision fp8", "Unknown --precision 'fp8'"),
        ("--expert grounding-dino --shard 3/2 --device cpu", "--shard '3/2': expected I/N"),
        ("--expert grounding-dino --model ./none --device cpu", "none is not a folder"),
        ("--expert stripes --datasets XX", "XX: the embedded stand-ins are MA, D,"),
        ("--expert stripes --datasets ,", "--datasets: expected a comma list"),
        ("--expert masks", "--expert masks needs --from FILE"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_name(harness, here, options, complaint):
    words = options.split()
    words += [] if "--datasets" in words else ["--datasets", "MA"]
    status, printed = harness("ground", *words)
    assert status == 1
    assert re.search(complaint, printed), printed
    assert not (here / "runs" / "part_labels").exists()


def test_annotations_are_the_true_boxes_of_stand_ins(harness, made, truth):
    status, printed = harness("ground", "--datasets", "MA,D", "--expert", "annotations")
    assert status == 0, printed
    for key in ("MA", "D"):
        labels, record = made(key, "annotations")
        np.testing.assert_array_equal(labels.boxes, truth(key).boxes)
        assert labels.exact and labels.calibrated is None
        assert (record.data, record.model, record.count) == ("stand-in", "", len(labels.images))
    assert "Stand-ins have true boxes, used unless you --set part_labels=" in printed


def test_real_data_have_no_true_boxes(harness, here):
    make_data(here / "data", 2)
    for expert, complaint in (
        ("annotations", "needs --from FILE"),
        ("simulated", "only stand-ins"),
    ):
        status, printed = harness(
            "ground", "--data", here / "data", "--datasets", "Mine", "--expert", expert
        )
        assert status == 1 and complaint in printed


def test_simulated_errors_are_of_their_rate_and_seed(harness, made, truth):
    simulated = ("ground", "--datasets", "MA", "--expert", "simulated")
    boxes = {}
    for rate, seed in ((0.0, 0), (0.3, 0), (0.3, 1)):
        status, printed = harness(*simulated, "--error-rate", rate, "--seed", seed)
        assert status == 0, printed
        labels, record = made()
        boxes[rate, seed] = labels.boxes
        assert (record.options["error_rate"], record.options["seed"]) == (rate, seed)
    true = truth("MA").boxes
    np.testing.assert_array_equal(boxes[0.0, 0], true)
    wrong = [(~np.isclose(b, true, equal_nan=True)).any(-1).mean() for b in boxes.values()]
    assert wrong[0] == 0 and 0.2 < wrong[1] < 0.4
    assert not np.array_equal(boxes[0.3, 0], boxes[0.3, 1], equal_nan=True)


def test_labels_of_other_images_are_no_rivals(harness, here):
    root = make_data(here / "data", 4)
    rows = (root / "Mine.csv").read_text().splitlines()
    (root / "Mine-stripes.csv").write_text("\n".join(rows[:-1]))
    for key in ("Mine", "Mine-stripes"):
        status, printed = harness("ground", "--data", root, "--datasets", key,
                                  "--expert", "stripes")  # fmt: skip
        assert status == 0 and "labels by other experts" not in printed


def test_what_calibration_replaces_is_counted_and_kept(harness, made):
    simulated = ("ground", "--datasets", "MA", "--expert", "simulated", "--error-rate", "0.3")
    assert harness(*simulated)[0] == 0
    labels, record = made()
    with np.errstate(invalid="ignore"):
        moved = ((labels.calibrated != labels.boxes).any(-1) & ~labels.missing).sum(0)
    assert moved.all()
    assert [record.parts[part].replaced for part in ("head", "upper", "legs")] == moved.tolist()
    assert labels.settings == record.options["calibration"]
    harness(*simulated, "--calibration", "deviations=50", "--calibration", "whole=null")
    assert made()[1].parts["head"].replaced < moved[0]


def test_a_file_of_this_command_keeps_its_calibration_unless_another_is_asked_for(harness, made):
    harness("ground", "--datasets", "MA", "--expert", "simulated", "--calibration", "floor=0.3")
    first, record = made()
    source = f"runs/part_labels/{record.labels}"
    again = ("ground", "--datasets", "MA", "--expert", "annotations", "--from", source)
    assert harness(*again)[0] == 0
    labels, second = made(expert="annotations")
    assert labels.settings["floor"] == 0.3
    np.testing.assert_array_equal(labels.calibrated, first.calibrated)
    assert second.parts == record.parts
    assert harness(*again, "--calibration", "floor=0.2", "--cover", "overlap")[0] == 0
    labels, _ = made(expert="annotations")
    assert (labels.settings["floor"], labels.rule) == (0.2, "overlap")


def test_masks_that_were_exported_can_be_read(harness, here, made, truth):
    true = truth("MA")
    write_masks(here / "masks.pkl", true, true.images, (6, 2))
    status, printed = harness(
        "ground", "--datasets", "MA", "--expert", "masks", "--from", "masks.pkl", "--grid", "6x2"
    )
    assert status == 0, printed
    assert "masks on 6x2 patches" in printed
    labels, record = made(expert="masks")
    np.testing.assert_array_equal(labels.masks, true.masks_for(true.images, (6, 2)))
    assert record.parts["head"].replaced == 0


def test_a_detector_is_asked_about_stand_ins(harness, here, made):
    """The whole path of a real expert, with a model that knows nothing."""
    model = make_grounding_dino(here / "tiny")
    asked = ("ground", "--datasets", "D", "--expert", "grounding-dino", "--model", model,
             "--device", "cpu", "--batch-size", "4")  # fmt: skip
    status, printed = harness(*asked, "--limit", "6", "--double-check", "--single-person")
    assert status == 0, printed
    assert "Loading" in printed
    assert "images are left, so no labels are written yet" in printed
    (file,) = here.glob("runs/part_labels/D-grounding-dino-*.answers/*.jsonl")
    head, *lines = map(json.loads, file.read_text().splitlines())
    assert head["model"] == str(model)
    assert sum("answers" in line for line in lines) == 6
    assert sum("person" in line for line in lines) == 6
    # instant: nothing is loaded
    again = harness(*asked, "--limit", "6", "--double-check", "--single-person")[1]
    assert "Loading" not in again
