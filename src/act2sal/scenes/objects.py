"""Objects: implicit shapes with a height field, so that they can be shaded and their masks are exact."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from act2sal.scenes.textures import Plane

Point = tuple[float, float]
Surface = tuple[NDArray[np.floating], NDArray[np.floating]]
"""Two (H, W) arrays, as `inside` and `height` of a shape."""


@dataclass(frozen=True)
class Shape:
    """A shape over a pixel grid, in units of the object's radius."""

    inside: Plane
    """(H, W) float32: > 0 inside, < 0 outside, zero on the outline."""
    height: Plane
    """(H, W) float32 >= 0: how far the surface stands out towards the viewer."""
    part: NDArray[np.intp]
    """(H, W): number of the part (body, legs, ...) that is seen."""


def random_shape(rng: Generator, u: Plane, v: Plane) -> Shape:
    """One of the shapes, over object coordinates u (right), v (down), both (H, W); it fits |u|, |v| <= 1."""
    kinds = (_superquadric, _superquadric, _blob, _gem, _vase, _mug, _creature, _creature, _mushroom, _fish)
    return kinds[rng.integers(len(kinds))](rng, u, v)


def _superquadric(rng: Generator, u: Plane, v: Plane) -> Shape:
    """From an ellipsoid (exponent 2) to a cushion (6)."""
    exponent = float(rng.choice([2.0, rng.uniform(2.2, 6)]))
    aspect = rng.uniform(0.55, 1.0)
    inside: Plane = 1 - np.abs(u) ** exponent - np.abs(v / aspect) ** exponent
    return _union([(inside, aspect * np.maximum(inside, 0) ** (1 / exponent))])


