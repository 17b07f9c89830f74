"""Intervals, p-values and ranks against slow readable ones, hand-computed values, simulation."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from records import write_run
from scipy import stats
from simulated import World, draw, truth

from protocols.errors import ReIDError
from results import resampling
from results.collect import queries, rows
from results.comparison import Draws
from results.pairing import Pairs
from results.query_sums import query_sums
from results.resampling import Flips, Part, SeedNoise, bootstrap, degrees, flips, seed_noise
from results.statistics import holm, interval, metric_interval, p_value, ranks

NAN = float("nan")


def metric(table, weights, name):
    """The mean over probe splits, each query as often as its identity's weight says."""
    means = []
    for probe in sorted(set(table.probe)):
        above = below = 0.0
        for i in range(len(table.ap)):
            if table.probe[i] == probe and table.valid[i]:
                value = table.ap[i] if name == "mAP" else float(table.first_hit[i] == 1)
                above += weights[table.pid[i]] * value
                below += weights[table.pid[i]]
        if below:
            means.append(above / below)
    return sum(means) / len(means)


@pytest.fixture
def two_probes(tmp_path):
    """Two seeds of a run on two probe splits; identity 5 is in one of them only, 7 never valid."""
    pids = [1, 1, 2, 5, 7, 3, 1, 2, 2, 3, 3, 3]
    values = np.random.default_rng(0).random((2, 12))
    values[:, 4] = NAN
    hits = [1, 2, 1, 3, 1, 1, 4, 1, 2, 1, 1, 5]
    for seed in (0, 1):
        write_run(
            tmp_path, seed=seed, ap=values[seed], pids=pids, first_hit=np.roll(hits, seed),
            probes=("one", "two"),
        )  # fmt: skip
    return rows(tmp_path)[0]


def test_sums_give_the_recorded_metrics(two_probes):
    sums = query_sums(two_probes)
    assert sums.pids.tolist() == [1, 2, 3, 5]
    assert sums.counts.tolist() == [[2, 1], [1, 2], [1, 3], [1, 0]]
    for i, row in enumerate(two_probes):
        assert sums.metrics[:, i] == pytest.approx(
            [row.target.metrics["mAP"], row.target.metrics["rank1"]]
        )
    assert sums.influence.sum(axis=2) == pytest.approx(np.zeros((2, 2)))
    assert sums.shares.sum(axis=1) == pytest.approx(sums.metrics.mean(axis=1))


def test_a_draw_is_the_metric_of_the_people_drawn(two_probes, monkeypatch):
    sums = query_sums(two_probes)
    drawn = np.random.default_rng(1).integers(0, 3, (50, 4)).astype(float)
    drawn[:, 0] += 1  # somebody of each probe split
    drawn[0] = [0, 0, 0, 4]  # only 5, who is in the first split alone
    monkeypatch.setattr(resampling, "_counts", lambda rng: lambda count, people: drawn[:count])
    ((_, found),) = bootstrap([sums], 50, 0)
    tables = [queries(row) for row in two_probes]
    for weights, deviations in zip(drawn, found.T, strict=True):
        by_pid = dict(zip(sums.pids.tolist(), weights, strict=True))
        for name, one, own in zip(("mAP", "rank1"), deviations, sums.metrics, strict=True):
            mean = np.mean([metric(table, by_pid, name) for table in tables])
            assert one == pytest.approx(np.sqrt(4 / 3) * (mean - own.mean()))


def test_influence_is_the_derivative_by_weight(two_probes):
    sums = query_sums(two_probes)
    for c, pid in enumerate(sums.pids.tolist()):
        weights = dict.fromkeys(sums.pids.tolist(), 1.0)
        table, step = queries(two_probes[0]), 1e-6
        before = metric(table, weights, "mAP")
        after = metric(table, {**weights, pid: 1 + step}, "mAP")
        assert sums.influence[0, 0, c] == pytest.approx((after - before) / step, abs=1e-5)


