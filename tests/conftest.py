"""What tests share: stand-in data rendered once, a private cache for it, the command as typed."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Generator, Iterator
from copy import deepcopy
from functools import cache, partialmethod
from pathlib import Path
from typing import Any

import pytest
import torch

# pytest finds no neighbours of a test file in this mode: records.py writes runs by hand,
# forked.py starts processes
sys.path += [str(Path(__file__).parent / name) for name in ("results", "processes")]

# no test may look for anything beyond this machine
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
# runs in this process, unless a test asks for Ray's
os.environ["HARNESS_WORKERS"] = "0"

# two threads on busy cores wait for each other at every operator
torch.set_num_threads(1)

TOGETHER = (("tests/faults", "tests/harness/test_command_line.py"), ("tests/harness/tracking",))
"""Tests that share processes which take seconds to begin: one worker has all of a group."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`--dist loadfile`, but a group of `TOGETHER` is as one file."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            group = next(filter(nodeid.startswith, TOGETHER), (super()._split_scope(nodeid),))
            return group[0]

    return ByFile(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is there before the first test stays, and is not looked through for garbage."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_sessionfinish() -> None:
    """Libraries count at the end what nobody has collected."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def standin_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder for stand-ins that lives as long as the session, for subprocesses too.

    Processes that share the tests share it: pictures are drawn once.
    """
    folder = tmp_path_factory.getbasetemp() / "harness-cache"
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = tmp_path_factory.getbasetemp().parent / "harness-cache"
    folder.mkdir(exist_ok=True)
    os.environ["HARNESS_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _pictures_are_packed_fast() -> Iterator[None]:
    """The same pixels in a larger file: packing it well takes longer than to draw it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with pytest.MonkeyPatch.context() as patch:
        real, fast = FigureCanvasAgg.print_png, {"compress_level": 1}
        patch.setattr(FigureCanvasAgg, "print_png", partialmethod(real, pil_kwargs=fast))
        yield


@pytest.fixture(scope="session", autouse=True)
def _disks_are_not_waited_for() -> Iterator[None]:
    """A power cut is not among the faults that are tried, and what it spares is seen at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _options_are_read_once() -> Iterator[None]:
    """The signatures of all commands, which a process of a user's reads once, too."""
    import typer.main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", cache(typer.main.get_command))
        yield


@pytest.fixture(scope="session", autouse=True)
def _weights_are_read_once() -> Iterator[None]:
    """Those of the tiny CLIP, which every test that trains begins with a copy of."""
    from methods.parts import tiny_clip

    real = tiny_clip.load
    kept = cache(real)

    def load(path: Path = tiny_clip.WEIGHTS) -> Any:
        return deepcopy(kept()) if path == tiny_clip.WEIGHTS else real(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_clip, "load", load)
        yield


@pytest.fixture(scope="session")
def standins(standin_cache: Path) -> Path:
    """The data root of stand-ins for MA, D, MS and C3."""
    from protocols import standin

    return standin.data_root(keys=("MA", "D", "MS", "C3"))


@pytest.fixture
def real(standins: Path, tmp_path: Path) -> Path:
    """The stand-ins' images with nothing that says that they are: labels are not known."""
    from protocols import standin

    root = tmp_path / "data set's"
    root.mkdir()
    for child in standins.iterdir():
        if child.name != standin.STANDIN_FILE:
            (root / child.name).symlink_to(child)
    return root


@pytest.fixture
def harness(
    standin_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs the command in this process; returns (exit status, all that was printed)."""
    from harness import cli

    # a wide terminal, so that a message is not broken where a test looks for it
    for console in (cli.console, cli.stderr):
        monkeypatch.setattr(console, "width", 400, raising=False)

    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        printed = capsys.readouterr()
        return int(stopped.value.code or 0), printed.out + printed.err

    return call
