"""The literature's numbers: all of them, under our names, and when they compare."""

import csv
from importlib.resources import files
from types import SimpleNamespace

import pytest

from protocols.registry import all_protocols, select
from results import published


def lines(name):
    text = files("results").joinpath(f"published/{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def test_every_number_of_tables_1_to_4_is_there():
    everything = published.methods(one.name for one in all_protocols())
    found = {(one.method, name, *pair) for one in everything for name, pair in one.scores.items()}
    assert len(found) == len(lines("comparison"))
    (mine,) = (one for one in everything if one.method == "MUVA")
    assert len(mine.scores) == 19
    assert mine.scores["source-domain->MS"] == (72.2, 89.0)
    assert mine.name == "MUVA (arXiv'26)"


def test_a_method_is_one_line_whatever_tables_it_is_in():
    one, both = (published.methods(p.name for p in select(text)) for text in ("MA->D", "all"))
    assert [m.name for m in both].count("QAConv (ECCV'20)") == 1
    (qaconv,) = (m for m in both if m.method == "QAConv")
    assert (qaconv.marks, qaconv.type, len(qaconv.scores)) == ("*", "Image Matching", 12)
    assert len(one) < len(both)
    assert all(set(m.scores) == {"MA->D"} for m in one)
    assert published.methods(["P1->VIPeR"]) == []


def test_table_13():
    found = {one.method: one for one in published.costs()}
    assert len(found) == len(lines("cost")) == 6
    assert found["MUVA"].params == (161.7, 115.9)
    assert found["MUVA"].latency == (161.2, 247.2, 69.4)
    assert found["PAT"].latency == (None, 364.3, 23.2)
    assert found["MUVA"].scores == {"MA->MS": (27.6, 56.8), "MS->MA": (59.5, 82.7)}
    assert found["VGE (part locating only)"].scores == {}


def row(preset="paper", data="real", notes=(), source_notes=()):
    run = SimpleNamespace(
        spec=SimpleNamespace(preset=preset), data=data, source_notes={"MA": list(source_notes)}
    )
    return SimpleNamespace(run=run, target=SimpleNamespace(target="D", data=data, notes=notes))


CUT = "not the official DukeMTMC-reID: train: 9 images; the official one has 16522; query: 1"


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([], []),
        ([row(notes=["version V1"])], []),
        ([row(data="stand-in", notes=[CUT])],
         ["the data are embedded stand-ins (rendered people)"]),
        ([row(notes=[CUT]), row(notes=[CUT])],
         ["D is not the official DukeMTMC-reID (train: 9 images)"]),
        ([row(source_notes=["not the official Market-1501"])],
         ["MA is not the official Market-1501"]),
        ([row(), row(preset="tiny")], ["the preset is tiny"]),
    ],
)  # fmt: skip
def test_published_numbers_are_of_the_official_data_and_the_papers_preset(rows, why):
    assert published.unlike(rows) == why
