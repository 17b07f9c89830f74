"""Trained methods, rebuilt from what a run has left behind or from weights of elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from harness.checkpoint import MANIFEST
from harness.config import RunSpec, make_config
from harness.files import file_digest
from harness.record import RunFolder, RunRecord
from harness.seeds import seed_everything
from methods import registry
from methods.interface import Method, MethodConfig, SourceInfo
from methods.parts.clip import RANDOM, TINY, read_state_dict
from protocols.errors import ReIDError, UnknownName

MODEL = "model.safetensors"
HASH = "sha256:"
SHOWN = 3


@dataclass(frozen=True)
class Recipe:
    """What a method is rebuilt from.

    `weights` is the file of its trained weights, None for a method that trains nothing; `spec` is
    that of the run it comes from, None for weights of elsewhere.
    """

    name: str
    method: type[Method]
    config: MethodConfig
    sources: SourceInfo
    weights: Path | None = None
    spec: RunSpec | None = None


def load_run(out: Path, run_id: str) -> tuple[RunRecord, Method]:
    """A finished run and its method with the trained weights: on the CPU, in eval mode.

    `run_id` may be cut short as long as it stays unique. Raises UnknownName for a run that is not
    below `out`, ReIDError for one that is not finished or whose weights are not what was saved.
    """
    folder = _find(out, run_id)
    record = _finished(folder)
    recipe = _of_run(folder, record, {})
    version = recipe.method.card.version
    if record.spec.method_version != version:
        raise ReIDError(
            f"Run {record.run_id} was made by version {record.spec.method_version} of "
            f"{record.spec.method}, this is version {version}: it would not be the same method. "
            "`harness run` trains it with this version."
        )
    return record, load(recipe, whole=True)


def load_checkpoint(
    name: str, preset: str | None, overrides: Mapping[str, Any], path: Path
) -> Method:
    """The method `name` with the weights in `path`, ready to encode: see `read_recipe`, `load`."""
    return load(read_recipe(name, preset, overrides, path))


def read_recipe(
    name: str, preset: str | None, overrides: Mapping[str, Any], path: Path | None
) -> Recipe:
    """How to rebuild a method from a run's folder, a checkpoint folder, or a file of weights.

    What lies in a run's folder is rebuilt with the run's config and `overrides` on top; anything
    else with `preset` (default: paper) and `overrides`. Without `path`: a method that trains
    nothing. Raises ReIDError for a path that is none of these or belongs to another method.
    """
    name = registry.canonical(name)
    cls = registry.load(name)
    folder = _holder(path) if path else None
    if folder and (folder / "run.json").exists():
        run = RunFolder(folder.parent, folder.name)
        record = _finished(run)
        _same_method(record.spec, name, preset, folder)
        return _of_run(run, record, overrides)
    if folder and (folder / MANIFEST).exists():
        return _of_checkpoint(folder, name, preset, overrides)
    if folder:
        raise ReIDError(_no_weights_in(folder))
    if path and not path.is_file():
        raise ReIDError(f"--checkpoint {path}: there is no such file or folder.")
    config = make_config(name, cls, preset or "paper", overrides)
    return Recipe(name, cls, config, SourceInfo(1, ()), path)


def load(recipe: Recipe, whole: bool = False) -> Method:
    """The method of a recipe with its weights: on the CPU, in eval mode.

    The names of `training_only` are left as they are unless `whole`. Raises ReIDError naming what
    is missing from the weights or does not fit, and for a method that can't do without weights.
    """
    if recipe.weights is None:
        return _untrained(recipe)
    _seed(recipe)
    method = recipe.method(without_weights(recipe.config), recipe.sources)
    state = recipe.method.translate(read_state_dict(recipe.weights))
    _fill(method, state, recipe, () if whole else recipe.method.training_only)
    return method.eval()


def without_weights(config: MethodConfig) -> MethodConfig:
    """The config with random initial weights, for a method whose weights come from elsewhere.

    So that ViT-B-16's need not be on this machine, nor the file that a record names by its hash.
    """
    values = dict(config)
    if "weights" in values and values.get("backbone") != TINY:
        return config.model_copy(update={"weights": RANDOM})
    return config


def _find(out: Path, run_id: str) -> RunFolder:
    known = sorted({p.parent.name for p in (*out.glob("*/spec.json"), *out.glob("*/run.json"))})
    if not known:
        raise ReIDError(f"There are no runs below {out}; --out says where they are.")
    found = [run_id] if run_id in known else [k for k in known if run_id and k.startswith(run_id)]
    if not found:
        raise UnknownName(f"run below {out}", run_id, known)
    if len(found) > 1:
        raise ReIDError(f"Several runs begin with {run_id!r}: {', '.join(found)}. Give more of it.")
    return RunFolder(out, found[0])


def _finished(folder: RunFolder) -> RunRecord:
    record = folder.read_run()
    if record is None:
        raise ReIDError(
            f"Run {folder.run_id} is not finished: {folder.run} is not there yet. The `harness "
            "run` command that began it goes on from its last epoch."
        )
    return record


def _of_run(folder: RunFolder, record: RunRecord, overrides: Mapping[str, Any]) -> Recipe:
    spec, counts = record.spec, record.source_counts
    cls = registry.load(spec.method)
    config = _config(spec, cls, overrides)
    identities = sum(counts[source]["identities"] for source in spec.sources)
    sources = SourceInfo(identities, tuple(spec.sources))
    if record.model_sha256 is None:
        return Recipe(spec.method, cls, config, sources, None, spec)
    if not folder.model.exists() or file_digest(folder.model) != record.model_sha256:
        advice = "`harness run` with --force trains it again."
        raise ReIDError(f"{folder.model} is gone or is not what was saved. {advice}")
    return Recipe(spec.method, cls, config, sources, folder.model, spec)


def _of_checkpoint(
    folder: Path, name: str, preset: str | None, overrides: Mapping[str, Any]
) -> Recipe:
    """From `<run>/checkpoint/epoch-NNNNN`, with the config of the run's spec if it is there."""
    weights = folder / MODEL
    try:
        wanted = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["sha256"][MODEL]
        whole = file_digest(weights) == wanted
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise ReIDError(
            f"{folder} is damaged: {MODEL} is not what was saved. Give another epoch's."
        )
    cls, spec = registry.load(name), _read_spec(folder.parent.parent / "spec.json")
    if spec is None:
        config = make_config(name, cls, preset or "paper", overrides)
        return Recipe(name, cls, config, SourceInfo(1, ()), weights)
    _same_method(spec, name, preset, folder)
    sources = SourceInfo(1, tuple(spec.sources))
    return Recipe(name, cls, _config(spec, cls, overrides), sources, weights, spec)


