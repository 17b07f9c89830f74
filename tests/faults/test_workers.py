"""Ray's workers: the same numbers, killed ones taken over, failing runs named, nothing left."""

import os

from matrix import KILL, MATRIX, RUNS, Started, interruptions, results, worker_of

from harness.record import RunFolder


def test_two_workers_one_killed_and_one_run_that_always_fails(undisturbed, tmp_path):
    """The matrix and a method that can't train; the first worker dies in its second epoch."""
    methods = ("--method", "vision-only,faulty:Fails")
    with Started(*MATRIX, *methods, "--workers", 2, "--out", tmp_path, "--tracking", "off") as run:
        first = run.until(tmp_path, "*/checkpoint/epoch-00001").parents[1]
        os.kill(worker_of(first), KILL)
        status, printed = run.end()
        run.require_no_orphans()
    assert status == 1, printed
    assert results(tmp_path) == results(undisturbed)
    assert interruptions(tmp_path) == {
        run_id: int(run_id == first.name) for run_id in interruptions(undisturbed)
    }
    failed = sorted(tmp_path.glob("*/failed.json"))
    assert len(failed) == RUNS
    assert f"{RUNS} failed" in printed
    for path in failed:
        assert "no stage of this method can be made" in printed
        log = RunFolder(tmp_path, path.parent.name).log
        assert str(log) in printed.replace("\n", "")
        assert "Traceback" in log.read_text()
    assert "harness run --method vision-only" in printed


def test_a_run_whose_process_dies_each_time_is_named_and_the_others_finish(undisturbed, tmp_path):
    arguments = ("run", "--protocol", "MA->D", "--set", "epochs=1", "--workers", 1)
    out = ("--out", tmp_path, "--tracking", "off")
    with Started(*arguments, "--method", "faulty:Dies,vision-only", *out) as run:
        status, printed = run.end()
        run.require_no_orphans()
    assert status == 1
    assert "its process died" in printed and "faulty:Dies on MA" in printed
    assert len(list(tmp_path.glob("*/targets/D.json"))) == 1
