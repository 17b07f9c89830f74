"""`harness encode`: a trained method's features of a folder of images."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.config import parse_overrides
from harness.encode import FEATURES, find_images, require_npz, save_features
from harness.extract import Extractor
from harness.progress import EVALUATION_PASS
from harness.screen import ScreenProgress, say
from harness.train import make_accelerator, require_device
from harness.trained import Recipe, load, read_recipe
from methods.interface import Method
from protocols.errors import DataError, UnknownName
from protocols.variants import PRECISION as BF16
from protocols.variants import Reading
from protocols.verify import verify_images

SHOWN = 10
PRECISIONS = ("fp32", BF16)


@dataclass(frozen=True)
class EncodeRequest:
    """The options of `harness encode`, as typed."""

    method: str
    checkpoint: Path | None
    images: Path
    out: Path
    preset: str | None
    overrides: tuple[str, ...]
    device: str
    loader_workers: int
    precision: str = PRECISIONS[0]
    flip: bool = False


def encode_command(request: EncodeRequest, console: Console) -> None:
    """Encode every image below a folder and write the features."""
    require_device(request.device)
    if request.precision not in PRECISIONS:
        raise UnknownName("--precision", request.precision, PRECISIONS)
    how = Reading(bf16=request.precision == BF16, flip=request.flip)
    found = find_images(request.images)
    require_npz(request.out)
    overrides = parse_overrides(request.overrides)
    recipe = read_recipe(request.method, request.preset, overrides, request.checkpoint)

    method = load(recipe)
    say(console, _origin(recipe))
    say(console, _config(recipe, method))
    device = make_accelerator("fp32", request.device).device
    with ScreenProgress(console, len(found.names) * EVALUATION_PASS, 1) as progress:
        progress.begin(f"{recipe.name} on {request.images}")
        _require_whole([found.root / name for name in found.names], progress)
        extract = Extractor(method.to(device), found.root, device, request.loader_workers, progress)
        encoded = extract(found.names, how=how)
    save_features(request.out, found.names, encoded)
    if found.skipped:
        say(console, f"Skipped:  {found.left_out()}.")
    read = f", computed in {BF16}" * how.bf16 + ", mirror images added" * how.flip
    size = f"{len(found.names)} x {_width(encoded)}"
    say(console, f"Features: {size}, float32{read}, {request.out}")


def _require_whole(paths: list[Path], progress: ScreenProgress) -> None:
    """Decode every image before time is spent. Raises DataError naming the damaged ones."""

    def watch(done: int, total: int) -> None:
        progress.advance(0, f"decoding once, {done} of {total} images")

    bad = verify_images(paths, watch)
    if bad:
        named = "; ".join(f"{one.path}: {one.reason}" for one in bad[:SHOWN])
        more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise DataError(
            f"{len(bad)} of {len(paths)} images are damaged: {named}{more}. "
            "Replace them or take them out of the folder."
        )


def _origin(recipe: Recipe) -> str:
    if recipe.weights is None:
        return f"Method:   {recipe.name}, which trains nothing."
    if recipe.spec is None:
        return f"Method:   {recipe.name}, weights of {recipe.weights}."
    trained = f"trained on {recipe.spec.fold_name}, seed {recipe.spec.seed}"
    version = recipe.method.card.version
    other = (
        ""
        if recipe.spec.method_version == version
        else (f"; made by version {recipe.spec.method_version} of it, this is version {version}")
    )
    return f"Method:   {recipe.name}, run {recipe.spec.id} {trained}{other}."


def _config(recipe: Recipe, method: Method) -> str:
    """What differs from the method's defaults, and what no checkpoint can tell."""
    values = recipe.config.model_dump(mode="json", exclude_defaults=True)
    if recipe.weights is not None:
        # the initial ones, which are not used
        values.pop("weights", None)
    changed = ", ".join(f"{key}={_typed(value)}" for key, value in values.items())
    text = f"Config:   {changed or 'the defaults'}."
    if recipe.spec is None and recipe.weights is not None and method.assumed():
        text += f" Assumed, --set what training had: {', '.join(method.assumed())}."
    return text


def _typed(value: Any) -> str:
    """A value as --set takes it."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _width(encoded: dict[str, Any]) -> str:
    return " x ".join(str(n) for n in encoded[FEATURES].shape[1:])
