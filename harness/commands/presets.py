"""The configs that methods' presets make, as records write them, without loading what computes.

Those of the built-in methods are kept in the cache folder until a file of theirs changes: to read
a table must not take as long as to load torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config import PART_LABELS, make_config
from harness.files import write_json
from methods import registry
from protocols.cache import cache_folder
from protocols.errors import ReIDError

if TYPE_CHECKING:
    from methods.interface import Method

Configs = Mapping[str, Mapping[str, Any]]
"""Preset -> config."""
METHODS = Path(registry.__file__).parent


def preset_configs(name: str, method: type[Method]) -> Configs:
    """The config of each preset; no weights are fetched, so a tag stays a tag."""
    configs = {}
    for preset in method.presets:
        values = make_config(name, method, preset, {}).model_dump(mode="json")
        configs[preset] = values | ({PART_LABELS: None} if PART_LABELS in values else {})
    return configs


def built_in_presets(name: str) -> Configs:
    """`preset_configs` of a built-in method. Raises ReIDError if its code can't be imported."""
    path = cache_folder() / "presets" / f"{name}-{_state()}.json"
    with contextlib.suppress(OSError, ValueError):
        kept: Configs = json.loads(path.read_bytes())
        return kept
    configs = preset_configs(name, registry.load(name))
    with contextlib.suppress(OSError, ReIDError):  # a cache that can't be written is none
        write_json(path, configs)
    return configs


@cache
def _state() -> str:
    """Changes when a file of the methods does."""
    files = sorted(path for path in METHODS.rglob("*.py"))
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:16]
