"""What is around a run fails: the disk is full, the tracking server is away, the clock jumps."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from matrix import MATRIX, METHOD, ROWS, RUNS, Started, popen, results

JUMPING = """
import itertools, time
_now, _jumps = time.time, itertools.cycle([0.0, 86400.0, -86400.0, 3.0e8])
time.time = lambda: _now() + next(_jumps)
time.time_ns = lambda: int(1e9 * time.time())
"""


def test_the_clock_jumps_ray_dies_and_the_tracking_server_is_away(harness, undisturbed, tmp_path):
    out, shims = tmp_path / "runs", tmp_path / "shims"
    shims.mkdir()
    (shims / "sitecustomize.py").write_text(JUMPING)
    path = os.pathsep.join([str(shims), os.environ["PYTHONPATH"]])
    arguments = ("--out", out, "--workers", 1, "--tracking", "http://127.0.0.1:9")
    with Started(*MATRIX, *arguments, how=popen, PYTHONPATH=path) as run:
        run.until(out, "*/checkpoint/epoch-00001")
        (raylet,) = (process for process in run.family() if process.name() == "raylet")
        raylet.kill()
        status, printed = run.end()
        run.require_no_orphans()
    assert status == 0, printed
    assert results(out) == results(undisturbed)
    assert printed.replace("\n", " ").count("is not reachable") == 1
    assert "harness sync" in printed
    # the server is back: here as a database
    status, printed = harness("sync", "--out", out)
    assert (status, printed.split()[0]) == (0, str(RUNS + ROWS)), printed
    status, printed = harness("sync", "--out", out)
    assert (status, printed.split()[0]) == (0, "0"), printed
    assert _runs_in_mlflow(out) == ["FINISHED"] * (RUNS + ROWS + 1)  # and their plan


def _runs_in_mlflow(out: Path) -> list[str]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{out}/mlflow.db")
    found = client.search_runs([e.experiment_id for e in client.search_experiments()])
    return [run.info.status for run in found]


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of its own; call it with a size to give it that."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def resize(size: str, *options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "tmpfs"]
        done = subprocess.run([*command, str(folder)], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("mounting a small file system is not allowed here")
        return folder

    yield resize
    subprocess.run(["umount", str(folder)], capture_output=True, check=False)


def test_the_disk_is_full_and_then_it_is_not(harness, undisturbed, small_disk):
    out = small_disk("5m")
    arguments = (*MATRIX, "--out", out, "--tracking", "off")
    status, printed = harness(*arguments)
    assert status == 1
    assert "The disk is full" in printed and "Traceback" not in printed
    small_disk("400m", "remount")
    status, printed = harness(*arguments)
    assert status == 0, printed
    assert results(out) == results(undisturbed)
    assert not list(out.glob("*/failed.json"))


def test_memory_is_short_for_one_run_and_gone_for_another(standins, tmp_path):
    methods = f"{METHOD},faulty:Hungry,faulty:Starving"
    arguments = ("--protocol", "MA->D", "--set", "epochs=1", "--tracking", "off", "--workers", 0)
    with Started("run", "--method", methods, *arguments, "--out", tmp_path) as run:
        status, printed = run.end()
    assert status == 1
    assert "1 failed" in printed and "faulty:Starving on MA, seed 0: Out of memory" in printed
    records = [json.loads(path.read_text()) for path in tmp_path.glob("*/run.json")]
    entries = {record["spec"]["method"]: record["history"] for record in records}
    (plain,), (parts,) = entries[METHOD], entries["faulty:Hungry"]
    assert ("micro_batch" in plain, parts["micro_batch"]) == (False, 4)
    assert parts["images"] == plain["images"]
    assert parts["losses"] == pytest.approx(plain["losses"], rel=1e-4)
