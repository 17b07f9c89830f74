"""The studio: people and pictures that no benchmark domain has.

Its plain, evenly lit pictures are only for making the tiny CLIP's weights, so that all people and
styles of the six domains stay unseen by them.
"""

from __future__ import annotations

from protocols.standin.domains import Domain
from protocols.standin.person import COLOURS, Wardrobe

STUDIO = Domain(
    key="studio",
    number=100,
    size=(64, 128),
    cameras=24,
    wardrobe=Wardrobe(
        tops={"t-shirt": 1, "shirt": 1, "jacket": 1, "hoodie": 1, "coat": 1},
        top_colours=dict.fromkeys(COLOURS, 1.0),
        bottoms={"trousers": 2, "jeans": 1, "shorts": 1, "skirt": 2},
        bottom_colours={**dict.fromkeys(COLOURS, 1.0), "orange": 0, "yellow": 0, "pink": 0},
        bags={"none": 1, "backpack": 1, "handbag": 1.5, "shoulder bag": 1},
        hats=0.3,
        patterned=0.55,
    ),
    cast=(1.0, 1.0, 1.0),
    cast_spread=0.03,
    gamma=(0.92, 1.08),
    saturation=1.0,
    blur=(0.0, 0.3),
    shrink=1.0,
    noise=1.0,
    quality=(95, 95),
    walls=(
        (240, 240, 240),
        (200, 200, 205),
        (60, 60, 66),
        (120, 160, 200),
        (200, 150, 140),
        (150, 190, 150),
        (220, 210, 160),
        (160, 140, 180),
    ),
    grounds=((225, 225, 225), (130, 130, 130), (90, 70, 56), (70, 80, 96)),
    clutter=0,
    tilt=0.5,
    pitch=(-0.05, 0.05),
    jitter=0.04,
    occlusion=0.0,
)
