"""What a sweep tries: `lr=1e-6,5e-6`, `lr=log:1e-6..1e-4`, `parts=[head,legs],[head]`.

An axis is a key of a method's config with its values: a list of them, or a range of numbers. A
list within the list stands in brackets. A setting is one value for every axis.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin

import numpy as np

from harness.config import literal, make_config
from harness.seeds import generator
from methods.interface import Method, MethodConfig
from protocols.errors import ReIDError

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
RANGE = re.compile(rf"(log:)?({NUMBER})\.\.({NUMBER})")
FORM = "KEY=VALUE,VALUE,... (a list in brackets: parts=[head,legs],[head])"
RANGES = "KEY=LOW..HIGH or KEY=log:LOW..HIGH"
COMBINATIONS = 1000
"""So many are tried before a value counts as one that fits no other."""

Setting = dict[str, Any]
"""Key -> value, as `--set` would give it."""


@dataclass(frozen=True)
class Choices:
    """Some values, each as good as the other."""

    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """All of them."""
        return self.values

    def draw(self, rng: np.random.Generator) -> Any:
        """One of them."""
        return self.values[rng.integers(len(self.values))]


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; evenly, or evenly in their logarithm."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest."""
        return self.low, self.high

    def draw(self, rng: np.random.Generator) -> float:
        """One of them; an int if they are `whole`."""
        # of whole numbers each has the same width, those at the ends too
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        if self.log:
            value = math.exp(rng.uniform(math.log(low), math.log(high)))
        else:
            value = float(rng.uniform(low, high))
        value = min(max(value, self.low), self.high)
        return min(max(round(value), int(self.low)), int(self.high)) if self.whole else value


Axis = Choices | Range
Space = dict[str, Axis]


def parse_space(texts: Sequence[str]) -> dict[str, str]:
    """`KEY=...` texts to key -> what stands behind it, not understood yet.

    Raises ReIDError for a text of another form and for a key that comes twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        key, equals, values = (part.strip() for part in text.partition("="))
        if not (key and equals and values):
            raise ReIDError(f"{text!r}: expected {FORM}, or for a search {RANGES}.")
        if key in found:
            raise ReIDError(f"{key} is swept twice; give all of its values at once: {FORM}.")
        found[key] = values
    if not found:
        raise ReIDError(f"Nothing to sweep was named: expected {FORM}, or {RANGES}.")
    return found


def make_space(
    texts: Mapping[str, str],
    name: str,
    method: type[Method],
    preset: str,
    overrides: Mapping[str, Any],
) -> Space:
    """The axes of a method's config, every value checked; of a range, its ends.

    Raises UnknownName for a key that `name` does not have, ReIDError for a value it refuses.
    """
    both = [key for key in texts if key in overrides]
    if both:
        raise ReIDError(f"{', '.join(both)}: swept and given with --set; leave one of them out.")
    space: Space = {}
    for key, text in texts.items():
        field = method.Config.model_fields.get(key)
        if field is None:
            make_config(name, method, preset, {key: text})  # says which keys there are
            raise AssertionError(f"{name} took a key that it does not have: {key}")
        space[key] = _axis(key, text, field.annotation)

    def config(setting: Setting) -> MethodConfig:
        return make_config(name, method, preset, {**overrides, **setting})

    for key, axis in space.items():
        for value in axis.ends:
            try:
                config({key: value})
            except ReIDError as error:
                if _fits_another(key, value, space, config):
                    continue
                if not _takes(method.Config.model_fields[key].annotation, tuple, list):
                    raise
                raise ReIDError(f"{error} A list stands in brackets: {key}=[...],[...].") from None
    return space


def _fits_another(key: str, value: Any, space: Space, config: Callable[[Setting], object]) -> bool:
    """Whether a value that is refused alone is accepted beside some values of the other axes."""
    others = {name: axis.ends for name, axis in space.items() if name != key}
    for values in itertools.islice(itertools.product(*others.values()), COMBINATIONS):
        with contextlib.suppress(ReIDError):
            config({**dict(zip(others, values, strict=True)), key: value})
            return True
    return False


def grid(space: Space) -> list[Setting]:
    """Every setting of a space of lists, the last axis turning fastest. Refuses a range."""
    for key, axis in space.items():
        if isinstance(axis, Range):
            raise ReIDError(
                f"{key}={_shown_range(axis)}: a grid needs every value, {FORM}; "
                "a range is for --search random or optuna."
            )
    lists = [axis.values for axis in space.values() if isinstance(axis, Choices)]
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*lists)]


def draws(space: Space, seed: int) -> Iterator[Setting]:
    """Settings without end, drawn one after the other; the first ones are always the same."""
    for i in itertools.count():
        rng = generator(seed, "search", i)
        yield {key: axis.draw(rng) for key, axis in space.items()}


def label(setting: Setting) -> str:
    """A setting for people: `lr=1e-05 parts=[head,legs]`."""
    return " ".join(f"{key}={shown(value)}" for key, value in setting.items())


def as_override(key: str, value: Any) -> str:
    """`key=value` that `--set` reads as that very value."""
    as_it_is = isinstance(value, str) and literal(value) == value and value == value.strip()
    return f"{key}={value if as_it_is else json.dumps(value)}"


def shown(value: Any) -> str:
    """A value for people; of a number no more than four digits."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(shown, value))}]"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def _shown_range(axis: Range) -> str:
    return f"{'log:' if axis.log else ''}{axis.low:g}..{axis.high:g}"


def _axis(key: str, text: str, annotation: Any) -> Axis:
    """What a text means for a key of that type."""
    found = RANGE.fullmatch(text)
    if found and _takes(annotation, int, float):
        log, low, high = found.groups()
        return _range(key, log, low, high, whole=not _takes(annotation, float))
    if text.startswith("log:") and _takes(annotation, int, float):
        raise ReIDError(f"{key}={text}: expected {RANGES}, such as {key}=log:1e-6..1e-4.")
    parts = _split(text)
    if not all(parts):
        raise ReIDError(f"{key}={text}: a value is empty; expected {FORM}.")
    by_text = {json.dumps(_value(part)): _value(part) for part in parts}
    return Choices(tuple(by_text.values()))


def _range(key: str, log: str | None, low: str, high: str, whole: bool) -> Range:
    ends = literal(low), literal(high)
    if not all(isinstance(end, int | float) for end in ends):
        ends = float(low), float(high)  # such as 1., which JSON does not know
    if ends[0] > ends[1] or (log and ends[0] <= 0):
        more = " and more than 0" if log else ""
        raise ReIDError(f"{key}={low}..{high}: the first number must be the smaller one{more}.")
    return Range(*ends, log=bool(log), whole=whole)


def _value(text: str) -> Any:
    value = literal(text)
    if value == text and text.startswith("[") and text.endswith("]"):
        return [_value(part) for part in _split(text[1:-1])]
    return value


def _split(text: str) -> list[str]:
    """At the commas that stand in no bracket and no quotes."""
    parts, depth, quoted = [""], 0, False
    for c in text:
        quoted ^= c == '"'
        depth += 0 if quoted else (c == "[") - (c == "]")
        if c == "," and depth == 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += c
    return [part.strip() for part in parts]


def _takes(annotation: Any, *kinds: type) -> bool:
    """Whether a type, or one that it is a union of, is among `kinds`."""
    if get_origin(annotation) in (Union, types.UnionType):
        return any(_takes(one, *kinds) for one in get_args(annotation))
    return annotation in kinds or get_origin(annotation) in kinds
