"""One run in several real processes: the numbers of one process, and nothing left behind."""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

from harness import parallel
from harness.parallel import RankDied, ranks
from harness.train import make_accelerator
from protocols.errors import ReIDError

SCRIPT = Path(__file__).with_name("ranks_job.py")
RANK = [sys.executable, str(SCRIPT)]
STEPS = {"muva": 20, "short": 8, "vision": 20}
"""At least so many; those of `vision` in two trainings, the second of which goes on."""

_spec = importlib.util.spec_from_file_location("ranks_job", SCRIPT)
job = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(job)


@contextlib.contextmanager
def nothing_left():
    """No process, no process group, no change of the environment."""
    before, started = dict(os.environ), []
    start = subprocess.Popen.__init__

    def watched(process, *arguments, **more):
        started.append(process)
        start(process, *arguments, **more)

    subprocess.Popen.__init__ = watched
    try:
        yield started
    finally:
        subprocess.Popen.__init__ = start
    assert started
    assert all(process.returncode is not None for process in started)
    assert dict(os.environ) == before
    assert not dist.is_initialized()
    assert make_accelerator("fp32", "cpu").num_processes == 1


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two processes train together until the second is killed, in a training of its own.

    What the trainings before come to, epochs of the last, its folder, what is said, rank 1.
    """
    folder, together, entries = tmp_path_factory.mktemp("two"), {}, []
    with (
        nothing_left() as started,
        pytest.raises(RankDied) as died,
        ranks(2, RANK, str(folder), "cpu"),
    ):
        assert make_accelerator("fp32", "cpu").num_processes == 2
        together = job.everything(folder)
        job.dies(folder / "dies", lambda method, entry: entries.append(entry))
    assert together, died.value
    return SimpleNamespace(
        together=together, entries=entries, checkpoints=folder / "dies", died=died, started=started
    )


@pytest.fixture(scope="module")
def both(two, tmp_path_factory):
    """What one and what two processes come to."""
    return job.everything(tmp_path_factory.mktemp("one")), two.together


@pytest.mark.parametrize("name", ["vision", "muva", "short"])
def test_two_processes_come_to_the_numbers_of_one(both, name):
    """Losses of every step, weights, buffers and memories; batches of 3 images, and of 1."""
    alone, together = (side[name] for side in both)
    assert len(alone["losses"]) == len(together["losses"]) >= STEPS[name]
    assert alone["images"] == together["images"]
    for kind in ("losses", "means"):
        assert torch.allclose(alone[kind], together[kind], rtol=1e-9, atol=1e-9)
    for key, value in alone["state"].items():
        assert torch.allclose(value.double(), together["state"][key].double(), atol=1e-9), key
    for one, two in zip(alone["memories"], together["memories"], strict=True):
        assert torch.allclose(one, two, atol=1e-9)


def test_memory_that_is_short_in_one_process_is_short_in_all(both):
    alone, together = (side["short"] for side in both)
    assert not any(alone["micro"]) and not alone["said"]
    assert together["micro"] == [1, 1]
    assert len(together["said"]) == 1
    assert "goes on with 1 at a time" in together["said"][0]


def test_a_rank_that_is_killed_is_named_with_its_last_words(two):
    two.died.match(r"(?s)Process 1 of the 2 .*SIGKILL.*so far, so good")
    assert two.started[0].returncode == -signal.SIGKILL
    # the epoch before is kept, and told
    assert [entry["epoch"] for entry in two.entries] == [1]
    assert [folder.name for folder in two.checkpoints.iterdir()] == ["epoch-00001"]


def test_a_rank_that_does_not_even_begin_is_told():
    command = [sys.executable, "-c", "import sys; print('no such data'); sys.exit(3)"]
    with (
        nothing_left(),
        pytest.raises(RankDied, match=r"(?s)exit status 3\. .*no such data"),
        ranks(2, command, device="cpu"),
    ):
        raise AssertionError("nobody joined")


def test_an_interrupt_leaves_no_process():
    def stop(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    try:
        with nothing_left(), pytest.raises(KeyboardInterrupt), ranks(3, command, device="cpu"):
            raise AssertionError("nobody joined")
    finally:
        signal.signal(signal.SIGALRM, before)


RANK_0 = """
import sys
from harness.parallel import ranks
with ranks(2, [sys.executable, "-c", sys.argv[1], sys.argv[2]], device="cpu"):
    pass
"""
RANK_1 = """
import os, sys, time
from harness.parallel import die_with_parent
die_with_parent()
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(600)
"""


def test_a_killed_rank_0_takes_the_others_with_it(tmp_path):
    note = tmp_path / "pid"
    first = subprocess.Popen([sys.executable, "-c", RANK_0, RANK_1, str(note)])
    try:
        wait_for(lambda: note.exists() and note.read_text())
    finally:
        first.kill()
        first.wait()
    wait_for(lambda: not alive(int(note.read_text())))


def wait_for(done):
    """Until it is so; a minute is for ever here."""
    for _ in range(1200):
        if done():
            return
        time.sleep(0.05)
    raise AssertionError("it never came")


def alive(pid):
    """Whether a process runs; one that nobody has asked after is dead, too."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_one_process_is_nothing_special():
    before = dict(os.environ)
    with ranks(1, ["no-such-command"]):
        assert dict(os.environ) == before
        assert not dist.is_initialized()


def test_too_few_gpus_are_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ReIDError, match=r"4 processes .* 1 be seen"), ranks(4):
        pass


def test_accelerate_that_sees_other_processes_is_refused(monkeypatch):
    monkeypatch.setattr(parallel, "processes", lambda: 2)
    with pytest.raises(ReIDError, match="accelerate sees 1 processes where 2"):
        make_accelerator("fp32", "cpu")
