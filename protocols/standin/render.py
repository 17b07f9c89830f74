"""From an identity to a picture: pose, background, occluder, crop, light, camera.

Every picture has its own random stream, seeded by (seed, domain, identity, camera, shot), and every
identity and camera theirs, so what is drawn depends on nothing else: not on order, not on workers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from protocols.standin.canvas import PARTS, Pose, shade
from protocols.standin.domains import Domain
from protocols.standin.figure import Figure
from protocols.standin.person import RGB, Person, invent

Box = tuple[int, int, int, int]

SCALE = 2  # the scene is drawn at twice the size of the file, then brought down
MARGIN = 40  # scene pixels around the nominal crop, so that a shifted crop stays inside
IDENTITY, CAMERA, SHOT = 1, 2, 3  # kinds of random stream


@dataclass(frozen=True)
class Rendering:
    """One picture with its truth.

    `boxes`: part -> visible pixels (x0, y0, x1, y1), the last ones excluded; parts that are hidden
    or outside the crop are missing. `view`: front, back or side.
    """

    picture: Image.Image
    boxes: dict[str, Box]
    person: Person
    view: str


@dataclass(frozen=True)
class Camera:
    """One fixed camera of a domain: where it hangs, what is behind, how it takes colours."""

    background: Image.Image
    table: tuple[int, ...]  # 3 x 256, input to output level of red, green, blue
    tilt: float
    pitch: float
    yaw: float


def stream(*key: int) -> np.random.Generator:
    """The random stream of `key`, the same on every machine."""
    return np.random.default_rng(key)


@lru_cache(maxsize=4096)
def person(seed: int, domain: Domain, pid: int) -> Person:
    """The identity `pid` of a domain."""
    return invent(stream(seed, domain.number, IDENTITY, pid), domain.wardrobe)


@lru_cache(maxsize=128)
def camera(seed: int, domain: Domain, camid: int) -> Camera:
    """The camera `camid` of a domain."""
    rng = stream(seed, domain.number, CAMERA, camid)
    gains = np.asarray(domain.cast) * np.exp(rng.uniform(-1, 1, 3) * domain.cast_spread)
    gains = gains * math.exp(rng.uniform(-1, 1) * domain.cast_spread)
    gamma = rng.uniform(*domain.gamma)
    levels = np.linspace(0, 1, 256)[None] ** gamma * gains[:, None]
    lift = rng.uniform(0, 0.3) * domain.cast_spread  # haze: black is not quite black
    levels = 255 * (lift + (1 - lift) * levels)
    background = _background(domain, rng)
    return Camera(
        background=background,
        table=tuple(int(v) for v in np.clip(levels.round(), 0, 255).ravel()),
        tilt=float(rng.normal(0, domain.tilt)),
        pitch=float(rng.uniform(*domain.pitch)),
        yaw=float(rng.uniform(0, 2 * math.pi)),
    )


def _background(domain: Domain, rng: np.random.Generator) -> Image.Image:
    """A wall above a ground, uneven, with upright things; larger than a scene."""
    width, height = 320, 400
    choose = _mixed if domain.clutter else _any_of
    wall, ground = choose(domain.walls, rng), choose(domain.grounds, rng)
    picture = Image.new("RGB", (width, height), wall)
    draw = ImageDraw.Draw(picture)
    horizon = int(height * rng.uniform(0.35, 0.75))
    for _ in range(domain.clutter):
        x, w = int(rng.integers(0, width)), int(rng.integers(8, 60))
        top = int(rng.integers(0, horizon))
        near = domain.walls[rng.integers(len(domain.walls))]
        draw.rectangle((x, top, x + w, horizon), fill=shade(near, rng.uniform(0.5, 1.3)))
    draw.rectangle((0, horizon, width, height), fill=ground)
    for _ in range(domain.clutter // 2):
        y = int(rng.integers(horizon, height))
        draw.line((0, y, width, y + int(rng.integers(-20, 20))), fill=shade(ground, 0.85), width=3)
    patches = rng.normal(0, 9 if domain.clutter else 2, (20, 16))
    uneven = Image.fromarray(patches.astype(np.float32)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    pixels = np.asarray(picture, np.float32) + np.asarray(uneven)[..., None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _any_of(palette: tuple[RGB, ...], rng: np.random.Generator) -> RGB:
    return palette[rng.integers(len(palette))]


def _mixed(palette: tuple[RGB, ...], rng: np.random.Generator) -> RGB:
    """A colour between those of a palette; near the middle, so cameras of a domain look alike."""
    r, g, b = rng.dirichlet([2.0] * len(palette)) @ np.asarray(palette)
    return (int(r), int(g), int(b))


def render(
    domain: Domain, pid: int, camid: int, shot: int, *, seed: int = 0, spoilt: bool = False
) -> Rendering:
    """Take the picture number `shot` of identity `pid` with camera `camid`.

    `spoilt` leaves the person half outside the crop, as a bad detection does.
    """
    rng = stream(seed, domain.number, SHOT, pid, camid, shot)
    who, eye = person(seed, domain, pid), camera(seed, domain, camid)
    width, height = domain.size
    scene_size = (SCALE * width + 2 * MARGIN, SCALE * height + 2 * MARGIN)
    pose = _pose(domain, eye, rng)
    scene, parts = _scene(domain, who, pose, eye, scene_size, rng, spoilt)
    crop = _crop(domain, eye.tilt, scene_size, rng)
    picture = scene.transform(domain.size, Image.Transform.AFFINE, crop, Image.Resampling.BILINEAR)
    parts = parts.transform(domain.size, Image.Transform.AFFINE, crop, Image.Resampling.NEAREST)
    cos = math.cos(pose.yaw)
    view = "front" if cos > 0.5 else "back" if cos < -0.5 else "side"
    return Rendering(_expose(domain, eye, picture, rng), _boxes(parts), who, view)


def _pose(domain: Domain, eye: Camera, rng: np.random.Generator) -> Pose:
    yaw = rng.uniform(0, 2 * math.pi)
    if rng.random() < domain.frontal:
        yaw = eye.yaw + rng.normal(0, 0.5)
    stride = rng.uniform(-1, 1)
    return Pose(
        yaw=float(yaw % (2 * math.pi)),
        stride=float(stride),
        arms=float(np.clip(stride + rng.normal(0, 0.3), -1, 1)),
        elbow=float(max(0.0, rng.normal(0.2, 0.4))),
        pitch=float(eye.pitch + rng.normal(0, 0.03)),
    )


def _scene(
    domain: Domain,
    who: Person,
    pose: Pose,
    eye: Camera,
    size: tuple[int, int],
    rng: np.random.Generator,
    spoilt: bool,
) -> tuple[Image.Image, Image.Image]:
    """The person before the camera's background, and the map of parts. Both of `size`."""
    width, height = size
    x0 = int(rng.integers(0, eye.background.width - width + 1))
    y0 = int(rng.integers(0, eye.background.height - height + 1))
    scene = eye.background.crop((x0, y0, x0 + width, y0 + height))
    parts = Image.new("L", size)
    tall = 1.0 * (height - 2 * MARGIN)
    centre, crown = width / 2, MARGIN + 0.02 * (height - 2 * MARGIN)
    if spoilt:
        across, down = rng.choice([-1, 1], 2) * rng.uniform(0.8, 1.2, 2)
        centre, crown = centre + 0.4 * width * across, crown + 0.4 * height * down
    draw = ImageDraw.Draw(scene)
    feet = crown + 0.97 * tall * who.stature
    draw.ellipse((centre - 46, feet - 7, centre + 46, feet + 9), fill=_under(scene, centre, feet))
    occluder = rng.random()
    if occluder < domain.occlusion / 3:  # a passer-by, behind
        _passer_by(domain, scene, parts, rng, centre, crown, tall)
    tall *= who.stature
    Figure(scene, parts, pose, centre=centre, crown=crown, height=tall).draw(who)
    if domain.occlusion / 3 <= occluder < domain.occlusion:
        _occlude(domain, scene, parts, rng)
    return scene, parts


