"""Where a point of the body falls in the picture, and drawing there.

A point of the body is (across, down, ahead) in body heights, the crown at 0, the soles at 1.
Everything is drawn twice, on the picture and on a map of parts, so that boxes are true by
construction: what covers a part in the picture covers it on the map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from protocols.standin.person import RGB

NOTHING, HEAD, UPPER, LEGS, BAG = range(5)
PARTS = {"head": HEAD, "upper body": UPPER, "legs": LEGS}
"""The parts with a box, in the order head, upper body, legs; values on the map of parts."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Pose:
    """How the person stands: `yaw` in radians (0 faces the camera, pi shows the back)."""

    yaw: float
    stride: float  # -1 .. 1, swing of the legs
    arms: float  # -1 .. 1, swing of the arms
    elbow: float  # 0 .. 1, how far the lower arm is bent forward
    pitch: float  # 0 level; above 0 the camera looks down: larger head, shorter legs


def shade(rgb: RGB, factor: float) -> RGB:
    """`rgb` times `factor`, kept within 0..255."""
    r, g, b = (min(255, max(0, int(c * factor))) for c in rgb)
    return (r, g, b)


class Canvas:
    """The picture and its map of parts, drawn on together from one viewpoint."""

    def __init__(
        self,
        picture: Image.Image,
        parts: Image.Image,
        pose: Pose,
        *,
        centre: float,
        crown: float,
        height: float,
        nobody: bool = False,
    ) -> None:
        """`centre` (x), `crown` (y of the top of the head) and body `height` are in pixels.

        With `nobody`, what is drawn covers parts but is a part of nobody.
        """
        self._ink, self._map = ImageDraw.Draw(picture), ImageDraw.Draw(parts)
        self.pose, self.height = pose, height
        self._centre, self._crown = centre, crown
        self.cos, self.sin = math.cos(pose.yaw), math.sin(pose.yaw)
        self.part, self._nobody = NOTHING, nobody

    def at(self, across: float, down: float, ahead: float = 0.0) -> Point:
        """The pixel of a point of the body."""
        wider = 1 + self.pose.pitch * (0.45 - down)
        down = down + self.pose.pitch * 0.22 * down * (1 - down)
        x = (across * self.cos + ahead * self.sin) * wider
        return (self._centre + x * self.height, self._crown + down * self.height)

    def polygon(self, points: Sequence[Point], rgb: RGB) -> None:
        """A filled polygon of pixels that belongs to the current `part`."""
        self._ink.polygon(points, fill=rgb)
        self._map.polygon(points, fill=NOTHING if self._nobody else self.part)

    def ellipse(self, centre: Point, rx: float, ry: float, rgb: RGB) -> None:
        """A filled ellipse about a pixel; radii in body heights."""
        (x, y), rx, ry = centre, rx * self.height, ry * self.height
        box = (x - rx, y - ry, x + rx, y + ry)
        self._ink.ellipse(box, fill=rgb)
        self._map.ellipse(box, fill=NOTHING if self._nobody else self.part)

    def limb(self, start: Point, end: Point, wide: float, narrow: float, rgb: RGB) -> None:
        """A tapered limb with a round end; half widths in body heights."""
        (x0, y0), (x1, y1) = start, end
        length = math.hypot(x1 - x0, y1 - y0) or 1.0
        nx, ny = -(y1 - y0) / length * self.height, (x1 - x0) / length * self.height
        corners = [
            (x0 + nx * wide, y0 + ny * wide),
            (x1 + nx * narrow, y1 + ny * narrow),
            (x1 - nx * narrow, y1 - ny * narrow),
            (x0 - nx * wide, y0 - ny * wide),
        ]
        self.polygon(corners, rgb)
        self.ellipse(end, narrow, narrow, rgb)
