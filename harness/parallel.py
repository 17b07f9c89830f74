"""Several processes of this machine that train one run together.

Rank 0 is the process that calls `train`: it holds the lease, writes what is kept and tells how far
things are. The others are started here, live as long as this block and no longer than rank 0, and
leave nothing. `harness.exchange` is what they tell each other.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import IO

import torch
import torch.distributed as dist
from accelerate import Accelerator

from harness.exchange import Exchange, Severed
from protocols.errors import ReIDError

HOST = "127.0.0.1"
TIMEOUT = timedelta(minutes=30)
"""Of a process that lives and does not answer; one that dies is seen at once."""
PATIENCE = 10.0
"""Seconds for a process to go by itself."""
COMMAND = (sys.executable, "-m", "harness.rank")
PARENT = "HARNESS_RANK_0"
LINES = 15


class RankDied(ReIDError):
    """One of the processes that train a run together died."""


@contextlib.contextmanager
def ranks(
    count: int, command: Sequence[str] = COMMAND, payload: str = "", device: str = "auto"
) -> Iterator[None]:
    """Make this process rank 0 of `count`; the others run `command` with `payload` on their stdin.

    Inside, an Accelerator sees `count` processes; outside, nothing is left of them. With `count` 1
    nothing happens. `device` is that of `--device`: GPUs if there are any, one a process, or CPUs.
    Raises RankDied when one dies, ReIDError where there are too few GPUs.
    """
    if count == 1:
        yield
        return
    backend = _backend(count, device)
    store = dist.TCPStore(HOST, 0, is_master=True, wait_for_workers=False, timeout=TIMEOUT)
    shared = {
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": HOST,
        "MASTER_PORT": str(store.port),
        "ACCELERATE_USE_CPU": "false" if backend == "nccl" else "true",
        PARENT: str(os.getpid()),
    }
    if sys.platform == "linux":
        shared["GLOO_SOCKET_IFNAME"] = "lo"
    with _environment({**shared, "RANK": "0", "LOCAL_RANK": "0"}), _Others(count) as others:
        others.start(command, payload)
        others.wait_for(store)
        try:
            with _member(backend, store, 0, count), others.watched(abort=backend == "nccl"):
                yield
        except Severed as error:
            raise others.died(str(error)) from error
        others.finish()


@contextlib.contextmanager
def join() -> Iterator[None]:
    """Be the further rank that the environment says; the other end of `ranks`.

    An error ends the process at once, with its traceback on stderr: rank 0 waits for it.
    """
    die_with_parent()
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    backend = "gloo" if os.environ["ACCELERATE_USE_CPU"] == "true" else "nccl"
    try:
        store = dist.TCPStore(address, port, is_master=False, timeout=TIMEOUT)
        store.set(_joined(rank), "")
        with _member(backend, store, rank, count):
            yield
    except BaseException as error:
        if isinstance(error, ReIDError):
            print(error, file=sys.stderr)
        else:
            traceback.print_exc()
        sys.stderr.flush()
        # libraries' threads may wait for the other processes for ever
        os._exit(1)


def die_with_parent() -> None:
    """End this process when the thread that started it ends, however that comes about.

    For the first line of a rank: nothing may be left of a run whose rank 0 was killed.
    """
    parent = int(os.environ[PARENT])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    else:
        threading.Thread(target=_look_for, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def exchange(accelerator: Accelerator) -> Exchange:
    """What this process tells the others that train along, if there are any."""
    return Exchange(
        accelerator.process_index, accelerator.num_processes, accelerator.device, _check
    )


def processes() -> int:
    """How many train together here and now."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


_others: list[_Others] = []
"""The further ranks of this process's run, if it is rank 0 of several."""


def _check() -> None:
    for others in _others:
        if others.dead:
            raise others.died("")


