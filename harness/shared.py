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
from harness.files import write_atomic, write_json
from harness.lease import hold
from harness.progress import EVALUATION_PASS
from methods.interface import Stage

FOLDER = ".shared"


@dataclass(frozen=True)
class SharedStage:
    """A stage of training that several runs begin with."""

    folder: Path
    run_id: str

    @property
    def checkpoints(self) -> Path:
        """Where its epochs are kept while this run trains it.

        Another run does not go on from them: they hold all weights, and those that the stage does
        not train may begin otherwise there.
        """
        return self.folder / f"checkpoint-{self.run_id}"

    def load(self) -> tuple[dict[str, Tensor], list[dict[str, Any]]] | None:
        """What the stage changed in the method's state, and its epochs; None while not trained."""
        try:
            history = json.loads((self.folder / "history.json").read_text(encoding="utf-8"))
            return load_file(self.folder / "changed.safetensors"), history
        except (OSError, ValueError, SafetensorError):
            return None

    def save(
        self, before: dict[str, Tensor], after: dict[str, Tensor], history: list[dict[str, Any]]
    ) -> None:
        """Keep what differs between two states of a method (on the CPU), and the epochs."""
        changed = {k: v for k, v in after.items() if not torch.equal(v, before[k])}
        path = self.folder / "changed.safetensors"
        write_atomic(path, lambda temporary: save_file(changed, temporary))
        write_json(self.folder / "history.json", history)
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
        with hold(folder / ".lease"):
            yield SharedStage(folder, self.spec.id)


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
            try:
                features = load_file(file)
                self.extractor.progress.advance(len(paths) * EVALUATION_PASS, doing)
            except (OSError, SafetensorError):
                features = self.extractor(paths, doing)
                write_atomic(file, lambda temporary: save_file(features, temporary))
        return features


def shared_features(extractor: Extractor, out: Path, spec: RunSpec, fingerprint: str) -> Features:
    """`extractor`, or one that computes what other runs have computed no second time.

    `fingerprint` is of the images that it will be asked for.
    """
    if extractor.method.same_for_all_sources and not extractor.method.stages():
        return SharedFeatures(extractor, out, spec, fingerprint)
    return extractor


def _digest(values: dict[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _tensor_digest(tensor: Tensor) -> str:
    content = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
    return hashlib.sha256(content.tobytes()).hexdigest()[:16]