def _read_spec(path: Path) -> RunSpec | None:
    if not path.exists():
        return None
    try:
        return RunSpec.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ReIDError(f"{path} is not a whole spec ({str(error).splitlines()[0]}).") from None


def _config(spec: RunSpec, cls: type[Method], overrides: Mapping[str, Any]) -> MethodConfig:
    preset = spec.preset if spec.preset in cls.presets else "paper"
    return make_config(spec.method, cls, preset, {**spec.config, **overrides})


def _same_method(spec: RunSpec, name: str, preset: str | None, path: Path) -> None:
    if spec.method != name:
        raise ReIDError(
            f"--method {name}: {path} was trained by {spec.method}. Give --method {spec.method}."
        )
    if preset not in (None, spec.preset):
        raise ReIDError(
            f"--preset {preset}: {path} was trained with the preset {spec.preset} and is rebuilt "
            "with its own config. Leave --preset out."
        )


def _holder(path: Path) -> Path | None:
    """The folder that was asked for, or that says more of the file that was."""
    if path.is_dir():
        return path.resolve()
    beside = path.resolve().parent
    told = (beside / "run.json").exists() or (beside / MANIFEST).exists()
    return beside if path.name == MODEL and told else None


def _no_weights_in(folder: Path) -> str:
    if not (folder / "spec.json").exists():
        return (
            f"--checkpoint {folder}: this folder is neither a run's (run.json) nor a checkpoint's "
            f"({MANIFEST}). Give one of those, or a file of weights."
        )
    epochs = sorted(p.name for p in (folder / "checkpoint").glob("epoch-*"))
    instead = f", or give its {folder / 'checkpoint' / epochs[-1]}" if epochs else ""
    return (
        f"--checkpoint {folder}: this run is not finished. Start its `harness run` command "
        f"again{instead}."
    )


def _seed(recipe: Recipe) -> None:
    seed_everything(recipe.spec.seed if recipe.spec else 0, "initial weights")


def _untrained(recipe: Recipe) -> Method:
    """A method whose weights are the initial ones."""
    name, cls, config, spec = recipe.name, recipe.method, recipe.config, recipe.spec
    needed = f"{name} is a trained method: give --checkpoint, a run's folder or a file of weights."
    if spec is None and cls.planned_epochs(config) > 0:
        raise ReIDError(needed)
    if spec is not None:
        _require_initial_weights(spec, cls, config)
    _seed(recipe)
    method = cls(config, recipe.sources)
    if spec is None and method.stages():
        raise ReIDError(needed)
    return method.eval()


def _require_initial_weights(spec: RunSpec, cls: type[Method], config: MethodConfig) -> None:
    """Raise ReIDError unless the initial weights are those that the run had."""
    weights = str(dict(config).get("weights", ""))
    had = ", ".join(spec.weights)
    if weights.startswith(HASH):
        raise ReIDError(
            f"A run of {spec.method} trains nothing: its weights are the file it was given, of "
            f"which it keeps the hash alone ({had}). With that file: `harness encode --method "
            f"{spec.method} --set weights=FILE`, without --checkpoint."
        )
    here = tuple(sorted(f"{HASH}{file_digest(p)}" for p in cls.weights_files(config)))
    if here != spec.weights:
        raise ReIDError(
            f"weights={weights}: here that is {', '.join(here) or 'no file'}, and the run of "
            f"{spec.method} had {had or 'no file'}."
        )


def _fill(
    method: Method, state: Mapping[str, Tensor], recipe: Recipe, ignored: tuple[str, ...]
) -> None:
    """Load `state`, but for the names that begin with one of `ignored`."""
    wanted = {k: v for k, v in method.state_dict().items() if not k.startswith(ignored)}
    given = {k: v for k, v in state.items() if not k.startswith(ignored)}
    missing = [k for k in wanted if k not in given]
    unknown = [k for k in given if k not in wanted]
    differ = [
        f"{k} is {_shape(given[k])}, expected {_shape(wanted[k])}"
        for k in wanted
        if k in given and given[k].shape != wanted[k].shape
    ]
    kinds = (("missing", missing), ("of another shape", differ), ("unknown", unknown))
    problems = [_named(kind, names) for kind, names in kinds if names]
    if problems:
        raise ReIDError(
            f"{recipe.weights} does not fit {recipe.name} as it is configured: "
            f"{'; '.join(problems)}. Give the config it was trained with: --preset, --set "
            "key=value (such as backbone, image_size)."
        )
    method.load_state_dict({k: given[k] for k in wanted}, strict=False)


def _named(kind: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{kind}: {', '.join(names[:SHOWN])}{more}"


def _shape(tensor: Tensor) -> str:
    return "x".join(str(n) for n in tensor.shape) or "a single number"
