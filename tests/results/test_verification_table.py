"""The table of verification, open-set and single-shot rates: numbers, places, what is lacking."""

import pytest
from records import write_run

from protocols.errors import ReIDError
from protocols.registry import select
from results import collect
from results.entries import entries
from results.tables import STANDIN_NOTE, Cell
from results.verification_table import MEASURES, build

PROTOCOLS = select("MA->D") + select("MA->MS")


def rates(value: float, **others: float) -> dict[str, float]:
    return {**dict.fromkeys(MEASURES, value), **others}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    for seed, value in ((0, 0.5), (1, 0.6)):
        write_run(out, "ours", ("MA",), ("D", "MS"), seed, metrics={"D": rates(value)})
    write_run(out, "bot", ("MA",), ("D",), metrics={"D": rates(0.4, single_shot_rank1=0.7)})
    return entries(collect.rows(out)[0])


def test_means_over_seeds_with_the_best_marked_and_the_lowest_eer(found):
    table = build(found, PROTOCOLS).table()
    assert [section.title for section in table.sections] == ["MA->D", "MA->MS"]
    bot, ours = table.sections[0].lines
    assert [cell.text for cell in map(Cell.of, ours)] == ["ours", *["55.0 ± 7.1"] * len(MEASURES)]
    places = dict(zip(MEASURES, (Cell.of(cell).place for cell in ours[1:]), strict=True))
    assert places == {**dict.fromkeys(MEASURES, 1), "eer": 2, "single_shot_rank1": 2}
    assert Cell.of(bot[list(MEASURES).index("eer") + 1]) == Cell("40.0", 1)
    assert table.header[1] == "TPR@FPR\n1e-2" and len(table.header) == 1 + len(MEASURES)
    assert STANDIN_NOTE in table.notes
    assert "Mean ± sample standard deviation over 1/2 seeds." in table.notes


def test_a_narrow_screen_has_a_line_for_each_measure(found):
    table = build(found, PROTOCOLS).table(stacked=True)
    assert table.header == ("Model", "Measure", "Value")
    lines = [tuple(Cell.of(cell).text for cell in line) for line in table.sections[0].lines]
    assert len(lines) == 2 * len(MEASURES)
    assert lines[0] == ("bot", "TPR@FPR 1e-2", "40.0")
    assert lines[len(MEASURES) - 1] == ("", "Single shot Rank-1", "70.0")


def test_what_a_record_has_not_is_a_dash_that_is_explained(found):
    table = build(found, PROTOCOLS).table()
    (line,) = table.sections[1].lines
    assert [Cell.of(cell).text for cell in line] == ["ours", *["-"] * len(MEASURES)]
    assert any("harness run --force" in note for note in table.notes)
    whole = build(found, PROTOCOLS[:1]).table()
    assert not any("harness run --force" in note for note in whole.notes)
    with pytest.raises(ReIDError, match="No finished row here has verification"):
        build(found, PROTOCOLS[1:])


def test_csv_has_a_line_for_each_that_there_is(found):
    header, bot, ours, other = build(found, PROTOCOLS, ["Said."]).csv().splitlines()
    assert header.startswith("name,method,competes,conditions,protocol,tpr_at_fpr_0.01,")
    assert bot.startswith("bot,bot,yes,,MA->D,40.0,,") and bot.endswith(",70.0,,0")
    assert ours.startswith("ours,ours,yes,,MA->D,55.0,7.0711,") and ours.endswith(",0 1")
    assert other.startswith("ours,ours,yes,,MA->MS,,,")
    assert build(found, PROTOCOLS, ["Said."]).table().notes[-1] == "Said."
