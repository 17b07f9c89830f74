"""`harness` in a process of its own, at once: forked from one that has everything imported."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import harness


class Forked:
    """A command in a session of its own, and what `subprocess.Popen` has of it.

    What it prints, on standard error too, comes through one pipe.
    """

    def __init__(self, *arguments: object, env: Mapping[str, str] = os.environ) -> None:
        (out, its_out), (told, its_told) = os.pipe(), os.pipe()
        command = {
            "arguments": list(map(str, arguments)),
            "environment": dict(env),
            "folder": str(Path.cwd()),
        }
        socket.send_fds(_starter(), [json.dumps(command).encode()], [its_out, its_told])
        os.close(its_out)
        os.close(its_told)
        self.stdout, self._told = os.fdopen(out, "rb", 0), os.fdopen(told, "rb", 0)
        self.pid, self.returncode = int(self._told.readline()), None

    def poll(self, timeout: float = 0) -> int | None:
        """Its exit status; none while it runs."""
        if self.returncode is None and select.select([self._told], [], [], timeout)[0]:
            self.returncode = int(self._told.readline())
        return self.returncode

    def wait(self, timeout: float = 60) -> int:
        """Its exit status, once it has ended."""
        if self.poll(timeout) is None:
            raise subprocess.TimeoutExpired("harness", timeout)
        return self.returncode

    def communicate(self, timeout: float = 60) -> tuple[str, None]:
        """What it has printed, once it has ended and nobody it has started can print any more."""
        deadline, printed = time.monotonic() + timeout, b""
        while select.select([self.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
            if not (more := self.stdout.read(1 << 16)):
                self.wait(max(1, deadline - time.monotonic()))
                return printed.decode(), None
            printed += more
        raise subprocess.TimeoutExpired("harness", timeout, printed)

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


@cache
def _starter() -> socket.socket:
    """Where commands are asked for; who forks them ends with this process."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("starter.py")), str(its.fileno())],
        env={**os.environ, "PYTHONPATH": str(Path(harness.__file__).parents[1])},
        pass_fds=[its.fileno()],
    )
    its.close()
    return ours
