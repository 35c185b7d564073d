"""MINet, CPD and BASNet: the published networks on weights made by rule, their losses, and what training needs."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib.npyio import NpzFile
from torch import Tensor, nn

from act2sal.a2s.detector import ObjectPresence
from act2sal.a2s.losses import bce_loss, iou_loss, ssim_loss
from act2sal.cli import main
from act2sal.errors import CheckpointError
from act2sal.networks.basnet import BASNet
from act2sal.networks.checkpoint import load_detector, read_metadata
from act2sal.networks.cpd import CPD, HolisticAttention, gaussian_kernel, layers_in_order
from act2sal.networks.encoders import EncoderError, build_encoder
from act2sal.networks.minet import MINet, consistency_enhanced_loss
from act2sal.networks.official_rivals import (
    OFFICIAL_RIVALS,
    basnet_from_official,
    cpd_from_official,
    minet_from_official,
)
from act2sal.networks.picanet import PiCANet
from act2sal.networks.rival import Rival
from parity_rule import deviations, official_photos, state_dict

MEAN = (0.485, 0.456, 0.406)
NETWORKS: tuple[type[Rival], ...] = (MINet, CPD, BASNet)
LEVELS = 5


@pytest.fixture
def rivals(parity_dir: Path) -> Path:
    return parity_dir / "rivals"


def small(kind: type[Rival], encoder: str = "resnet10t", output_stride: int = 32) -> Rival:
    torch.manual_seed(0)
    return kind(build_encoder(encoder, "random", output_stride=output_stride))


def cpd_tensors(folder: Path, fixture: NpzFile) -> dict[str, Tensor]:
    """The rule and its exceptions: the kernel is the published one, and the classifiers are small."""
    tensors = state_dict(folder / "cpd_res50_state_dict.json")
    tensors["HA.gaussian_kernel"] = torch.from_numpy(fixture["gaussian_kernel"])
    return {k: 1e-7 * t if k.startswith(("agg1.conv5", "agg2.conv5")) else t for k, t in tensors.items()}


# --- the published networks --------------------------------------------------------------------------


@torch.no_grad()
def test_minet_computes_what_the_published_one_does(rivals: Path) -> None:
    fixture = np.load(rivals / "minet_res50.npz")
    network = minet_from_official(state_dict(rivals / "minet_res50_state_dict.json"))
    photos = official_photos(fixture, MEAN)
    levels = network.aggregated(network.encoder(photos))
    for level in range(1, LEVELS):
        assert deviations(levels[level].mean(dim=1), fixture[f"aim{level}_mean"]) < 1e-4
    maps = network.interactions[4](levels[4])
    assert deviations(maps.mean(dim=1), fixture["sim32_mean"]) < 1e-4
    assert deviations(network(photos), fixture["logit"]) < 1e-4


@torch.no_grad()
def test_cpd_computes_what_the_published_one_does(rivals: Path) -> None:
    fixture = np.load(rivals / "cpd_res50.npz")
    network = cpd_from_official(cpd_tensors(rivals, fixture))
    photos = official_photos(fixture, MEAN)
    levels = network.encoder(photos)[2:]
    attended = network.attention(torch.from_numpy(fixture["ha_in"]), levels[0])
    assert deviations(attended.mean(dim=1), fixture["ha_mean"]) < 1e-4
    for i, again in enumerate([attended, *network.again(attended)]):
        first, second = network.first_fields[i](levels[i]), network.second_fields[i](again)
        assert deviations(first.mean(dim=1), fixture[f"rfb{i + 2}_1_mean"]) < 1e-4
        assert deviations(second.mean(dim=1), fixture[f"rfb{i + 2}_2_mean"]) < 1e-4
    detection, attention = network.outputs(photos)
    assert deviations(detection, fixture["detection"]) < 1e-4
    assert deviations(attention, fixture["attention"]) < 1e-4


@torch.no_grad()
def test_basnet_computes_what_the_published_one_does(rivals: Path) -> None:
    fixture = np.load(rivals / "basnet.npz")
    network = basnet_from_official(state_dict(rivals / "basnet_state_dict.json"))
    outputs = network.outputs(official_photos(fixture, MEAN))
    assert deviations(outputs[0], fixture["dout_logit"]) < 1e-4
    names = ("dout", "d1", "d2", "d3", "d4", "d5", "d6", "db")
    for name, logits in zip(names, outputs, strict=True):
        assert deviations(logits[:, :, ::4, ::4], fixture[f"{name}_logit_sub"]) < 1e-4


@pytest.mark.parametrize(
    ("kind", "encoder", "output_stride", "published"),
    [
        (MINet, "resnet50", 32, 162_378_305),
        (MINet, "vgg16_bn", 16, 47_562_737),
        (CPD, "resnet50", 32, 47_851_075),
        (CPD, "vgg16", 16, 29_232_771),
        (BASNet, "resnet34", 32, 87_060_360),
    ],
)
def test_as_many_parameters_as_published(
    kind: type[Rival], encoder: str, output_stride: int, published: int
) -> None:
    with torch.device("meta"):
        network = kind(build_encoder(encoder, "random", output_stride=output_stride))
    assert sum(parameter.numel() for parameter in network.parameters()) == published


@pytest.mark.parametrize(
    ("name", "build", "bias", "ours"),
    [
        ("minet_res50", minet_from_official, "classifier.bias", r"classifier\.bias"),
        ("cpd_res50", cpd_from_official, "agg2.conv5.bias", r"second_decoder\.classifier\.bias"),
        ("basnet", basnet_from_official, "refunet.conv_d0.bias", r"refinement\.leave\.bias"),
    ],
)
def test_checkpoints_with_other_tensors_are_refused(
    rivals: Path, name: str, build: Callable[[dict[str, Tensor]], Rival], bias: str, ours: str
) -> None:
    with torch.device("meta"):
        shapes = {k: torch.empty(t.shape) for k, t in state_dict(rivals / f"{name}_state_dict.json").items()}
    with pytest.raises(CheckpointError, match=r"unknown tensor extra"):
        build({**shapes, "extra": torch.ones(1)})
    with pytest.raises(CheckpointError, match=rf"1 tensors .* our {ours}"):
        build({k: t for k, t in shapes.items() if k != bias})
    with pytest.raises(CheckpointError, match=rf"1 tensors .* our {ours}"):
        build({**shapes, bias: torch.ones(3)})


@pytest.mark.parametrize("name", OFFICIAL_RIVALS)
def test_a_published_network_is_told_by_one_tensor(rivals: Path, name: str) -> None:
    files = {
        "basnet": "basnet",
        "cpd": "cpd_res50",
        "itsd": "itsd_res50",
        "minet": "minet_res50",
        "picanet": "picanet_r_transcribed",
        "picanet with VGG-16": "picanet_vgg_transcribed",
    }
    names = {
        other: json.loads((rivals / f"{file}_state_dict.json").read_text()) for other, file in files.items()
    }
    assert [other for other in names if OFFICIAL_RIVALS[name].mark in names[other]] == [name]


def test_a_published_checkpoint_is_converted(rivals: Path, tmp_path: Path) -> None:
    """CPD, under the names that several GPUs give."""
    tensors = cpd_tensors(rivals, np.load(rivals / "cpd_res50.npz"))
    torch.save({f"module.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "cpd.pth")
    assert main(["convert", str(tmp_path / "cpd.pth"), "--out", str(tmp_path / "cpd.safetensors")]) == 0
    network = load_detector(tmp_path / "cpd.safetensors")
    assert isinstance(network, CPD)
    torch.testing.assert_close(network.state_dict(), cpd_from_official(tensors).state_dict())
    about = read_metadata(tmp_path / "cpd.safetensors")
    assert (about["size"], about["trained on"]) == ("352", "masks")


# --- their losses ------------------------------------------------------------------------------------


def test_published_loss_of_minet(rivals: Path) -> None:
    fixture = np.load(rivals / "minet_res50.npz")
    logits, target = (torch.from_numpy(fixture[name]) for name in ("loss_pred", "loss_target"))
    cel = consistency_enhanced_loss(torch.sigmoid(logits), target)
    assert cel.item() == pytest.approx(float(fixture["loss_cel"]), rel=1e-6)
    whole = float(fixture["loss_bce"]) + float(fixture["loss_cel"])
    assert small(MINet).own_loss([logits], target).item() == pytest.approx(whole, rel=1e-5)


def test_published_losses_of_basnet(rivals: Path) -> None:
    fixture = np.load(rivals / "basnet.npz")
    logits, target = (torch.from_numpy(fixture[name]) for name in ("loss_pred_logit", "loss_target"))
    prob = torch.sigmoid(logits)
    assert bce_loss(logits, target).item() == pytest.approx(float(fixture["loss_bce"]), rel=1e-5)
    assert ssim_loss(prob, target).item() == pytest.approx(float(fixture["loss_ssim"]), rel=1e-5)
    assert iou_loss(prob, target).item() == pytest.approx(float(fixture["loss_iou"]), rel=1e-5)
    whole = 8 * sum(float(fixture[f"loss_{name}"]) for name in ("bce", "ssim", "iou"))
    assert small(BASNet).own_loss([logits] * 8, target).item() == pytest.approx(whole, rel=1e-5)


def test_loss_of_cpd_by_hand() -> None:
    target = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    outputs = [torch.zeros(1, 1, 1, 2), torch.full((1, 1, 1, 2), 100.0)]
    assert small(CPD).own_loss(outputs, target).item() == pytest.approx(np.log(2) + 50)


def test_consistency_by_hand() -> None:
    """Of 1.5 + 2 pixels, .5 lies outside of what both share; sums go over the batch, not over the photos."""
    prob = torch.tensor([1.0, 0.5, 0.0, 0.0]).view(2, 1, 1, 2)
    target = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(2, 1, 1, 2)
    assert consistency_enhanced_loss(prob, target).item() == pytest.approx(0.5 / 3.5, rel=1e-5)
    assert consistency_enhanced_loss(target, target).item() == 0


def test_gradcheck_of_consistency() -> None:
    torch.manual_seed(0)
    prob = torch.rand(2, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: consistency_enhanced_loss(p, (p > 0.5).double()), prob)


# --- parts -------------------------------------------------------------------------------------------


def test_kernel_of_holistic_attention_is_the_published_one(rivals: Path) -> None:
    published = np.load(rivals / "cpd_res50.npz")["gaussian_kernel"]
    np.testing.assert_allclose(gaussian_kernel().numpy(), published, rtol=1e-5, atol=1e-9)
    assert gaussian_kernel().sum().item() == pytest.approx(1)


@torch.no_grad()
def test_holistic_attention_never_lowers_a_map_and_reaches_around_it() -> None:
    prob = torch.zeros(1, 1, 24, 24)
    prob[..., 10:14, 10:14] = 0.5
    attended = HolisticAttention()(prob, torch.ones(1, 3, 24, 24))
    assert (attended >= prob).all()
    assert attended[0, 0, 8, 12] > 0.5, "near the object"
    assert attended.amax() == pytest.approx(1)
    assert attended[0, 0, 0, 0] < 0.1


@torch.no_grad()
@pytest.mark.parametrize("encoder", ["resnet10t", "mobilenetv2_050", "densenet121", "mobilenetv3_small_050"])
def test_the_second_copy_makes_the_levels_that_the_first_one_makes(encoder: str) -> None:
    """Of level 3 as it is, before anything was trained."""
    network = small(CPD, encoder).eval()
    assert isinstance(network, CPD)
    levels = network.encoder(torch.rand(1, 3, 64, 96))
    for ours, theirs in zip(network.again(levels[2].clone()), levels[3:], strict=True):
        torch.testing.assert_close(ours, theirs)
    shared = {id(p) for p in network.encoder.parameters()} & {id(p) for p in network.again.parameters()}
    assert not shared


def test_layers_that_do_not_follow_one_another_are_refused() -> None:
    encoder = build_encoder("resnet10t", "random")
    encoder.body = nn.Identity()
    with pytest.raises(EncoderError, match=r"layers follow one another, which those of resnet10t do not"):
        layers_in_order(encoder)


def test_the_vgg_version_of_cpd_pools_by_means() -> None:
    kinds = [type(layer) for layer in small(CPD, "vgg11", 16).modules()]
    assert nn.AvgPool2d in kinds
    assert nn.MaxPool2d not in kinds
    assert nn.BatchNorm2d not in kinds


def test_both_copies_of_the_encoder_of_cpd_learn_at_its_rate() -> None:
    for kind in NETWORKS:
        network = small(kind)
        numbers = {id(parameter) for parameter in network.encoder_parameters()}
        names = {name.split(".")[0] for name, p in network.named_parameters() if id(p) in numbers}
        assert names == ({"encoder", "again"} if kind is CPD else {"encoder"})


# --- training ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*NETWORKS, PiCANet])
@pytest.mark.parametrize("encoder", ["resnet10t", "mobilenetv2_050"])
def test_gradients_flow_to_every_parameter(kind: type[Rival], encoder: str) -> None:
    network = small(kind, encoder).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # timm starts the last ones of residual blocks at 0
            nn.init.ones_(module.weight)
    target = torch.zeros(2, 1, 64, 96)
    target[..., 20:40, 20:60] = 1
    network.own_loss(network.outputs(torch.rand(2, 3, 64, 96)), target).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@torch.no_grad()
@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize(
    ("encoder", "output_stride"),
    [("resnet10t", 32), ("mobilenetv2_050", 32), ("densenet121", 32), ("vgg11", 16)],
)
@pytest.mark.parametrize("size", [(64, 96), (65, 97), (33, 50)])
def test_photos_of_any_size(
    kind: type[Rival], encoder: str, output_stride: int, size: tuple[int, int]
) -> None:
    network, photos = small(kind, encoder, output_stride).eval(), torch.rand(1, 3, *size)
    outputs = network.outputs(photos)
    assert {logits.shape for logits in outputs} == {(1, 1, *size)}
    torch.testing.assert_close(network(photos), outputs[0])
    assert network.own_loss(outputs, torch.ones(1, 1, *size)).isfinite()


@torch.no_grad()
@pytest.mark.parametrize("kind", NETWORKS)
def test_confidence_is_that_of_the_deepest_level_and_at_most_the_highest_probability(
    kind: type[Rival],
) -> None:
    network, photos = small(kind).eval(), torch.rand(2, 3, 64, 64)
    with pytest.raises(ValueError, match="no part that says"):
        network.rated(photos)
    network.presence = ObjectPresence(channels=network.encoder.channels[-1]).eval()
    logits, confidences = network.rated(photos)
    torch.testing.assert_close(logits, network(photos))
    said = torch.sigmoid(network.presence(network.encoder(photos)[-1]))
    torch.testing.assert_close(confidences, said * torch.sigmoid(logits.amax(dim=(1, 2, 3))))
