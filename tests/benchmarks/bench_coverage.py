"""Are 95 % intervals right 95 % of the time, and p-values uniform? Run by hand:

    python tests/benchmarks/bench_coverage.py [--simulations 2000] [--resamples 1000] [NAME ...]

Each simulation draws new people and new trainings of two methods. `covered` is the share of
intervals that hold the true value: of a's mAP or Rank-1, of the difference where b is better, of
the difference where they are equal. In the last case p-values are to be uniform: printed are the
share of p below 0.05, by how much more small p there are than should be anywhere (Kolmogorov and
Smirnov's one-sided distance), how far they are from uniform either way, and the p of that. Rank-1
of few people takes few values, so its p do too: they are then too large, which `more` allows.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "results"))

from simulated import World, draw, truth

from results.comparison import Draws
from results.pairing import Pairs

WORLDS = {
    "one-seed": World(identities=400),
    "one-seed-40": World(),
    "one-seed-15": World(identities=15),
    "long-tail": World(identities=40, sizes=20, tied=True),
    "near-one": World(identities=40, level=2.5, person=0.7),
    "3-seeds": World(identities=100, seeds=(3, 3), seed=0.2),
    "5-seeds": World(identities=100, seeds=(5, 5), seed=0.2),
    "3-seeds-40": World(seeds=(3, 3), seed=0.2),
    "5-seeds-40": World(seeds=(5, 5), seed=0.2),
    "2-seeds": World(identities=100, seeds=(2, 2), seed=0.2),
    "3-seeds-lucky": World(identities=400, seeds=(3, 3), seed=0.6),
    "5-seeds-lucky": World(identities=400, seeds=(5, 5), seed=0.6),
    "3-seeds-no-luck": World(seeds=(3, 3), taste=0.0, own=1.0),
    "3-seeds-and-5": World(identities=100, seeds=(3, 5), seed=0.2),
    "1-seed-and-5": World(identities=100, seeds=(1, 5), seed=0.0, seed_b=0.2),
    "table": World(folds=2, targets=2),
    "table-3-seeds": World(folds=2, targets=2, seeds=(3, 3), seed=0.2),
    "table-mixed-seeds": World(folds=4, targets=2, seeds=(2, 3), seed=0.2),
    "3-seeds-one-lucky": World(identities=100, seeds=(3, 3), seed=0.05, seed_b=0.4),
}


def simulate(world: World, simulations: int, resamples: int) -> tuple[np.ndarray, np.ndarray]:
    """Of both metrics, over all protocols.

    Whether the intervals of a and of a - b hold the truth, [S, 2, 2], metrics last; p [S, 2].
    """
    held, p = np.empty((simulations, 2, 2)), np.empty((simulations, 2))
    a, b = truth(world)
    for i in range(simulations):
        pairs = draw(world, np.random.default_rng([7, i]))
        line = Draws(Pairs(pairs, {}, []), resamples, i).line("all", range(len(pairs)))
        for metric, effect in enumerate((line.mAP, line.rank1)):
            for j, (found, right) in enumerate(((effect.a, a), (effect, a - b))):
                held[i, j, metric] = found.low <= right[metric] <= found.high
            p[i, metric] = effect.p
    return held, p


def main() -> None:
    """Parse, simulate, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*WORLDS, []])
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=1000)
    given = parser.parse_args()
    print(
        f"{'per cent':20}{'covered: a, a - b':>26}{'p < .05':>9}{'more':>7}{'away':>7}{'its p':>8}"
    )
    for name in given.names or WORLDS:
        equal = WORLDS[name]
        held, _ = simulate(replace(equal, gain=0.5), given.simulations, given.resamples)
        null, p = simulate(equal, given.simulations, given.resamples)
        for metric, what in enumerate(("mAP", "Rank-1")):
            shares = 100 * np.array(
                [*held[..., metric].mean(axis=0), null[:, 1, metric].mean(),
                 (p[:, metric] <= 0.05).mean()]
            )  # fmt: skip
            away = stats.kstest(p[:, metric], "uniform")
            more = stats.kstest(p[:, metric], "uniform", alternative="greater")
            numbers = "".join(f"{one:6.1f}" for one in shares[:3]) + f"{shares[3]:9.1f}"
            distances = f"{more.statistic:7.3f}{away.statistic:7.3f}{away.pvalue:7.3f}"
            print(f"{'' if metric else name:20}{what:8}{numbers}{distances}", flush=True)


if __name__ == "__main__":
    main()
