"""Seen domains beside unseen ones, by hand."""

import csv
import io

import pytest
from records import write_run

from protocols.errors import ReIDError
from results import collect
from results.entries import entries
from results.seen_table import build


def ap(**values):
    return {target: [value] * 4 for target, value in values.items()}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    for seed, more in enumerate((0.0, 0.1)):
        values = ap(D=0.4, MS=0.2 + more, MA=0.8 + more)
        write_run(out, "a", ("MA",), ("D", "MS", "MA"), seed, ap=values)
    write_run(out, "a", ("MA",), ("D",), 2, ap=ap(D=0.9))
    write_run(out, "a", ("MA", "D"), ("MS", "MA", "D"), ap=ap(MS=0.3, MA=0.9, D=0.5))
    write_run(out, "b", ("MA", "D"), ("MS", "MA"), ap=ap(MS=0.3, MA=0.9))
    # CUHK-SYSU has no test set, so nobody asks for it
    write_run(out, "b", ("MA", "CS"), ("MS", "MA", "MS/flip"), ap=ap(MS=0.25, MA=0.5)
              | {"MS/flip": [0.9] * 4})  # fmt: skip
    return entries(collect.rows(out)[0])


@pytest.fixture(scope="module")
def table(found):
    return build(found).table()


def lines(table):
    return {
        section.title: {line[0].text: line[1::2] for line in section.lines}
        for section in table.sections
    }


def test_the_mean_over_the_sources_of_the_same_trainings(table):
    assert lines(table) == {
        # the third training was not tested on MA: its 90 does not count
        "MA->D": {"a": ("40.0 ± 0.0", "85.0 ± 7.1", "+45.0 ± 7.1")},
        "MA->MS": {"a": ("25.0 ± 7.1", "85.0 ± 7.1", "+60.0 ± 0.0")},
        "MA+D->MS": {"a": ("30.0", "70.0", "+40.0"), "b": ("30.0", "-", "-")},
        "MA+CS->MS": {"b": ("25.0", "50.0", "+25.0")},
    }


def test_what_was_not_tested_is_named(table):
    missing = next(note for note in table.notes if note.startswith("Not tested"))
    assert "a on MA, b on D." in missing and "harness run --seen" in missing


def test_only_what_is_asked_for(found):
    assert list(lines(build(found, ["MA+D->MS", "D->MA"]).table())) == ["MA+D->MS"]


def test_csv(found):
    first, *_ = csv.DictReader(io.StringIO(build(found).csv()))
    assert first["protocol"] == "MA->D" and first["mAP"] == "40.0" and first["mAP_seen"] == "85.0"
    assert first["mAP_difference"] == "45.0" and first["mAP_difference_std"] == "7.0711"
    assert first["trainings"] == "2"


def test_nothing_to_show_says_what_makes_it(tmp_path):
    write_run(tmp_path, "a", ("MA",), ("D",))
    with pytest.raises(ReIDError, match="harness run --seen"):
        build(entries(collect.rows(tmp_path)[0]))
