"""The arithmetic of a run: what is asked for, what the hardware has, and what it leaves in float32."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image

from act2sal.a2s.activation import ActivationNetwork
from act2sal.config import Precision
from act2sal.networks.checkpoint import load_detector
from act2sal.networks.encoders import freeze
from act2sal.runtime import precision
from act2sal.runtime.fabric import lone_fabric, make_fabric
from act2sal.runtime.precision import fabric_precision
from act2sal.training.pipeline import train
from act2sal.training.stage1.features import FrozenFeatures
from tiny import cpu, files_of, random_squares, tiny_config, tiny_encoder

REDUCED = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")


@pytest.mark.parametrize("on_gpu", [False, True])
def test_what_is_asked_for_is_taken(on_gpu: bool) -> None:
    assert fabric_precision("float32", on_gpu=on_gpu) == "32-true"
    assert fabric_precision("bfloat16", on_gpu=on_gpu) == "bf16-mixed"


def test_auto_is_bfloat16_where_the_hardware_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fabric_precision("auto", on_gpu=True) == "bf16-mixed"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    assert fabric_precision("auto", on_gpu=False) == "bf16-mixed"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": False})
    assert fabric_precision("auto", on_gpu=False) == "32-true"
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not precision.cpu_has_bfloat16()


def reduced(fabric: Fabric) -> bool:
    with fabric.autocast():
        return torch.is_autocast_enabled("cpu")


def test_the_fits_compute_so_and_predictions_in_float32() -> None:
    config = replace(tiny_config(), precision="bfloat16")
    assert reduced(make_fabric(config))
    assert not reduced(lone_fabric(config))
    assert not reduced(make_fabric(replace(config, precision="float32")))


def test_features_computed_in_one_arithmetic_are_not_taken_for_those_of_the_other(tmp_path: Path) -> None:
    encoder, photos = freeze(tiny_encoder()), random_squares(2)
    full = FrozenFeatures(encoder, photos, fabric=cpu(), precision="float16")
    full.keep(tmp_path, 10**9, mirrored=False, quiet=True)
    half = FrozenFeatures(encoder, photos, fabric=REDUCED, precision="float16")
    half.keep(tmp_path, 10**9, mirrored=False, quiet=True)
    exact, rounded = full.read([0, 1]), half.read([0, 1])
    for level, other in zip(exact, rounded, strict=True):
        assert not torch.equal(level, other)
        assert (level - other).abs().max() < 0.05 * level.abs().max()
    again = FrozenFeatures(encoder, photos, fabric=cpu(), precision="float16")
    assert all(torch.equal(a, b) for a, b in zip(again.read([0, 1]), exact, strict=True))


def test_the_differences_of_stage_1_are_taken_in_float32() -> None:
    torch.manual_seed(0)
    network = ActivationNetwork(in_channels=(4, 4, 4), channels=8, fusion_stride=8)
    with REDUCED.autocast():
        activation = network([torch.rand(2, 4, side, side) for side in (8, 4, 2)])
    assert activation.theta.dtype == torch.float32
    values = activation.theta.detach()
    assert not torch.equal(values, values.bfloat16().float())


@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
def test_a_run_in_either_arithmetic_gives_the_same_bits_twice(wanted: Precision, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, square in enumerate(random_squares(8)):
        Image.fromarray(square).save(photos / f"{number}.png")
    config = replace(tiny_config(), precision=wanted)
    for name in ("one", "two"):
        train(photos, tmp_path / name, config, quiet=True)
    detectors = [tmp_path / name / "detector.safetensors" for name in ("one", "two")]
    assert detectors[0].read_bytes() == detectors[1].read_bytes()
    weights = load_detector(detectors[0]).state_dict()
    assert all(tensor.dtype in (torch.float32, torch.int64) for tensor in weights.values())
    assert files_of(tmp_path / "one" / "labels") == files_of(tmp_path / "two" / "labels")
