"""From the name or folder of an expert to its files, its revision, and the model in memory.

Nothing that comes from outside is executed here, with one exception: code beside the weights, if
the expert has no other, the caller allowed it and (on the hub) pinned the commit.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from protocols.errors import ReIDError

COMMIT = re.compile(r"[0-9a-f]{40}")
DIGITS = 16
"""Hexadecimal digits of a folder's digest."""
BESIDE_THE_MODEL = {".md", ".png", ".jpg", ".jpeg", ".gif", ".pdf"}
"""What may lie in a model's folder and changes none of its answers."""
DATA = ["*.json", "*.txt", "*.model", "*.jinja"]
CODE = ["*.py"]


@dataclass(frozen=True)
class Found:
    """A model's files: `folder` holds all of them, as `revision` has them.

    expert: as `--expert` has it; model: as it was asked for; config: its config.json; code:
    whether the Python files beside the weights may be run.
    """

    expert: str
    model: str
    folder: Path
    revision: str
    config: Mapping[str, Any]
    code: bool = False


def find(
    expert: str,
    model: str,
    revision: str | None = None,
    *,
    families: Sequence[str] = (),
    needs_code: bool = False,
    trust_remote_code: bool = False,
) -> Found:
    """The files of `model`, a folder or a name on the hub, fetched if they are not here yet.

    families: what its config.json may call itself; anything if empty. Raises ReIDError, see
    `open_expert`.
    """
    folder = as_folder(model)
    is_folder = folder.exists() or _looks_like_path(model)
    if needs_code and not trust_remote_code:
        raise ReIDError(
            f"--expert {expert}: transformers does not know this model, {model} brings code of "
            "its own. Read that code, then allow it to be run with --trust-remote-code."
        )
    if not is_folder:
        if needs_code and not COMMIT.fullmatch(revision or ""):
            raise ReIDError(
                f"--expert {expert}: code from the hub is only run from a commit that can't change "
                f"meanwhile. Give the 40 hex digits of one of {model}'s with --revision"
                + (f" (not {revision!r})." if revision else ".")
            )
        folder = _fetch(expert, model, revision, code=needs_code)
    config = _config(expert, model, folder, families)
    if not (_weights(folder, "safetensors") or _weights(folder, "bin")):
        raise ReIDError(
            f"--expert {expert}: {folder} has no weights: no *.safetensors and no *.bin. "
            "It must hold all files of the model."
        )
    if needs_code:
        _refuse_code_from_elsewhere(folder)
    if is_folder:
        digest = folder_digest(folder)
        if revision is not None and revision != digest:
            raise ReIDError(
                f"--revision {revision}: the files in {folder} are {digest} (a digest of their "
                "contents). Branches and commits are the hub's; of a folder leave --revision out."
            )
        return Found(expert, model, folder, digest, config, needs_code)
    return Found(expert, model, folder, folder.name, config, needs_code)


def as_folder(model: str) -> Path:
    """Where `model` would be if it is a folder."""
    # unlike Path.expanduser, it leaves the name of an unknown user as it is
    return Path(os.path.expanduser(model))  # noqa: PTH111


def folder_digest(folder: Path) -> str:
    """16 hex digits over the names and contents of a folder's files, those below it too.

    Hidden files, bytecode, texts and pictures for readers count for nothing.
    """
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
        name = path.relative_to(folder)
        unread = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
        if unread or path.suffix.lower() in BESIDE_THE_MODEL or not path.is_file():
            continue
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
        total.update(hashlib.sha256(name.as_posix().encode()).digest() + content)
    return total.hexdigest()[:DIGITS]


def load_processor(processor: Any, found: Found, **options: Any) -> Any:
    """`processor` (a class of transformers) from the files of `found`. Raises ReIDError."""
    with quiet(), _explained(found, "the tokenizer or image processor"):
        return processor.from_pretrained(
            found.folder, local_files_only=True, trust_remote_code=found.code, **options
        )


def load_model(
    model: Any, found: Found, device: str | torch.device, dtype: torch.dtype, **options: Any
) -> Any:
    """`model` (a class of transformers) with the weights of `found`, in eval mode on `device`.

    Safetensors are preferred; a pickle is only ever read as weights. Raises ReIDError where a
    tensor of the model is not among the weights or has another shape.
    """
    with quiet(), _explained(found, "the model"):
        loaded, report = model.from_pretrained(
            found.folder,
            dtype=dtype,
            use_safetensors=bool(_weights(found.folder, "safetensors")),
            weights_only=True,
            output_loading_info=True,
            local_files_only=True,
            trust_remote_code=found.code,
            **options,
        )
        missing = sorted(report["missing_keys"])
        if missing:
            raise ReIDError(
                f"--expert {found.expert}: {len(missing)} tensors of the model are not among the "
                f"weights in {found.folder} ({', '.join(missing[:3])}, ...), it would answer at "
                "random. Its config.json and its weights must belong together."
            )
        return loaded.to(device).eval()


def cast_inputs(
    inputs: Mapping[str, Any], device: str | torch.device, dtype: torch.dtype
) -> dict[str, Any]:
    """What a processor made, on the model's device, numbers with a fraction in its dtype."""
    moved = {}
    for name, value in inputs.items():
        if isinstance(value, torch.Tensor):
            value = value.to(device, dtype if value.is_floating_point() else None)
        moved[name] = value
    return moved


@contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars and warnings of transformers; downloads still show theirs."""
    from transformers.utils import logging as chatter

    level, bars = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    hub = logging.getLogger("huggingface_hub")
    hub_level = hub.level
    chatter.set_verbosity(logging.CRITICAL)
    chatter.disable_progress_bar()
    hub.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        chatter.set_verbosity(level)
        hub.setLevel(hub_level)
        if bars:
            chatter.enable_progress_bar()


@contextmanager
def _explained(found: Found, what: str) -> Iterator[None]:
    """Whatever goes wrong with files from outside, told as one message."""
    try:
        yield
    except (ReIDError, torch.OutOfMemoryError):
        raise
    except pickle.UnpicklingError as error:
        raise ReIDError(
            f"--expert {found.expert}: a *.bin in {found.folder} is damaged, or a pickle of more "
            "than weights, which is not read. Bring the weights as *.safetensors."
        ) from error
    except Exception as error:
        raise ReIDError(
            f"--expert {found.expert}: {what} in {found.folder} can't be loaded: "
            f"{type(error).__name__}: {_first_line(error)} "
            f"It must hold all files of a {found.expert} model, as they were saved."
        ) from error


def _looks_like_path(model: str) -> bool:
    return model.startswith(("/", "./", "../", "~")) or model in (".", "..", "")


def _weights(folder: Path, suffix: str) -> list[Path]:
    return sorted(folder.glob(f"*.{suffix}"))


def _config(expert: str, model: str, folder: Path, families: Sequence[str]) -> dict[str, Any]:
    """config.json, if it is of one of the `families`."""
    path = folder / "config.json"
    try:
        config = _json(path)
    except (FileNotFoundError, NotADirectoryError):
        what = "is not a folder" if not folder.is_dir() else "has no config.json"
        raise ReIDError(
            f"--model {model}: {folder} {what}. Expected is the folder of a {expert} model "
            "(config.json, weights, tokenizer, image processor), as `hf download NAME --local-dir "
            "FOLDER` makes it, or the model's name on the hub."
        ) from None
    if not isinstance(config, dict):
        raise ReIDError(f"{path}: expected an object, found {type(config).__name__}.")
    called = [config.get("model_type"), *(config.get("architectures") or ())]
    if families and not set(families) & set(map(str, called)):
        named = " / ".join(str(name) for name in called if name) or "nothing that names its kind"
        raise ReIDError(
            f"--expert {expert} can't be read from {model}: its config.json says {named}, "
            f"expected {' or '.join(families)}. Give another --expert or another --model."
        )
    return cast("dict[str, Any]", config)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (PermissionError, ValueError) as error:
        raise ReIDError(f"{path} can't be read: {_first_line(error)}") from error


def _refuse_code_from_elsewhere(folder: Path) -> None:
    """A pinned commit holds its own code only, so no other repository's is run."""
    for path in sorted(folder.glob("*.json")):
        content = _json(path)
        # "OWNER/NAME--module.Class" is how transformers is sent there
        if isinstance(content, dict) and "--" in str(content.get("auto_map")):
            raise ReIDError(
                f"{path} takes code from another repository, which no --revision pins. Put that "
                "code beside the weights and name it in auto_map without the part up to --."
            )


def _fetch(expert: str, model: str, revision: str | None, *, code: bool) -> Path:
    """The hub's files of `model` at one commit, in a folder of the cache named as the commit."""
    from huggingface_hub import errors, snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE

    def get(*patterns: str, here: bool = False) -> Path:
        allowed = [*DATA, *(CODE if code else []), *patterns]
        folder = snapshot_download(
            model,
            revision=revision,
            allow_patterns=allowed,
            ignore_patterns=["*/*"],
            local_files_only=here,
        )
        return Path(folder)

    at = f" at {revision}" if revision else ""
    try:
        with quiet():
            if COMMIT.fullmatch(revision or ""):
                # a commit never changes: what is here need not be asked for again
                try:
                    folder = get("*.safetensors", here=True)
                    if _weights(folder, "safetensors"):
                        return folder
                except errors.LocalEntryNotFoundError:
                    pass
            folder = get("*.safetensors")
            return folder if _weights(folder, "safetensors") else get("*.bin")
    except errors.HFValidationError:
        raise ReIDError(
            f"--model {model!r} is neither a folder nor a name on the Hugging Face hub "
            "(OWNER/NAME). A folder that is not below this one starts with / or ./"
        ) from None
    except errors.RevisionNotFoundError as error:
        raise ReIDError(
            f"--revision {revision}: {model} has no such commit, branch or tag."
        ) from error
    except errors.GatedRepoError as error:
        raise ReIDError(
            f"--model {model}: its owners ask for a login and their consent. Give it on the hub, "
            "`hf auth login`, and try again."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ReIDError(
            f"--model {model}: there is no such folder, and no such model on the hub (or it needs "
            "a login)."
        ) from error
    except Exception as error:
        raise ReIDError(
            f"--expert {expert}: {model}{at} is not in the cache ({HF_HUB_CACHE}) and can't be "
            f"fetched: {_first_line(error)} With a network, `hf download {model}"
            + (f" --revision {revision}" if revision else "")
            + " --local-dir FOLDER` gets it; bring that folder here and give --model FOLDER."
        ) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    line = "".join(letter for letter in lines[0] if letter.isprintable()) if lines else ""
    return line[:300].rstrip(".") + "." if line else ""
