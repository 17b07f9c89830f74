"""A person in words: captions of pictures, and of parts.

Only what an identity wears is said, plus in a caption what the view shows. The tiny CLIP learns
from these sentences, so the prompts that methods use (`TEMPLATES`) are part of the same language.
"""

from __future__ import annotations

import numpy as np

from protocols.standin.person import Person

TEMPLATES = (
    "A photo of a {} person.",
    "A photo of a {} head of a person.",
    "A photo of a {} upper body of a person.",
    "A photo of a {} legs of a person.",
    "A photo of a {}.",
    "A photo of a X X X X person, a low quality picture from a street camera.",
)
"""Prompts whose fixed words the tiny CLIP must know, even if no caption has them."""


def part_captions(person: Person) -> dict[str, str]:
    """One sentence per part: `head of a person with ...`; keys as in `canvas.PARTS`."""
    return {
        "head": f"A photo of a head of a person with {head(person)}.",
        "upper body": f"A photo of a upper body of a person in {_a(top(person))}.",
        "legs": f"A photo of a legs of a person in {bottom(person)}.",
    }


def head(person: Person) -> str:
    """Skin, hair and hat, as in `light skin, long black hair and a red cap`."""
    hair = {"tied": f"{person.hair.name} hair tied back"}.get(
        person.hair_style, f"{person.hair_style} {person.hair.name} hair"
    )
    hat = f" and a {person.hat_cloth.name} {person.hat}" if person.hat != "none" else ""
    return f"{person.skin.name} skin, {hair}{hat}"


def top(person: Person) -> str:
    """Colour, pattern and garment, as in `red striped shirt` or `black jacket over white`."""
    worn = person.top
    if worn.garment in ("jacket", "coat") and worn.pattern == "plain":
        return f"{worn.cloth.name} {worn.garment} over {worn.second.name}"
    if worn.pattern == "plain":
        return f"{worn.cloth.name} {worn.garment}"
    if worn.pattern == "logo":
        return f"{worn.cloth.name} {worn.garment} with a {worn.second.name} logo"
    return f"{worn.cloth.name} and {worn.second.name} {worn.pattern} {worn.garment}"


def bottom(person: Person) -> str:
    """Legs and shoes, as in `blue jeans and white shoes`."""
    legs = f"{person.bottom_cloth.name} {person.bottom}"
    if person.bottom == "skirt":
        legs = f"a {legs}"
    return f"{legs} and {person.shoes.name} shoes"


def caption(person: Person, view: str, rng: np.random.Generator) -> str:
    """One sentence on a picture of `person`; `rng` varies the wording.

    `view` is front, back or side; every other sentence says it.
    """
    seen = {
        "front": ["seen from the front", "walking towards the camera"],
        "back": ["seen from behind", "walking away"],
        "side": ["seen from the side", "walking by"],
    }[view]
    start = rng.choice(["A photo of a", "A picture of a", "A"])
    who = "woman" if person.woman else "man"
    wears = rng.choice(["wearing", "in", "dressed in"])
    bits = [f"{start} {who} with {head(person)}", f"{wears} {_a(top(person))}", bottom(person)]
    if person.bag != "none":
        bits.append(f"carrying {_a(f'{person.bag_cloth.name} {person.bag}')}")
    if rng.random() < 0.5:
        bits.append(rng.choice(seen))
    return ", ".join(bits) + "."


def _a(words: str) -> str:
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"
