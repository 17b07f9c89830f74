"""What a machine does while a run is computed: processor, memory and GPUs, sampled into a file.

`<run>/system.jsonl` holds one sample a line, in the order of time; what is computed after an
interruption adds to it. No run is worse for a sample that can't be taken or written.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

INTERVAL = 10.0
FIRST = 1.0
"""Seconds until the first sample, so that short runs have one, too."""
PATIENCE = 5.0
"""Seconds that a run waits at its end for the last sample."""

_FIELDS = {
    "system_cpu_percent": "cpu_utilization_percentage",
    "system_memory_mb": "system_memory_usage_megabytes",
    "cpu_percent": "process_cpu_utilization_percentage",
    "memory_mb": "process_memory_usage_megabytes",
}
_GPU_FIELDS = {"utilization": "utilization_percentage", "memory_mb": "memory_usage_megabytes"}
"""The names under which MLflow shows such values, the first two and those of GPUs being its own."""


@contextlib.contextmanager
def sampled(path: Path, interval: float = INTERVAL) -> Iterator[None]:
    """Add samples to `path`, one every `interval` seconds and one at the end, in a thread.

    A sample is {t: seconds since 1970, cpu_percent and memory_mb: of this process and all below it,
    system_cpu_percent, system_memory_mb, gpus: [{utilization, memory_mb}]}. A core that is busy all
    the time is 100 % of a process, all cores together are 100 % of the system; a MB is 10^6 bytes.
    `gpus` are those this process may use, once it uses one.
    """
    ended = threading.Event()
    thread = threading.Thread(
        target=_sample_until, args=(ended, path, interval), name="system", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        ended.set()
        # one that waits for a driver or a file server must not hold up the run
        thread.join(timeout=PATIENCE)


def read(path: Path, until: float = math.inf) -> list[dict[str, Any]]:
    """The samples taken up to `until`, in seconds since 1970; torn and foreign lines left out."""
    samples = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and isinstance(value.get("t"), int | float):
            samples.append(value)
    return sorted((s for s in samples if s["t"] <= until), key=lambda sample: float(sample["t"]))


def values(sample: dict[str, Any]) -> dict[str, float]:
    """A sample's values by the names that MLflow's pages know; only those that were measured."""
    named = {name: sample.get(field) for field, name in _FIELDS.items()}
    gpus = sample.get("gpus")
    for i, gpu in enumerate(gpus if isinstance(gpus, list) else []):
        for field, name in _GPU_FIELDS.items() if isinstance(gpu, dict) else ():
            named[f"gpu_{i}_{name}"] = gpu.get(field)
    return {
        f"system/{name}": float(value)
        for name, value in named.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


def thinned(samples: list[dict[str, Any]], points: int) -> list[tuple[float, dict[str, float]]]:
    """At most `points` (time, `values`): means over equally many neighbours, at the last's time."""
    size = -(-len(samples) // points)
    groups = [samples[i : i + size] for i in range(0, len(samples), size or 1)]
    return [(float(group[-1]["t"]), _means([values(sample) for sample in group]))
            for group in groups]  # fmt: skip


def _means(group: list[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for one in group for name in one)
    found = {name: [one[name] for one in group if name in one] for name in names}
    return {name: sum(some) / len(some) for name, some in found.items()}


def _sample_until(ended: threading.Event, path: Path, interval: float) -> None:
    # whatever the system or a driver has to object to: samples are missing then, nothing else
    with contextlib.suppress(Exception):
        sampler = _Sampler()
        wait = min(FIRST, interval)
        while True:
            last = ended.wait(wait)
            with contextlib.suppress(Exception):
                _append(path, sampler.sample())
            if last:
                return
            wait = interval


class _Sampler:
    """Measures this process, those below it, and the system, each since the sample before."""

    def __init__(self) -> None:
        import psutil

        self.psutil = psutil
        self.process = psutil.Process()
        self.used, _ = self._processes()
        self.at = time.monotonic()
        self.busy, self.idle = self._system()

    def sample(self) -> dict[str, Any]:
        """One sample."""
        used, memory = self._processes()
        now = max(time.monotonic(), self.at + 1e-3)
        # the system counts in ticks, which are too long for a short time
        most = 100.0 * (os.cpu_count() or 1)
        # a process that has ended takes its time with it
        seconds = sum(max(spent - self.used.get(key, 0.0), 0.0) for key, spent in used.items())
        busy, idle = self._system()
        ran, passed = busy - self.busy, busy - self.busy + idle - self.idle
        sample = {
            "t": round(time.time(), 3),
            "cpu_percent": round(min(100 * seconds / (now - self.at), most), 1),
            "memory_mb": round(memory / 1e6, 1),
            "system_cpu_percent": round(100 * ran / passed, 1) if passed > 0 else 0.0,
            "system_memory_mb": round(self.psutil.virtual_memory().used / 1e6, 1),
        }
        self.used, self.at, self.busy, self.idle = used, now, busy, idle
        gpus = _gpus()
        return {**sample, "gpus": gpus} if gpus else sample

    def _processes(self) -> tuple[dict[tuple[int, float], float], int]:
        """Processor seconds by process, and bytes of memory of them all."""
        seconds, memory = {}, 0
        for process in [self.process, *self.process.children(recursive=True)]:
            with contextlib.suppress(self.psutil.Error), process.oneshot():
                times = process.cpu_times()
                seconds[process.pid, process.create_time()] = times.user + times.system
                memory += process.memory_info().rss
        return seconds, memory

    def _system(self) -> tuple[float, float]:
        """Seconds that all cores were busy and idle."""
        times = self.psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        # Linux counts the time of guests in user and nice already
        guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        return sum(times) - guests - idle, idle


def _gpus() -> list[dict[str, float | None]]:
    """The GPUs that this process sees, once it uses one; looking makes it use none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return []
    return [
        {
            "utilization": _measured(torch.cuda.utilization, i),
            "memory_mb": _measured(lambda i: torch.cuda.device_memory_used(i) / 1e6, i),
        }
        for i in range(torch.cuda.device_count())
    ]


def _measured(measure: Any, device: int) -> float | None:
    """None for what a driver or a part of a GPU does not tell."""
    try:
        return float(round(measure(device), 1))
    except Exception:
        return None


def _append(path: Path, sample: dict[str, Any]) -> None:
    line = json.dumps(sample, allow_nan=False).encode() + b"\n"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        # a line torn by a kill or a full disk takes no other with it
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        os.write(descriptor, line)
    finally:
        os.close(descriptor)
