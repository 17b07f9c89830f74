"""Where and with what a run was computed; written into its record, never into its identity."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("dg-reid-harness", "torch", "torchvision", "open_clip_torch", "accelerate", "numpy",
            "pillow", "simplejpeg")  # fmt: skip


def environment() -> dict[str, Any]:
    """Versions, git commit, processor, threads and devices of this process."""
    import torch

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "git_commit": git_commit(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


@contextlib.contextmanager
def threads(count: int | None = None) -> Iterator[None]:
    """`count` threads for torch's operators (None: as many as there are), denormals flushed."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    # sigmoid and Adam slow down tenfold on denormal numbers, which no result depends on
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)


@cache
def git_commit() -> str | None:
    """Commit of this project's checkout, with `-dirty` if files differ; None outside one."""
    here = Path(__file__).resolve().parent
    if not (here.parent / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
