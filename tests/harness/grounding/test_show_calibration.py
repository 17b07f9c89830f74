"""`harness show calibration`: a table, JSON and a figure of what calibration mends."""

import json

import numpy as np
import pytest
from PIL import Image

from harness.catalog import DataCatalog
from harness.part_labels import standin_labels
from methods.grounding.calibration import Calibration
from methods.grounding.quality import compare
from results.calibration_figure import AFTER, BEFORE, Curve, calibration_figure
from results.figures import save


def show(harness, tmp_path, *more):
    return harness("show", "calibration", "--out", tmp_path, "--datasets", "MA,C3", *more)


def as_json(harness, tmp_path, *more):
    status, printed = show(harness, tmp_path, "--json", *more)
    assert status == 0, printed
    return json.JSONDecoder().raw_decode(printed)[0]


def test_the_table_says_what_is_mended_and_marks_what_is_worse(standins, harness, tmp_path):
    status, printed = show(harness, tmp_path, "--rates", "20,0", "--datasets", "MA,C3,MA")
    assert status == 0
    rows = [line.split() for line in printed.splitlines() if " % " in line]
    assert [row[0] for row in rows] == ["MA", "20", "C3", "20"]
    raw, after, gain = map(float, rows[1][2:5])
    assert gain > 0.02 and after - raw == pytest.approx(gain, abs=0.0011)
    assert [row[-1] == "worse" for row in rows] == [True, False, True, False]
    assert "rendered people" in printed
    assert f"Figure:  {tmp_path / 'part_labels' / 'figures' / 'calibration.png'}" in printed


def test_the_figure_is_a_columns_width_and_the_same_every_time(standins, harness, tmp_path):
    show(harness, tmp_path / "a", "--rates", "0,10")
    show(harness, tmp_path / "b", "--rates", "0,10", "--format", "svg", "--format", "png")
    one, two = (tmp_path / side / "part_labels" / "figures" / "calibration.png" for side in "ab")
    assert one.read_bytes() == two.read_bytes()
    assert Image.open(one).width == 690
    svg = two.with_suffix(".svg").read_text()
    assert ">MA<" in svg and ">C3<" in svg and "rendered people" in svg and "seed 0" in svg
    show(harness, tmp_path, "--rates", "0,10", "-o", tmp_path / "named.svg")
    assert (tmp_path / "named.svg").read_text() == svg
    assert not (tmp_path / "part_labels").exists()


def test_json_holds_everything(standins, harness, tmp_path):
    found = as_json(harness, tmp_path, "--rates", "10", "--seed", "3", "--kinds", "body,other")
    assert (found["data"], found["seed"], found["kinds"]) == ("stand-in", 3, ["body", "other"])
    assert found["settings"]["width"] == "usual"
    assert [one["dataset"] for one in found["datasets"]] == ["MA", "C3"]
    (here,) = found["datasets"][0]["rates"]
    assert here["rate"] == 0.1 and not here["worse"]
    assert set(here["raw"]["parts"]) == set(here["replaced"]) == {"head", "upper", "legs"}
    assert here["gain"] == here["calibrated"]["iou"] - here["raw"]["iou"] > 0
    assert found["files"] == [str(tmp_path / "part_labels" / "figures" / "calibration.png")]


def test_settings_of_the_calibration_can_be_tried(standins, harness, tmp_path):
    plain = as_json(harness, tmp_path, "--rates", "20")
    across = as_json(harness, tmp_path, "--rates", "20", "--set", "width=image")
    together = as_json(harness, tmp_path, "--rates", "20", "--set", "consistent=true")
    gains = [one["datasets"][1]["rates"][0]["gain"] for one in (plain, across, together)]
    assert across["settings"]["width"] == "image" and gains[0] > 2 * gains[1]
    images = DataCatalog(standins).source("C3", "train").images
    true = standin_labels(standins, "C3", [image.path for image in images]).boxes
    people, consistent = [image.pid for image in images], Calibration(consistent=True)
    assert compare(true, (0.2,), 0, consistent, identities=people)[0].gain == gains[2] != gains[0]
    show(harness, tmp_path, "--rates", "20", "--set", "width=image", "-o", tmp_path / "x.svg")
    assert 'width="image"' in (tmp_path / "x.svg").read_text().replace("&quot;", '"')


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "larg=2"], "Unknown setting of calibration 'larg'. Did you mean 'large'?"),
        (["--set", "small=2"], "Calibration: small=2: input should be less than or equal to 1."),
        (["--set", "small"], "expected key=value"),
        (["--datasets", "MB"], "Unknown stand-in data set 'MB'. Did you mean"),
        (["--datasets", ","], "--datasets: expected a comma list"),
        (["--kinds", "body,body"], "--kinds body,body: expected each kind once."),
        (["--kinds", "bodies"], "Did you mean 'body'?"),
        (["--rates", "ten"], "--rates 'ten': expected percentages from 0 to 100"),
        (["--rates", "120"], "--rates '120': expected percentages from 0 to 100"),
        (["--rates", "nan"], "--rates 'nan': expected percentages from 0 to 100"),
        (["--format", "pdf"], "Unknown --format 'pdf'"),
        (["-o", "x.pdf"], "-o x.pdf: expected a name that ends in .png or .svg"),
        (["-o", "x.png", "--format", "png"], "leave --format out"),
    ],
)
def test_what_does_not_fit_is_said_and_nothing_written(harness, tmp_path, options, message):
    status, printed = show(harness, tmp_path, *options)
    assert status == 1 and message in printed
    assert not any(tmp_path.iterdir())


def test_the_figure_shows_what_it_is_given():
    curves = [Curve(str(i), (0, 0.5), (1, 0.4), (0.9, 0.7)) for i in range(3)]
    figure = calibration_figure(curves, "title", ["a line"])
    assert len(figure.axes) == 3
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    before, after = figure.axes[0].get_lines()
    assert np.array_equal(before.get_xydata(), [(0, 1), (50, 0.4)])
    assert np.array_equal(after.get_xydata(), [(0, 0.9), (50, 0.7)])
    assert (before.get_color(), after.get_color()) == (BEFORE, AFTER)
    assert before.get_linestyle() != after.get_linestyle()
    assert save(figure) == save(calibration_figure(curves, "title", ["a line"]))
