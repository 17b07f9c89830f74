"""Checkpoints at epoch ends: saved whole, verified when loaded, the newest two kept.

A checkpoint is a directory `epoch-<n>` holding `model.safetensors`, `training.pt` (optimiser and
stage state, read with `weights_only`) and `checkpoint.json` (where training was, the losses so
far, and the SHA-256 of the other two).
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.files import file_digest, new_directory

KEPT = 2
MANIFEST = "checkpoint.json"


@dataclass
class Checkpoint:
    """Where training was at the end of an epoch.

    `stage` is the index of the stage, `epoch` the last finished epoch of it, `history` one dict
    of mean losses per finished epoch of any stage.
    """

    stage: int
    epoch: int
    history: list[dict[str, Any]]
    model: dict[str, Tensor]
    training: dict[str, Any]

    @property
    def order(self) -> int:
        """Epochs finished over all stages."""
        return len(self.history)


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write `folder/epoch-<order>`, then remove all but the newest two."""
    with new_directory(folder / f"epoch-{checkpoint.order:05d}") as new:
        save_file(checkpoint.model, new / "model.safetensors")
        torch.save(checkpoint.training, new / "training.pt")
        manifest = {
            "stage": checkpoint.stage,
            "epoch": checkpoint.epoch,
            "history": checkpoint.history,
            "sha256": {f.name: file_digest(f) for f in sorted(new.iterdir())},
        }
        (new / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    for old in _newest_first(folder)[KEPT:]:
        shutil.rmtree(old)


def load_newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole, or None; and a warning for each that is not."""
    warnings: list[str] = []
    for path in _newest_first(folder):
        try:
            return _load(path), warnings
        except Exception as error:
            warnings.append(f"{path} is damaged ({error}); going back to an earlier one.")
    return None, warnings


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*"), reverse=True) if folder.is_dir() else []


def _load(path: Path) -> Checkpoint:
    manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    for name, digest in manifest["sha256"].items():
        if file_digest(path / name) != digest:
            raise ValueError(f"{name} is not what was saved")
    return Checkpoint(
        stage=manifest["stage"],
        epoch=manifest["epoch"],
        history=manifest["history"],
        model=load_file(path / "model.safetensors"),
        training=torch.load(path / "training.pt", map_location="cpu", weights_only=True),
    )
