"""What runs have in common is computed once: stages of training, and features (`feature_store`).

Below `<out>/.shared/`, each in a folder named by a hash of everything it depends on. Removing the
folder costs time and changes no number.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.config import RunSpec
from harness.files import file_digest, write_atomic, write_json
from harness.lease import Lease, hold
from methods.interface import Stage

FOLDER = ".shared"


@dataclass(frozen=True)
class SharedStage:
    """A stage of training that several runs begin with."""

    folder: Path
    run_id: str
    lease: Lease

    @property
    def checkpoints(self) -> Path:
        """Where its epochs are kept while this run trains it.

        Another run does not go on from them: they hold all weights, and those that the stage does
        not train may begin otherwise there.
        """
        return self.folder / f"checkpoint-{self.run_id}"

    def load(self) -> tuple[dict[str, Tensor], list[dict[str, Any]]] | None:
        """What the stage changed in the method's state, and its epochs; None while not trained."""
        found = read_tensors(self.folder / "changed.safetensors")
        return (found[0], found[1]["history"]) if found else None

    def save(
        self, before: dict[str, Tensor], after: dict[str, Tensor], history: list[dict[str, Any]]
    ) -> None:
        """Keep what differs between two states of a method (on the CPU), and the epochs.

        Raises LeaseLost if another process has taken the stage over.
        """
        changed = {k: v for k, v in after.items() if not torch.equal(v, before[k])}
        self.lease.check()
        write_tensors(self.folder / "changed.safetensors", changed, history=history)
        for left in self.folder.glob("checkpoint-*"):
            shutil.rmtree(left, ignore_errors=True)


class StageStore:
    """The shared stages of one run's method."""

    def __init__(self, out: Path, spec: RunSpec) -> None:
        self.out, self.spec = out, spec

    @contextmanager
    def stage(self, stages: Sequence[Stage], index: int) -> Iterator[SharedStage | None]:
        """The stage of that index, for this process alone in the block; None if it has no sharers.

        Runs share a stage if they differ only in config keys that neither it nor one before it
        depends on (`Stage.unaffected_by`). The last stage is the run itself.
        """
        free = set.intersection(*(set(stage.unaffected_by) for stage in stages[: index + 1]))
        if not free or index == len(stages) - 1:
            yield None
            return
        values = self.spec.model_dump(mode="json")
        values["config"] = {k: v for k, v in values["config"].items() if k not in free}
        # the order of the sources orders the labels
        values |= {"stage": stages[index].name, "order": list(self.spec.sources)}
        folder = self.out / FOLDER / f"{stages[index].name}-{digest(values)}"
        with hold(folder / ".lease") as lease:
            yield SharedStage(folder, self.spec.id, lease)


def write_tensors(path: Path, tensors: dict[str, Tensor], **known: Any) -> None:
    """Tensors, and beside them, written last, their digest and what else is `known` as JSON."""
    write_atomic(path, lambda temporary: save_file(tensors, temporary))
    write_json(path.with_suffix(".json"), {"sha256": file_digest(path), **known})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What `write_tensors` has left; None where nothing is or where it is damaged."""
    try:
        known = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        whole = file_digest(path) == known["sha256"]
        return (load_file(path), known) if whole else None
    except (OSError, ValueError, TypeError, KeyError, SafetensorError):
        return None


def digest(values: Any) -> str:
    """16 hex digits of what is JSON, for a name."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
