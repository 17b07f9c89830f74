"""Two Ray nodes with a folder in common: one is killed in the middle, the plan is finished."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from matrix import MATRIX, Started, interruptions, results

from harness.watchdog import alive

RAY = Path(sys.executable).with_name("ray")
SECRET = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
ENVIRONMENT = SECRET | {"RAY_USAGE_STATS_ENABLED": "0"}


class Node:
    """A Ray node of one core: a process of `ray start` and all it has started."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [str(RAY), "start", "--block", "--node-ip-address=127.0.0.1", "--num-cpus=1",
             "--object-store-memory=80000000", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, **ENVIRONMENT},
        )  # fmt: skip
        # from here on it stays in the foreground and says nothing more that matters
        for line in self.process.stdout:
            if "Ray runtime started" in line:
                break
        else:
            pytest.fail("ray start did not start a node")

    def family(self) -> list[psutil.Process]:
        """It and all below it."""
        try:
            me = psutil.Process(self.process.pid)
            return [me, *me.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> None:
        """All at once, as if its plug were pulled."""
        for process in self.family():
            if alive(process):
                process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_one_of_two_nodes_is_killed(undisturbed, tmp_path, port):
    address = f"127.0.0.1:{port}"
    head = Node("--head", f"--port={port}", "--include-dashboard=false")
    nodes = [head]
    try:
        node = Node(f"--address={address}")
        nodes.append(node)
        out = ("--out", tmp_path, "--tracking", "off")
        with Started(*MATRIX, *out, "--address", address, **ENVIRONMENT) as run:
            # a run of the second node with an epoch behind it
            members: set[int] = set()
            while not members:
                run.until(tmp_path, "*/checkpoint/epoch-00001")
                time.sleep(0.02)
                there = {process.pid for process in node.family()}
                for path in tmp_path.glob("*/live.json"):
                    if any(path.parent.glob("checkpoint/epoch-*")):
                        members |= there & {json.loads(path.read_text())["writer"]["pid"]}
            node.kill()
            status, printed = run.end()
            run.require_no_orphans()
        assert status == 0, printed
        assert results(tmp_path) == results(undisturbed)
        assert sum(interruptions(tmp_path).values()) == 1
        assert alive(psutil.Process(head.process.pid)), "a cluster is not ours to end"
    finally:
        for one in nodes:
            one.kill()
