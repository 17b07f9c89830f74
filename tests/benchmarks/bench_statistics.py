"""What 10,000 resamples cost, in seconds of one core. Run by hand:

    python tests/benchmarks/bench_statistics.py [--resamples 10000]

A comparison is two methods' intervals, their difference's and its p, in mAP and Rank-1: of
MSMT17's size, of the 16 protocols of `all`, and of VIPeR's ten probe splits. Queries are random.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from results.comparison import Draws
from results.pairing import Pairs
from results.query_sums import QuerySums

SIZES = {"MA": (3368, 750), "D": (2228, 702), "MS": (11659, 3060), "C3": (1400, 700)}
"""Queries and identities of the test sets."""
SOURCES = 4


def sums(name: str, target: str, queries: int, people: int, probes: int, seeds: int) -> QuerySums:
    """Random results; a probe split has as many of the queries as any other."""
    generator = np.random.default_rng([queries, people, len(name), seeds])
    counts = np.bincount(np.arange(queries) % people, minlength=people)[:, None]
    counts = np.repeat(counts, probes, axis=1)
    values = generator.random((2, seeds, people, probes)) * counts
    runs = tuple(f"{name} {i}" for i in range(seeds))
    return QuerySums(name, target, name, runs, True, "", np.arange(people), counts, values)


def measure(what: str, pairs: list[tuple[QuerySums, QuerySums]], resamples: int) -> None:
    """Every protocol's line and the overall one."""
    started = time.process_time()
    draws = Draws(Pairs(pairs, {}, []), resamples, 0)
    for members in [*([i] for i in range(len(pairs))), range(len(pairs))]:
        draws.line(what, members)
    took = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what}: {took:.2f} s, {resamples:,} resamples; at most {peak:.0f} MiB so far")


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resamples", type=int, default=10_000)
    resamples = parser.parse_args().resamples

    def pair(target: str, source: str = "", probes: int = 1, seeds: int = 1) -> tuple:
        queries, people = SIZES.get(target, (632, 632))
        return tuple(sums(f"{source}{m}", target, queries, people, probes, seeds) for m in "ab")

    measure("MSMT17", [pair("MS")], resamples)
    measure("MSMT17, three seeds", [pair("MS", seeds=3)], resamples)
    measure("VIPeR", [pair("VIPeR", probes=10)], resamples)
    table = [pair(target, str(i), seeds=3) for target in SIZES for i in range(SOURCES)]
    measure("16 protocols, three seeds", table, resamples)


if __name__ == "__main__":
    main()
