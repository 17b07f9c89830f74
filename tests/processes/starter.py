"""A process that has imported what `harness run` does, and forks each time one is asked for.

Imports take such a process longer than all else that it does in most tests. Each message on the
socket, whose number is the argument, is a command in JSON, {arguments, environment, folder}, with
two open files: one for all that it prints, and one that is told its process number and in the
end its exit status, as `os.waitstatus_to_exitcode` has it, a line each.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import accelerate  # noqa: F401
import open_clip  # noqa: F401
import torch._dynamo  # noqa: F401 - every optimiser brings it

import harness.run  # noqa: F401
import methods.vision_only  # noqa: F401


def main() -> None:
    """Fork until nobody asks any more."""
    asked = socket.socket(fileno=int(sys.argv[1]))
    # those who watch a command are waited for by nobody
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, files, _, _ = socket.recv_fds(asked, 1 << 18, 2)
        if not message:
            return
        if not os.fork():
            break
        for file in files:
            os.close(file)
    asked.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    watch(*files)
    become(json.loads(message), *files)


def watch(out: int, told: int) -> None:
    """Fork once more: return in the process below; tell of it from here, and end with it."""
    pid = os.fork()
    if not pid:
        return
    os.close(out)
    os.write(told, b"%d\n" % pid)
    _, status = os.waitpid(pid, 0)
    os.write(told, b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def become(command: dict[str, Any], out: int, told: int) -> None:
    """Do what `python -m harness.cli` does, in a session of its own."""
    os.setsid()
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.close(out)
    os.close(told)
    os.chdir(command["folder"])
    os.environ.clear()
    os.environ.update(command["environment"])
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [path for path in paths if path and path not in sys.path]
    sys.argv = [str(Path("harness", "cli.py").absolute()), *command["arguments"]]
    signal.signal(signal.SIGINT, signal.default_int_handler)

    from harness.cli import main

    main()


if __name__ == "__main__":
    main()