def test_draws_have_whole_people_and_as_many_as_there_are():
    weights = resampling._counts(np.random.default_rng(0))(2000, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(7), abs=0.1)
    assert weights.var(axis=0) == pytest.approx(np.full(7, 6 / 7), abs=0.15)
    bits = resampling._bits(np.random.default_rng(0))(4000, 11)
    assert set(np.unique(bits)) == {0.0, 1.0}
    assert np.corrcoef(bits.T) == pytest.approx(np.eye(11), abs=0.07)


def test_chunks_do_not_change_what_is_drawn(monkeypatch):
    (sums, _), *_ = draw(World(identities=9), np.random.default_rng(0))
    ((_, whole),) = bootstrap([sums], 200, 3)
    assert whole.shape == (2, 200)
    monkeypatch.setattr(resampling, "CELLS", 40)
    ((_, parts),) = bootstrap([sums], 200, 3)
    assert parts == pytest.approx(whole)


def test_few_people_are_swapped_in_every_way():
    values = np.random.default_rng(0).normal(size=(5, 2))
    found = flips({"D": values}, 100, 0)["D"]
    slow = [
        sum(s * v for s, v in zip(signs, values, strict=True))
        for signs in itertools.product((1, -1), repeat=5)
    ]
    assert found.exact
    assert np.sort(found.draws, axis=0) == pytest.approx(np.sort(slow, axis=0))
    observed = values.sum(axis=0)[0]
    expected = np.mean([abs(one[0]) >= abs(observed) - 1e-12 for one in slow])
    one = replace(found, draws=found.draws[:, 0])
    assert p_value(observed, one, SeedNoise(), 100, np.random.default_rng(0)) == expected
    many = flips({"D": values}, 31, 0)["D"]
    assert not many.exact
    assert len(many.draws) == 31


def test_random_swaps_come_near_all_of_them():
    values = np.random.default_rng(2).normal(0.3, 1, size=(12, 1))
    observed = values.sum()
    exact, random = (flips({"D": values}, count, 1)["D"] for count in (2**12, 2**12 - 1))
    assert (exact.exact, random.exact) == (True, False)
    p = [
        p_value(observed, replace(f, draws=f.draws[:, 0]), SeedNoise(), 4095, None)
        for f in (exact, random)
    ]
    assert p[0] == pytest.approx(p[1], abs=0.03)
    assert 0.05 < p[0] < 0.9


def test_p_by_hand():
    def p(observed, draws, exact=False):
        return p_value(observed, Flips(np.array(draws), exact), SeedNoise(), 4, None)

    assert p(0.5, [0.1, -0.2, 0.3, 0.4]) == 1 / 5
    assert p(-0.3, [0.1, -0.2, 0.3, 0.4]) == 3 / 5
    assert p(0.1 + 0.2, [0.3, 0.0, 0.0, 0.0]) == 2 / 5  # equal but for rounding
    assert p(0.3, [0.3, -0.3, 0.1, -0.1], exact=True) == 2 / 4
    assert p(0.0, [0.0, 0.0]) == 1.0


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]


# Demšar 2006, table 6: AUC of four variants of C4.5 on 14 data sets; he ranks two that are
# printed as 0.975 apart
DEMSAR = np.array(
    [
        (0.763, 0.768, 0.771, 0.798), (0.599, 0.591, 0.590, 0.569), (0.954, 0.971, 0.968, 0.967),
        (0.628, 0.661, 0.654, 0.657), (0.882, 0.888, 0.886, 0.898), (0.936, 0.931, 0.916, 0.931),
        (0.661, 0.668, 0.609, 0.685), (0.583, 0.583, 0.563, 0.625), (0.775, 0.838, 0.866, 0.875),
        (1.000, 1.000, 1.000, 1.000), (0.940, 0.962, 0.965, 0.962), (0.619, 0.666, 0.614, 0.669),
        (0.972, 0.981, 0.97501, 0.975), (0.957, 0.978, 0.946, 0.970),
    ]
)  # fmt: skip


