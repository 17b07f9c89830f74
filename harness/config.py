"""RunSpec: everything that a training's numbers depend on, typed, frozen, with a content hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.files import file_digest
from protocols.errors import ReIDError, UnknownName
from protocols.types import Fold, SourceImages

if TYPE_CHECKING:
    # torch is not needed to read a record
    from methods.interface import Method, MethodConfig

Preset = Literal["tiny", "paper"]
Precision = Literal["fp32", "bf16", "fp16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
SPEC_VERSION = 1
PART_LABELS = "part_labels"
"""The config key for files of part labels, in every method that has one."""


class RunSpec(BaseModel):
    """One training: method, config, fold, seed, data. Its `id` is the run's name.

    No path, device or worker count is in it: where a config value is the path of a weights file,
    `config` holds the hash of the file's content. `sources` maps each source, in order, to the
    fingerprint of its training images. Targets are not part of it: one training serves them all.
    `part_labels` is the digest of the part masks of the sources, None for none. `holdout` is the
    share of each source's identities that is not trained on (`harness.holdout`), None for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec_version: int = SPEC_VERSION
    method: str
    method_version: str
    preset: str
    config: dict[str, Any]
    weights: tuple[str, ...]
    sources: dict[str, str]
    source_images: SourceImages
    seed: int
    precision: Precision
    part_labels: str | None = None
    holdout: float | None = Field(default=None, gt=0, lt=1)

    @cached_property
    def id(self) -> str:
        """First 12 hex digits of the SHA-256 of the spec's canonical JSON."""
        values = self.model_dump(mode="json")
        for later in ("part_labels", "holdout"):
            if values[later] is None:
                # so that runs from before there were any keep their names
                del values[later]
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        # sort_keys would lose the order of the sources, which orders the labels
        text += "".join(self.sources)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's; a changed copy has an `id` of its own."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("id", None)
        return copied

    @property
    def fold_name(self) -> str:
        """The sources as a protocol names them."""
        return Fold(tuple(self.sources), self.source_images, ()).name


@dataclass(frozen=True)
class Contents:
    """A config without paths: a weights file by its hash, part labels left out.

    What counts of part labels is the digest of the masks, in the spec.
    """

    config: dict[str, Any]
    weights: tuple[str, ...]

    @classmethod
    def of(cls, method: type[Method], config: MethodConfig) -> Contents:
        """Read the weights files that a config names."""
        values = config.model_dump(mode="json")
        values.update({PART_LABELS: None} if PART_LABELS in values else {})
        files = {p.resolve(): f"sha256:{file_digest(p)}" for p in method.weights_files(config)}
        named = {key: _content(value, files) for key, value in values.items()}
        return cls(named, tuple(sorted(files.values())))


def make_spec(
    name: str,
    method: type[Method],
    config: MethodConfig,
    *,
    preset: str,
    fold: Fold,
    fingerprints: Mapping[str, str],
    seed: int,
    precision: Precision,
    part_labels: str | None = None,
    holdout: float | None = None,
    contents: Contents | None = None,
) -> RunSpec:
    """The spec of one training; `fingerprints` of its source splits by data set.

    `contents` of the config, where they are known already.
    """
    contents = contents or Contents.of(method, config)
    return RunSpec(
        method=name,
        method_version=method.card.version,
        preset=preset,
        config=contents.config,
        weights=contents.weights,
        sources={source: fingerprints[source] for source in fold.sources},
        source_images=fold.source_images,
        seed=seed,
        precision=precision,
        part_labels=part_labels,
        holdout=holdout,
    )


def _content(value: Any, files: Mapping[Path, str]) -> Any:
    """A config value, or the hash of the weights file that it names, however it is spelt."""
    return files.get(Path(value).expanduser().resolve(), value) if isinstance(value, str) else value


def parse_overrides(texts: Sequence[str]) -> dict[str, Any]:
    """`key=value` texts to a dict; a value is read as JSON where it is JSON, else as a string."""
    overrides: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ReIDError(f"--set {text!r}: expected key=value, for example --set epochs=5.")
        overrides[key.strip()] = literal(value.strip())
    return overrides


def literal(text: str) -> Any:
    """A value as typed: read as JSON where it is JSON, else the text; Python's constants too."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return {"True": True, "False": False, "None": None}.get(text, text)


def make_config(
    name: str, method: type[Method], preset: str, overrides: Mapping[str, Any]
) -> MethodConfig:
    """A method's config: its defaults, then the preset's values, then `overrides`.

    Raises UnknownName for an unknown preset or key, ReIDError for a value of the wrong type or
    range, naming the key and what was expected.
    """
    if preset not in method.presets:
        raise UnknownName(f"preset of {name}", preset, method.presets)
    known = method.Config.model_fields
    for key in overrides:
        if key not in known:
            hint = f"The keys of {name}: {', '.join(known) or 'none'}."
            raise UnknownName(f"config key of {name}", key, known, hint)
    try:
        return method.Config(**{**method.presets[preset], **overrides})
    except ValidationError as error:
        raise ReIDError(_explain(name, error)) from None


def _explain(name: str, error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        text = problem["msg"].removeprefix("Value error, ")
        text = text[0].lower() + text[1:]
        # what is wrong with several keys together has no key of its own
        where = f"{key}={problem['input']!r}: " if key else ""
        lines.append(f"Config of {name}: {where}{text}.")
    return "\n".join(lines)
