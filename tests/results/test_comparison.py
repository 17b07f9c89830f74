"""Comparing two entries: what is paired, what is left out, what is said."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from records import write_run

from protocols.errors import ReIDError
from results.collect import rows
from results.comparison import Effect, Line, compare
from results.comparison_table import build, records
from results.comparison_words import sentence
from results.entries import choose, entries
from results.statistics import Interval, metric_interval
from results.tables import STANDIN_NOTE, Cell

NAN = float("nan")
PIDS = np.arange(60) // 3 + 1


def values(seed, mean=0.5):
    return np.clip(np.random.default_rng(seed).normal(mean, 0.1, 60), 0, 1)


def write(out, method, targets=("D",), sources=("MA",), seed=0, ap=None, **more):
    """A run whose queries are three of each of 20 people."""
    ap = values(seed) if ap is None else ap
    return write_run(out, method, sources, targets, seed=seed, ap=ap, pids=PIDS, **more)


def two(out, a="muva", b="bot-vit"):
    found = entries(rows(out)[0])
    return choose(found, a), choose(found, b)


def test_a_protocol_by_hand(tmp_path):
    write(tmp_path, "muva", ap=values(0, 0.6))
    write(tmp_path, "bot-vit", ap=values(1, 0.4))
    a, b = two(tmp_path)
    found = compare(a, b, resamples=2000)
    (line,) = found.lines
    expected = values(0, 0.6).mean() - values(1, 0.4).mean()
    assert (line.protocol, line.seeds, line.queries, line.identities) == ("MA->D", (1, 1), 60, 20)
    assert line.mAP.estimate == pytest.approx(expected)
    # 60 differences with a deviation of 0.14
    assert line.mAP.high - line.mAP.low == pytest.approx(4 * 0.14 / np.sqrt(60), rel=0.3)
    assert line.mAP.low < expected < line.mAP.high
    assert line.p == line.p_holm == 1 / 2001
    assert line.mAP.a == metric_interval(a.at("MA->D"))
    assert line.rank1.b == metric_interval(b.at("MA->D"), "rank1")
    assert found.overall is None
    assert found.sentence.startswith("On MA->D, muva is better: its mAP is 2")
    assert found.sentence.count(".") == 4  # three numbers, one end
    again = compare(a, b, resamples=2000)
    assert again == found
    back = compare(b, a, resamples=2000)
    assert back.lines[0].mAP.estimate == pytest.approx(-expected)
    assert (back.lines[0].p, back.sentence) == (line.p, found.sentence)


def test_queries_are_paired_by_path_in_any_order(tmp_path):
    write(tmp_path, "muva")
    write(tmp_path, "bot-vit")
    a, b = two(tmp_path)
    path = b.rows[0].queries_file
    table = pq.read_table(path)
    pq.write_table(table.take(np.random.default_rng(0).permutation(60)), path)
    found = compare(a, b, resamples=200)
    assert found.lines[0].mAP == replace(
        found.lines[0].mAP, estimate=0.0, low=0.0, high=0.0, p=1.0, p_holm=1.0
    )
    assert found.sentence == "On MA->D, muva and bot-vit have the same mAP."


def test_protocols_that_cannot_be_compared_are_named(tmp_path):
    ap = {key: values(0) for key in ("D", "MS", "C3", "GRID")}
    write(tmp_path, "muva", tuple(ap), ap=ap)
    write(tmp_path, "muva", ("MA",), ("D",))
    ap["GRID"] = [NAN, *values(0)[1:]]
    write(tmp_path, "bot-vit", tuple(ap), ap=ap)
    a, b = two(tmp_path)
    other = [
        replace(row, target=row.target.model_copy(update={"fingerprint": "other"}))
        if row.protocol == "MA->C3"
        else row
        for row in b.rows
    ]
    b = replace(b, rows=tuple(other))
    found = compare(a, b, resamples=200)
    assert [line.protocol for line in found.lines] == ["MA->D", "MA->MS"]
    assert found.left_out["MA->GRID"] == "the two answer other queries"
    assert found.left_out["MA->C3"].startswith("the test images are not the same (fingerprints")
    assert found.left_out["D->MA"] == "bot-vit has no results"
    assert "Left out: D->MA: bot-vit has no results." in found.notes
    asked = compare(a, b, ["MA->D", "MS->MA"], resamples=200)
    assert asked.left_out == {"MS->MA": "neither muva nor bot-vit has results"}


def test_damaged_rows_are_named_and_the_rest_compared(tmp_path):
    for seed in (0, 1):
        write(tmp_path, "muva", ("D", "MS"), seed=seed)
    write(tmp_path, "bot-vit", ("D", "MS"))
    a, b = two(tmp_path)
    a.at("MA->D")[1].queries_file.write_bytes(b"half of it")
    path = b.at("MA->MS")[0].queries_file
    table = pq.read_table(path)
    at = table.column_names.index("ap")
    pq.write_table(table.set_column(at, "ap", [[NAN, *table["ap"].to_pylist()[1:]]]), path)
    found = compare(a, b, resamples=200)
    assert [(line.protocol, line.seeds) for line in found.lines] == [("MA->D", (1, 1))]
    assert found.left_out == {"MA->MS": "the results of bot-vit can't be read"}
    assert len(found.problems) == 2
    assert f"{a.at('MA->D')[1].queries_file} can't be read" in found.problems[0]
    assert str(path) in found.problems[1]


def test_nothing_to_compare(tmp_path):
    write(tmp_path, "muva", ("D",))
    write(tmp_path, "bot-vit", ("MA",), ("MS",))
    a, b = two(tmp_path)
    with pytest.raises(ReIDError, match=r"muva has MA->D; bot-vit has MS->MA"):
        compare(a, b)
    with pytest.raises(ReIDError, match="with itself"):
        compare(a, a)
    with pytest.raises(ReIDError, match="100 or more"):
        compare(a, b, resamples=99)


def test_queries_of_one_person_are_left_out(tmp_path):
    for method in ("muva", "bot-vit"):
        write_run(tmp_path, method, ap=[0.5, 0.7], pids=[4, 4])
    with pytest.raises(ReIDError, match="all queries are of one person"):
        compare(*two(tmp_path))


def test_protocols_of_the_same_people_do_not_count_twice(tmp_path):
    """The same results under two trainings: the mean over both is as unsure as either."""
    for source in ("MA", "D"):
        write(tmp_path, "muva", ("MS",), (source,), ap=values(0, 0.6))
        write(tmp_path, "bot-vit", ("MS",), (source,), ap=values(1))
    found = compare(*two(tmp_path), resamples=1000)
    one = found.lines[0].mAP
    assert (found.overall.mAP.low, found.overall.mAP.high) == pytest.approx((one.low, one.high))
    assert found.overall.p == one.p
    assert (found.overall.queries, found.overall.identities) == (120, 20)


def test_other_people_make_the_mean_surer(tmp_path):
    write(tmp_path, "muva", ("D", "MS"), ap={"D": values(0), "MS": values(1)})
    write(tmp_path, "bot-vit", ("D", "MS"), ap={"D": values(2), "MS": values(3)})
    found = compare(*two(tmp_path), resamples=2000)
    widths = [line.mAP.high - line.mAP.low for line in found.shown]
    assert widths[2] == pytest.approx(np.hypot(*widths[:2]) / 2, rel=0.1)
    assert found.overall.identities == 40


def test_p_is_corrected_over_protocols_for_each_metric(tmp_path):
    write(tmp_path, "muva", ("D", "MS"), ap={"D": values(0, 0.7), "MS": values(1)})
    write(tmp_path, "bot-vit", ("D", "MS"), ap={"D": values(2), "MS": values(3)})
    found = compare(*two(tmp_path), resamples=500)
    first, second = sorted(found.lines, key=lambda line: line.p)
    assert first.p_holm == pytest.approx(2 * first.p)
    assert second.p_holm == max(second.p, first.p_holm)
    by_rank1 = sorted(line.rank1.p_holm for line in found.lines)
    assert by_rank1[0] == pytest.approx(min(2 * min(line.rank1.p for line in found.lines), 1))
    assert found.overall.p_holm == found.overall.p


def test_seeds_make_a_difference_less_sure(tmp_path):
    """Two methods whose trainings scatter more than they differ."""
    for seed in range(3):
        write(tmp_path, "muva", seed=seed, ap=values(0, 0.35 + 0.15 * seed))
        write(tmp_path, "bot-vit", seed=seed, ap=values(0, 0.3 + 0.15 * seed))
    a, b = two(tmp_path)
    found = compare(a, b, resamples=1000)
    one = compare(replace(a, rows=a.rows[:1]), replace(b, rows=b.rows[:1]), resamples=1000)
    assert one.lines[0].p < 0.01
    assert found.lines[0].p > 0.3
    assert found.lines[0].mAP.low < -0.1
    # Welch's t of 3 and 3 runs, 0.15 apart: 2.78 * 0.15 * sqrt(2 / 3), and the people on top
    assert found.lines[0].mAP.high - 0.05 == pytest.approx(0.34, rel=0.15)
    assert any(note.startswith("One seed of muva and of bot-vit:") for note in one.notes)
    assert not any("eed" in note and " of muva" in note for note in found.notes)
    pair = replace(a, rows=a.rows[:2]), replace(b, rows=b.rows[:1])
    notes = " ".join(compare(*pair, resamples=200).notes)
    assert "Two seeds of muva: they" in notes
    assert "One seed of bot-vit: how" in notes


def test_what_was_not_trained_needs_no_seeds(tmp_path):
    write(tmp_path, "muva", ap=values(0, 0.6))
    write(tmp_path, "bot-vit", history=[])
    notes = compare(*two(tmp_path), resamples=200).notes
    assert any(note.startswith("One seed of muva:") for note in notes)


def test_other_conditions_are_said(tmp_path):
    for method in ("muva", "clip-reid", "bot-vit"):
        paper = {"preset": "paper"} if method == "bot-vit" else {}
        write(tmp_path, method, **paper)
    found = entries(rows(tmp_path)[0])
    notes = compare(choose(found, "muva"), choose(found, "bot-vit"), resamples=200).notes
    assert any(note.startswith("Not under the same conditions: bot-vit") for note in notes)
    assert STANDIN_NOTE in notes
    alike = compare(choose(found, "muva"), choose(found, "clip-reid"), resamples=200).notes
    assert not any("conditions" in note for note in alike)


def test_too_few_resamples_for_the_correction_are_said(tmp_path):
    targets = ("D", "MS", "C3", "GRID", "PRID", "iLIDS")
    write(tmp_path, "muva", targets)
    write(tmp_path, "bot-vit", targets, ap=values(3))
    a, b = two(tmp_path)
    assert any("--resamples" in note for note in compare(a, b, resamples=100).notes)
    assert not any("--resamples" in note for note in compare(a, b, resamples=200).notes)


def test_json_table_and_records(tmp_path):
    write(tmp_path, "muva", ("D", "MS"), ap={"D": values(0, 0.7), "MS": values(1)})
    write(tmp_path, "bot-vit", ("D", "MS"), ap={"D": values(2), "MS": values(3)})
    found = compare(*two(tmp_path), resamples=500)
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert set(told) == {
        "a", "b", "lines", "overall", "sentence", "notes", "left_out", "problems", "resamples",
    }  # fmt: skip
    assert set(told["overall"]["mAP"]) == {"estimate", "low", "high", "a", "b", "p", "p_holm"}
    table = build(found)
    assert table.header == ("Protocol", "muva", "bot-vit", "Difference", "p")
    assert [section.title for section in table.sections] == ["mAP", "Rank-1"]
    names = [[line[0] for line in section.lines] for section in table.sections]
    assert names == [["MA->D", "MA->MS", "overall"]] * 2
    effect = found.lines[0].mAP
    assert table.sections[0].lines[0][3] == Cell(
        f"{100 * effect.estimate:+.1f} [{100 * effect.low:+.1f}, {100 * effect.high:+.1f}]", 1
    )
    assert table.notes[0] == found.sentence
    kept = records(found)
    assert len(kept) == 6
    assert kept[0]["difference"] == effect.estimate
    assert (kept[1]["metric"], kept[1]["b_low"]) == ("Rank-1", found.lines[0].rank1.b.low)


def line(name, estimate, p=0.001):
    spread = 0.01 if estimate or p < 1 else 0.0
    own = Interval(0.5, 0.4, 0.6)
    effect = Effect(estimate, estimate - spread, estimate + spread, own, own, p, p)
    return Line(name, effect, effect, (1, 1), 10, 5)


def said(*lines):
    mean = sum(one.mAP.estimate for one in lines) / len(lines)
    total = line("overall", mean, 0.001 if mean else 1.0 - 0.5 * any(x.p < 1 for x in lines))
    return sentence("muva", "bot-vit", lines, total if len(lines) > 1 else None)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            [("x", 0.1, 0.01), ("y", 0.1, 0.01), ("z", 0.1, 0.01)],
            "muva is better in mAP on all 3 protocols. Overall, muva is better: its mean mAP is "
            "10.0 points higher than that of bot-vit (95 % interval 9.0 to 11.0).",
        ),
        (
            [("x", -0.1, 0.01), ("y", -0.1, 0.01)],
            "bot-vit is better in mAP on both protocols. Overall, bot-vit is better: its mean mAP "
            "is 10.0 points higher than that of muva (95 % interval 9.0 to 11.0).",
        ),
        (
            [("x", 0.1, 0.01), ("y", 0.02, 0.2), ("z", -0.03, 0.2)],
            "muva is better in mAP on 1 of 3 protocols; on y and z the difference is not "
            "distinguishable from zero.",
        ),
        (
            [("x", 0.1, 0.01), ("y", -0.1, 0.01), ("z", -0.1, 0.01), ("w", 0.1, 0.06)],
            "bot-vit is better in mAP on 2 of 4 protocols and muva on 1; on w the difference is "
            "not distinguishable from zero. Overall, the difference in mean mAP between muva and "
            "bot-vit is not distinguishable from zero (0.0, 95 % interval -1.0 to 1.0 points).",
        ),
        (
            [("x", 0.1, 0.01), ("y", -0.1, 0.01), ("z", -0.1, 0.01)],
            "bot-vit is better in mAP on 2 of 3 protocols and muva on 1.",
        ),
        (
            [(name, 0.1, 0.01 if name == "a" else 0.5) for name in "abcde"],
            "muva is better in mAP on 1 of 5 protocols; on the other 4 the difference is not "
            "distinguishable from zero.",
        ),
        (
            [("x", 0.1, 0.5), ("y", 0.1, 0.5), ("z", 0.1, 0.5)],
            "On none of 3 protocols is the difference in mAP distinguishable from zero.",
        ),
        (
            [("x", 0.1, 0.5), ("y", 0.1, 0.5)],
            "On neither of 2 protocols is the difference in mAP distinguishable from zero.",
        ),
        (
            [("x", 0.0, 1.0), ("y", 0.0, 1.0)],
            "muva and bot-vit have the same mAP on both protocols.",
        ),
        (
            [("x", -0.05, 0.5)],
            "On x, the difference in mAP between muva and bot-vit is not distinguishable from "
            "zero (-5.0, 95 % interval -6.0 to -4.0 points).",
        ),
        (
            [("x", -0.05, 0.01)],
            "On x, bot-vit is better: its mAP is 5.0 points higher than that of muva (95 % "
            "interval 4.0 to 6.0).",
        ),
        ([("x", 0.0, 1.0)], "On x, muva and bot-vit have the same mAP."),
    ],
)  # fmt: skip
def test_plain_sentences(lines, expected):
    assert said(*(line(*one) for one in lines)).startswith(expected)
