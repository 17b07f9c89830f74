"""Tables 5-12 from rows made by hand: form, bold, published numbers, CSV."""

import csv
import io
from dataclasses import replace
from types import SimpleNamespace

import pytest

from protocols.registry import select
from results.ablations import ABLATIONS
from results.rendering import to_markdown
from results.reproduction import Reproduction, embolden, published
from results.tables import Cell

PROTOCOLS = select("ablation")


def best(text):
    return Cell(text, place=1)


def row(run_id, sources, target, values, seed=0):
    """What a table needs of a row."""
    spec = SimpleNamespace(
        sources=sources, source_images="train", method="muva", preset="paper", seed=seed,
        config={"fidelity": "released"},
    )  # fmt: skip
    metrics = dict(zip(("mAP", "rank1"), values, strict=True)) | {"skipped_queries": 0.0}
    found = SimpleNamespace(target=target, data="real", metrics=metrics, probes=[1], notes=[])
    run = SimpleNamespace(run_id=run_id, spec=spec, source_notes={})
    return SimpleNamespace(run=run, target=found, protocol=f"{'+'.join(sources)}->{target}")


def reproduction(values, beside=None, key="table11"):
    """`values`: variant -> its results MA->MS, a seed each; MS->MA is missing."""
    found, runs = {}, {}
    for name, seeds in values.items():
        ids = [f"{name}-{seed}" for seed in range(len(seeds))]
        found[name] = [row(i, ("MA",), "MS", v, s) for s, (i, v) in enumerate(zip(ids, seeds))]  # noqa: B905
        runs[name] = {"MA->MS": ids}
    return Reproduction(ABLATIONS[key], PROTOCOLS, found, runs, ["said"], beside)


VALUES = {"w/ RCRE": [(0.2, 0.5), (0.3, 0.5)], "w/o RCRE": [(0.26, 0.4), (0.26, 0.4)]}


def test_the_papers_form_by_hand():
    table = reproduction(VALUES).table()
    assert table.header == (
        "Model", "MA->MS\nmAP", "MA->MS\nRank-1", "MS->MA\nmAP", "MS->MA\nRank-1",
    )  # fmt: skip
    assert table.sections[0].lines == [
        ("MUVA (w/ RCRE)", "25.0 ± 7.1", best("50.0 ± 0.0"), "-", "-"),
        ("MUVA (w/o RCRE)", best("26.0 ± 0.0"), "40.0 ± 0.0", "-", "-"),
    ]
    assert {"said", "muva: fidelity released."} <= set(table.notes)
    assert "Mean ± sample standard deviation over 2 seeds." in table.notes
    assert "paper mAP" not in to_markdown(table)


def test_variants_with_more_seeds_than_others_have_one_note():
    values = {"w/ RCRE": [(0.2, 0.5), (0.3, 0.5)], "w/o RCRE": [(0.26, 0.4)]}
    notes = reproduction(values).table().notes
    assert [note for note in notes if "seeds" in note] == [
        "Mean ± sample standard deviation over 1/2 seeds."
    ]


def test_published_numbers_beside_ours():
    table = reproduction(VALUES, published(11)).table()
    assert table.header[3:5] == ("MA->MS\npaper mAP", "MA->MS\npaper Rank-1")
    # from the paper's table 11
    assert [line[3:5] for line in table.sections[0].lines] == [
        ("25.9", "55.1"),
        (best("27.6"), best("56.8")),
    ]
    assert table.sections[0].lines[1][7:] == (best("59.5"), best("82.7"))


def test_stacked_for_a_narrow_screen():
    wide = reproduction(VALUES, published(11)).table()
    table = reproduction(VALUES, published(11)).table(stacked=True)
    assert table.header == ("Model", "mAP", "Rank-1", "paper mAP", "paper Rank-1")
    assert [section.title for section in table.sections] == ["MA->MS", "MS->MA"]
    first, second = (section.lines for section in table.sections)
    assert [a + b[1:] for a, b in zip(first, second, strict=True)] == [*wide.sections[0].lines]
    assert (table.title, table.notes) == (wide.title, wide.notes)


def test_stacked_protocols_have_the_same_columns():
    one = reproduction(VALUES, published(11))
    mixed = replace(one, selected=select("MA->MS,MA->D")).table(stacked=True)
    assert [len(line) for s in mixed.sections for line in s.lines] == [5] * 4
    assert mixed.sections[1].lines[0][3:] == ("-", "-")
    assert len(replace(one, published=None).table(stacked=True).header) == 3


def test_numbers_as_csv_and_plain_dicts():
    one = reproduction(VALUES, published(11))
    lines = list(csv.DictReader(io.StringIO(one.csv())))
    assert len(lines) == 4
    first = lines[0]
    assert (first["variant"], first["protocol"], first["overrides"]) == (
        "w/ RCRE", "MA->MS", "random_crop_erase=on",
    )  # fmt: skip
    assert float(first["mAP"]) == 25.0
    assert float(first["mAP_std"]) == pytest.approx(7.0711)
    assert (first["seeds"], first["runs"]) == ("0 1", "w/ RCRE-0 w/ RCRE-1")
    assert (lines[1]["mAP"], lines[1]["published_mAP"]) == ("", "57.4")
    assert one.to_dict()["rows"][0]["overrides"] == {"random_crop_erase": True}


def test_best_as_shown_and_ties_and_nothing_of_one():
    lines = [("a", "1.0 ± 0.3", "-", "2.0"), ("b", "1.0", "3.0", "10.0"), ("c", "0.9", "-", "9.0")]
    assert embolden(lines, 1) == [
        ("a", best("1.0 ± 0.3"), "-", "2.0"),
        ("b", best("1.0"), "3.0", best("10.0")),
        ("c", "0.9", "-", "9.0"),
    ]


def test_protocols_with_one_target_are_told_apart():
    selected = select("MA->MS,D->MS")
    found = [row("a", ("MA",), "MS", (0.2, 0.5)), row("b", ("D",), "MS", (0.4, 0.6))]
    names = [variant.name for variant in ABLATIONS["table8"].variants]
    runs = {name: {"MA->MS": ["a"], "D->MS": ["b"]} for name in names}
    one = Reproduction(ABLATIONS["table8"], selected, dict.fromkeys(names, found), runs)
    assert [record["mAP"] for record in one.records()] == [20.0, 40.0] * 2
    assert one.table().sections[0].lines[0][1:] == (
        best("20.0"),
        best("50.0"),
        best("40.0"),
        best("60.0"),
    )
