"""From a name to a method class: built-in names, entry points, or `package.module:Class`."""

from __future__ import annotations

import importlib
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from protocols.errors import ReIDError, UnknownName

if TYPE_CHECKING:
    from methods.interface import Method

ENTRY_POINT_GROUP = "harness.methods"

BUILT_IN = {
    "bot-resnet50": "methods.bot:BotResNet50",
    "bot-vit": "methods.bot:BotVit",
    "colour-histogram": "methods.colour_histogram:ColourHistogram",
    "clip-reid": "methods.clip_reid.method:ClipReid",
    "clip-zero-shot": "methods.clip_zero_shot:ClipZeroShot",
    "muva": "methods.muva.method:Muva",
    "vision-only": "methods.vision_only:VisionOnly",
}


def locations() -> dict[str, str]:
    """Every known name and the `package.module:Class` behind it, sorted; imports none of them.

    An installed package adds names under the entry-point group `harness.methods`; a built-in
    name can't be replaced.
    """
    found = {e.name: e.value for e in _entry_points()}
    return dict(sorted({**found, **BUILT_IN}.items()))


def canonical(name: str) -> str:
    """The registered name of a method, also where it was asked for as `package.module:Class`."""
    return next((known for known, location in locations().items() if location == name), name)


def load(name: str) -> type[Method]:
    """The class of a method, by name or by `package.module:Class`.

    Raises UnknownName for a name nobody registered, ReIDError if its code can't be imported or
    is not a Method.
    """
    known = locations()
    location = known.get(name, name if ":" in name else "")
    if not location:
        hint = "A class of your own is named as package.module:Class."
        raise UnknownName("method", name, known, hint)
    cls = _import(location)

    from methods.interface import Method

    if not (isinstance(cls, type) and issubclass(cls, Method)):
        raise ReIDError(
            f"Method {name!r}: {location} is not a subclass of methods.interface.Method."
        )
    if not hasattr(cls, "card"):
        raise ReIDError(
            f"Method {name!r}: {location} has no `card` (a methods.interface.MethodCard)."
        )
    return cls


def _entry_points() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=ENTRY_POINT_GROUP))


def _import(location: str) -> object:
    module_name, _, attribute = location.partition(":")
    if not attribute or not all(part.isidentifier() for part in module_name.split(".")):
        raise ReIDError(f"Method {location!r}: expected package.module:Class.")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # only the module asked for is the user's slip; one missing inside it is told as it is
        if error.name and module_name.startswith(error.name):
            raise ReIDError(
                f"Method {location!r}: no module {error.name!r} can be imported. "
                "Is its package installed in this environment, or its folder on PYTHONPATH?"
            ) from error
        raise ReIDError(f"Method {location!r} needs a package that is missing: {error}.") from error
    except Exception as error:
        raise ReIDError(
            f"Method {location!r}: importing {module_name} fails with "
            f"{type(error).__name__}: {error}"
        ) from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        names = [n for n in vars(module) if not n.startswith("_")]
        raise UnknownName(f"class in {module_name}", attribute, names) from None
