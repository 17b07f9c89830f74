"""How long it takes to read thousands of records. Run by hand:

    python tests/benchmarks/bench_collect.py [--runs 10000] [--epochs 20] [--queries 120]

Writes finished runs by hand, each with one target, and reads them: as rows, as a data frame, and as
the Parquet file of `harness export`. Printed are seconds of the processor and of the clock, with
the files in the system's cache. Nothing else should be running.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "results"))
from records import write_run

from harness.commands.export import ExportRequest, export_command
from harness.options import console, stderr
from results import collect


def write(out: Path, runs: int, epochs: int, queries: int) -> None:
    """Runs as different as their seeds."""
    losses = [{"id": 3.0 / epoch, "triplet": 1.0} for epoch in range(1, epochs + 1)]
    config = {"backbone": "ViT-B-16", "image_size": [256, 128], "lr": 1e-5, "epochs": epochs}
    draws = np.random.default_rng(0)
    for seed in range(runs):
        ap = draws.uniform(0.05, 1.0, queries)
        write_run(out, seed=seed, ap=ap, losses=losses, config=config, notes=["version V1"])


def timed(what: str, call: Callable[[], object]) -> None:
    """Print what a call took."""
    clock, processor = time.perf_counter(), time.process_time()
    call()
    print(
        f"{what}: {time.process_time() - processor:.2f} s of the processor, "
        f"{time.perf_counter() - clock:.2f} s"
    )


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--queries", type=int, default=120)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "runs"
        write(out, chosen.runs, chosen.epochs, chosen.queries)
        timed("rows", lambda: collect.rows(out))
        timed("load", lambda: collect.load(out))
        for queries in (False, True):
            file = Path(folder) / "all.parquet"
            request = ExportRequest(out, file, None, queries)
            timed("export", lambda request=request: export_command(request, console, stderr))


if __name__ == "__main__":
    main()
