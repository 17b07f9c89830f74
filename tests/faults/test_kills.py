"""The driver killed, everything killed, Ctrl-C: the same command finishes with the same numbers."""

import contextlib
import json
import os
import re
import signal
from collections import Counter

import psutil
from matrix import KILL, MATRIX, ROWS, Started, epochs_begun, epochs_kept, interruptions, results


def test_stopped_three_ways_the_same_command_ends_with_the_same_numbers(
    harness, undisturbed, tmp_path
):
    """Ctrl-C, kill -9 of the command, kill -9 of everything; then the other engine finishes."""
    out = ("--out", tmp_path, "--tracking", "off")
    stopped: Counter[str] = Counter()
    for stop in (_ctrl_c, _kill_the_driver, _kill_everything):
        new = f"epoch-{epochs_kept(tmp_path) + 1:05d}"
        with Started(*MATRIX, *out, "--workers", 1) as run:
            run.until(tmp_path, f"*/checkpoint/{new}")
            stop(run)
            run.require_no_orphans()
        begun = {path.parent.name for path in tmp_path.glob("*/starts.log")}
        stopped.update(begun - {path.parent.name for path in tmp_path.glob("*/run.json")})
        assert list(tmp_path.glob("*/checkpoint/epoch-*"))
    status, printed = harness(*MATRIX, *out, "--workers", 0)
    assert status == 0, printed
    assert results(tmp_path) == results(undisturbed)
    assert max(stopped.values()) == 3
    assert interruptions(tmp_path) == {
        run_id: stopped[run_id] for run_id in interruptions(undisturbed)
    }
    for run_id in interruptions(undisturbed):
        epochs = epochs_begun(tmp_path / run_id)
        # the epoch that was interrupted is begun again, and no other
        assert sorted(set(epochs)) == sorted(epochs)


def _ctrl_c(run: Started) -> None:
    os.killpg(run.process.pid, signal.SIGINT)
    status, printed = run.end()
    assert status == 130
    assert "The same command goes on" in printed and "Traceback" not in printed


def _kill_the_driver(run: Started) -> None:
    os.kill(run.process.pid, KILL)
    assert run.end()[0] == -KILL


def _kill_everything(run: Started) -> None:
    for process in run.family():
        with contextlib.suppress(psutil.NoSuchProcess):  # it went with one before it
            process.kill()
    _kill_the_driver(run)


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
