"""Ends what a driver has started when the driver is gone, however it went.

A driver that is killed can tidy nothing up; Ray's processes then take a minute to notice. This is a
small process beside it that keeps a list of what the driver starts from then on, waits for the
other end of its standard input to close, and then kills what is left of it.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil

LOOK = 0.5
"""Seconds between two looks at the driver's descendants."""
TIDY = 3.0
"""Seconds that processes have to end by themselves after a farewell."""
BYE = b"bye\n"


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """What is started in the block does not outlive this process by more than some seconds."""
    # in a session of its own, so that Ctrl-C is not for it
    dog = subprocess.Popen(
        [sys.executable, "-m", "harness.watchdog", str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            dog.communicate(BYE, timeout=2 * TIDY)


def main() -> None:
    """Follow the process whose number is given until its farewell or its death."""
    # compared by number and start, so that a number used again is nobody we know
    known: set[psutil.Process] = set()
    with contextlib.suppress(psutil.NoSuchProcess):
        driver = psutil.Process(int(sys.argv[1]))
        while not select.select([sys.stdin], [], [], LOOK)[0]:
            known |= _begun(driver)
    said = sys.stdin.buffer.read()
    deadline = time.monotonic() + (TIDY if said == BYE else 0)
    while (left := set(filter(alive, known))) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in left | _below(left):
        with contextlib.suppress(psutil.Error):
            process.kill()


def _begun(driver: psutil.Process) -> set[psutil.Process]:
    """What the driver has started after this process, and all below it."""
    with contextlib.suppress(psutil.Error):
        # looked up anew, so that a clock that was set changes both alike
        mine = psutil.Process().create_time()
        begun = {one for one in driver.children() if one.create_time() >= mine}
        return {one for one in begun if one.pid != os.getpid()} | _below(begun)
    return set()


def _below(processes: set[psutil.Process]) -> set[psutil.Process]:
    found: set[psutil.Process] = set()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            found |= set(process.children(recursive=True))
    return {one for one in found if one.pid != os.getpid()}


def alive(process: psutil.Process) -> bool:
    """Whether a process runs; one that only waits to be buried does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


if __name__ == "__main__":
    main()
