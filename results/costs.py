"""What methods cost, as `harness cost` has measured it and kept it below `<out>/costs`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from results.entries import Entry

COSTS = "costs"
"""The folder below `--out`."""
ELSEWHERE = ("weights", "part_labels")
"""Config keys that change no cost: weights are random when it is measured."""


class Phase(BaseModel):
    """A stage of training, or inference: times of a step in ms, memory in bytes (None: unknown)."""

    name: str
    latency_ms: float
    latency_ms_min: float
    latency_ms_max: float
    images_per_second: float
    batch_size: int
    peak_memory_bytes: int | None


class CostReport(BaseModel):
    """A file that `harness cost` has written.

    `params_train` is None for a method that trains nothing. From `stages` on, what `--params-only`
    leaves out is None.
    """

    method: str
    method_version: str
    preset: str
    config: dict[str, Any]
    identities: int
    finished_at: str
    params_train: int | None
    params_trainable: int
    params_infer: int
    stages: list[Phase] | None = None
    inference: Phase | None = None
    repeats: int | None = None
    device: str | None = None
    precision: str | None = None
    threads: int | None = None
    environment: dict[str, Any] | None = None

    @property
    def on_gpu(self) -> bool:
        """Whether it was measured on a GPU."""
        return self.device is not None and not self.device.startswith("CPU")

    @property
    def subject(self) -> str:
        """What was measured: the same for the same method, version and config, weights apart."""
        return _subject(self.method, self.method_version, self.config)

    @property
    def worth(self) -> tuple[bool, bool, str]:
        """By which reports of one subject are sorted, the one that says most last.

        Measured ones before those of parameters alone, a GPU's before a processor's, the latest.
        """
        return self.inference is not None, self.on_gpu, self.finished_at


def load(out: Path) -> list[CostReport]:
    """Every report below `out`, by name; what can't be read is left out (`read` names it)."""
    return read(out)[0]


def read(out: Path) -> tuple[list[CostReport], list[str]]:
    """Every report below `out`, by the file's name, and what can't be read, in words."""
    found, problems = [], []
    for path in sorted((out / COSTS).glob("*.json")):
        try:
            found.append(CostReport.model_validate(json.loads(path.read_bytes())))
        except (OSError, ValueError, ValidationError) as error:
            problem = str(error).splitlines()[0]
            problems.append(f"{path} is not a whole report of `harness cost` ({problem}).")
    return found, problems


def of(reports: Sequence[CostReport], entry: Entry) -> CostReport | None:
    """The report that says most of an entry: of its method, version and config, weights apart."""
    wanted = subject_of(entry)
    mine = [report for report in reports if report.subject == wanted]
    return max(mine, key=lambda report: report.worth, default=None)


def subject_of(entry: Entry) -> str:
    """The `subject` of reports on an entry."""
    return _subject(entry.method, entry.spec.method_version, entry.spec.config)


def _subject(method: str, version: str, config: Mapping[str, Any]) -> str:
    shape = {key: value for key, value in config.items() if key not in ELSEWHERE}
    return json.dumps([method, version, shape], sort_keys=True)
