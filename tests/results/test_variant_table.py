"""Variants beside their targets, by hand."""

import csv
import io

import pytest
from records import write_run

from protocols.errors import ReIDError
from results import collect
from results.entries import entries
from results.variant_rows import points
from results.variant_table import DEGRADED, build

TARGETS = {"D": 0.4, "D/flip": 0.41, "D/rerank": 0.5, "D/bf16+flip": 0.3999, "D/light-1": 0.1}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        ap = {target: [value + 0.1 * seed] * 4 for target, value in TARGETS.items()}
        ap["D/flip"] = [0.41 + 0.12 * seed] * 4
        targets = [one for one in TARGETS if seed == 0 or one != "D/rerank"]
        write_run(out, "a", ("MA",), targets, seed, ap=ap)
    write_run(out, "b", ("MA",), ("D", "MS/flip"), ap=[0.5] * 4)
    return entries(collect.rows(out)[0])


def test_the_plain_row_is_first_and_differences_are_of_the_same_training(found):
    table = build(found).table()
    (section,) = table.sections
    assert section.title == "MA->D"
    assert [(line[0].text, line[1], line[2], line[4]) for line in section.lines] == [
        ("a", "as it is", "45.0 ± 7.1", "-"),
        ("a", "flip", "47.0 ± 8.5", "+2.00 ± 1.41"),
        # of the first training alone, which has 40 as it is
        ("a", "rerank", "50.0", "+10.00"),
        ("a", "bf16+flip", "45.0 ± 7.1", "-0.01 ± 0.00"),
    ]
    assert DEGRADED in table.notes
    assert "Mean ± sample standard deviation over 1/2 seeds." in table.notes


def test_csv(found):
    plain, flip, *_ = csv.DictReader(io.StringIO(build(found, ["MA->D"]).csv()))
    assert plain["variant"] == "" and plain["mAP_difference"] == "" and plain["seeds"] == "0 1"
    assert flip["variant"] == "flip" and flip["mAP_difference"] == "2.0"


def test_csv_has_no_minus_zero():
    assert [str(points(found)[0]) for found in ([-1e-9], [0.0], [])] == ["0.0", "0.0", "None"]


def test_nothing_to_show_says_what_makes_it(found):
    for asked in (found[1:], None), (found, ["MA->MS"]):
        with pytest.raises(ReIDError, match="MA->D/flip"):
            build(*asked)
