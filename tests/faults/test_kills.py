"""The driver killed, everything killed, Ctrl-C: the same command finishes with the same numbers."""

import json
import os
import re
import signal

import pytest
from matrix import KILL, MATRIX, ROWS, Started, epochs_begun, interruptions, results


@pytest.mark.parametrize("what", ["driver", "everything", "Ctrl-C"])
def test_the_same_command_ends_with_the_same_numbers(harness, undisturbed, tmp_path, what):
    out = ("--out", tmp_path, "--tracking", "off")
    with Started(*MATRIX, *out, "--workers", 2) as run:
        run.until(tmp_path, "*/checkpoint/epoch-00002")
        if what == "driver":
            os.kill(run.process.pid, KILL)
        elif what == "everything":
            for process in run.family():
                process.kill()
            os.kill(run.process.pid, KILL)
        else:
            os.killpg(run.process.pid, signal.SIGINT)
        status, printed = run.end()
        run.require_no_orphans()
    if what == "Ctrl-C":
        assert status == 130
        assert "The same command goes on" in printed and "Traceback" not in printed
    begun = {path.parent.name for path in tmp_path.glob("*/starts.log")}
    done = {path.parent.name for path in tmp_path.glob("*/run.json")}
    saved = {path.parents[1].name: len(list(path.parent.iterdir()))
             for path in tmp_path.glob("*/checkpoint/epoch-*")}  # fmt: skip
    assert begun - done and saved
    # the other engine goes on where Ray's workers were
    status, printed = harness(*MATRIX, *out, "--workers", 0)
    assert status == 0, printed
    assert results(tmp_path) == results(undisturbed)
    assert interruptions(tmp_path) == {
        run_id: int(run_id in begun - done) for run_id in interruptions(undisturbed)
    }
    for run_id in interruptions(undisturbed):
        epochs = epochs_begun(tmp_path / run_id)
        # only the epoch that was interrupted is there twice, and its first time did not end
        assert sorted(set(epochs)) == sorted(epochs)


def test_two_launchers_share_the_work(undisturbed, tmp_path):
    out = ("--out", tmp_path, "--tracking", "off", "--workers", 0)
    with Started(*MATRIX, *out) as one, Started(*MATRIX, *out) as other:
        ended = [one.end(), other.end()]
    assert [status for status, _ in ended] == [0, 0], ended
    assert results(tmp_path) == results(undisturbed)
    assert set(interruptions(tmp_path).values()) == {0}
    trained = [int(re.search(r"(\d+) trainings? and ", printed)[1]) for _, printed in ended]
    assert sum(trained) == len(interruptions(undisturbed))
    tested = sum(len(json.loads(p.read_text())["metrics"]) > 0 for p in tmp_path.glob("*/*/*.json"))
    assert tested == ROWS