def test_ranks_of_demsars_example():
    found = ranks(DEMSAR)
    assert found.mean_ranks == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    assert found.critical_difference == pytest.approx(1.25, abs=0.005)
    assert found.friedman_p == pytest.approx(stats.friedmanchisquare(*DEMSAR.T).pvalue)
    # no two of them are 1.25 apart
    assert found.cliques == ((3, 1, 2, 0),)


def test_nemenyi_quantiles_of_demsars_table_5():
    printed = (1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164)
    for k, q in enumerate(printed, start=2):
        scores = np.tile(np.arange(k), (10, 1)).astype(float)
        expected = q * np.sqrt(k * (k + 1) / 60)
        assert ranks(scores).critical_difference == pytest.approx(expected, rel=5e-4)


def test_friedman_by_hand_and_cliques_of_some():
    # three entries that rank alike on 12 protocols: chi-square 24 with 2 degrees of freedom
    found = ranks(np.tile([0.1, 0.3, 0.2], (12, 1)))
    assert found.mean_ranks.tolist() == [3, 1, 2]
    assert found.friedman_p == pytest.approx(np.exp(-12))
    # critical difference 0.957: neighbours are 1 apart
    assert found.cliques == ()
    # 10 protocols: 1.048
    assert ranks(np.tile([0.1, 0.3, 0.2], (10, 1))).cliques == ((1, 2), (2, 0))


def test_ranks_with_ties_everywhere():
    found = ranks(np.full((4, 3), 0.5))
    assert found.mean_ranks.tolist() == [2, 2, 2]
    assert found.friedman_p == 1.0
    assert found.cliques == ((0, 1, 2),)


@pytest.mark.parametrize("scores", [np.zeros((1, 3)), np.zeros((3, 1)), [[0.1, NAN], [0.2, 0.3]]])
def test_ranks_refuse(scores):
    with pytest.raises(ReIDError, match="Ranks need"):
        ranks(np.array(scores))


def test_seed_noise_by_hand(two_probes):
    sums = query_sums(two_probes)
    first, second = sums.metrics[0]
    between = (first - second) ** 2 / 4  # sample variance / 2
    apart = (sums.influence[0, 0] - sums.influence[0, 1]) ** 2 / 4
    within = apart.sum() * 4 / 3
    found = seed_noise([Part(sums, 1.0)], 0)
    assert found.variance == pytest.approx(max(between - within, 0))
    assert found.df == pytest.approx(1)
    one = query_sums(two_probes[:1])
    assert seed_noise([Part(one, 1.0)], 0) == SeedNoise()


def test_a_run_tested_twice_moves_both_its_targets():
    """Two targets of one training: its luck does not halve, that of two trainings does."""
    world = World(identities=3000, seeds=(4, 1), seed=1.0, targets=2)
    (one, _), (other, _) = draw(world, np.random.default_rng(0))
    alone = seed_noise([Part(one, 1.0)], 0)
    both = seed_noise([Part(one, 0.5), Part(other, 0.5)], 0)
    assert both.variance == pytest.approx(alone.variance, rel=0.1)
    assert both.df == 3
    apart = replace(other, fold="another", runs=tuple("wxyz"))
    found = seed_noise([Part(one, 0.5), Part(apart, 0.5)], 0)
    assert found.variance == pytest.approx(alone.variance / 2, rel=0.1)
    assert found.df == pytest.approx(6, abs=0.3)


def test_degrees_of_freedom():
    assert degrees([(2.0, 39)], SeedNoise()) == pytest.approx(39)
    assert degrees([(1.0, 10), (1.0, 10)], SeedNoise()) == pytest.approx(20)
    assert degrees([(0.0, 10)], SeedNoise(1.0, 2)) == pytest.approx(2)
    assert degrees([(3.0, np.inf)], SeedNoise(1.0, 2)) == pytest.approx(16)
    assert degrees([(0.0, 5)], SeedNoise()) == np.inf


