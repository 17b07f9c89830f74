"""What the engine costs beside the runs: fan-out over workers, planning, skipping. Run by hand:

    python tests/benchmarks/bench_engine.py fan-out [--runs 32]
    python tests/benchmarks/bench_engine.py plan [--runs 10000] [--left 10]

`fan-out` computes the same stand-in runs in one process, with one worker of Ray's and with two, and
states each beside the first, start-up apart. `plan` plans runs of which all but `--left` are done.
Nothing else should be running.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FOLDS = "MA->D,D->MA,C3->D,MS->D"


def harness(out: Path, *arguments: object) -> float:
    """Seconds of a `harness run`."""
    command = ["run", "--method", "vision-only", "--tracking", "off", "--out", out, *arguments]
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "harness.cli", *map(str, command)],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return time.perf_counter() - started


def fan_out(runs: int, folder: Path) -> None:
    """The same runs in one process, with one worker, with two."""
    seeds = ",".join(str(seed) for seed in range(-(-runs // 4)))
    what = ("--protocol", FOLDS, "--seeds", seeds, "--set", "epochs=3")
    # a session of two workers that has next to nothing to do
    idle = ("--protocol", FOLDS, "--set", "epochs=1")
    starting = harness(folder / "idle", *idle, "--workers", 2) - harness(
        folder / "idle-alone", *idle, "--workers", 0
    )
    alone = harness(folder / "0", *what, "--workers", 0)
    print(f"{runs} runs in one process: {alone:.1f} s")
    took = {n: harness(folder / str(n), *what, "--workers", n) for n in (1, 2)}
    print(f"one worker: {took[1]:.1f} s, {took[1] - alone:+.1f} s, {took[1] / alone:.3f} times")
    print(f"two workers: {took[2]:.1f} s, {took[1] / took[2]:.2f} times one's throughput")
    print(f"four short runs: {starting:+.1f} s with two workers beside one process")


def plan(runs: int, left: int, out: Path) -> None:
    """Seconds until it is known what is left of a plan."""
    from harness.catalog import DataCatalog
    from harness.pending import is_finished
    from harness.plan import choose
    from harness.plan import plan as make_plan
    from harness.record import RunFolder
    from protocols import standin
    from protocols.registry import select

    harness(out, "--protocol", "MA->D", "--workers", 0)

    def planned() -> tuple[list, DataCatalog]:
        catalog = DataCatalog(standin.data_root(), out / ".verified")
        chosen = choose(["vision-only"], "tiny")
        return make_plan(chosen, select("MA->D"), range(runs), catalog, None, out), catalog

    first, *others = planned()[0]
    done = RunFolder(out, first.spec.id)
    run, target = (json.loads(path.read_text()) for path in (done.run, done.target("D")))
    for one in others[: runs - 1 - left]:
        folder = RunFolder(out, one.spec.id)
        folder.targets.mkdir(parents=True)
        spec = one.spec.model_dump(mode="json")
        folder.run.write_text(json.dumps({**run, "run_id": one.spec.id, "spec": spec}))
        folder.target("D").write_text(json.dumps({**target, "run_id": one.spec.id}))
        folder.queries("D").write_bytes(done.queries("D").read_bytes())
    for attempt in ("first", "second"):
        started = time.perf_counter()
        found, catalog = planned()
        middle = time.perf_counter()
        pending = sum(not is_finished(one, catalog, out) for one in found)
        ended = time.perf_counter()
        print(
            f"{attempt} time: {ended - started:.2f} s for {runs} runs, {pending} of them left: "
            f"{middle - started:.2f} s to plan, {1000 * (ended - middle) / runs:.2f} s to skip 1000"
        )


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("fan-out", "plan"))
    parser.add_argument("--runs", type=int)
    parser.add_argument("--left", type=int, default=10)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if chosen.what == "plan":
            plan(chosen.runs or 10_000, chosen.left, Path(folder))
        else:
            fan_out(chosen.runs or 32, Path(folder))


if __name__ == "__main__":
    main()
