"""CMC curves: what is drawn where, by hand."""

import numpy as np
import pytest
from layout import TWELVE, require_readable, words

from results.cmc_figure import RANKS, Cmc, cmc_figure
from results.figures import COLUMN
from results.line_style import COLOURS, MOST, look


def test_a_curve_is_the_mean_over_seeds_and_its_band_their_deviation():
    one = Cmc("muva", [[0.5, 0.7, 0.8], [0.6, 0.7, 1.0]])
    other = Cmc("bot", [[0.4, 0.5, 0.6]], place=4)
    (axes,) = cmc_figure([one, other], "CMC on MA->D", ["Preset tiny."]).axes
    first, second = axes.get_lines()
    assert list(first.get_xdata()) == [1, 2, 3]
    assert first.get_ydata() == pytest.approx([55, 70, 90])
    assert second.get_ydata() == pytest.approx([40, 50, 60])
    assert [line.get_color() for line in (first, second)] == [COLOURS[0], COLOURS[4]]
    (band,) = axes.collections  # one seed has none
    at = band.get_paths()[0].vertices
    low, high = at[at[:, 0] == 3][:, 1].min(), at[at[:, 0] == 3][:, 1].max()
    assert (low, high) == (pytest.approx(90 - 200**0.5), pytest.approx(90 + 200**0.5))
    # 40 is the least, so the axis begins at a multiple of ten below it
    assert axes.get_ylim() == (30, 101)


def test_the_key_has_rank_1_and_ranks_end_at_twenty():
    figure = cmc_figure([Cmc("muva", [[0.123, *[0.5] * 49]])], "CMC")
    assert "12.3  muva" in words(figure)
    (line,) = figure.axes[0].get_lines()
    assert len(line.get_xdata()) == RANKS == 20
    assert figure.axes[0].get_ylim()[0] == 0
    assert figure.get_size_inches()[0] == COLUMN


def test_twelve_strange_names_are_read():
    rates = np.linspace(0.2, 0.9, 50)
    figure = cmc_figure(
        [Cmc(name, [rates], i) for i, name in enumerate(TWELVE)], "CMC on MA->D", ["Said."] * 3
    )
    require_readable(figure)
    said = words(figure).replace(" ", "")
    assert all(name.replace(" ", "") in said for name in TWELVE)


def test_every_line_up_to_the_most_looks_its_own_way():
    seen = [tuple(sorted(look(i, joined=False).items())) for i in range(MOST)]
    assert len(set(seen)) == MOST == 21