def _under(scene: Image.Image, x: float, y: float) -> tuple[int, int, int]:
    """The colour of a shadow at a point of the ground."""
    pixel = scene.getpixel((int(x), int(min(y, scene.height - 1))))
    assert isinstance(pixel, tuple)
    return shade((int(pixel[0]), int(pixel[1]), int(pixel[2])), 0.7)


def _passer_by(
    domain: Domain,
    scene: Image.Image,
    parts: Image.Image,
    rng: np.random.Generator,
    centre: float,
    crown: float,
    tall: float,
) -> None:
    """Somebody else at the edge of the picture, who is no identity of any split."""
    other = invent(rng, domain.wardrobe)
    pose = Pose(float(rng.uniform(0, 6.28)), float(rng.uniform(-1, 1)), 0.0, 0.2, 0.1)
    side = 1 if rng.random() < 0.5 else -1
    aside = centre + side * scene.width * float(rng.uniform(0.22, 0.36))
    crown += float(rng.uniform(-10, 25))
    Figure(
        scene, parts, pose, centre=aside, crown=crown, height=tall * other.stature, nobody=True
    ).draw(other)


def _occlude(
    domain: Domain, scene: Image.Image, parts: Image.Image, rng: np.random.Generator
) -> None:
    """A pole, something low (a bicycle, a bench) or a sign in front of the person."""
    width, height = scene.size
    tone = shade(domain.walls[rng.integers(len(domain.walls))], rng.uniform(0.35, 1.2))
    kind = rng.integers(3)
    if kind == 0:
        x = width * rng.uniform(0.25, 0.75)
        box = (x, 0.0, x + rng.uniform(6, 20), float(height))
    elif kind == 1:
        x = width * rng.uniform(-0.2, 0.5)
        box = (x, height * rng.uniform(0.55, 0.8), x + width * rng.uniform(0.4, 0.8), float(height))
    else:
        x, y = width * rng.uniform(0.0, 0.6), height * rng.uniform(0.1, 0.6)
        box = (x, y, x + rng.uniform(30, 60), y + rng.uniform(20, 50))
    ImageDraw.Draw(scene).rectangle(box, fill=tone)
    ImageDraw.Draw(parts).rectangle(box, fill=0)


