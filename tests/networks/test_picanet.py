"""PiCANet: the published network on weights made by rule, its attention, its loss, and what training needs."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from act2sal.errors import CheckpointError
from act2sal.networks.checkpoint import load_detector, read_metadata
from act2sal.networks.contextual_attention import GlobalAttention, LocalAttention, weighted_neighbourhood
from act2sal.networks.encoders import build_encoder
from act2sal.networks.official import convert_official
from act2sal.networks.official_rivals import picanet_from_official, picanet_vgg_from_official
from act2sal.networks.picanet import SIDE, PiCANet, picanet_loss
from parity_rule import deviations, normalised_input, state_dict


def small(encoder: str = "resnet10t", output_stride: int = 32) -> PiCANet:
    torch.manual_seed(0)
    return PiCANet(build_encoder(encoder, "random", output_stride=output_stride))


# --- the published network ---------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "build", "maps"),
    [
        ("picanet_r_transcribed", picanet_from_official, ("pred1", "pred2", "pred3", "pred4", "pred5")),
        (
            "picanet_vgg_transcribed",
            picanet_vgg_from_official,
            ("pred1", "pred2", "pred3", "pred4", "pred5", "pred7"),
        ),
    ],
)
def test_every_map_of_the_published_network(
    parity_dir: Path, name: str, build: Callable[[Mapping[str, Tensor]], PiCANet], maps: tuple[str, ...]
) -> None:
    """In float64: of the ResNet's finest map, rounding in float32 alone makes differences of 3e-4."""
    fixture = np.load(parity_dir / "rivals" / f"{name}.npz")
    network = build(state_dict(parity_dir / "rivals" / f"{name}_state_dict.json")).double()
    network.encoder.mean.zero_()
    network.encoder.std.fill_(1)
    photos = normalised_input(fixture).flip(1).double()  # Caffe reads blue first
    for published, logits in zip(maps, network.outputs(photos)[1:], strict=True):
        ours = logits[..., ::2, ::2] if logits.shape[-1] == SIDE else logits
        assert deviations(ours, fixture[published]) < 5e-4
        differences = np.abs(ours.numpy() - fixture[published]) / fixture[published].std()
        assert np.quantile(differences, 0.99) < 1e-4


@pytest.mark.parametrize(
    ("encoder", "output_stride", "published"), [("resnet50", 32, 47_664_342), ("vgg16", 16, 36_729_687)]
)
def test_as_many_parameters_as_published(encoder: str, output_stride: int, published: int) -> None:
    network = PiCANet(build_encoder(encoder, "random", output_stride=output_stride))
    assert sum(parameter.numel() for parameter in network.parameters()) == published


def test_other_tensors_are_refused(parity_dir: Path) -> None:
    tensors = state_dict(parity_dir / "rivals" / "picanet_vgg_transcribed_state_dict.json")
    with pytest.raises(CheckpointError, match=r"unknown tensor extra"):
        picanet_vgg_from_official({**tensors, "extra": torch.ones(1)})
    lacking = {name: tensor for name, tensor in tensors.items() if name != "level1.pred.bias"}
    with pytest.raises(CheckpointError, match=r"1 tensors .* our levels\.0\.classifier\.bias"):
        picanet_vgg_from_official(lacking)


@pytest.mark.parametrize("name", ["picanet_r_transcribed", "picanet_vgg_transcribed"])
def test_published_weights_are_converted(parity_dir: Path, tmp_path: Path, name: str) -> None:
    tensors = state_dict(parity_dir / "rivals" / f"{name}_state_dict.json")
    torch.save(tensors, tmp_path / "theirs.pth")
    convert_official(tmp_path / "theirs.pth", tmp_path / "ours.safetensors")
    network = load_detector(tmp_path / "ours.safetensors")
    assert isinstance(network, PiCANet)
    torch.testing.assert_close(network.levels[0].last[0].weight, tensors["level1.last.weight"])
    about = read_metadata(tmp_path / "ours.safetensors")
    assert (about["size"], about["trained on"]) == (str(SIDE), "masks")


