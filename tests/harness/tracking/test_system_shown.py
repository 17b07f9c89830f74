"""What the machine did, as MLflow's system metrics of a training."""

from __future__ import annotations

import json
from pathlib import Path

from by_hand import FINISHED_MS, client, make_spec, make_target, make_training, mirrored

from harness import mirror_run
from harness.record import RunFolder
from harness.tracking import default_uri, sync

CPU = "system/cpu_utilization_percentage"
END = FINISHED_MS / 1000


def add(folder: RunFolder, times: list[float]) -> None:
    """Samples at these times, in seconds since 1970."""
    samples = [{"t": t, "system_cpu_percent": i, "gpus": [{"utilization": 50, "memory_mb": 1000}]}
               for i, t in enumerate(times)]  # fmt: skip
    with folder.system.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(sample) + "\n" for sample in samples)


def history(out: Path, name: str) -> list[tuple[int, float, int]]:
    (run,) = [run for run in mirrored(out) if run.data.tags["kind"] == "training"]
    values = client(default_uri(out)).get_metric_history(run.info.run_id, name)
    return [(value.step, value.value, value.timestamp) for value in values]


def test_samples_of_the_training_are_shown(out: Path) -> None:
    folder = make_training(out, make_spec())
    # an interruption later, and what belongs to the targets
    add(folder, [END - 500, END - 490, END - 1, END + 0.5, END + 60])
    sync(out, default_uri(out))
    assert history(out, CPU) == [
        (0, 0, FINISHED_MS - 500_000),
        (1, 1, FINISHED_MS - 490_000),
        (2, 2, FINISHED_MS - 1000),
        (3, 3, FINISHED_MS + 500),
    ]
    assert [value for _, value, _ in history(out, "system/gpu_0_utilization_percentage")] == [
        50
    ] * 4
    assert len(history(out, "system/gpu_0_memory_usage_megabytes")) == 4


def test_samples_that_come_later_change_nothing(out: Path) -> None:
    folder = make_training(out, make_spec())
    add(folder, [END - 1])
    sync(out, default_uri(out))
    add(folder, [END + 100])
    make_target(folder, "C3")
    assert sync(out, default_uri(out)).mirrored == [f"{folder.run_id}/C3"]
    assert sync(out, default_uri(out), check=True).mirrored == []
    assert len(history(out, CPU)) == 1


def test_a_long_training_is_thinned(out: Path) -> None:
    folder = make_training(out, make_spec())
    add(folder, [END - 50_000 + 10 * i for i in range(5000)])
    sync(out, default_uri(out))
    found = history(out, CPU)
    assert len(found) == mirror_run.SYSTEM_POINTS
    assert found[0] == (0, sum(range(10)) / 10, FINISHED_MS - 50_000_000 + 90_000)