def _crop(
    domain: Domain, tilt: float, scene: tuple[int, int], rng: np.random.Generator
) -> tuple[float, float, float, float, float, float]:
    """The affine map from pixels of the file to pixels of the scene."""
    width, height = domain.size
    angle = math.radians(tilt + rng.normal(0, 1.0))
    scale = SCALE * math.exp(rng.uniform(-1, 1) * domain.jitter)
    shift = rng.uniform(-1, 1, 2) * domain.jitter * np.asarray(domain.size) * SCALE * (1.0, 0.5)
    a, b = scale * math.cos(angle), -scale * math.sin(angle)
    x = scene[0] / 2 + shift[0] - a * width / 2 - b * height / 2
    y = scene[1] / 2 + shift[1] + b * width / 2 - a * height / 2
    return (a, b, float(x), -b, a, float(y))


def _expose(
    domain: Domain, eye: Camera, picture: Image.Image, rng: np.random.Generator
) -> Image.Image:
    """What the camera makes of the light: colours, focus, resolution, unevenness, noise."""
    width, height = domain.size
    keep, mix = domain.saturation, 1 - domain.saturation
    r, g, b = 0.3 * mix, 0.59 * mix, 0.11 * mix
    picture = picture.convert(
        "RGB", (keep + r, g, b, 0, r, keep + g, b, 0, r, g, keep + b, 0)
    ).point(eye.table)
    blur = rng.uniform(*domain.blur)
    if blur > 0.05:
        picture = picture.filter(ImageFilter.GaussianBlur(float(blur)))
    if domain.shrink < 1:
        small = (int(width * domain.shrink), int(height * domain.shrink))
        picture = picture.resize(small, Image.Resampling.BILINEAR).resize(
            domain.size, Image.Resampling.BILINEAR
        )
    day = math.exp(rng.normal(0, 0.5) * domain.cast_spread)  # the hour: a little brighter or darker
    slope = rng.uniform(-1, 1) * 1.2 * domain.cast_spread
    light = day * (1 + slope * np.linspace(-1, 1, width, dtype=np.float32))[None, :, None]
    noise = rng.standard_normal((height, width, 3), dtype=np.float32) * domain.noise
    pixels = np.asarray(picture, np.float32) * light.astype(np.float32) + noise
    return Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8))


def _boxes(parts: Image.Image) -> dict[str, Box]:
    """The bounding box of what is visible of each part."""
    pixels = np.asarray(parts)
    boxes: dict[str, Box] = {}
    for name, value in PARTS.items():
        here = pixels == value
        rows, columns = np.flatnonzero(here.any(1)), np.flatnonzero(here.any(0))
        if rows.size:
            boxes[name] = (
                int(columns[0]),
                int(rows[0]),
                int(columns[-1]) + 1,
                int(rows[-1]) + 1,
            )
    return boxes