class _Others:
    """The further ranks, seen from rank 0; none is left when the block ends."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.running: list[subprocess.Popen[bytes]] = []
        self.said: list[IO[bytes]] = []
        self.dead = False

    def __enter__(self) -> _Others:
        _others.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        _others.remove(self)
        for process in self.running:
            process.kill()
        for process in self.running:
            process.wait()
        for file in self.said:
            file.close()

    def start(self, command: Sequence[str], payload: str) -> None:
        """Start ranks 1 to count - 1, in groups of their own: Ctrl-C is rank 0's to deal with."""
        for rank in range(1, self.count):
            self.said.append(tempfile.TemporaryFile())  # noqa: SIM115
            with tempfile.TemporaryFile() as given:
                given.write(payload.encode())
                given.seek(0)
                self.running.append(
                    subprocess.Popen(
                        command,
                        stdin=given,
                        stdout=self.said[-1],
                        stderr=subprocess.STDOUT,
                        env={**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                        process_group=0,
                    )
                )

    def wait_for(self, store: dist.TCPStore) -> None:
        """Until all have joined. Raises RankDied when one dies before."""
        wanted = [_joined(rank) for rank in range(1, self.count)]
        deadline = time.monotonic() + TIMEOUT.total_seconds()
        while not store.check(wanted):
            if self._gone() or time.monotonic() > deadline:
                raise self.died("It did not begin to train.")
            time.sleep(0.05)

    @contextlib.contextmanager
    def watched(self, abort: bool) -> Iterator[None]:
        """See within half a second that one has died; `abort` what waits for it on a GPU."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.5):
                if (gone := self._gone()) and gone[1]:
                    self.dead = True
                    if abort:
                        with contextlib.suppress(Exception):
                            dist.distributed_c10d._abort_process_group()
                    return

        thread = threading.Thread(target=watch, name="ranks", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def finish(self) -> None:
        """Let all that have done their part go by themselves."""
        deadline = time.monotonic() + PATIENCE
        for process in self.running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))

    def died(self, otherwise: str) -> RankDied:
        """What to raise: which rank died, how, and its last lines; or `otherwise`."""
        deadline = time.monotonic() + PATIENCE
        while not (gone := self._gone()) and time.monotonic() < deadline:
            time.sleep(0.05)
        if not gone:
            return RankDied(otherwise)
        rank, status = gone
        how = (
            f"signal {-status} ({signal.Signals(-status).name})"
            if status < 0
            else f"exit status {status}"
        )
        file = self.said[rank - 1]
        file.seek(0)
        lines = file.read().decode(errors="replace").rstrip().splitlines()[-LINES:]
        told = "\n".join(["Its last lines:", *lines]) if lines else "It said nothing."
        return RankDied(
            f"Process {rank} of the {self.count} that train this run together died: {how}. {told}"
        )

    def _gone(self) -> tuple[int, int] | None:
        """Rank and exit status of one that has ended, rather of one that failed."""
        ended = [(i + 1, p.poll()) for i, p in enumerate(self.running)]
        found = [(rank, status) for rank, status in ended if status is not None]
        return max(found, key=lambda each: each[1] != 0, default=None)


@contextlib.contextmanager
def _member(backend: str, store: dist.TCPStore, rank: int, count: int) -> Iterator[None]:
    """Be a rank of the group that torch and accelerate know."""
    if backend == "nccl":
        torch.cuda.set_device(rank)
    met = dist.PrefixStore("run", store)
    dist.init_process_group(backend, store=met, rank=rank, world_size=count, timeout=TIMEOUT)
    try:
        yield
    finally:
        # a group that was given up is no group any more
        with contextlib.suppress(RuntimeError, AssertionError, ValueError):
            dist.destroy_process_group()


def _backend(count: int, device: str) -> str:
    """nccl for GPUs, gloo for CPUs."""
    if device == "cpu" or not torch.cuda.is_available():
        return "gloo"
    if torch.cuda.device_count() < count:
        raise ReIDError(
            f"{count} processes that train one run together need a GPU each, and this machine lets "
            f"{torch.cuda.device_count()} be seen. Ask for fewer GPUs a run, or --device cpu."
        )
    return "nccl"


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """`os.environ` with some values; afterwards they are what they were."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _joined(rank: int) -> str:
    return f"joined/{rank}"


def _look_for(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
