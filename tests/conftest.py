"""What tests share: stand-in data rendered once, a private cache for it, the command as typed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import partialmethod
from pathlib import Path

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
