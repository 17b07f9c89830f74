"""How a person looks from where the camera stands: a jointed figure, drawn part by part."""

from __future__ import annotations

import itertools
import math

from protocols.standin.canvas import BAG, HEAD, LEGS, UPPER, Canvas, Point, shade
from protocols.standin.person import BARE_LEGGED, LONG_SLEEVED, Person


class Figure(Canvas):
    """One person in one pose."""

    def draw(self, person: Person) -> None:
        """Draw all of `person`, far things first."""
        self.person = person
        # Limbs come in the order far, near: a limb on side s is `s * sin(yaw)` further away.
        far, near = (1, -1) if self.sin > 0 else (-1, 1)
        pack_in_front = self.cos < 0.25
        if person.bag == "backpack" and not pack_in_front:
            self._backpack()
        self._arm(far)
        for side in (far, near):
            self._leg(side)
        if person.bottom == "skirt":
            self._skirt()
        self._torso()
        if person.bag == "backpack" and pack_in_front:
            self._backpack()
        self._straps()
        self._head()
        self._arm(near)

    def _leg(self, side: int) -> None:
        person, swing = self.person, self.pose.stride * side
        self.part = LEGS
        w = 0.046 * person.build
        light = 0.86 if side * self.sin > 0 else 1.0  # the far leg is in the shade
        hip = self.at(side * 0.045 * person.build, 0.49)
        knee = self.at(side * 0.047, 0.72 - 0.01 * abs(swing), 0.09 * swing + 0.02)
        ankle = self.at(side * 0.047, 0.945 - 0.03 * max(0.0, -swing), 0.19 * swing)
        cloth, skin = shade(person.bottom_cloth.rgb, light), shade(person.skin.rgb, light)
        bare = person.bottom in BARE_LEGGED
        toe = self.at(side * 0.052, 0.965 - 0.03 * max(0.0, -swing), 0.19 * swing + 0.055)
        self.limb(ankle, toe, 0.024, 0.022, shade(person.shoes.rgb, light))
        self.limb(knee, ankle, w * (0.66 if bare else 0.8), w * 0.55, skin if bare else cloth)
        self.limb(hip, knee, w * 1.15, w * (1.0 if bare else 0.85), cloth)
        if person.bottom == "jeans":  # faded knees tell jeans from blue trousers
            self.ellipse(
                ((hip[0] + knee[0]) / 2, (hip[1] + knee[1]) / 2),
                w * 0.5,
                0.07,
                shade(person.bottom_cloth.rgb, light * 1.35),
            )

    def _skirt(self) -> None:
        self.part = LEGS
        top, hem = 0.46, 0.7
        flare = 0.055 + 0.05 * abs(self.pose.stride * self.sin)
        half = self._half(top)
        (x0, y0), (x1, y1) = self.at(0, top), self.at(0, hem)
        half_hem = half + flare * self.height
        rgb = self.person.bottom_cloth.rgb
        self.polygon(
            [(x0 - half, y0), (x0 + half, y0), (x1 + half_hem, y1), (x1 - half_hem, y1)], rgb
        )
        for t in (-0.5, 0.05, 0.55):  # folds
            fold = [(x0 + t * half, y0 + 8), (x1 + t * half_hem + 3, y1), (x1 + t * half_hem, y1)]
            self.polygon(fold, shade(rgb, 0.75))

    def _half(self, down: float) -> float:
        """Half the width of the torso at a height, in pixels, from this viewpoint."""
        build = self.person.build * (1.0 if not self.person.woman else 0.93)
        widths = (
            (0.17, 0.045, 0.04),
            (0.2, 0.112, 0.05),
            (0.37, 0.084, 0.055),
            (0.5, 0.09, 0.06),
            (0.64, 0.1, 0.075),
        )
        across, deep = widths[-1][1:]
        for (y0, a0, d0), (y1, a1, d1) in itertools.pairwise(widths):
            if down <= y1:
                t = max(0.0, (down - y0) / (y1 - y0))
                across, deep = a0 + t * (a1 - a0), d0 + t * (d1 - d0)
                break
        wider = 1 + self.pose.pitch * (0.45 - down)
        return build * wider * self.height * math.hypot(across * self.cos, deep * self.sin)

    def _band(
        self, top: float, bottom: float, left: float = -1.0, right: float = 1.0
    ) -> list[Point]:
        """The piece of torso between two heights and two fractions of its half width."""
        inner = [y for y in (0.2, 0.37, 0.5) if top < y < bottom]
        heights = [top, *inner, bottom]
        sides: list[list[Point]] = []
        for fraction in (left, right):
            edge = []
            for down in heights:
                x, y = self.at(0, down)
                edge.append((x + fraction * self._half(down), y))
            sides.append(edge)
        return sides[0] + sides[1][::-1]

    def _torso(self) -> None:
        top = self.person.top
        self.part = UPPER
        hem = {"coat": 0.64, "jacket": 0.5, "hoodie": 0.5}.get(top.garment, 0.485)
        main, second = top.cloth.rgb, top.second.rgb
        self.polygon(self._band(0.165, hem), main)
        if top.pattern in ("striped", "checked"):
            stripes = 5
            step = (hem - 0.2) / (2 * stripes)
            for i in range(stripes):
                y = 0.2 + step * (2 * i + 0.5)
                self.polygon(self._band(y, y + step), second)
        if top.pattern == "checked":
            for left in (-0.85, -0.25, 0.35):
                self.polygon(self._band(0.19, hem, left, left + 0.28), shade(main, 0.75))
        if top.garment in ("jacket", "coat") and self.cos > 0.2:
            shift = 0.5 * self.sin  # the opening turns away with the chest
            self.polygon(self._band(0.165, hem - 0.01, shift - 0.26, shift + 0.26), second)
        if top.pattern == "logo" and self.cos > 0.2:
            shift = 0.55 * self.sin
            self.polygon(self._band(0.25, 0.34, shift - 0.45, shift + 0.45), second)
        if top.garment == "hoodie":
            x, y = self.at(0, 0.175, -0.03)
            self.ellipse((x, y), 0.075, 0.035, shade(main, 0.72))
        self.polygon(
            self._band(0.19, hem, 0.55, 1.0) if self.sin > 0 else self._band(0.19, hem, -1.0, -0.9),
            shade(main, 0.8),
        )

    def _arm(self, side: int) -> None:
        person, swing = self.person, -self.pose.arms * side
        top = person.top
        light = 0.8 if side * self.sin > 0 else 0.93
        reach = 0.108 * person.build
        shoulder = self.at(side * reach, 0.205)
        elbow = self.at(side * (reach + 0.025), 0.35, 0.07 * swing)
        bend = 0.07 * self.pose.elbow
        wrist = self.at(side * (reach + 0.02), 0.485 - bend, 0.15 * swing + 1.5 * bend)
        sleeve, skin = shade(top.cloth.rgb, light), shade(person.skin.rgb, light)
        lower = sleeve if top.garment in LONG_SLEEVED else skin
        self.part = UPPER
        w = 0.031 * person.build
        self.ellipse(wrist, 0.02, 0.026, skin)
        self.limb(elbow, wrist, w * 0.85, w * 0.7, lower)
        self.limb(shoulder, elbow, w * 1.15, w, sleeve)
        if top.pattern == "striped":
            for t in (0.3, 0.7):
                x = shoulder[0] + t * (elbow[0] - shoulder[0])
                y = shoulder[1] + t * (elbow[1] - shoulder[1])
                self.ellipse((x, y), w, 0.011, shade(top.second.rgb, light))
        if person.bag == "handbag" and side == 1:
            self.part = BAG
            x, y = wrist
            h, rgb = self.height, person.bag_cloth.rgb
            self.polygon(
                [
                    (x - 0.012 * h, y),
                    (x + 0.012 * h, y),
                    (x + 0.045 * h, y + 0.05 * h),
                    (x - 0.045 * h, y + 0.05 * h),
                ],
                shade(rgb, 0.7),
            )
            self.polygon(
                [
                    (x - 0.05 * h, y + 0.045 * h),
                    (x + 0.05 * h, y + 0.045 * h),
                    (x + 0.06 * h, y + 0.13 * h),
                    (x - 0.06 * h, y + 0.13 * h),
                ],
                rgb,
            )

    def _backpack(self) -> None:
        self.part = BAG
        x, y = self.at(0, 0.3, -0.085)
        half = self.height * math.hypot(0.088 * self.cos, 0.05 * self.sin)
        tall, rgb = 0.125 * self.height, self.person.bag_cloth.rgb
        self.polygon(
            [
                (x - 0.8 * half, y - tall),
                (x + 0.8 * half, y - tall),
                (x + half, y - 0.5 * tall),
                (x + half, y + tall),
                (x - half, y + tall),
                (x - half, y - 0.5 * tall),
            ],
            rgb,
        )
        if self.cos < 0:
            self.polygon(
                [
                    (x - 0.7 * half, y + 0.2 * tall),
                    (x + 0.7 * half, y + 0.2 * tall),
                    (x + 0.7 * half, y + 0.85 * tall),
                    (x - 0.7 * half, y + 0.85 * tall),
                ],
                shade(rgb, 1.35),
            )

    def _straps(self) -> None:
        """Straps of a backpack seen from the front, and the shoulder bag with its strap."""
        bag, rgb = self.person.bag, self.person.bag_cloth.rgb
        self.part = BAG
        if bag == "backpack" and self.cos > 0.25:
            for left in (-0.62, 0.44):
                shift = 0.3 * self.sin
                self.polygon(self._band(0.18, 0.36, left + shift, left + 0.18 + shift), rgb)
        elif bag == "shoulder bag":
            h = self.height
            x0, y0 = self.at(0.07, 0.19)
            x1, y1 = self.at(-0.1 * self.person.build, 0.49, 0.02)
            self.limb((x0, y0), (x1, y1), 0.01, 0.01, shade(rgb, 0.7))
            if self.sin < 0.75:  # else it hangs on the far side of the body
                self.polygon(
                    [
                        (x1 - 0.05 * h, y1 - 0.01 * h),
                        (x1 + 0.05 * h, y1 - 0.01 * h),
                        (x1 + 0.05 * h, y1 + 0.085 * h),
                        (x1 - 0.05 * h, y1 + 0.085 * h),
                    ],
                    rgb,
                )

    def _head(self) -> None:
        person = self.person
        self.part = HEAD
        skin, hair = person.skin.rgb, person.hair.rgb
        x, y = self.at(0, 0.075, 0.018)
        back = self.at(0, 0.07, -0.014)
        long = person.hair_style == "long"
        if long and self.cos > -0.3:
            self.ellipse(self.at(0, 0.125, -0.03), 0.066, 0.085, shade(hair, 0.85))
        neck, chin = self.at(0, 0.19, 0.01), self.at(0, 0.12, 0.015)
        self.limb(neck, chin, 0.034, 0.034, shade(skin, 0.85))
        self.ellipse((x, y), 0.05, 0.068, skin)
        h = self.height
        if self.cos > 0.1:
            for eye in (-0.019, 0.019):
                self.ellipse(self.at(eye, 0.072, 0.045), 0.0065, 0.006, (24, 20, 20))
            self.polygon(
                [
                    (x - 0.012 * h, y + 0.034 * h),
                    (x + 0.012 * h, y + 0.034 * h),
                    (x, y + 0.042 * h),
                ],
                shade(skin, 0.6),
            )
        # From behind the hair hides the face, from the side the back half of it.
        if self.cos < -0.25:
            self.ellipse(back, 0.054, 0.07, hair)
        else:
            self.ellipse((x, y - 0.034 * h), 0.051, 0.036, hair)
            if abs(self.sin) > 0.4:
                self.ellipse(back, 0.042, 0.066, hair)
        if long and self.cos <= -0.3:
            self.ellipse(self.at(0, 0.14, -0.03), 0.06, 0.085, hair)
        if person.hair_style == "tied":
            self.ellipse(self.at(0, 0.085, -0.075), 0.024, 0.045, shade(hair, 0.9))
        self._hat(x, y, back[0])

    def _hat(self, x: float, y: float, back: float) -> None:
        hat, rgb, h = self.person.hat, self.person.hat_cloth.rgb, self.height
        if hat == "none":
            return
        middle = (x + back) / 2
        self.ellipse((middle, y - 0.038 * h), 0.056, 0.04, rgb)
        if hat == "cap" and self.cos > -0.3:
            peak = self.at(0, 0.052, 0.07)
            self.ellipse(peak, 0.038, 0.012, shade(rgb, 0.7))
        if hat == "beanie":
            self.ellipse((middle, y - 0.022 * h), 0.057, 0.016, shade(rgb, 0.75))
            self.ellipse((middle, y - 0.082 * h), 0.014, 0.014, shade(rgb, 1.2))