# --- attention ---------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 9), st.integers(1, 17), st.integers(0, 1000))
def test_the_neighbourhood_is_that_of_unfold(height: int, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(2, 3, height, width, generator=generator, dtype=torch.float64)
    weights = torch.rand(2, 49, height, width, generator=generator, dtype=torch.float64)
    windows = functional.unfold(maps, 7, dilation=2, padding=6).view(2, 3, 49, height, width)
    torch.testing.assert_close(weighted_neighbourhood(maps, weights), (windows * weights[:, None]).sum(dim=2))


def test_gradcheck_of_the_neighbourhood() -> None:
    torch.manual_seed(0)
    maps = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(1, 49, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(weighted_neighbourhood, (maps, weights))


@torch.no_grad()
def test_local_attention_averages_what_it_cannot_tell_apart() -> None:
    """Weights of zero make all 49 pixels equal: in the middle of a flat map nothing changes."""
    attention = LocalAttention(4).eval()
    nn.init.zeros_(attention.weigh[0].weight)
    attended = attention(torch.ones(1, 4, 15, 15))
    assert attended[0, 0, 7, 7] == pytest.approx(1)
    assert attended[0, 0, 0, 0] == pytest.approx(16 / 49), "four of seven rows and columns are in the map"


@torch.no_grad()
def test_global_attention_looks_at_a_grid_alone_and_its_weights_sum_to_1() -> None:
    torch.manual_seed(0)
    attention = GlobalAttention(3).eval()
    maps = torch.rand(2, 3, 28, 28)
    attended = attention(maps)
    samples = maps[:, :, ::3, ::3].flatten(2)
    assert samples.shape[-1] == 100
    assert (attended.flatten(2).amax(dim=2) <= samples.amax(dim=2) + 1e-6).all()
    assert (attended.flatten(2).amin(dim=2) >= samples.amin(dim=2) - 1e-6).all()
    torch.testing.assert_close(attention(torch.full((1, 3, 28, 28), 0.3)), torch.full((1, 3, 28, 28), 0.3))


@torch.no_grad()
def test_global_attention_knows_both_ends_of_both_axes() -> None:
    torch.manual_seed(0)
    attention = GlobalAttention(2).eval()
    maps = torch.rand(1, 2, 28, 28)
    before = attention(maps)[0, :, 14, 14]
    for row, column in ((1, 14), (26, 14), (14, 1), (14, 26), (1, 1), (26, 26)):  # none lies on the grid
        changed = maps.clone()
        changed[..., row, column] = 5
        assert not torch.equal(attention(changed)[0, :, 14, 14], before)


def test_one_bias_for_each_gate_and_that_of_forgetting_begins_at_1() -> None:
    weights = GlobalAttention(5).vertical.weight_ih_l0_reverse
    assert weights.shape == (1024, 6)
    assert weights[:, -1].tolist() == [0.0] * 256 + [1.0] * 256 + [0.0] * 512


# --- the loss ----------------------------------------------------------------------------------------


def test_loss_by_hand() -> None:
    """Logits of 0 cost ln 2 everywhere; the weights are those of six levels."""
    sides = (224, 112, 56, 28, 28, 28)
    maps = [torch.zeros(2, 1, side, side) for side in sides]
    weights = (1 + 0.8 + 0.8 + 0.5 + 0.5 + 0.5, 1 + 0.8 + 0.8 + 0.5 + 0.5)
    target = torch.zeros(2, 1, 224, 224)
    assert picanet_loss(maps, target).item() == pytest.approx(weights[0] * np.log(2))
    assert picanet_loss(maps[1:], target).item() == pytest.approx(weights[1] * np.log(2))


def test_targets_shrink_with_aligned_corners() -> None:
    """Of five pixels in a row, three remain: the first, the middle and the last."""
    target = torch.tensor([1.0, 0.0, 0.6, 0.0, 0.4]).view(1, 1, 1, 5).expand(1, 1, 5, 5)
    sure = torch.tensor([50.0, 50.0, -50.0]).view(1, 1, 1, 3).expand(1, 1, 3, 3)
    assert picanet_loss([sure] * 5, target).item() == pytest.approx(0, abs=1e-6)


# --- training ----------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize(
    ("encoder", "output_stride", "sides"),
    [
        ("resnet10t", 32, [112, 56, 28, 28, 28]),
        ("densenet121", 32, [112, 56, 28, 28, 28]),
        ("vgg11", 16, [224, 112, 56, 28, 28]),
    ],
)
def test_photos_of_any_size_are_resized_to_the_one_it_knows(
    encoder: str, output_stride: int, sides: list[int]
) -> None:
    network = small(encoder, output_stride).eval()
    outputs = network.outputs(torch.rand(1, 3, 65, 97))
    assert outputs[0].shape == (1, 1, 65, 97)
    assert [maps.shape[-1] for maps in outputs[1:]] == sides
    assert network.own_loss(outputs, torch.ones(1, 1, 65, 97)).isfinite()


def test_statistics_of_the_published_encoder_stay_and_its_scales_learn() -> None:
    network = PiCANet(build_encoder("resnet50", "random")).train()
    norm = network.encoder.body.stem[1]
    assert not norm.training
    assert norm.weight.requires_grad
    assert network.levels[0].last[1].training


@torch.no_grad()
def test_the_learnt_enlargement_begins_as_the_bilinear_one() -> None:
    enlarge = small().levels[2].enlarge
    maps = torch.rand(1, enlarge.in_channels, 6, 7)
    expected = functional.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(enlarge(maps)[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1])