def test_an_interval_is_wider_by_students_t():
    """Of a mean of normal draws: the t interval, which is known."""
    values = np.random.default_rng(3).normal(0.5, 0.1, 8)
    base = draw(World(identities=8, sizes=1), np.random.default_rng(0))[0][0]
    one = replace(base, sums=np.tile(values, (2, 1))[:, None, :, None])
    ((_, drawn),) = bootstrap([one], 50_000, 0)
    found = interval([Part(one, 1.0)], [drawn], 0, 0)
    exact = stats.t.interval(0.95, 7, values.mean(), values.std(ddof=1) / np.sqrt(8))
    assert found.estimate == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(exact, abs=0.01)


def test_metric_interval_of_a_run(tmp_path):
    for seed in (0, 1, 2):
        write_run(tmp_path, seed=seed, ap=np.random.default_rng(seed).random(60),
                  pids=np.arange(60) // 3)  # fmt: skip
    found = rows(tmp_path)[0]
    for name in ("mAP", "rank1"):
        one = metric_interval(found, name)
        assert one.estimate == pytest.approx(np.mean([r.target.metrics[name] for r in found]))
        assert 0 <= one.low < one.estimate < one.high <= 1
        assert metric_interval(found, name) == one
    assert metric_interval(found[:1], "mAP", seed=1) != metric_interval(found[:1], "mAP")


def test_one_person_says_nothing_and_no_miss_is_no_width(tmp_path):
    write_run(tmp_path, "bot-vit", ap=[0.5, 0.7], pids=[1, 1])
    (row,) = rows(tmp_path)[0]
    assert (metric_interval([row]).low, metric_interval([row]).high) == (0, 1)
    write_run(tmp_path, "muva", ap=[1.0] * 6, pids=[1, 1, 2, 2, 3, 3])
    (row,) = (row for row in rows(tmp_path)[0] if row.run.spec.method == "muva")
    assert metric_interval([row]) == metric_interval([row], "rank1")
    assert metric_interval([row]).low == 1


def test_unreadable_queries_are_named(tmp_path):
    write_run(tmp_path)
    (row,) = rows(tmp_path)[0]
    row.queries_file.write_bytes(b"PAR1 not much else")
    with pytest.raises(ReIDError, match=r"D\.parquet"):
        metric_interval([row])


WORLDS = {
    "one seed": World(sizes=8),
    "easy people have more queries": World(identities=60, sizes=12, tied=True),
    "three seeds": World(identities=60, seeds=(3, 3), seed=0.4),
    "five seeds": World(identities=60, seeds=(5, 5), seed=0.4),
    "a table, seeds mixed": World(folds=2, targets=2, seeds=(3, 5), seed=0.4),
}
SIMULATIONS = 300


@pytest.mark.parametrize("name", WORLDS)
def test_intervals_hold_the_truth_and_p_is_uniform(name):
    """In the long run 95 %: bench_coverage.py simulates more. A standard error here is 1.3 %."""
    world = WORLDS[name]
    a, b = truth(world)
    held, p = np.empty((SIMULATIONS, 2, 2)), np.empty((SIMULATIONS, 2))
    for i in range(SIMULATIONS):
        pairs = draw(world, np.random.default_rng([5, i]))
        line = Draws(Pairs(pairs, {}, []), 400, i).line("all", range(len(pairs)))
        for m, effect in enumerate((line.mAP, line.rank1)):
            held[i, m] = [
                found.low <= right <= found.high
                for found, right in ((effect.a, a[m]), (effect, a[m] - b[m]))
            ]
            p[i, m] = effect.p
    covered = held.mean(axis=0)
    assert (covered > 0.915).all(), covered
    assert (covered < 0.985).all(), covered
    # of mAP, which takes any value; few people give Rank-1 few values, and p that are too large
    assert stats.kstest(p[:, 0], "uniform").pvalue > 0.005
    assert stats.kstest(p[:, 1], "uniform", alternative="greater").pvalue > 0.005
    assert 0.01 <= (p[:, 0] <= 0.05).mean() <= 0.09
