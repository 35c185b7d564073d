"""The permutohedral lattice against its definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from act2sal.a2s.crf.inference import RandomField
from act2sal.a2s.crf.lattice import key_digits, key_layout


def slow_lattice_message(
    photo: NDArray[np.uint8], values: NDArray[np.float32], *, sxy: float, srgb: float
) -> NDArray[np.float64]:
    """The normalised bilateral kernel times values by the definition of the lattice, vertices in a
    dictionary.
    """
    y, x = np.divmod(np.arange(values.size), values.shape[1])
    features = np.column_stack([x / sxy, y / sxy, photo.reshape(-1, 3) / srgb])
    basis = np.array([[1.0] * (j + 1) + [-(j + 1.0)] + [0.0] * (4 - j) for j in range(5)])
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    spread: list[dict[tuple[int, ...], float]] = []
    for point in features @ basis * np.sqrt(2 / 3) * 6:
        nearest = 6 * np.round(point / 6)
        by_residual = np.argsort(nearest - point, kind="stable")
        excess = round(nearest.sum() / 6)
        nearest[by_residual[6 - excess :] if excess > 0 else by_residual[:-excess]] -= 6 * np.sign(excess)
        residual = point - nearest
        down = np.argsort(-residual, kind="stable")
        drops = residual[down][:-1] - residual[down][1:]
        weights = [1 - (residual.max() - residual.min()) / 6, *(drops[::-1] / 6)]
        lowered = [nearest + k - 6 * np.isin(np.arange(6), down[6 - k :]) for k in range(6)]
        spread.append({tuple(corner.astype(int)): w for corner, w in zip(lowered, weights, strict=True)})

    def apply(given: NDArray[np.floating]) -> NDArray[np.float64]:
        vertices: dict[tuple[int, ...], float] = {}
        for corners, value in zip(spread, given, strict=True):
            for corner, weight in corners.items():
                vertices[corner] = vertices.get(corner, 0.0) + weight * value
        for direction in range(6):
            step = np.where(np.arange(6) == direction, -5, 1)
            vertices = {
                v: old + sum(vertices.get(tuple(np.array(v) + s), 0.0) for s in (step, -step)) / 2
                for v, old in vertices.items()
            }
        return np.array([sum(w * vertices[c] for c, w in corners.items()) for corners in spread])

    scale = 1 / np.sqrt(apply(np.ones(values.size)))
    return (scale * apply(scale * values.ravel())).reshape(values.shape)


def shades(height: int, width: int) -> NDArray[np.uint8]:
    """Slow gradients with mild noise, as most of a photo is: (H, W, 3) uint8."""
    y, x = np.mgrid[:height, :width]
    ground = np.stack([60 + 1.5 * x, 90 + 0.8 * y, 120 - 0.5 * x], axis=2)
    return (ground + np.random.default_rng(0).normal(0, 3, ground.shape)).astype(np.uint8)


@pytest.mark.parametrize(("sxy", "srgb"), [(50.0, 5.0), (3.0, 60.0), (0.7, 0.9)])
@pytest.mark.parametrize("kind", ["shades", "noise"])
def test_lattice_is_the_one_of_the_definition(kind, sxy, srgb):
    rng = np.random.default_rng(5)
    size = (6, 70)  # two strips
    photo = shades(*size) if kind == "shades" else rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    values = rng.normal(0, 1, size).astype(np.float32)
    field = RandomField(
        photo,
        gaussian_sxy=1.0,
        gaussian_compat=0.0,
        bilateral_sxy=sxy,
        bilateral_srgb=srgb,
        bilateral_compat=1.0,
    )
    message = np.zeros_like(values)
    field.add_message(values, message)
    np.testing.assert_allclose(message, slow_lattice_message(photo, values, sxy=sxy, srgb=srgb), atol=2e-4)


@settings(deadline=None)
@given(st.tuples(*[st.floats(0, 400)] * 5))
def test_keys_of_lattice_points_and_their_neighbours_are_distinct(extent):
    """Every corner and neighbour near a corner of the feature box stays inside the digits of the key."""
    extent = np.array(extent)
    steps, origin = key_layout(extent)
    assert steps.sum() == 0
    low, high = key_digits(extent)
    strides = np.cumprod(np.concatenate([[1], (high - low + 1)[:0:-1]]))[::-1]
    for features in (np.zeros(5), extent, extent * [1, 0, 1, 0, 1], extent * [0, 1, 0, 1, 0]):
        above = np.concatenate([np.cumsum(features[::-1])[::-1], [0.0]])
        point = above - np.arange(6) * np.concatenate([[0.0], features])
        nearest = np.round(point / 6)
        digits = nearest[:-1] - nearest[1:]
        assert (digits - 4 >= low).all()
        assert (digits + 4 <= high).all()
        assert origin - nearest @ steps == (digits - low) @ strides
