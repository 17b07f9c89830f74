"""A clock for steps and a gauge of peak memory, on a CPU or a GPU."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import time
from collections.abc import Callable
from pathlib import Path

import torch

WARM_UP = 2
"""Steps before the first that is timed: memory is claimed, kernels are chosen."""


class Meter:
    """A clock and a gauge of memory for a device; made before what it measures."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device if device.type == "cuda" else None
        self.before = 0
        self.measured = self.reset()
        if self.cuda is None and self.measured:
            self.before = _resident("VmRSS")

    def reset(self) -> bool:
        """Forget the peak so far; False where a peak can't be measured."""
        gc.collect()
        _trim()
        if self.cuda is not None:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.cuda)
            return True
        try:
            # 5: the peak of resident memory is what is resident now (proc(5))
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
            return _resident("VmHWM") > 0
        except OSError:
            return False

    def run(self, step: Callable[[], None], repeats: int) -> tuple[tuple[float, ...], int | None]:
        """Milliseconds of each of `repeats` steps after `WARM_UP` others, and the peak in bytes.

        The peak is since `reset` and up to the end of the warm-up, in which an optimiser has
        claimed its state; beyond what there was when this was made.
        """
        for _ in range(WARM_UP):
            # what the allocator keeps of an earlier step is not needed by the next
            _trim()
            step()
            self._finish()
        peak = self._peak()
        times = []
        for _ in range(repeats):
            started = time.perf_counter()
            step()
            self._finish()
            times.append(1000 * (time.perf_counter() - started))
        return tuple(times), peak

    def _peak(self) -> int | None:
        if self.cuda is not None:
            return torch.cuda.max_memory_allocated(self.cuda)
        return max(_resident("VmHWM") - self.before, 0) if self.measured else None

    def _finish(self) -> None:
        if self.cuda is not None:
            torch.cuda.synchronize(self.cuda)


def _resident(key: str) -> int:
    """VmRSS or VmHWM of this process in bytes; 0 where the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    return 0


def _trim() -> None:
    """Give freed memory back to the system."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
