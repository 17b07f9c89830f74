"""Verification, open-set and single-shot rates beside the ranking of the same features.

`python tests/benchmarks/bench_measures.py`; what is compared, and how: README.md in this folder.
"""

from __future__ import annotations

import argparse
from importlib.metadata import version

import numpy as np
import torch
from bench_muva import machine
from bench_ranking import Own, made_up, problem, timed

from harness.measures import NAMES, measure_features
from harness.ranking import rank_features


def main() -> None:
    """Parse and measure: rank and measures in turns, then each measure alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--gallery", type=int, default=16_000)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--noise", type=float, default=2.5, help="larger: harder, slower to decide")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of ranking and measures")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--alone", action="store_true", help="also each measure alone, once")
    at = parser.parse_args()
    torch.set_num_threads(at.threads)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("numpy", "numba"))
    print(f"{machine().rsplit(',', 1)[0]}, {libraries}; {at.threads} threads", flush=True)
    labels = problem(at.queries, at.gallery, max(2, at.gallery // 27))
    query = made_up(at.queries, at.width, labels["query_pids"], at.noise, 4)
    gallery = made_up(at.gallery, at.width, labels["gallery_pids"], at.noise, 5)
    with Own() as own:
        *_, found = timed(lambda: measure_features(query, gallery, **labels))
    print(f"memory above the features, compiled code included: {own.above:.0f} MB, wanted 300")
    rank_features(query, gallery, **labels)  # its compiled code is loaded
    took: dict[str, list[float]] = {"ranking": [], "measures": []}
    for _ in range(at.repeats):
        for name, work in (("ranking", rank_features), ("measures", measure_features)):
            clock, cpu, _ = timed(lambda work=work: work(query, gallery, **labels))
            took[name].append(cpu)
            print(f"  {name} {clock:.2f} s, {cpu:.2f} s of CPU", flush=True)
    least, most = (float(np.min(values)) for values in took.values())
    print(f"of CPU: ranking {least:.2f} s, measures {most:.2f} s: ratio {most / least:.3f}")
    for name in NAMES if at.alone else ():
        _, cpu, _ = timed(
            lambda name=name: measure_features(query, gallery, which=[name], **labels)
        )
        print(f"{name} alone: {cpu:.2f} s of CPU, ratio {cpu / least:.3f}")
    print(", ".join(f"{name} {value:.4f}" for name, value in found.metrics.items()))


if __name__ == "__main__":
    main()
