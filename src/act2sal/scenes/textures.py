"""Procedural textures: fractal noise, colours, and the patterns that cover an object."""

import colorsys

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Plane = NDArray[np.float32]
"""(H, W) float32."""
Colours = NDArray[np.float32]
"""(H, W, 3) or (3,) float32 RGB in [0, 1]."""

PATTERNS = ("plain", "gradient", "marble", "stripes", "spots", "checks")
PATTERN_SHARES = (0.28, 0.2, 0.2, 0.15, 0.1, 0.07)


def fractal_noise(
    rng: Generator,
    size: tuple[int, int],
    *,
    cell: float,
    octaves: int = 5,
    stretch: float = 1.0,
    roughness: float = 0.55,
) -> Plane:
    """Sum of random grids, each half as coarse and `roughness` times as strong as the last, in [0, 1].

    `cell` is the coarsest grid step in pixels; a `stretch` above 1 draws the noise out horizontally.
    """
    total = np.zeros(size, np.float32)
    amplitude = 1.0
    for _ in range(octaves):
        if cell < 1:
            break
        rows, columns = int(size[0] / cell) + 3, int(size[1] / (cell * stretch)) + 3
        grid = rng.random((rows, columns), dtype=np.float32)
        wide = cv2.resize(
            grid, (int(columns * cell * stretch), int(rows * cell)), interpolation=cv2.INTER_CUBIC
        )
        top, left = int(cell), int(cell * stretch)
        total += amplitude * wide[top : top + size[0], left : left + size[1]]
        amplitude *= roughness
        cell /= 2
    low, high = float(total.min()), float(total.max())
    return (total - low) / max(high - low, 1e-6)


def colour(hue: float, saturation: float, value: float) -> Colours:
    """(3,) RGB of a hue (in turns), saturation and value, all in [0, 1]."""
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value), np.float32)


def blend(first: Colours, second: Colours, share: Plane) -> Colours:
    """(H, W, 3): `first` where `share` (H, W) is 0, `second` where it is 1."""
    return first + (second - first) * share[..., None]


def blur(picture: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Gaussian blur of (H, W) or (H, W, 3) float32; `sigma` in pixels."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), dtype=np.float32)


def pattern(rng: Generator, u: Plane, v: Plane) -> Plane:
    """A random pattern over object coordinates u, v (H, W) -> share of a second colour, (H, W) in [0, 1]."""
    kind = rng.choice(PATTERNS, p=PATTERN_SHARES)
    noise = fractal_noise(rng, (u.shape[0], u.shape[1]), cell=float(rng.uniform(20, 60)))
    along, across = rotate(u, v, rng.uniform(0, np.pi))
    pitch = rng.uniform(7, 18)
    if kind == "stripes":
        return _step(np.sin(pitch * along + 5 * noise) + rng.uniform(-0.4, 0.4), 5)
    if kind == "marble":
        return _step(np.sin(4 * along + 14 * noise), 1.6)
    if kind == "spots":
        return _step(np.sin(pitch * along + 2 * noise) * np.sin(pitch * across + 2 * noise) - 0.25, 8)
    if kind == "checks":
        return _step(np.sin(0.7 * pitch * along) * np.sin(0.7 * pitch * across), 12)
    if kind == "gradient":
        return np.clip(0.5 + 0.6 * along + 0.5 * (noise - 0.5), 0, 1)
    return 0.5 * noise


def rotate(u: Plane, v: Plane, angle: float) -> tuple[Plane, Plane]:
    """Coordinates u, v (H, W) in axes turned by `angle` (radians)."""
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return u * cosine + v * sine, v * cosine - u * sine


def _step(signal: Plane, sharpness: float) -> Plane:
    """Turn a wave into bands with soft borders."""
    return np.clip(0.5 + sharpness * signal / 2, 0, 1)
