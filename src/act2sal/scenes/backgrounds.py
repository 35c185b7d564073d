"""Natural-looking backgrounds without an object in them."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import skimage
from numpy.random import Generator
from numpy.typing import NDArray

from act2sal.data.images import read_photo
from act2sal.scenes.textures import Colours, Plane, blend, blur, colour, fractal_noise

SKIMAGE_PHOTOS = Path(skimage.__file__).parent / "data"
TEXTURE_PHOTOS = ("brick.png", "grass.png", "gravel.png")

_TINTS = {
    "brick.png": ((0.02, 0.10), (0.25, 0.55)),
    "grass.png": ((0.20, 0.32), (0.35, 0.65)),
    "gravel.png": ((0.05, 0.15), (0.05, 0.25)),
}


def background(rng: Generator, size: tuple[int, int]) -> Colours:
    """A random background (H, W, 3) float32 RGB, about [0, 1]; `size` = (height, width)."""
    kinds = (_landscape, _landscape, _textured_floor, _textured_floor, _room, _foliage, _water)
    return kinds[rng.integers(len(kinds))](rng, size)


def _landscape(rng: Generator, size: tuple[int, int]) -> Colours:
    """Sky with clouds, hills, and a meadow or sand that grows coarser towards the viewer."""
    height, width = size
    horizon = int(height * rng.uniform(0.3, 0.6))
    hue, day = rng.uniform(0.53, 0.63), rng.uniform(0.6, 1.0)
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None].repeat(width, axis=1)
    sky = blend(colour(hue, 0.6, day), colour(hue - rng.uniform(0, 0.45), 0.18, day), down * 1.6)
    clouds = fractal_noise(rng, size, cell=90, octaves=6, stretch=2.2)
    sky = blend(sky, colour(0.1, 0.03, day), np.clip(2.2 * clouds - rng.uniform(0.9, 1.5), 0, 0.9))
    ground = _ground(rng, size, horizon)
    line = horizon + 10 * (fractal_noise(rng, (1, width), cell=60, octaves=3)[0] - 0.5)
    rows = np.arange(height, dtype=np.float32)[:, None]
    photo = blend(sky, ground, np.clip(rows - line, 0, 1))
    for distance in (0.35, 0.7):
        ridge = (
            horizon + 3 - height * distance * 0.28 * fractal_noise(rng, (1, width), cell=130, octaves=5)[0]
        )
        hill = colour(rng.uniform(0.2, 0.55), 0.3 * distance + 0.1, 0.65 * day - 0.35 * distance)
        leaves = fractal_noise(rng, size, cell=9, octaves=3)
        inside = np.clip(rows - ridge, 0, 1) * np.clip(line + 1 - rows, 0, 1)
        photo = blend(photo, hill * (0.75 + 0.5 * leaves[..., None]), inside)
    return photo


def _ground(rng: Generator, size: tuple[int, int], horizon: int) -> Colours:
    """A plane in perspective: the texture is stretched towards the lower border."""
    height, width = size
    flat = fractal_noise(rng, (height * 2, width), cell=40, octaves=6, roughness=0.85)
    depth = np.clip((np.arange(height) - horizon) / (height - horizon), 0.02, 1)
    rows = (2 * height - 1) * (1 - 0.12 / (0.12 + depth))
    columns = np.arange(width)[None] - width / 2
    shrink = (0.45 + 0.55 * depth)[:, None]
    across = (width / 2 + columns * 0.5 / shrink).astype(np.float32)
    along = np.broadcast_to(rows[:, None], across.shape).astype(np.float32)
    seen = cv2.remap(flat, across, along, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    texture = np.asarray(seen, dtype=np.float32)
    hue = rng.choice([rng.uniform(0.2, 0.33), rng.uniform(0.08, 0.13)])
    saturation = rng.uniform(0.3, 0.65)
    return blend(colour(hue + 0.03, saturation, 0.2), colour(hue - 0.03, saturation, 0.75), texture)


def _textured_floor(rng: Generator, size: tuple[int, int]) -> Colours:
    """A crop of a photograph of bricks, grass or gravel, tinted and lit from one side."""
    names = [name for name in TEXTURE_PHOTOS if (SKIMAGE_PHOTOS / name).is_file()]
    if not names:
        return _foliage(rng, size)
    name = names[rng.integers(len(names))]
    gray = _texture_photo(name)
    scale = rng.uniform(0.75, 1.0)
    crop_height = int(gray.shape[0] * scale * size[0] / max(size))
    crop_width = int(gray.shape[1] * scale * size[1] / max(size))
    top = rng.integers(gray.shape[0] - crop_height + 1)
    left = rng.integers(gray.shape[1] - crop_width + 1)
    crop = gray[top : top + crop_height, left : left + crop_width]
    texture = np.asarray(cv2.resize(crop, size[::-1], interpolation=cv2.INTER_AREA), dtype=np.float32)
    hues, saturations = _TINTS[name]
    hue, saturation = rng.uniform(*hues), rng.uniform(*saturations)
    dark = colour(hue + 0.05, saturation, rng.uniform(0.0, 0.1))
    light = colour(hue, saturation * 0.8, rng.uniform(0.75, 1.0))
    return blend(dark, light, texture) * _lighting(rng, size)[..., None]


def _room(rng: Generator, size: tuple[int, int]) -> Colours:
    """A wall and a table or floor with a wood grain, out of focus."""
    height, width = size
    edge = int(height * rng.uniform(0.45, 0.75))
    wall_hue = rng.uniform(0, 1)
    stains = fractal_noise(rng, size, cell=120, octaves=4)
    wall = blend(
        colour(wall_hue, rng.uniform(0.05, 0.35), rng.uniform(0.35, 0.6)),
        colour(wall_hue + 0.05, rng.uniform(0.05, 0.25), rng.uniform(0.6, 0.95)),
        stains,
    )
    grain = fractal_noise(rng, size, cell=14, octaves=4, stretch=14, roughness=0.7)
    wood_hue = rng.uniform(0.04, 0.11)
    table = blend(colour(wood_hue, 0.65, 0.2), colour(wood_hue, 0.45, 0.72), grain)
    rows = np.arange(height, dtype=np.float32)[:, None].repeat(width, axis=1)
    photo = blend(wall, table, np.clip((rows - edge) / 3, 0, 1))
    return blur(photo, rng.uniform(0.6, 2.5)) * _lighting(rng, size)[..., None]


def _foliage(rng: Generator, size: tuple[int, int]) -> Colours:
    """Leaves out of focus: layers of green and brown noise with spots of light."""
    hue = rng.uniform(0.18, 0.4)
    coarse = fractal_noise(rng, size, cell=70, octaves=4)
    fine = fractal_noise(rng, size, cell=18, octaves=4, roughness=0.7)
    photo = blend(colour(hue, 0.7, 0.08), colour(hue - 0.05, 0.55, 0.65), 0.6 * coarse + 0.4 * fine)
    lights = np.zeros(size, np.float32)
    for _ in range(rng.integers(0, 16)):
        centre = (int(rng.integers(size[1])), int(rng.integers(size[0])))
        radius, strength = int(rng.integers(4, 14)), float(rng.uniform(0.15, 0.5))
        cv2.circle(lights, centre, radius, strength, thickness=-1, lineType=cv2.LINE_AA)
    photo = blend(photo, colour(hue - 0.06, 0.25, 1.0), blur(lights, 1.5))
    return blur(photo, rng.uniform(0.5, 3))


def _water(rng: Generator, size: tuple[int, int]) -> Colours:
    """Waves seen at a low angle, with reflections of the sky."""
    hue = rng.uniform(0.48, 0.62)
    waves = fractal_noise(rng, size, cell=26, octaves=5, stretch=5, roughness=0.65)
    photo = blend(colour(hue, 0.75, 0.22), colour(hue - 0.04, 0.35, 0.8), waves**1.5)
    return photo * _lighting(rng, size)[..., None]


def _lighting(rng: Generator, size: tuple[int, int]) -> Plane:
    """Smooth uneven illumination (H, W) around 1."""
    angle = rng.uniform(0, 2 * np.pi)
    rows = np.linspace(-1, 1, size[0], dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, size[1], dtype=np.float32)[None]
    ramp = np.float32(np.cos(angle)) * columns + np.float32(np.sin(angle)) * rows
    return 1 + np.float32(rng.uniform(0.05, 0.3)) * ramp


@cache
def _texture_photo(name: str) -> NDArray[np.float32]:
    """A texture photograph of scikit-image as (H, W) float32, spread over [0, 1]."""
    gray = read_photo(SKIMAGE_PHOTOS / name)[..., 0].astype(np.float32)
    low, high = np.percentile(gray, (1, 99))
    return np.clip((gray - low) / (high - low), 0, 1).astype(np.float32)
