"""The published A2S networks, on weights and input made by rule, against what the official code gave."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib.npyio import NpzFile
from torch import Tensor

from act2sal.a2s.boundary import foreground_sign
from act2sal.a2s.losses import bce_loss, detector_loss, iou_loss, ssim_loss
from act2sal.a2s.resampling import resize
from act2sal.networks.checkpoint import load_detector, load_stage1
from act2sal.networks.official import convert_official
from parity_rule import official_photos, weight

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def fixtures(parity_dir: Path) -> NpzFile:
    return np.load(parity_dir / "official_a2s.npz")


@pytest.fixture(scope="module")
def converted(parity_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Writes the official file of a network, with a prefix on its names, and converts it."""

    def convert(network: str, prefix: str) -> Path:
        shapes = json.loads((parity_dir / f"{network}_state_dict.json").read_text())
        folder = tmp_path_factory.mktemp(network)
        tensors = {prefix + name: weight(name, shape) for name, shape in shapes.items()}
        torch.save(tensors, folder / "official.pth")
        convert_official(folder / "official.pth", folder / "model.safetensors")
        return folder / "model.safetensors"

    return convert


@pytest.fixture(scope="module")
def photos(fixtures: NpzFile) -> Tensor:
    """The official input, with the normalisation of the encoder undone."""
    return official_photos(fixtures, (0.485, 0.456, 0.406))


def relative_error(ours: Tensor, theirs: np.ndarray) -> float:
    """Largest difference in units of the largest value."""
    assert tuple(ours.shape) == theirs.shape
    return float(np.abs(ours.numpy() - theirs).max() / np.abs(theirs).max())


@torch.no_grad()
def test_stage1(converted: Callable[[str, str], Path], photos: Tensor, fixtures: NpzFile) -> None:
    network, encoder = load_stage1(converted("mnet", "module."))
    theta, sides = network(encoder(photos)[2:], photos.shape[-2:])
    signed = resize(theta * foreground_sign(theta, "area_zero"), photos.shape[-2:])
    for index, ours in enumerate((signed, *sides)):
        assert relative_error(ours, fixtures[f"mnet_sal{index}"]) < TOLERANCE


@torch.no_grad()
def test_detector(converted: Callable[[str, str], Path], photos: Tensor, fixtures: NpzFile) -> None:
    detector = load_detector(converted("cornet", ""))
    assert relative_error(detector(photos), fixtures["cornet_sal0"]) < TOLERANCE


def test_loss(fixtures: NpzFile) -> None:
    logits, target = (torch.from_numpy(fixtures[f"cornet_loss_{name}"]) for name in ("pred", "target"))
    hard, prob = (target > 0.5).float(), logits.sigmoid()
    parts = [loss.item() for loss in (bce_loss(logits, hard), ssim_loss(prob, hard), iou_loss(prob, hard))]
    assert parts == pytest.approx(list(fixtures["cornet_loss_parts"]), rel=TOLERANCE)
    assert detector_loss(logits, target).item() == pytest.approx(
        float(fixtures["cornet_loss"]), rel=TOLERANCE
    )
