"""Who a rendered person is: the attributes that make an identity, and how one is invented.

An identity lives in its head, upper body, legs and bag. Coarse attributes (colour names, garment
names) are few and shared by many people, so that no single one tells two people apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

RGB = tuple[int, int, int]
Choice = TypeVar("Choice")

COLOURS: Mapping[str, RGB] = {
    "black": (32, 32, 36),
    "grey": (128, 128, 130),
    "white": (228, 228, 224),
    "red": (186, 40, 42),
    "orange": (222, 124, 44),
    "yellow": (222, 196, 62),
    "green": (56, 122, 62),
    "blue": (44, 74, 158),
    "purple": (106, 58, 132),
    "pink": (222, 132, 164),
    "brown": (112, 74, 44),
    "beige": (196, 176, 140),
}
SKINS: Mapping[str, RGB] = {
    "light": (234, 194, 168),
    "tan": (198, 148, 112),
    "dark": (112, 74, 54),
}
HAIRS: Mapping[str, RGB] = {
    "black": (28, 24, 24),
    "brown": (84, 54, 34),
    "blonde": (206, 168, 96),
    "grey": (156, 152, 148),
    "red": (146, 64, 30),
}

LONG_SLEEVED = frozenset({"shirt", "jacket", "coat", "hoodie"})
BARE_LEGGED = frozenset({"shorts", "skirt"})


@dataclass(frozen=True)
class Cloth:
    """A named colour, and the shade of it that this person wears."""

    name: str
    rgb: RGB


@dataclass(frozen=True)
class Top:
    """What is worn on the upper body. `second` colours pattern, logo or what is under a jacket."""

    garment: str  # t-shirt, shirt, jacket, coat, hoodie
    cloth: Cloth
    second: Cloth
    pattern: str  # plain, striped, checked, logo


@dataclass(frozen=True)
class Person:
    """One identity: everything about a person that is the same in every picture of them."""

    woman: bool
    skin: Cloth
    hair: Cloth
    hair_style: str  # short, long, tied
    hat: str  # none, cap, beanie
    hat_cloth: Cloth
    top: Top
    bottom: str  # trousers, jeans, shorts, skirt
    bottom_cloth: Cloth
    shoes: Cloth
    bag: str  # none, backpack, handbag, shoulder bag
    bag_cloth: Cloth
    build: float  # width of the body, as a factor
    stature: float  # height, 1 is average


@dataclass(frozen=True)
class Wardrobe:
    """How often a population wears what: weights, not probabilities."""

    tops: Mapping[str, float]
    top_colours: Mapping[str, float]
    bottoms: Mapping[str, float]
    bottom_colours: Mapping[str, float]
    bags: Mapping[str, float]
    hats: float = 0.15
    patterned: float = 0.4


def pick(rng: np.random.Generator, weights: Mapping[Choice, float]) -> Choice:
    """One key of `weights`, drawn with those weights."""
    total = sum(weights.values())
    at = rng.random() * total
    for name, weight in weights.items():
        at -= weight
        if at < 0:
            return name
    return list(weights)[-1]  # rounding left `at` at zero


def cloth(rng: np.random.Generator, name: str, table: Mapping[str, RGB], spread: int = 14) -> Cloth:
    """`name` in a shade of this person's own, up to `spread` of 255 away in each channel."""
    shift = rng.integers(-spread, spread + 1, 3)
    r, g, b = (int(min(255, max(0, base + s))) for base, s in zip(table[name], shift, strict=True))
    return Cloth(name, (r, g, b))


def invent(rng: np.random.Generator, wardrobe: Wardrobe) -> Person:
    """A new person of the population that wears `wardrobe`."""
    woman = bool(rng.random() < 0.5)
    styles = {"short": 1.0, "long": 4.0, "tied": 2.0} if woman else {"short": 9.0, "long": 1.0}
    bottoms = {k: w for k, w in wardrobe.bottoms.items() if woman or k != "skirt"}
    bags = {k: w for k, w in wardrobe.bags.items() if woman or k != "handbag"}
    bottom = pick(rng, bottoms)
    bottom_colour = "blue" if bottom == "jeans" else pick(rng, wardrobe.bottom_colours)
    return Person(
        woman=woman,
        skin=cloth(rng, pick(rng, {"light": 5.0, "tan": 3.0, "dark": 2.0}), SKINS, 10),
        hair=cloth(
            rng,
            pick(rng, {"black": 5.0, "brown": 4.0, "blonde": 2.0, "grey": 1.0, "red": 0.6}),
            HAIRS,
            8,
        ),
        hair_style=pick(rng, styles),
        hat=pick(rng, {"cap": 1.0, "beanie": 1.0}) if rng.random() < wardrobe.hats else "none",
        hat_cloth=cloth(rng, pick(rng, wardrobe.top_colours), COLOURS),
        top=_top(rng, wardrobe),
        bottom=bottom,
        bottom_cloth=cloth(rng, bottom_colour, COLOURS),
        shoes=cloth(
            rng, pick(rng, {"black": 5.0, "white": 3.0, "brown": 2.0, "red": 0.7}), COLOURS
        ),
        bag=pick(rng, bags),
        bag_cloth=cloth(rng, pick(rng, {**wardrobe.bottom_colours, "red": 0.8}), COLOURS),
        build=float(rng.uniform(1.05, 1.4)),
        stature=float(rng.uniform(0.93, 1.05)),
    )


def _top(rng: np.random.Generator, wardrobe: Wardrobe) -> Top:
    garment = pick(rng, wardrobe.tops)
    colour = pick(rng, wardrobe.top_colours)
    others = {name: 1.0 for name in COLOURS if name != colour}
    patterns = {"striped": 3.0, "checked": 2.0, "logo": 3.0}
    if garment in ("jacket", "coat"):
        patterns = {"striped": 1.0}  # an open jacket already shows its second colour
    patterned = rng.random() < wardrobe.patterned * (0.3 if garment in ("jacket", "coat") else 1.0)
    return Top(
        garment=garment,
        cloth=cloth(rng, colour, COLOURS),
        second=cloth(rng, pick(rng, {**others, "white": 4.0, "black": 2.0}), COLOURS),
        pattern=pick(rng, patterns) if patterned else "plain",
    )
