"""One process at a time has a lease; one that dies or shows no life loses it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace

import pytest

from harness import lease
from harness.lease import Held, Holder, LeaseLost, hold
from harness.record import RunFolder
from protocols.errors import ReIDError

HOLD = """
import sys, time
from pathlib import Path
from harness.lease import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""

COUNT = """
import sys
from pathlib import Path
from harness.lease import hold
out = Path(sys.argv[1])
for _ in range(10):
    with hold(out / "lease"):
        # lost if two processes are here at once
        value = int((out / "count").read_text())
        (out / "count").write_text(str(value + 1))
"""


@pytest.fixture
def holder(tmp_path):
    """A process that has the lease of tmp_path."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_it_is_free_again_after_the_block_and_after_an_error(tmp_path):
    with hold(tmp_path, wait=False) as mine:
        mine.check()
    with pytest.raises(ZeroDivisionError), hold(tmp_path, wait=False):
        raise ZeroDivisionError
    with hold(tmp_path, wait=False):
        pass


def test_who_has_it_is_said(holder, tmp_path):
    with pytest.raises(Held, match=f"process {holder.pid} on"), hold(tmp_path, wait=False):
        pass


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_that_of_a_dead_process_is_free_at_once(holder, tmp_path, end):
    holder.send_signal(end)
    holder.wait()
    with hold(tmp_path, wait=False):
        pass


def test_that_of_a_killed_child_nobody_has_waited_for_is_free_too(holder, tmp_path):
    holder.kill()  # a zombie from here on
    time.sleep(0.2)
    with hold(tmp_path, wait=False):
        pass


def test_one_waits_until_the_holder_ends(holder, tmp_path):
    told = []
    threading.Timer(0.5, holder.kill).start()
    with hold(tmp_path, told.append):
        pass
    assert told == [f"process {holder.pid} on {os.uname().nodename}"]


def test_a_number_that_another_process_bears_now_does_not_hold_it(tmp_path):
    mine = _identity(tmp_path)
    (tmp_path / "000009").write_text(lease.HELD + json.dumps(asdict(replace(mine, started="1"))))
    with hold(tmp_path, wait=False):
        pass


def _identity(folder):
    with hold(folder) as mine:
        return Holder(**json.loads(mine.path.read_text()[len(lease.HELD) :]))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The lease of a process on another machine; returns its file."""
    monkeypatch.setattr(lease, "PATIENCE", 1.0)
    far = replace(_identity(tmp_path), host="far", machine="another boot")
    path = tmp_path / "000009"
    path.write_text(lease.HELD + json.dumps(asdict(far)))
    return path


def test_a_holder_elsewhere_counts_as_gone_when_it_shows_no_life(elsewhere, tmp_path):
    started = time.monotonic()
    with hold(tmp_path):
        pass
    assert 1 <= time.monotonic() - started < 10


def test_a_holder_elsewhere_that_shows_life_keeps_it_though_its_clock_jumps(elsewhere, tmp_path):
    end = threading.Event()

    def beat():
        moments = iter([1, 10**18, 2, 10**17, 3, 10**18])
        while not end.wait(0.4):
            moment = next(moments, None)
            if moment is not None:
                os.utime(elsewhere, ns=(moment, moment))

    beats = threading.Thread(target=beat)
    beats.start()
    started = time.monotonic()
    with hold(tmp_path):
        pass
    end.set()
    beats.join()
    assert time.monotonic() - started > 6 * 0.4


def test_a_process_shows_that_it_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "BEAT", 0.05)
    with hold(tmp_path) as mine:
        before = mine.path.stat().st_mtime_ns
        deadline = time.monotonic() + 10
        while mine.path.stat().st_mtime_ns == before:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_one_that_was_taken_over_may_not_commit(tmp_path):
    with hold(tmp_path) as mine:
        mine.check()
        taken = f"{int(mine.path.name) + 1:06d}"
        (tmp_path / taken).write_text(lease.HELD)
        with pytest.raises(LeaseLost, match="taken over"):
            mine.check()
    assert (tmp_path / taken).read_text() == lease.HELD


def test_a_damaged_file_of_a_holder_does_not_block_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "PATIENCE", 0.5)
    (tmp_path / "000001").write_bytes(b"\xff\xfe")
    with hold(tmp_path):
        pass


def test_many_processes_have_it_one_at_a_time(tmp_path):
    (tmp_path / "count").write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", COUNT, str(tmp_path)]) for _ in range(6)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 6
    assert (tmp_path / "count").read_text() == "60"
    assert len(list((tmp_path / "lease").iterdir())) == 60


def test_a_folder_that_can_not_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ReIDError, match="lease can't be written"),
        hold(tmp_path / "file" / "lease"),
    ):
        pass


def test_a_holder_that_tidies_up_leaves_those_who_wait_alone(tmp_path):
    """Each has a file of its own in the folder of the lease, to make it theirs with."""
    run, told = RunFolder(tmp_path, "run"), threading.Event()
    failed = []

    def wait():
        try:
            with hold(run.lease, lambda holder: told.set()):
                pass
        except OSError as error:
            failed.append(error)

    with hold(run.lease):
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert told.wait(10)
        run.sweep()
    waiting.join(10)
    assert not waiting.is_alive() and not failed
