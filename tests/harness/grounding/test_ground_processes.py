"""`harness ground` in processes of its own: killed, two at a time, two on one shard."""

import multiprocessing
import os
import signal
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from harness import cli
from methods.grounding import experts
from methods.grounding.labels import PartLabels
from tests.harness.grounding.scripted import Script, Scripted, make_data, make_model

# a process that has imported torch already
FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def root(tmp_path_factory, standin_cache):
    return make_data(tmp_path_factory.mktemp("ground") / "data", 12)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "model")


def _command(printed, script, arguments):
    # also where the tests run in the background of a shell, which ignores it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with Path(printed).open("w", buffering=1) as file:
        sys.stdout = sys.stderr = file
        experts.open_expert = lambda *args, wording, **rest: Scripted(script, wording)
        sys.argv = ["harness", *map(str, arguments)]
        cli.main()


@pytest.fixture
def start(root, model, tmp_path):
    """Start the command in a process: `start("out", "--limit", "3", wait=0.1)`."""
    started = []

    def begin(out, *options, **script):
        arguments = [
            "ground", "--data", root, "--datasets", "Mine", "--expert", "grounding-dino",
            "--model", model, "--device", "cpu", "--batch-size", "2", "--out", tmp_path / out,
            *options,
        ]  # fmt: skip
        printed = tmp_path / f"printed-{len(started)}"
        written = Script(log=str(tmp_path / f"{out}.log"), **script)
        process = FORK.Process(target=_command, args=(printed, written, arguments))
        process.printed = printed
        process.start()
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.join()


def ended(process, status=0):
    process.join(60)
    printed = process.printed.read_text()
    assert process.exitcode == status, printed
    return printed


def until(there):
    deadline = time.monotonic() + 30
    while not there() and time.monotonic() < deadline:
        time.sleep(0.02)


def labels(out):
    (file,) = (out / "part_labels").glob("*.safetensors")
    read = PartLabels.read(file)
    return file.name, {one.name: getattr(read, one.name) for one in fields(read)}


def same(one, other):
    assert one[0] == other[0]
    for name, value in one[1].items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, other[1][name])
        else:
            assert value == other[1][name], name


def shown(tmp_path, out):
    return [int(number) for number in (tmp_path / f"{out}.log").read_text().split()]


def test_killed_it_goes_on_to_the_same_labels(start, tmp_path):
    whole = start("whole")
    ended(start("killed", dies_at=4), -signal.SIGKILL)
    printed = ended(start("killed"))
    assert "goes on; 6 of 12 are done" in printed
    ended(whole)
    same(labels(tmp_path / "killed"), labels(tmp_path / "whole"))
    # every image was shown once for each part
    assert sorted(shown(tmp_path, "killed")) == sorted([*range(12)] * 3)


def test_two_processes_share_the_images(start, tmp_path):
    whole = start("whole")
    both = [start("both", "--shard", f"{i}/2") for i in (1, 2)]
    printed = [ended(process) for process in both]
    ended(whole)
    same(labels(tmp_path / "both"), labels(tmp_path / "whole"))
    assert sorted(shown(tmp_path, "both")) == sorted([*range(12)] * 3)
    assert any("Mine-" in text and ".safetensors" in text for text in printed)


def test_a_second_process_on_the_same_shard_waits_and_asks_nothing_twice(start, tmp_path):
    first = start("out", wait=0.3)
    until((tmp_path / "out.log").exists)
    printed = ended(start("out"))
    assert f"Mine: process {first.pid} on" in printed
    assert "is asking about it; waiting for it to finish" in printed
    ended(first)
    assert sorted(shown(tmp_path, "out")) == sorted([*range(12)] * 3)


def test_stopped_it_says_that_what_was_answered_is_kept(start):
    process = start("out", wait=20)
    until(lambda: process.printed.exists() and "Loading" in process.printed.read_text())
    os.kill(process.pid, signal.SIGINT)
    assert "the same command goes on from there" in ended(process, 130)
