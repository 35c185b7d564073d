"""Weights and input by the rule of `parity/README.md`: what published code was given to make the fixtures."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib.npyio import NpzFile
from torch import Tensor

SHAPE = (2, 3, 96, 128)
"""Of the input, where a fixture stores no other."""
STD = (0.229, 0.224, 0.225)


def weight(name: str, shape: list[int]) -> Tensor:
    """One tensor of the rule: drawn from its name, then brought into the range its kind has in a network."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    drawn = np.asarray(generator.standard_normal(shape))
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if name.endswith("running_var"):
        drawn = 0.5 + np.abs(drawn)
    elif len(shape) == 1:
        drawn = 0.1 * drawn
        if name.endswith(".weight"):
            drawn = 1 + drawn
    else:
        drawn = drawn * np.sqrt(2 / np.prod(shape[1:]))
    return torch.from_numpy(drawn.astype(np.float32))


def state_dict(shapes: Path) -> dict[str, Tensor]:
    """Every tensor of a published network, by its own names; `shapes` is the JSON file that lists them."""
    return {name: weight(name, shape) for name, shape in json.loads(shapes.read_text()).items()}


def normalised_input(fixture: NpzFile) -> Tensor:
    """What the published network was given: photos that are normalised already."""
    shape = tuple(fixture["x_shape"]) if "x_shape" in fixture else SHAPE
    drawn = np.random.Generator(np.random.PCG64(0)).standard_normal(shape).astype(np.float32)
    assert drawn.sum(dtype=np.float64) == pytest.approx(float(fixture["x_crc"]), rel=1e-12)
    return torch.from_numpy(drawn)


def official_photos(fixture: NpzFile, mean: tuple[float, ...], std: tuple[float, ...] = STD) -> Tensor:
    """The same with the normalisation undone, for networks that normalise photos themselves."""
    return normalised_input(fixture) * torch.tensor(std).view(3, 1, 1) + torch.tensor(mean).view(3, 1, 1)


def deviations(ours: Tensor, theirs: np.ndarray) -> float:
    """The largest difference in standard deviations of the map."""
    assert tuple(ours.shape) == theirs.shape
    return float(np.abs(ours.detach().numpy() - theirs).max() / theirs.std())
