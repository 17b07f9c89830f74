"""What runs have in common is computed once: stages of training, and features that nobody trained.

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
from harness.evaluate import Extractor, Features
from harness.files import file_digest, write_atomic, write_json
from harness.lease import Lease, hold
from harness.progress import EVALUATION_PASS
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
        found = _read(self.folder / "changed.safetensors")
        return (found[0], found[1]["history"]) if found else None

    def save(
        self, before: dict[str, Tensor], after: dict[str, Tensor], history: list[dict[str, Any]]
    ) -> None:
        """Keep what differs between two states of a method (on the CPU), and the epochs.

        Raises LeaseLost if another process has taken the stage over.
        """
        changed = {k: v for k, v in after.items() if not torch.equal(v, before[k])}
        self.lease.check()
        _write(self.folder / "changed.safetensors", changed, history=history)
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
        folder = self.out / FOLDER / f"{stages[index].name}-{_digest(values)}"
        with hold(folder / ".lease") as lease:
            yield SharedStage(folder, self.spec.id, lease)


class SharedFeatures:
    """An extractor of features that are the same in every run of an untrained method.

    They are computed by whoever comes first and read by the others. `fingerprint` is of the images.
    """

    def __init__(self, extractor: Extractor, out: Path, spec: RunSpec, fingerprint: str) -> None:
        self.extractor, self.method = extractor, extractor.method
        self.folder = out / FOLDER / "features"
        values = spec.model_dump(mode="json")
        state = {name: _tensor_digest(value) for name, value in self.method.state_dict().items()}
        self.values = {
            **{key: values[key] for key in ("method", "method_version", "config", "weights")},
            "state": state,
            "device": extractor.device.type,
            "images": fingerprint,
        }

    def __call__(self, paths: Sequence[str], doing: str = "features") -> dict[str, Tensor]:
        """Features in the order of `paths`; see `Extractor`."""
        name = _digest({**self.values, "paths": list(paths)})
        file = self.folder / f"{name}.safetensors"
        with hold(self.folder / f"{name}.lease"):
            if found := _read(file):
                self.extractor.progress.advance(len(paths) * EVALUATION_PASS, doing)
                return found[0]
            features = self.extractor(paths, doing)
            _write(file, features)
        return features


def shared_features(extractor: Extractor, out: Path, spec: RunSpec, fingerprint: str) -> Features:
    """`extractor`, or one that computes what other runs have computed no second time.

    `fingerprint` is of the images that it will be asked for.
    """
    if extractor.method.same_for_all_sources and not extractor.method.stages():
        return SharedFeatures(extractor, out, spec, fingerprint)
    return extractor


def _write(path: Path, tensors: dict[str, Tensor], **known: Any) -> None:
    """Tensors, and beside them, written last, their digest and what else is `known` as JSON."""
    write_atomic(path, lambda temporary: save_file(tensors, temporary))
    write_json(path.with_suffix(".json"), {"sha256": file_digest(path), **known})


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What `_write` has left; None where nothing is or where it is damaged."""
    try:
        known = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        whole = file_digest(path) == known["sha256"]
        return (load_file(path), known) if whole else None
    except (OSError, ValueError, TypeError, KeyError, SafetensorError):
        return None


def _digest(values: dict[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _tensor_digest(tensor: Tensor) -> str:
    content = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
    return hashlib.sha256(content.tobytes()).hexdigest()[:16]
