"""Ray's workers: the same numbers, killed ones taken over, failing runs named, nothing left."""

import os

from matrix import KILL, MATRIX, METHOD, Started, interruptions, results, worker_of

from harness.record import RunFolder


def test_one_worker_is_killed_one_run_always_fails_and_one_kills_its_process(
    harness, undisturbed, tmp_path
):
    """The first worker dies in its second epoch; the others finish beside two hopeless runs.

    One method among them is CLIP's, with the numbers that it has in this process.
    """
    methods, clip = f"{METHOD},faulty:Bad,clip-zero-shot", tmp_path / "clip"
    tmp_path, off = tmp_path / "runs", ("--tracking", "off")
    with Started(*MATRIX, "--method", methods, "--workers", 2, "--out", tmp_path, *off) as run:
        first = run.until(tmp_path, "*/checkpoint/epoch-00001").parents[1]
        os.kill(worker_of(first), KILL)
        status, printed = run.end()
        run.require_no_orphans()
    assert status == 1, printed
    good = {k: v for k, v in results(tmp_path).items() if k.split("/")[0] in results(undisturbed)}
    assert good == results(undisturbed)
    status, _ = harness(*MATRIX, "--method", "clip-zero-shot", "--out", clip, *off)
    assert status == 0 and results(clip).items() <= results(tmp_path).items()
    assert {run_id: interruptions(tmp_path)[run_id] for run_id in interruptions(undisturbed)} == {
        run_id: int(run_id == first.name) for run_id in interruptions(undisturbed)
    }
    assert "2 failed" in printed
    assert "faulty:Bad on C3, seed 0: RuntimeError: no stage of this method can be made" in printed
    assert "faulty:Bad on MA, seed 0: its process died" in printed
    failed = [RunFolder(tmp_path, path.parent.name) for path in tmp_path.glob("*/failed.json")]
    assert len(failed) == 2
    assert all(str(folder.log) in printed.replace("\n", "") for folder in failed)
    assert sum("Traceback" in folder.log.read_text() for folder in failed) == 1
    assert f"harness run --method {METHOD}" in printed