def _blob(rng: Generator, u: Plane, v: Plane) -> Shape:
    """A potato: the radius is a sum of cosines of the angle."""
    angle = np.arctan2(v, u)
    radius = np.full_like(u, 0.72)
    for k in range(2, 6):
        radius += np.float32(rng.uniform(0.05, 0.28) / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    inside = 1 - (u * u + v * v) / radius**2
    return _union([(inside, 0.7 * np.sqrt(np.maximum(inside, 0)))])


def _gem(rng: Generator, u: Plane, v: Plane) -> Shape:
    """A convex polygon with slanted sides and a flat top."""
    corners = int(rng.integers(4, 9))
    angles = (np.arange(corners) + rng.uniform(-0.25, 0.25, corners)) * 2 * np.pi / corners + rng.uniform(
        0, 6
    )
    reach = rng.uniform(0.6, 0.85, corners)
    sides = [r - u * np.cos(a) - v * np.sin(a) for a, r in zip(angles, reach, strict=True)]
    inside = np.min([*sides, 0.97 - np.hypot(u, v)], axis=0).astype(np.float32)
    slant, top = rng.uniform(0.7, 1.4), rng.uniform(0.2, 0.4)
    return _union([(inside, np.minimum(np.maximum(inside, 0) * slant, top))])


def _vase(rng: Generator, u: Plane, v: Plane) -> Shape:
    """A body of revolution with a random smooth profile."""
    return _union([_revolution(rng, u, v)])


def _mug(rng: Generator, u: Plane, v: Plane) -> Shape:
    """A cup with a ring for a handle: its mask has a hole."""
    width = rng.uniform(0.45, 0.6)
    side = np.maximum(1 - (u / width) ** 2, 0)
    cup = np.minimum(1 - (u / width) ** 2, 5 * (0.72 - np.abs(v)))
    around = np.hypot(u - width, v * 1.1)
    ring = 1 - ((around - 0.3) / 0.09) ** 2
    return _union([(cup, width * np.sqrt(side)), (ring, 0.09 * np.sqrt(np.maximum(ring, 0)))])


def _creature(rng: Generator, u: Plane, v: Plane) -> Shape:
    """An animal: body, head, four legs, ears, tail."""
    u = u * float(rng.choice([-1, 1]))
    thick, leg = rng.uniform(0.22, 0.32), rng.uniform(0.07, 0.11)
    shoulder, hip, neck = (0.42, -0.02), (-0.45, 0.0), (0.68, -rng.uniform(0.3, 0.55))
    parts = [_limb(u, v, hip, shoulder, thick, thick * rng.uniform(0.8, 1.05))]
    head = rng.uniform(0.17, 0.23)
    parts.append(_limb(u, v, shoulder, neck, thick * 0.7, head * 0.75))
    parts.append(_limb(u, v, neck, (neck[0] + 0.17, neck[1] + 0.08), head, head * 0.65))
    for x in (-0.55, -0.35, 0.33, 0.5):
        foot = x + rng.uniform(-0.1, 0.1)
        parts.append(_limb(u, v, (x, 0.1), (foot, rng.uniform(0.72, 0.8)), leg * 1.4, leg))
    ear = rng.uniform(0.12, 0.3)
    parts.append(_limb(u, v, (neck[0] - 0.06, neck[1] - 0.08), (neck[0] - 0.12, neck[1] - ear), 0.08, 0.04))
    tail = (-0.9, rng.uniform(-0.4, 0.3))
    parts.append(_limb(u, v, (-0.6, -0.08), tail, 0.06, rng.uniform(0.03, 0.09)))
    return _union(parts)


def _mushroom(rng: Generator, u: Plane, v: Plane) -> Shape:
    """A cap on a stem; with a thin stem, a tree or a lollipop."""
    cap_height = rng.uniform(0.4, 0.65)
    low = rng.uniform(-0.15, 0.1)
    dome = 1 - (u / rng.uniform(0.65, 0.9)) ** 2 - ((v - low) / cap_height) ** 2
    cap = np.minimum(dome, 6 * (low + 0.08 - v))
    stem = rng.uniform(0.08, 0.22)
    return _union(
        [
            (cap, cap_height * np.sqrt(np.maximum(dome, 0))),
            _limb(u, v, (0, low), (rng.uniform(-0.1, 0.1), 0.75), stem, stem * rng.uniform(1, 1.4)),
        ]
    )


def _fish(rng: Generator, u: Plane, v: Plane) -> Shape:
    """A spindle with tail and fins; also a bird or a plane, as one likes."""
    u = u * float(rng.choice([-1, 1]))
    thick = rng.uniform(0.24, 0.38)
    nose, waist, fin = (0.55, 0.02), (-0.5, 0.0), rng.uniform(0.3, 0.5)
    parts = [_limb(u, v, waist, nose, 0.1, thick)]
    for side in (-1, 1):
        parts.append(_limb(u, v, waist, (-0.88, side * fin * 0.8), 0.09, 0.05))
        parts.append(_limb(u, v, (0.25, 0), (0.0, side * (fin + 0.15)), 0.14, 0.05))
    return _union(parts)


def _revolution(rng: Generator, u: Plane, v: Plane) -> Surface:
    knots = np.linspace(-1, 1, 6)
    spline = CubicSpline(knots, rng.uniform(0.22, 0.66, len(knots)))
    width = np.clip(spline(np.clip(v, -1, 1)), 0.14, 0.75).astype(np.float32)
    side: Plane = 1 - (u / width) ** 2
    return np.minimum(side, 5 * (0.92 - np.abs(v))), width * np.sqrt(np.maximum(side, 0))


def _limb(u: Plane, v: Plane, start: Point, end: Point, start_radius: float, end_radius: float) -> Surface:
    """A rounded cone from `start` to `end`."""
    along = (end[0] - start[0], end[1] - start[1])
    share = ((u - start[0]) * along[0] + (v - start[1]) * along[1]) / (along[0] ** 2 + along[1] ** 2 + 1e-9)
    share = np.clip(share, 0, 1)
    radius = start_radius + (end_radius - start_radius) * share
    distance = np.hypot(u - start[0] - share * along[0], v - start[1] - share * along[1])
    inside = 1 - (distance / radius) ** 2
    return inside, radius * np.sqrt(np.maximum(inside, 0))


def _union(parts: Sequence[Surface]) -> Shape:
    """Join (inside, height) pairs: the highest surface is seen."""
    heights = np.stack([np.where(inside > 0, height, -1) for inside, height in parts])
    part = heights.argmax(axis=0)
    inside = np.max([inside for inside, _ in parts], axis=0).astype(np.float32)
    return Shape(inside, np.maximum(heights.max(axis=0), 0).astype(np.float32), part)
