"""Tables in the paper's form, by hand: places, marks, letters, seeds, what is left out."""

import csv
import io
from types import SimpleNamespace

import pytest

from protocols.registry import select
from results import published
from results.contenders import Contender, Letters, canonical, reference, usual
from results.entries import Difference, Entry, Known
from results.paper_table import PaperTable
from results.tables import SCALE, STANDIN_NOTE, Cell, places


def entry(method, scores, *, settings=(), differs=(), known=None, size=(256, 128), data="real"):
    """`scores`: protocol -> (mAP, Rank-1) as fractions of every seed."""
    rows = []
    for name, values in scores.items():
        (protocol,) = select(name)
        for seed, (mean_ap, rank1) in enumerate(values):
            spec = SimpleNamespace(
                method=method, preset="paper", config={"image_size": list(size)}, seed=seed
            )
            run = SimpleNamespace(run_id=f"{method}-{seed}", spec=spec, source_notes={}, data=data)
            metrics = {"mAP": mean_ap, "rank1": rank1, "skipped_queries": 0.0}
            target = SimpleNamespace(
                target=protocol.target, data=data, metrics=metrics, probes=[1], notes=[]
            )
            rows.append(SimpleNamespace(protocol=canonical(protocol), run=run, target=target))
    return Entry(method, settings, differs, tuple(rows), known)


def made(entries, text="MA->D,MA->MS", averages=False, theirs=(), competes=True):
    protocols = select(text)
    shared = reference(entries)
    lines = [Contender.published(one, competes) for one in theirs]
    lines += [Contender.ours(one, protocols, shared) for one in entries]
    return PaperTable("title", protocols, lines, averages, ["said"])


TWO = {"MA->D": [(0.5, 0.6), (0.7, 0.8)], "MA->MS": [(0.2, 0.3), (0.2, 0.3)]}
A = entry("a", TWO)
B = entry("b", {"MA->D": [(0.61, 0.5), (0.61, 0.5)], "MA->MS": [(0.1, 0.2), (0.1, 0.2)]})


def test_methods_down_and_protocols_across_by_hand():
    table = made([A, B], averages=True).table()
    assert table.header == (
        "Model", "MA->D\nmAP", "MA->D\nRank-1", "MA->MS\nmAP", "MA->MS\nRank-1",
        "Average\nmAP", "Average\nRank-1",
    )  # fmt: skip
    (section,) = table.sections
    # standard deviations of (50, 70) and (60, 80) with one degree of freedom lost
    assert section.lines == [
        (Cell("a"), Cell("60.0 ± 14.1", 2), Cell("70.0 ± 14.1", 1), Cell("20.0 ± 0.0", 1),
         Cell("30.0 ± 0.0", 1), Cell("40.0", 1), Cell("50.0", 1)),
        (Cell("b"), Cell("61.0 ± 0.0", 1), Cell("50.0 ± 0.0", 2), Cell("10.0 ± 0.0", 2),
         Cell("20.0 ± 0.0", 2), Cell("35.5", 2), Cell("35.0", 2)),
    ]  # fmt: skip
    assert table.notes[:3] == [
        SCALE,
        "Bold: the best of a column; underlined: the second.",
        "Mean ± sample standard deviation over 2 seeds.",
    ]
    assert table.notes[-1] == "said"


def test_a_missing_cell_is_a_dash_and_has_no_average():
    table = made([A, entry("b", {"MA->D": [(0.1, 0.1)] * 2})], averages=True).table()
    assert table.sections[0].lines[1][3:] == ("-", "-", "-", "-")
    assert "Average\nmAP" not in made([A]).table().header
    assert "Average\nmAP" not in made([A], "MA->D", averages=True).table().header


def test_an_average_is_over_rows_that_were_tested_in_one_way():
    flip = {"MA->D/flip": [(0.9, 0.9)] * 2, "source-domain->MA": [(0.1, 0.1)] * 2}
    one = entry("a", {**TWO, **flip})
    table = made([one], "MA->D,MA->MS,MA->D/flip,source-domain->MA", averages=True).table()
    assert table.sections[0].lines[0][-2:] == ("40.0", "50.0")
    left = "The mean leaves out seen domains and targets that are tested in other ways."
    assert left in table.notes
    table = made([one], "MA->D,MA->D/flip", averages=True).table()
    assert "Average\nmAP" not in table.header and left not in table.notes


