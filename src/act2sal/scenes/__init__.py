"""Bundled material: synthetic scenes with exact masks, and the photographs that scikit-image installs.

A scene is a textured, shaded object or two with a soft shadow on a natural-looking background. The same seed
gives the same scene.
"""

import io
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from act2sal.data.images import write_atomic, write_gray_png
from act2sal.scenes.backgrounds import SKIMAGE_PHOTOS, background
from act2sal.scenes.objects import Shape, random_shape
from act2sal.scenes.textures import Colours, Plane, blend, blur, colour, fractal_noise, pattern, rotate

DEMO_PHOTOS = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "motorcycle_left.png",
    "rocket.jpg",
)

__all__ = ["DEMO_PHOTOS", "render_scene", "write_demo_photos", "write_scenes"]


def render_scene(
    seed: int, size: tuple[int, int] = (240, 320)
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Scene number `seed` of `size` = (height, width) -> photo (H, W, 3) uint8 RGB, mask (H, W) bool."""
    rng = np.random.default_rng(seed)
    photo = background(rng, size)
    photo = blur(photo, rng.uniform(0.3, 1.2))
    mask = np.zeros(size, bool)
    light = _light(rng)
    for number in range(1 + (rng.random() < 0.2)):
        photo, covered = _add_object(rng, photo, light, number)
        mask |= covered
    return _expose(rng, photo), mask


def write_scenes(folder: Path, count: int, seed: int, size: tuple[int, int] = (240, 320)) -> None:
    """Write `count` scenes to `folder`/photos/*.jpg and their masks (0 and 255) to `folder`/masks/*.png."""
    for number in range(count):
        photo, mask = render_scene(seed * 1_000_000 + number, size)
        encoded = io.BytesIO()
        Image.fromarray(photo).save(encoded, format="JPEG", quality=92)
        write_atomic(Path(folder) / "photos" / f"scene{number:04d}.jpg", encoded.getvalue())
        write_gray_png(Path(folder) / "masks" / f"scene{number:04d}.png", mask.astype(np.uint8) * 255)


def write_demo_photos(folder: Path) -> list[Path]:
    """Copy the photographs with an object that scikit-image installs (`DEMO_PHOTOS`) -> their new paths.

    Another version of scikit-image may install fewer.
    """
    copies = []
    for name in DEMO_PHOTOS:
        if (SKIMAGE_PHOTOS / name).is_file():
            copies.append(Path(folder) / name)
            write_atomic(copies[-1], (SKIMAGE_PHOTOS / name).read_bytes())
    return copies


def _light(rng: Generator) -> NDArray[np.float32]:
    """Unit vector towards the light: right, down, towards the viewer; from above, left or right."""
    direction = np.array([rng.uniform(-0.8, 0.8), rng.uniform(-0.9, -0.4), rng.uniform(0.6, 1.0)], np.float32)
    return direction / np.linalg.norm(direction)


def _add_object(
    rng: Generator, photo: Colours, light: NDArray[np.float32], number: int
) -> tuple[Colours, NDArray[np.bool_]]:
    """Draw a random object into `photo`; the first one is larger and nearer to the centre."""
    height, width = photo.shape[:2]
    reach = 0.1 if number == 0 else 0.28
    radius = min(height, width) * rng.uniform(0.3, 0.46) * (1 if number == 0 else 0.55)
    column = width * (0.5 + rng.uniform(-reach, reach) * 1.2)
    row = height * (0.52 + rng.uniform(-reach, reach) * 0.7)
    top, bottom = max(0, int(row - 1.2 * radius)), min(height, int(row + 1.2 * radius))
    left, right = max(0, int(column - 1.2 * radius)), min(width, int(column + 1.2 * radius))
    box = (slice(top, bottom), slice(left, right))
    rows, columns = np.mgrid[box].astype(np.float32)
    u, v = rotate(
        (columns - np.float32(column)) / radius, (rows - np.float32(row)) / radius, rng.normal(0, 0.2)
    )
    shape = random_shape(rng, u, v)
    slope = np.hypot(*np.gradient(shape.inside))
    alpha = np.zeros((height, width), np.float32)
    alpha[box] = np.clip(0.5 + shape.inside / np.maximum(slope, 1e-6), 0, 1)
    albedo = _albedo(rng, shape, u, v, photo.mean(axis=(0, 1)))
    shadowed = photo * (1 - _shadow(rng, alpha, radius, light))[..., None]
    surface = _shade(rng, albedo, shape.height, radius, light)
    shadowed[box] = blend(shadowed[box], surface, alpha[box])
    mask = np.zeros((height, width), bool)
    mask[box] = shape.inside > 0
    return shadowed, mask


def _albedo(rng: Generator, shape: Shape, u: Plane, v: Plane, surroundings: Colours) -> Colours:
    """Colours of the surface: of each part a pattern of two, the first unlike the surroundings."""
    size = (u.shape[0], u.shape[1])
    candidates = [colour(rng.random(), rng.uniform(0.1, 0.8), rng.uniform(0.25, 0.95)) for _ in range(3)]
    main = max(candidates, key=lambda c: float(np.abs(c - surroundings).sum()))
    second = blend(main, colour(rng.random(), rng.uniform(0, 0.7), rng.uniform(0.1, 1)), np.array(0.8))
    bulge = 1 + 0.35 * np.clip(1 - shape.height, 0, 1)
    surface = blend(main, second, pattern(rng, u * bulge, v * bulge))
    for part in range(1, int(shape.part.max()) + 1):
        if rng.random() < 0.3:
            surface = np.where((shape.part == part)[..., None], second, surface)
    grain = fractal_noise(rng, size, cell=float(rng.uniform(3, 12)), octaves=3, roughness=0.7)
    return surface * (1 + rng.uniform(0.1, 0.45) * (grain - 0.5))[..., None]


def _shade(
    rng: Generator, albedo: Colours, height: Plane, radius: float, light: NDArray[np.float32]
) -> Colours:
    """Lambert shading with light from the sky, and a highlight of random strength (Blinn, 1977)."""
    smooth = blur(height, 1.0) * np.float32(radius)
    down, right = np.gradient(smooth)
    normal = np.stack([-right, -down, np.ones_like(down)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    lambert = np.clip(normal @ light, 0, 1)
    sky = 0.5 - 0.5 * normal[..., 1]
    half = light + np.array([0, 0, 1], np.float32)
    shine = np.clip(normal @ (half / np.linalg.norm(half)), 0, 1) ** rng.uniform(15, 60)
    brightness = 0.22 + 0.25 * sky + 0.75 * lambert
    return (albedo * brightness[..., None] + rng.choice([0, 0, 0.2, 0.5]) * shine[..., None]).astype(
        np.float32
    )


def _shadow(rng: Generator, alpha: Plane, radius: float, light: NDArray[np.float32]) -> Plane:
    """Darkness (H, W) of the soft shadow: the outline moved away from the light, and a patch below."""
    shift = np.array([[1, 0, -light[0] * radius * 0.45], [0, 1, -light[1] * radius * 0.2]], dtype=np.float32)
    size = (alpha.shape[1], alpha.shape[0])
    cast = blur(cv2.warpAffine(alpha, shift, size).astype(np.float32), 0.1 * radius)
    rows, columns = np.nonzero(alpha > 0.5)
    bottom = float(rows.max())
    feet = columns[rows > bottom - 0.15 * radius]
    spread = max(float(np.ptp(feet)), 0.5 * radius)
    y, x = np.ogrid[0 : alpha.shape[0], 0 : alpha.shape[1]]
    patch = np.exp(-(((x - feet.mean()) / (0.55 * spread)) ** 2) - ((y - bottom) / (0.1 * radius)) ** 2)
    return np.clip(rng.uniform(0.15, 0.4) * cast + 0.5 * patch, 0, 0.75).astype(np.float32)


def _expose(rng: Generator, photo: Colours) -> NDArray[np.uint8]:
    """What a camera makes of it: exposure, white balance, vignette, noise -> (H, W, 3) uint8."""
    height, width = photo.shape[:2]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    vignette = 1 - np.float32(rng.uniform(0, 0.22)) * (x * x + y * y)
    balance = rng.uniform(0.93, 1.07, 3).astype(np.float32) * np.float32(rng.uniform(0.85, 1.15))
    noise = rng.standard_normal(photo.shape, dtype=np.float32) * np.float32(rng.uniform(0.005, 0.022))
    return np.clip(255 * (photo * vignette[..., None] * balance + noise) + 0.5, 0, 255).astype(np.uint8)
