"""`harness cost`: parameters, latency, memory and throughput of a method on this machine."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.config import Precision, parse_overrides
from harness.cost import Cost, Parameters, Timing, Workload, count_parameters, measure
from harness.environment import environment, threads
from harness.files import require_writable, write_json
from harness.plan import choose
from harness.screen import ScreenProgress, say
from harness.signs import utc
from harness.train import make_accelerator, require_device
from harness.trained import without_weights
from protocols.errors import UnknownName
from results.costs import COSTS

PRECISIONS = ("fp32", "bf16")
MIB = 2**20
SAME = ("method", "method_version", "preset", "config", "identities", "device", "precision",
        "threads")  # fmt: skip
"""What makes a report take the place of an earlier one, besides the size of the batch."""


@dataclass(frozen=True)
class CostRequest:
    """The options of `harness cost`, as typed."""

    method: str
    preset: str
    overrides: tuple[str, ...]
    identities: int
    batch_size: int
    repeats: int
    params_only: bool
    device: str
    precision: str
    threads: int
    out: Path


def cost_command(request: CostRequest, as_json: bool, console: Console, stderr: Console) -> None:
    """Measure, print and keep; progress goes to `stderr`, so that JSON can be piped.

    JSON, also in the file below `out`: `params_train` (null for a method that trains nothing),
    `params_infer`, `params_trainable`; unless `params_only` also `stages` (a list) and
    `inference`, each with `name`, `latency_ms` (median), `latency_ms_min`, `latency_ms_max`,
    `images_per_second`, `batch_size` and `peak_memory_bytes` (null where it can't be measured);
    and what it was asked with: `method`, `method_version`, `preset`, `config`, `identities`,
    `repeats`, `device`, `precision`, `threads`, `environment`, `finished_at`.
    """
    require_device(request.device)
    if request.precision not in PRECISIONS:
        raise UnknownName("--precision", request.precision, PRECISIONS)
    (chosen,) = choose([request.method], request.preset, parse_overrides(request.overrides))
    require_writable(request.out)
    work = Workload(
        chosen.method,
        without_weights(chosen.config),
        request.identities,
        request.batch_size,
        request.repeats,
    )
    parameters, stages = _count(work)
    report: dict[str, Any] = {
        "method": chosen.name,
        "method_version": chosen.method.card.version,
        "preset": request.preset,
        "config": work.config.model_dump(mode="json"),
        "identities": request.identities,
        **{f"params_{key}": value for key, value in asdict(parameters).items()},
    }
    if request.params_only:
        kept = _keep(report, request)
        if as_json:
            console.print_json(json.dumps(report))
        else:
            _say_parameters(chosen.name, parameters, request, console)
        say(stderr, f"Kept: {kept}")
        return
    accelerator = make_accelerator(cast(Precision, request.precision), request.device)
    progress = ScreenProgress(stderr, work.units(stages), 1)
    with threads(request.threads), progress:
        progress.begin(chosen.name)
        cost = measure(work, accelerator, progress)
        machine = environment()
    gpu = accelerator.device.type == "cuda"
    report |= {
        "stages": [_timing(t) for t in cost.stages],
        "inference": _timing(cost.inference),
        "repeats": request.repeats,
        "device": machine["gpus"][0] if gpu else f"CPU, {machine['processor']}",
        "precision": request.precision,
        "threads": request.threads,
        "environment": machine,
    }
    kept = _keep(report, request)
    if as_json:
        console.print_json(json.dumps(report))
    else:
        _show(report, parameters, cost, request, console)
    say(stderr, f"Kept: {kept}")


def _keep(report: dict[str, Any], request: CostRequest) -> Path:
    """Write it below `--out`, in place of an earlier one of the same; returns where."""
    report["finished_at"] = utc()
    same = [*(report.get(key) for key in SAME), request.batch_size]
    digest = hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:12]
    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in report["method"])
    path = request.out / COSTS / f"{name}-{digest}.json"
    write_json(path, report)
    return path


def _count(work: Workload) -> tuple[Parameters, int]:
    """Parameters, and how many stages there are; the model is gone when this returns."""
    method = work.build()
    return count_parameters(method), len(method.stages())


def _timing(timing: Timing) -> dict[str, Any]:
    return {
        "name": timing.name,
        "latency_ms": timing.latency,
        "latency_ms_min": min(timing.milliseconds),
        "latency_ms_max": max(timing.milliseconds),
        "images_per_second": timing.images_per_second,
        "batch_size": timing.images,
        "peak_memory_bytes": timing.memory,
    }


def _show(
    report: dict[str, Any],
    parameters: Parameters,
    cost: Cost,
    request: CostRequest,
    console: Console,
) -> None:
    title = f"{report['method']} ({request.preset}), batches of {request.batch_size}"
    grid = Table(box=box.SIMPLE_HEAD, title=escape(title), title_justify="left")
    grid.add_column("phase", overflow="fold")
    for header in ("params", "ms a batch", "min - max", "images/s", "peak MiB"):
        grid.add_column(header, justify="right", overflow="fold")
    for stage in cost.stages:
        grid.add_row(f"train: {escape(stage.name)}", *_cells(stage, parameters.train))
    if not cost.stages:
        grid.add_row("train", *["-"] * 5)
    grid.add_row("inference", *_cells(cost.inference, parameters.infer))
    console.print(grid)
    _say_parameters(report["method"], parameters, request, console)
    packages = report["environment"]["packages"]
    plural = "s" if request.threads > 1 else ""
    for line in (
        f"{report['device']}; {request.precision}; {request.threads} thread{plural}; medians of "
        f"{request.repeats}; torch {packages['torch']}, open_clip {packages['open_clip_torch']}.",
        "Random weights and images in memory; a training step is losses, backward and optimiser.",
        _about_memory(cost.inference.memory, report["device"].startswith("CPU")),
    ):
        console.print(escape(line), highlight=False)


def _cells(timing: Timing, parameters: int | None) -> list[str]:
    low, high = min(timing.milliseconds), max(timing.milliseconds)
    memory = "not measured" if timing.memory is None else f"{timing.memory / MIB:,.0f}"
    return [
        _millions(parameters or 0),
        _short(timing.latency),
        f"{_short(low)} - {_short(high)}",
        _short(timing.images_per_second),
        memory,
    ]


def _short(value: float) -> str:
    return f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} M"


def _about_memory(memory: int | None, cpu: bool) -> str:
    if memory is None:
        return "Memory: this system does not tell the peak of a process."
    return (
        "Memory: resident, beyond what the process held before the model was built."
        if cpu
        else "Memory: allocated by torch on the GPU."
    )


def _say_parameters(
    name: str, parameters: Parameters, request: CostRequest, console: Console
) -> None:
    infer = f"{parameters.infer:,} in inference"
    if parameters.train is None:
        text = f"Parameters: {infer}; {name} trains nothing."
    else:
        text = (
            f"Parameters with {request.identities} identities: {parameters.train:,} in training "
            f"({parameters.trainable:,} of them trained), {infer}."
        )
    console.print(escape(text), highlight=False)