def test_lines_say_over_how_many_seeds_they_are_where_it_is_not_the_same():
    uneven = entry("c", {"MA->D": [(0.1, 0.1)] * 3, "MA->MS": [(0.1, 0.1)]})
    table = made([A, uneven], theirs=published.methods(["MA->D"])[:1]).table()
    assert table.header[:2] == ("Model", "Seeds")
    cells = {Cell.of(line[0]).text: line[1] for s in table.sections for line in s.lines}
    assert cells == {"QAConv (ECCV'20)": "-", "a": "2", "c": "1/3"}
    assert "Mean ± sample standard deviation over 1/2/3 seeds." in table.notes
    single = made([entry("d", {"MA->D": [(0.1, 0.1)]})]).table()
    assert single.header[1] != "Seeds" and "One seed each." in single.notes


def test_best_and_second_as_shown_ties_and_who_competes():
    column = ["60.0 ± 1.0", "60.0", "59.9", "-", "99.0", "1.0"]
    assert places(column, [0, 1, 2, 3, 5]) == [
        Cell("60.0 ± 1.0", 1), Cell("60.0", 1), Cell("59.9", 2), "-", "99.0", "1.0",
    ]  # fmt: skip
    assert places(["1.0", "-"], [0, 1]) == ["1.0", "-"]
    assert places(["9.0", "10.0"], [0, 1], most=1) == ["9.0", Cell("10.0", 1)]


def test_lines_of_other_conditions_have_letters_and_do_not_compete():
    preset, data = Difference("preset=tiny", "preset tiny"), Difference("data=x", "x data")
    size = Difference("", "input of 9 x 9 pixels")
    best = entry("b", {"MA->D": [(0.9, 0.9)] * 2}, differs=(preset, data))
    small = entry("c", {"MA->D": [(0.8, 0.1)] * 2}, differs=(size,))
    table = made([A, best, small], "MA->D").table()
    assert table.sections[0].lines == [
        (Cell("a"), Cell("60.0 ± 14.1", 2), Cell("70.0 ± 14.1", 1)),
        (Cell("b (preset=tiny, data=x)", marks="[a,b]"), "90.0 ± 0.0", "90.0 ± 0.0"),
        (Cell("c", marks="[c]"), Cell("80.0 ± 0.0", 1), Cell("10.0 ± 0.0", 2)),
    ]
    assert {"[a] preset tiny.", "[b] x data.", "[c] input of 9 x 9 pixels."} <= set(table.notes)
    told = "No rivals for the best, as they do not compare: b (preset=tiny, data=x)."
    assert told in table.notes


def test_lines_that_all_share_an_unusual_condition_compete():
    other = (Difference("data=real", "real data"),)
    pair = [entry(name, {"MA->D": [(v, v)]}, differs=other) for name, v in (("a", 0.1), ("b", 0.2))]
    lines = made(pair, "MA->D").table().sections[0].lines
    assert [line[1] for line in lines] == [Cell("10.0", 2), Cell("20.0", 1)]


def test_marks_of_methods_inputs_and_targets():
    known = Known("VLM-based", "†‡", ("C3",))
    scores = {"MA->D": [(0.1, 0.1)], "MA->C3": [(0.2, 0.2)]}
    one = entry("a", scores, known=known, size=(256, 129))
    table = made([one], "MA->D,MA->C3").table()
    (section,) = table.sections
    name, _, _, on_c3, _ = section.lines[0]
    assert name == Cell("a", marks="*†‡")
    assert on_c3 == Cell("20.0", marks="§")
    assert [note[0] for note in table.notes if note[0] in "*†‡§"] == ["*", "†", "‡", "§"]
    assert "*" not in Cell.of(made([entry("a", scores)]).table().sections[0].lines[0][0]).marks
    detected = made([entry("a", scores, known=Known(saw=("C3-labeled",)))], "MA->C3").table()
    assert detected.sections[0].lines[0][1].marks == "§"


def test_types_in_order_and_published_lines_before_ours():
    theirs = published.methods(["MA->D"])
    ours = [
        entry("x", TWO, known=Known("A new type")),
        entry("y", TWO, known=Known("VLM-based")),
        entry("z", TWO),
    ]
    table = made(ours, theirs=theirs).table()
    titles = [section.title for section in table.sections]
    assert titles == [
        "Image Matching", "Part-based", "Meta-Learning", "Normalization", "Augmentation",
        "VLM-based", "A new type", "Type not known",
    ]  # fmt: skip
    vlm = [Cell.of(line[0]).text for line in table.sections[5].lines]
    assert vlm == ["CLIP-FGDI (TIFS'25)", "DCAC (Sensors'25)", "MUVA (arXiv'26)", "y"]
    assert [section.title for section in made([A, B]).table().sections] == [""]


