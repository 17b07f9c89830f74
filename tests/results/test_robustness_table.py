"""What is lost on degraded images, by hand: differences, means, gaps, both sides, the figure."""

import csv
import io

import pytest
from layout import require_readable, words
from records import write_run

from protocols.errors import ReIDError
from protocols.variants import KINDS, LEVELS
from results import collect
from results.entries import entries
from results.robustness_figure import robustness
from results.robustness_table import build
from results.tables import STANDIN_NOTE, Cell

LEVELS_OF = [f"{kind}-{level}" for kind in KINDS for level in LEVELS]


def runs(out, method, values, seed=0, sources=("MA",)):
    """A training whose mAP on each target is that number."""
    ap = {target: [value] * 4 for target, value in values.items()}
    write_run(out, method, sources, tuple(values), seed, ap=ap)


def everything(clean, lost, both=""):
    """A target and all its degradations; of each kind i, level l loses (i + 1) * l * lost."""
    found = {"D": clean}
    for i, kind in enumerate(KINDS):
        for level in LEVELS:
            found[f"D/{kind}-{level}{both}"] = clean - (i + 1) * level * lost
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """`whole` has all and two seeds, `part` lacks some, `none` has clean rows alone."""
    out = tmp_path_factory.mktemp("runs")
    runs(out, "whole", {**everything(0.8, 0.01), "Occluded-Duke": 0.5})
    runs(out, "whole", everything(0.9, 0.02), seed=1)
    runs(out, "part", {"D": 0.5, "D/jpeg-1": 0.45, "D/jpeg-3": 0.4, "D/light-5": 0.5,
                       **{f"D/occluded-{level}-both": 0.5 - level / 20 for level in LEVELS},
                       "D/flip": 0.6, "D/occluded-2+flip": 0.55, "MS": 0.2})  # fmt: skip
    runs(out, "part", {"MA/blurred-1": 0.3}, sources=("D",))
    runs(out, "none", {"D": 0.5, "D/flip": 0.6})
    return entries(collect.rows(out)[0])


@pytest.fixture(scope="module")
def table(found):
    return build(found, ["MA->D"]).table()


def section(table, title):
    (one,) = (one for one in table.sections if one.title == title)
    return {Cell.of(line[0]).text: line[1:] for line in one.lines}


def test_differences_are_of_the_same_training(table):
    # seeds lose 1 and 2 points a level: mean 1.5, standard deviation 0.5 * sqrt(2)
    assert section(table, "MA->D, occluded")["whole"] == (
        "85.0 ± 7.1", "-1.5 ± 0.7", "-3.0 ± 1.4", "-4.5 ± 2.1", "-6.0 ± 2.8", "-7.5 ± 3.5",
        "-4.5 ± 2.1",
    )  # fmt: skip
    # jpeg is the fifth kind: five times as much
    assert section(table, "MA->D, jpeg")["whole"][1] == "-7.5 ± 3.5"


def test_missing_levels_are_dashes_and_named(table):
    assert section(table, "MA->D, jpeg")["part"] == ("50.0", "-5.0", "-", "-10.0", "-", "-", "-")
    assert section(table, "MA->D, light")["part"] == ("50.0", "-", "-", "-", "-", "+0.0", "-")
    missing = next(note for note in table.notes if note.startswith("Not run"))
    assert "part on MA->D: occluded, blurred, low-resolution, light-1, light-2" in missing
    assert "jpeg-2, jpeg-4, jpeg-5; part + gallery on MA->D: blurred" in missing
    assert "whole" not in missing


def test_all_kinds_count_alike(table):
    cells = section(table, "MA->D, all kinds")
    # kinds lose 1 to 5 times as much: 3 times; levels 1 to 5: 3 times again
    assert cells["whole"][1] == "-4.5 ± 2.1" and cells["whole"][-1] == "-13.5 ± 6.4"
    assert cells["part"] == ("50.0", *"------") and "part + gallery" not in cells


def test_degraded_galleries_are_lines_of_their_own(table):
    cells = section(table, "MA->D, occluded")
    assert list(cells) == ["whole", "part + gallery"]
    assert cells["part + gallery"] == ("50.0", "-5.0", "-10.0", "-15.0", "-20.0", "-25.0", "-15.0")
    assert any(note.startswith("+ gallery: ") for note in table.notes)


def test_real_occlusion_stands_beside_and_is_said_to_be_another_data_set(table):
    # of the two trainings one has it: 50 beside 80
    assert section(table, "MA->D, real occlusion (Occluded-Duke)") == {
        "whole": ("85.0 ± 7.1", *"-----", "-30.0")
    }
    assert any("another data set with other queries" in note for note in table.notes)


def test_other_variants_are_degraded_against_themselves(found):
    table = build(found).table()
    assert [one.title for one in table.sections][-1] == "MA->D/flip, occluded"
    assert section(table, "MA->D/flip, occluded")["part"][:3] == ("60.0", "-", "-5.0")
    # a degraded row without its clean one has nothing to lose against
    assert not any("D->MA" in one.title for one in table.sections)
    assert STANDIN_NOTE in table.notes


def test_the_csv_has_a_line_a_level(found):
    lines = list(csv.DictReader(io.StringIO(build(found, ["MA->D"]).csv())))
    whole = [line for line in lines if line["name"] == "whole"]
    assert (
        len(whole) == len(LEVELS_OF) and [f"{x['kind']}-{x['level']}" for x in whole] == LEVELS_OF
    )
    assert whole[0]["mAP_clean"] == "85.0" and whole[0]["mAP"] == "83.5"
    assert whole[0]["mAP_difference"] == "-1.5" and whole[0]["mAP_difference_std"] == "0.7071"
    assert whole[0]["seeds"] == "0 1" and whole[0]["degraded"] == "query"
    both = [line for line in lines if line["degraded"] == "query and gallery"]
    assert len(both) == 5 and both[0]["mAP_difference"] == "-5.0" and both[0]["seeds"] == "0"


def test_nothing_to_show_says_what_makes_it(found):
    for asked in ([one for one in found if one.method == "none"], None), (found, ["MA->MS"]):
        with pytest.raises(ReIDError, match="MA->D/robustness"):
            build(*asked)


def test_a_figure_has_a_panel_a_kind_and_a_line_an_entry(found):
    (key, title, figure), *_ = robustness(found, ["MA->D"])
    assert (key, title) == ("robustness-MA-to-D", "Robustness, MA->D")
    assert len(figure.axes) == len(KINDS)
    first, last = figure.axes[0].get_lines(), figure.axes[-1].get_lines()
    assert [len(first), len(last)] == [3, 3]
    assert list(first[1].get_xdata()) == [0, 1, 2, 3, 4, 5]
    assert first[1].get_ydata() == pytest.approx([85, 83.5, 82, 80.5, 79, 77.5])
    # part: clean, level 1, nothing, level 3
    assert last[0].get_ydata()[[0, 1, 3]] == pytest.approx([50, 45, 40])
    require_readable(figure)
    assert STANDIN_NOTE in words(figure) and "the gallery as well" in words(figure)
