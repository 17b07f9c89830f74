"""ROC and open-set curves: what is drawn where, and of which records."""

import math

import numpy as np
import pytest
from layout import TWELVE, require_readable, words
from records import write_run

from harness import open_set, verification
from protocols.errors import ReIDError
from results import collect
from results.entries import entries
from results.figures import COLUMN
from results.line_style import COLOURS
from results.overview import KINDS, figures
from results.roc_figure import OPEN_SET, ROC, Roc, rates, roc_figure

FPR, FAR = len(verification.RATES), len(open_set.RATES)


def curves(height: float, lacking: int = 0) -> dict[str, list[float]]:
    """Curves as records have them; the first rates are below what there are pairs for."""
    rising = np.linspace(height, 1, FPR)
    rising[:lacking] = math.nan
    return {ROC: rising.tolist(), OPEN_SET: np.linspace(height / 2, height, FAR).tolist()}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Two methods with curves on MA->D, one of them with two seeds, and one without."""
    out = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        write_run(out, "ours", ("MA",), ("D", "MS"), seed, metrics={"D": {"eer": 0.1 + 0.1 * seed}},
                  curves={"D": curves(0.2 + 0.2 * seed, lacking=8)})  # fmt: skip
    write_run(out, "bot", ("MA",), ("D",), metrics={"D": {"eer": 0.3}}, curves={"D": curves(0.1)})
    write_run(out, "old", ("MA",), ("D",))
    return entries(collect.rows(out)[0])


def test_points_stand_at_the_rates_that_records_are_measured_at():
    assert rates([[0.0] * FPR]) == list(verification.RATES)
    assert rates([[0.0] * FAR]) == list(open_set.RATES)


def test_lines_are_means_over_seeds_where_there_are_pairs_enough(found):
    ((key, title, figure),) = KINDS["roc"](found, None)
    assert key == "roc-MA-to-D" and title == "Verification and open set on MA->D"
    roc, open_set_ = figure.axes
    bot, ours = roc.get_lines()
    assert ours.get_ydata()[-1] == 100 and len(bot.get_xdata()) == FPR
    assert ours.get_xdata()[0] == pytest.approx(1e-5)  # eight rates are a power of ten
    assert ours.get_ydata()[0] == pytest.approx(30 + 70 * 8 / (FPR - 1))
    assert roc.get_xscale() == "log" and roc.get_xlim() == (1e-6, 1)
    assert open_set_.get_xlim() == pytest.approx((1e-3, 1))
    assert open_set_.get_lines()[1].get_ydata()[-1] == pytest.approx(30)
    assert len(roc.collections) == 1  # one seed has no band
    assert [line.get_color() for line in (bot, ours)] == [COLOURS[0], COLOURS[2]]
    assert "30.0  bot" in words(figure) and "15.0  ours" in words(figure)


def test_records_without_curves_are_left_out_or_none_can_be_drawn(found):
    (figure,) = (figure for _, _, figure in KINDS["roc"](found, ["MA->D"]))
    assert "old" not in words(figure)
    with pytest.raises(ReIDError, match="harness run --force"):
        list(KINDS["roc"](found, ["MA->MS"]))
    left_out: list[str] = []
    drawn = [key for key, *_ in figures(found, ["MA->MS"], None, left_out)]
    assert "roc-MA-to-MS" not in drawn and any(one.startswith("roc: ") for one in left_out)


def test_it_is_read_at_a_columns_width_with_many_strange_names():
    mine = {key: [value] for key, value in curves(0.5, lacking=3).items()}
    lines = [Roc(name, [0.1], mine, i) for i, name in enumerate(TWELVE)]
    figure = roc_figure(lines, "Verification and open set on MA->D", ["Said."] * 3)
    require_readable(figure)
    assert figure.get_size_inches()[0] == COLUMN


def test_a_curve_of_nothing_but_nan_is_no_line():
    lines = [Roc("one", [math.nan], {ROC: [[math.nan] * FPR], OPEN_SET: [[]]})]
    figure = roc_figure(lines, "Title")
    assert not [line for axes in figure.axes for line in axes.get_lines()]
