"""Which method a sweep is of, and which of the proposed settings are computed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.config import make_config
from harness.plan import Choice, choose
from harness.space import Setting, label
from methods import registry as methods
from protocols.errors import ReIDError, UnknownName


class Accept:
    """Takes settings that make a config, each config once; remembers why others were left out."""

    def __init__(self, name: str, preset: str, overrides: Mapping[str, Any]) -> None:
        self.name, self.preset, self.overrides = name, preset, overrides
        self.method = methods.load(name)
        self.seen: set[str] = set()
        self.left_out: list[str] = []

    def __call__(self, setting: Setting) -> bool:
        try:
            config = make_config(self.name, self.method, self.preset, {**self.overrides, **setting})
        except ReIDError as error:
            self.left_out.append(f"Left out: {label(setting)}. {error}")
            return False
        new = config.model_dump_json() not in self.seen
        self.seen.add(config.model_dump_json())
        return new

    def choice(self, setting: Setting) -> Choice:
        """The method with a setting."""
        values = {**self.overrides, **setting}
        return choose([self.name], self.preset, values, label(setting))[0]


def find_methods(given: Sequence[str], keys: Iterable[str]) -> list[str]:
    """The methods that are asked for; without any, the one registered method that has the keys.

    Raises UnknownName for a key that none has, ReIDError if several have all of them, or none has.
    """
    if given:
        return list(dict.fromkeys(map(methods.canonical, given)))
    known: dict[str, set[str]] = {}
    for name in methods.locations():
        # what somebody else's package is amiss is no matter here
        with contextlib.suppress(ReIDError):
            known[name] = set(methods.load(name).Config.model_fields)
    for key in keys:
        if not any(key in fields for fields in known.values()):
            raise UnknownName("config key", key, set().union(*known.values()))
    having = [name for name, fields in known.items() if fields.issuperset(keys)]
    if len(having) == 1:
        return having
    if not having:
        raise ReIDError(f"No method has all of {', '.join(keys)}; sweep those of one method.")
    raise ReIDError(f"{', '.join(keys)}: keys of {', '.join(having)}; say which with --method.")
