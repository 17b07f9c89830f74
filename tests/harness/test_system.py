"""Samples of what the machine does: taken, kept over interruptions, read with doubt, thinned."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from harness import system
from harness.system import read, sampled, thinned, values


def wait_for(said: Callable[[], object]) -> None:
    """Until something is so; a test that would wait for ever is stopped."""
    for _ in range(1000):
        if said():
            return
        time.sleep(0.02)
    raise AssertionError("it never came to be")


def test_a_short_run_leaves_a_sample(tmp_path: Path) -> None:
    before = time.time()
    with sampled(tmp_path / "system.jsonl"):
        pass
    (sample,) = read(tmp_path / "system.jsonl")
    assert before - 1 <= sample["t"] <= time.time() + 1
    assert 0 < sample["memory_mb"] <= psutil.virtual_memory().total / 1e6
    assert 0 < sample["system_memory_mb"] <= psutil.virtual_memory().total / 1e6
    assert 0 <= sample["system_cpu_percent"] <= 100
    assert sample["cpu_percent"] >= 0


def test_samples_go_on_where_an_interruption_left_them(tmp_path: Path) -> None:
    path = tmp_path / "system.jsonl"
    with sampled(path, interval=0.02):
        wait_for(lambda: len(read(path)) >= 3)
    first = read(path)
    with path.open("ab") as file:
        file.write(b'{"t": 12.5, "cpu_perc')  # killed while it wrote
    with sampled(path):
        pass
    assert read(path)[: len(first)] == first
    assert len(read(path)) == len(first) + 1


def test_processes_below_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "system.jsonl"
    code = "x = bytearray(80_000_000); x[::4096] = b'1' * len(x[::4096]); print(); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout and child.stdout.readline()
        with sampled(path):
            pass
        child.communicate(b"\n")
    mine = psutil.Process().memory_info().rss / 1e6
    assert read(path)[0]["memory_mb"] > mine + 40


def test_only_what_is_there_is_read(tmp_path: Path) -> None:
    path = tmp_path / "system.jsonl"
    assert read(path) == []
    good = [{"t": 3.0, "cpu_percent": 1.0}, {"t": 2.0}, {"t": 5.0}]
    lines = [json.dumps(sample).encode() for sample in good]
    path.write_bytes(b"\n".join([*lines, b"\xff", b"[1]", b'{"t": "x"}', b"", b'{"t": 1']))
    assert [sample["t"] for sample in read(path)] == [2.0, 3.0, 5.0]
    assert [sample["t"] for sample in read(path, until=3.0)] == [2.0, 3.0]


def test_values_have_the_names_of_mlflows_pages() -> None:
    sample = {"t": 1, "cpu_percent": 150, "memory_mb": 20.5, "system_cpu_percent": 75,
              "system_memory_mb": float("nan"),
              "gpus": [{"utilization": None, "memory_mb": 5}, {"utilization": 9}]}  # fmt: skip
    assert values(sample) == {
        "system/cpu_utilization_percentage": 75,
        "system/process_cpu_utilization_percentage": 150,
        "system/process_memory_usage_megabytes": 20.5,
        "system/gpu_0_memory_usage_megabytes": 5,
        "system/gpu_1_utilization_percentage": 9,
    }
    assert values({"t": 1, "gpus": 3, "cpu_percent": "x"}) == {}


def test_mlflow_has_these_names() -> None:
    from mlflow.system_metrics.metrics import cpu_monitor

    monitor = cpu_monitor.CPUMonitor()
    monitor.collect_metrics()
    own = {f"system/{name}" for name in monitor.metrics}
    sample = {"t": 1, "system_cpu_percent": 1, "system_memory_mb": 1}
    assert values(sample).keys() <= own


@pytest.mark.parametrize(("count", "points"), [(0, 0), (1, 1), (5, 5), (6, 3), (11, 4), (999, 5)])
def test_thinned_to_means(count: int, points: int) -> None:
    samples = [{"t": i, "cpu_percent": i} for i in range(count)]
    found = thinned(samples, 5)
    assert len(found) == points
    assert [at for at, _ in found][-1:] == [samples[-1]["t"] for _ in samples[-1:]]
    name = "system/process_cpu_utilization_percentage"
    size = -(-count // 5) if count else 1
    for i, (_, one) in enumerate(found):
        group = [s["cpu_percent"] for s in samples[i * size : (i + 1) * size]]
        assert one[name] == sum(group) / len(group)


def test_what_is_missing_in_some_samples_is_no_zero() -> None:
    samples = [{"t": 0, "cpu_percent": 4}, {"t": 1, "memory_mb": 6}]
    (_, means), = thinned(samples, 1)  # fmt: skip
    assert sorted(means.values()) == [4, 6]


def test_a_folder_that_cannot_be_written_hurts_nobody(tmp_path: Path) -> None:
    with sampled(tmp_path / "none" / "system.jsonl", interval=0.01):
        time.sleep(0.05)
    assert list(tmp_path.iterdir()) == []


def test_a_measurement_that_fails_hurts_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, calls = tmp_path / "system.jsonl", []

    def sometimes() -> list[dict[str, float | None]]:
        calls.append(1)
        if len(calls) < 3:
            raise OSError("the driver is gone")
        return []

    monkeypatch.setattr(system, "_gpus", sometimes)
    with sampled(path, interval=0.01):
        wait_for(lambda: read(path))
    monkeypatch.setitem(sys.modules, "psutil", None)  # not installed
    with sampled(tmp_path / "other.jsonl"):
        pass
    assert not (tmp_path / "other.jsonl").exists()


def test_an_error_of_the_run_is_its_own(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), sampled(tmp_path / "system.jsonl"):
        raise ZeroDivisionError
    assert len(read(tmp_path / "system.jsonl")) == 1


def test_gpus_are_looked_at_once_they_are_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    def utilization(device: int) -> int:
        if device:
            raise RuntimeError("not supported")
        return 87

    def refuse() -> int:
        raise AssertionError("looking would use it")

    cuda = SimpleNamespace(is_initialized=lambda: False, device_count=refuse)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert system._gpus() == []
    cuda.is_initialized = lambda: True
    cuda.device_count = lambda: 2
    cuda.utilization = utilization
    cuda.device_memory_used = lambda device: 1_234_560_000 + device
    assert system._gpus() == [
        {"utilization": 87.0, "memory_mb": 1234.6},
        {"utilization": None, "memory_mb": 1234.6},
    ]


def test_torch_is_not_imported_for_it(tmp_path: Path) -> None:
    code = f"""
        import sys
        from pathlib import Path
        from harness.system import sampled
        with sampled(Path({str(tmp_path / "system.jsonl")!r})):
            pass
        print("torch" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=Path(system.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
    assert len(read(tmp_path / "system.jsonl")) == 1
