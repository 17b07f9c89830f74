"""Which model an expert is, before anything is loaded; and that model, loaded when it is needed."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from harness.files import write_text
from harness.grounding.record import expert_tag
from harness.step import is_shortage
from methods.grounding import experts
from methods.grounding.expert import Expert, Wording
from methods.grounding.experts import ExpertKind, loading
from methods.grounding.experts.loading import as_folder
from protocols.cache import cache_folder
from protocols.errors import ReIDError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
GIGABYTE = 1e9
Say = Callable[[str], object]


@dataclass(frozen=True)
class Identity:
    """model: a hub name or a folder, as typed; revision: a commit, or the folder's digest."""

    expert: str
    model: str
    revision: str

    def tag(self, wording: Wording) -> str:
        """8 hex digits; a folder is known by its contents, wherever it lies."""
        model = "folder" if as_folder(self.model).is_dir() else self.model
        return expert_tag(model, self.revision, wording.model_dump())


def identify(
    name: str,
    model: str | None,
    revision: str | None,
    trust: bool = False,
    say: Say = lambda text: None,
) -> Identity:
    """The model that `--expert`, `--model` and `--revision` name. Loads nothing.

    What a branch stands for is looked up once: later calls stay with the commit that is in the
    hub's cache. Not so of a model whose code is run: its commit is typed. Raises ReIDError where
    the model is not to be had.
    """
    kind = experts.EXPERTS[name]
    model = model or kind.model
    folder = as_folder(model)
    if folder.is_dir():
        digest = remembered_digest(folder, say)
        if revision is None or revision == digest:
            return Identity(name, model, digest)
    elif revision and loading.COMMIT.fullmatch(revision):
        return Identity(name, model, revision)
    elif not kind.remote_code and (commit := _cached_commit(model, revision or "main")):
        return Identity(name, model, commit)
    found = loading.find(
        name,
        model,
        revision,
        families=kind.families,
        needs_code=kind.remote_code,
        trust_remote_code=trust,
    )
    return Identity(name, model, found.revision)


def remembered_digest(folder: Path, say: Say = lambda text: None) -> str:
    """`folder_digest`; a folder whose files have their old sizes and times is not read again.

    `say` is told before much is read.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    stats = [(path, path.stat()) for path in files]
    now = [[p.relative_to(folder).as_posix(), s.st_size, s.st_mtime_ns] for p, s in stats]
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:24]
    memory = cache_folder() / "models" / f"{name}.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        known = json.loads(memory.read_text(encoding="utf-8"))
        if known["files"] == now:
            return str(known["digest"])
    size = sum(status.st_size for _, status in stats) / GIGABYTE
    if size >= 1:
        say(f"Reading the {size:.0f} GB of {folder} once, to know them again.")
    digest = loading.folder_digest(folder)
    # only a memory: where it can't be written, the folder is read again
    with contextlib.suppress(OSError, ReIDError):
        write_text(memory, json.dumps({"files": now, "digest": digest}))
    return digest


def _cached_commit(model: str, branch: str) -> str | None:
    """The commit that a branch or tag of a hub's model stood for when it was fetched."""
    from huggingface_hub.constants import HF_HUB_CACHE

    try:
        path = Path(HF_HUB_CACHE, f"models--{model.replace('/', '--')}", "refs", branch)
        commit = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return commit if loading.COMMIT.fullmatch(commit) else None


def choose_device(asked: str | None) -> torch.device:
    """`auto`, `cpu` or `cuda`. Raises ReIDError for a GPU where there is none."""
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise ReIDError("--device cuda: torch sees no GPU here. Use --device cpu, or auto.")
    return torch.device("cuda" if there and asked != "cpu" else "cpu")


def choose_precision(asked: str | None, device: torch.device) -> str:
    """What is asked for; else bf16 on a GPU, fp32 on a CPU. Raises ReIDError for fp16 on a CPU."""
    if asked == "fp16" and device.type == "cpu":
        raise ReIDError("--precision fp16 needs a GPU; on a CPU choose fp32 or bf16.")
    return asked or ("bf16" if device.type == "cuda" else "fp32")


def short_of_memory(kind: ExpertKind, device: torch.device) -> str:
    """In words, where the GPU has less memory than a source says is needed; else empty."""
    if device.type != "cuda" or kind.pace is None:
        return ""
    total = torch.cuda.get_device_properties(device).total_memory / GIGABYTE
    if total >= kind.pace.gigabytes:
        return ""
    return (
        f"{torch.cuda.get_device_name(device)} has {total:.0f} GB of memory; {kind.pace.source} "
        f"says {kind.pace.gigabytes:.0f} GB."
    )


@dataclass
class Lazy:
    """An expert that is loaded when it is first needed; `say` is told before."""

    identity: Identity
    wording: Wording
    device: torch.device
    precision: str
    trust_remote_code: bool
    say: Say
    expert: Expert | None = None

    def __call__(self) -> Expert:
        """The expert, ready to be asked. Raises ReIDError where it can not be had."""
        if self.expert is None:
            self.say(f"Loading {self.identity.model} on {self.device}, {self.precision}.")
            try:
                self.expert = experts.open_expert(
                    self.identity.expert,
                    self.identity.model,
                    self.identity.revision,
                    device=self.device,
                    dtype=DTYPES[self.precision],
                    wording=self.wording,
                    trust_remote_code=self.trust_remote_code,
                )
            except Exception as error:
                if not is_shortage(error):
                    raise
                raise ReIDError(
                    f"{self.identity.model} does not fit into the memory of {self.device} "
                    f"({self.precision}). A smaller --model, --precision bf16 or a device with "
                    "more memory may help."
                ) from error
        return self.expert