def test_the_papers_own_tables():
    """Its text: QAConv-MS has the best Rank-1 on MA, MUVA is before ISR on MS (section 4.3.2)."""
    protocols = [one for one in select("multi-source") if one.table == 3]
    theirs = published.methods(one.name for one in protocols)
    table = PaperTable("t", protocols, [Contender.published(one, True) for one in theirs]).table()
    by_name = {Cell.of(line[0]).text: line for s in table.sections for line in s.lines}
    assert len(by_name) == 17
    assert by_name["QAConv-MS (TCSVT'24)"][2] == Cell("87.1", 1)
    assert by_name["ISR (ICCV'23)"][:3] == (
        Cell("ISR (ICCV'23)", marks="*‡"), Cell("70.5", 1), Cell("87.0", 2),
    )  # fmt: skip
    assert by_name["MUVA (arXiv'26)"][1:3] == (Cell("66.7", 2), "86.1")
    assert [cell.place for cell in by_name["MUVA (arXiv'26)"][3:]] == [1] * 6
    assert "seed" not in " ".join(table.notes)
    assert any("compete, as in the papers" in note for note in table.notes)


def test_published_lines_that_do_not_compare_are_no_rivals():
    table = made([A], "MA->D", theirs=published.methods(["MA->D"]), competes=False).table()
    assert not any(Cell.of(c).place for s in table.sections for line in s.lines for c in line)
    assert "No rivals for the best, as they do not compare: published lines." in table.notes


def test_stacked_for_a_narrow_screen():
    whole = made([A, entry("b", {"MA->D": [(0.61, 0.5)] * 2})], averages=True)
    table = whole.table(stacked=True)
    assert table.header == ("Model", "mAP", "Rank-1")
    assert [section.title for section in table.sections] == ["MA->D", "MA->MS", "Average"]
    assert [len(section.lines) for section in table.sections] == [2, 1, 1]
    assert table.sections[0].lines[1] == (Cell("b"), Cell("61.0 ± 0.0", 1), Cell("50.0 ± 0.0", 2))
    assert table.notes == whole.table().notes


def test_a_protocol_by_whatever_name_it_is_asked_for():
    table = made([entry("a", {"P2->MS": [(0.1, 0.2)]})], "MA+C3+CS->MS").table()
    assert table.header[1] == "MA+C3+CS->MS\nmAP"
    assert table.sections[0].lines[0][1:] == ("10.0", "20.0")


def test_stand_ins_and_what_sources_and_targets_share_are_said():
    one = entry("a", {"source-domain->MA": [(0.1, 0.1)]}, data="stand-in")
    notes = made([one], "source-domain->MA").table().notes
    assert STANDIN_NOTE in notes
    assert any(note.startswith("source-domain->MA: same data set") for note in notes)


def test_numbers_as_csv():
    theirs = published.methods(["MA->D"])[:1]
    other = (Difference("preset=tiny", "preset tiny"),)
    text = made([A, entry("b", TWO, differs=other)], theirs=theirs).csv()
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [(line["name"], line["protocol"]) for line in lines] == [
        ("QAConv (ECCV'20)", "MA->D"), ("a", "MA->D"), ("a", "MA->MS"),
        ("b (preset=tiny)", "MA->D"), ("b (preset=tiny)", "MA->MS"),
    ]  # fmt: skip
    assert (lines[0]["published"], lines[0]["marks"], lines[0]["mAP"], lines[0]["seeds"]) == (
        "yes", "*", "28.7", "",
    )  # fmt: skip
    assert float(lines[1]["mAP"]) == pytest.approx(60)
    assert float(lines[1]["mAP_std"]) == pytest.approx(14.1421)
    assert (lines[1]["seeds"], lines[1]["competes"]) == ("0 1", "yes")
    assert (lines[3]["competes"], lines[3]["conditions"]) == ("no", "preset tiny")


def test_what_is_shown_unasked():
    protocols = select("MA->D,MA->MS")
    both, one = TWO, {"MA->D": TWO["MA->D"]}
    found = [
        entry("a", both),
        entry("a", both, settings=("lr=1",)),
        entry("a", one, differs=(Difference("data=x", ""),)),
        *(entry("b", one, settings=(f"lr={i}",)) for i in range(5)),
        entry("b", both, settings=("lr=9",)),
        entry("c", {"D->MA": [(0.1, 0.1)]}),
    ]
    shown = [one.name for one in usual(found, protocols)]
    assert shown == ["a", "a (data=x)", "b (lr=0)", "b (lr=1)", "b (lr=2)", "b (lr=9)"]


def test_letters_go_on_after_z():
    letters = Letters()
    assert letters.of([str(i) for i in range(27)]).endswith("y,z,aa]")
    assert letters.of(["3"]) == "[d]"
    assert letters.of([]) == ""
    assert letters.notes()[26] == "[aa] 26."
