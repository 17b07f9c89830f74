"""What each stand-in domain looks like: light, clothes, backgrounds, cameras, files.

The six domains carry the keys of the data sets they stand in for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protocols.standin.person import RGB, Wardrobe


@dataclass(frozen=True, eq=False)  # each is itself: hashable, though it holds mappings
class Domain:
    """The style of one domain. Lengths are in pixels of a 64-wide picture unless said."""

    key: str
    number: int  # feeds the random streams; two domains never share one
    size: tuple[int, int]  # width, height of the files
    cameras: int
    wardrobe: Wardrobe
    cast: tuple[float, float, float]  # gain of red, green, blue under the domain's light
    cast_spread: float  # how much cameras differ from it, in log gain
    gamma: tuple[float, float]  # range over cameras; above 1 is darker
    saturation: float
    blur: tuple[float, float]  # range of the Gaussian's radius
    shrink: float  # 1 keeps the resolution, 0.5 halves it
    noise: float  # standard deviation, of 255
    quality: tuple[int, int]  # range of the JPEG quality
    walls: tuple[RGB, ...]
    grounds: tuple[RGB, ...]
    clutter: int  # upright things in the background of a camera
    tilt: float  # standard deviation over cameras, degrees
    pitch: tuple[float, float]  # range over cameras, see figure.Pose
    jitter: float  # of the crop, as a fraction of the picture
    occlusion: float  # share of pictures in which something stands before the person
    frontal: float = 0.0  # 0: cameras see every side; 1: each camera sees mostly one


_DAILY = {"t-shirt": 5.0, "shirt": 3.0, "jacket": 1.0, "hoodie": 1.0}
_WINTER = {"coat": 4.0, "jacket": 4.0, "hoodie": 3.0, "shirt": 1.0}
_MIXED = {"t-shirt": 2.0, "shirt": 2.0, "jacket": 3.0, "hoodie": 2.0, "coat": 1.0}
_BAGS = {"none": 4.0, "backpack": 3.0, "handbag": 2.0, "shoulder bag": 1.5}

DOMAINS: Mapping[str, Domain] = {
    domain.key: domain
    for domain in (
        Domain(
            key="MA",
            number=1,
            size=(64, 128),
            cameras=6,
            wardrobe=Wardrobe(
                tops=_DAILY,
                top_colours={
                    "white": 5,
                    "black": 4,
                    "red": 1.5,
                    "blue": 1.5,
                    "green": 1,
                    "pink": 1,
                },
                bottoms={"shorts": 4, "trousers": 2, "jeans": 3, "skirt": 3},
                bottom_colours={"black": 5, "blue": 2, "beige": 1.5},
                bags={"none": 5.0, "backpack": 3.0, "handbag": 1.0, "shoulder bag": 1.0},
                hats=0.1,
                patterned=0.3,
            ),
            cast=(1.06, 1.0, 0.88),
            cast_spread=0.1,
            gamma=(0.85, 1.15),
            saturation=1.05,
            blur=(0.5, 1.2),
            shrink=0.7,
            noise=7.0,
            quality=(80, 92),
            walls=((168, 176, 152), (150, 140, 118), (124, 146, 112)),
            grounds=((186, 176, 158), (170, 170, 162)),
            clutter=4,
            tilt=1.5,
            pitch=(0.05, 0.2),
            jitter=0.08,
            occlusion=0.3,
            frontal=0.5,
        ),
        Domain(
            key="D",
            number=2,
            size=(64, 128),
            cameras=8,
            wardrobe=Wardrobe(
                tops=_WINTER,
                top_colours={
                    "black": 5,
                    "grey": 3,
                    "blue": 2.5,
                    "brown": 1.5,
                    "red": 1.5,
                    "green": 1,
                    "beige": 1,
                },
                bottoms={"trousers": 4, "jeans": 5, "skirt": 0.6},
                bottom_colours={"black": 5, "grey": 2, "blue": 2, "brown": 1, "beige": 1},
                bags={"none": 3.0, "backpack": 5.0, "handbag": 1.5, "shoulder bag": 1.5},
                hats=0.3,
                patterned=0.3,
            ),
            cast=(0.9, 0.98, 1.1),
            cast_spread=0.075,
            gamma=(0.94, 1.3),
            saturation=0.7,
            blur=(0.5, 1.1),
            shrink=0.75,
            noise=6.0,
            quality=(70, 88),
            walls=((140, 146, 154), (112, 120, 134), (160, 156, 150)),
            grounds=((148, 150, 154), (128, 132, 136), (172, 172, 170)),
            clutter=6,
            tilt=2.5,
            pitch=(0.1, 0.35),
            jitter=0.08,
            occlusion=0.3,
            frontal=0.6,
        ),
        Domain(
            key="MS",
            number=3,
            size=(64, 128),
            cameras=15,
            wardrobe=Wardrobe(
                tops=_MIXED,
                top_colours={
                    "black": 5,
                    "white": 2,
                    "grey": 2,
                    "red": 1.5,
                    "blue": 2,
                    "pink": 1,
                    "green": 1,
                    "yellow": 1,
                    "purple": 1,
                    "orange": 1,
                },
                bottoms={"trousers": 4, "jeans": 4, "shorts": 1, "skirt": 1.5},
                bottom_colours={"black": 5, "blue": 2, "grey": 2, "beige": 1, "white": 0.6},
                bags={"none": 3.0, "backpack": 4.0, "handbag": 2.0, "shoulder bag": 2.0},
                hats=0.15,
            ),
            cast=(1.0, 1.0, 1.0),
            cast_spread=0.085,
            gamma=(0.79, 1.42),
            saturation=0.9,
            blur=(0.2, 1.2),
            shrink=0.8,
            noise=5.0,
            quality=(60, 90),
            walls=((188, 182, 170), (96, 98, 104), (130, 112, 96), (150, 168, 180)),
            grounds=((160, 158, 152), (90, 92, 96), (134, 124, 112)),
            clutter=7,
            tilt=2.5,
            pitch=(0.0, 0.4),
            jitter=0.08,
            occlusion=0.3,
            frontal=0.5,
        ),
        Domain(
            key="C3",
            number=4,
            size=(64, 128),
            cameras=2,
            wardrobe=Wardrobe(
                tops=_DAILY,
                top_colours={
                    "white": 3,
                    "black": 4,
                    "grey": 2,
                    "blue": 3,
                    "red": 1.5,
                    "orange": 1,
                    "green": 1,
                },
                bottoms={"trousers": 3, "jeans": 5, "shorts": 2, "skirt": 1},
                bottom_colours={"black": 4, "blue": 2, "brown": 1, "beige": 1.5, "grey": 1.5},
                bags={"none": 2.0, "backpack": 5.0, "handbag": 1.0, "shoulder bag": 2.5},
                hats=0.08,
            ),
            cast=(1.02, 1.06, 0.92),
            cast_spread=0.09,
            gamma=(0.82, 1.3),
            saturation=0.85,
            blur=(0.4, 0.8),
            shrink=0.7,
            noise=7.0,
            quality=(90, 95),
            walls=((170, 150, 120), (140, 130, 112)),
            grounds=((150, 128, 104), (120, 112, 100)),
            clutter=3,
            tilt=3.0,
            pitch=(0.15, 0.45),
            jitter=0.12,
            occlusion=0.25,
            frontal=0.8,
        ),
        Domain(
            key="VIPeR",
            number=5,
            size=(48, 128),
            cameras=2,
            wardrobe=Wardrobe(
                tops=_MIXED,
                top_colours={
                    "white": 4,
                    "black": 3,
                    "grey": 2,
                    "red": 2,
                    "blue": 2,
                    "green": 1.5,
                    "orange": 1,
                    "brown": 1,
                },
                bottoms={"jeans": 4, "shorts": 3, "trousers": 3, "skirt": 1},
                bottom_colours={"black": 3, "beige": 3, "blue": 2, "brown": 1, "white": 1},
                bags={"none": 3.0, "backpack": 5.0, "handbag": 1.0, "shoulder bag": 1.0},
                hats=0.1,
            ),
            cast=(1.04, 1.02, 0.84),
            cast_spread=0.15,
            gamma=(0.82, 1.24),
            saturation=1.2,
            blur=(0.5, 1.0),
            shrink=0.65,
            noise=5.0,
            quality=(85, 95),
            walls=((96, 128, 78), (150, 152, 140)),
            grounds=((188, 186, 168), (112, 140, 90)),
            clutter=4,
            tilt=2.0,
            pitch=(0.0, 0.3),
            jitter=0.05,
            occlusion=0.08,
            frontal=1.0,
        ),
        Domain(
            key="PRID",
            number=6,
            size=(64, 128),
            cameras=2,
            wardrobe=Wardrobe(
                tops=_WINTER,
                top_colours={"black": 5, "grey": 3, "white": 2, "blue": 2, "beige": 1.5, "red": 1},
                bottoms={"jeans": 5, "trousers": 4, "skirt": 1},
                bottom_colours={"black": 5, "grey": 2, "blue": 2, "brown": 1},
                bags={"none": 4.0, "backpack": 2.0, "handbag": 2.0, "shoulder bag": 2.5},
                hats=0.12,
                patterned=0.25,
            ),
            cast=(0.84, 1.06, 1.06),
            cast_spread=0.13,
            gamma=(0.88, 1.18),
            saturation=0.6,
            blur=(0.4, 0.9),
            shrink=0.7,
            noise=8.0,
            quality=(85, 95),
            walls=((170, 178, 176), (140, 150, 150)),
            grounds=((182, 186, 184), (150, 156, 156)),
            clutter=1,
            tilt=2.0,
            pitch=(0.3, 0.5),
            jitter=0.04,
            occlusion=0.04,
            frontal=1.0,
        ),
    )
}
