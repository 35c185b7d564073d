"""ITSD: the published network on weights made by rule, its loss, and what training needs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib.npyio import NpzFile
from torch import Tensor, nn

from act2sal.errors import CheckpointError
from act2sal.networks.encoders import build_encoder
from act2sal.networks.itsd import ITSD, ITSDMaps, contour_target, itsd_loss, pair_maximum
from act2sal.networks.official_rivals import itsd_from_official
from parity_rule import deviations, official_photos, state_dict

UNUSED = 392_360
LEVELS = 5


@pytest.fixture(scope="module")
def fixture(parity_dir: Path) -> NpzFile:
    return np.load(parity_dir / "rivals" / "itsd_res50.npz")


@pytest.fixture(scope="module")
def official(parity_dir: Path) -> dict[str, Tensor]:
    return state_dict(parity_dir / "rivals" / "itsd_res50_state_dict.json")


@pytest.fixture(scope="module")
def drawn(parity_dir: Path) -> tuple[ITSDMaps, Tensor, Tensor, float]:
    """The maps, the label, the contour and the value of the published loss."""
    stored = np.load(parity_dir / "rivals" / "itsd_loss.npz")
    generator = np.random.Generator(np.random.PCG64(2))
    contour = generator.random((2, 96, 128)) > 0.95
    assert (contour == stored["C"]).all()

    def maps(height: int, width: int) -> Tensor:
        return torch.from_numpy(generator.standard_normal((2, height, width)).astype(np.float32))[:, None]

    final = maps(96, 128)
    saliency, contours = ([maps(3 * 2**k, 4 * 2**k) for k in range(LEVELS)] for _ in range(2))
    label, edge = (torch.from_numpy(part.astype(np.float32))[:, None] for part in (stored["Y"], contour))
    return ITSDMaps(final, saliency, contours), label, edge, float(stored["loss"])


def small(encoder: str = "resnet10t") -> ITSD:
    torch.manual_seed(0)
    return ITSD(build_encoder(encoder, "random"))


# --- the published network ---------------------------------------------------------------------------


@torch.no_grad()
def test_every_map_of_the_published_network(official: dict[str, Tensor], fixture: NpzFile) -> None:
    network = itsd_from_official(official)
    photos = official_photos(fixture, network.encoder.spec.mean)
    maps = network.maps(photos)
    assert deviations(network(photos)[:, 0], fixture["final_te"]) < 1e-4
    assert deviations(2 * maps.final[:, 0], fixture["final_te"]) < 1e-4
    for level in range(LEVELS):
        assert deviations(maps.saliency[level][:, 0], fixture[f"pred{level}"]) < 1e-4
        assert deviations(maps.contours[level][:, 0], fixture[f"contour{level}"]) < 1e-4


@pytest.mark.parametrize(
    ("encoder", "output_stride", "published"), [("resnet50", 32, 26_468_000), ("vgg16", 16, 17_084_512)]
)
def test_as_many_parameters_as_published_but_for_the_unused_branch(
    encoder: str, output_stride: int, published: int
) -> None:
    network = ITSD(build_encoder(encoder, "random", output_stride=output_stride))
    assert sum(parameter.numel() for parameter in network.parameters()) == published - UNUSED


def test_the_unused_branch_of_a_checkpoint_has_that_size(official: dict[str, Tensor]) -> None:
    unused = [tensor for name, tensor in official.items() if name.startswith("decoder.slc_decode")]
    assert sum(tensor.numel() for tensor in unused) == UNUSED


def test_checkpoints_with_other_tensors_are_refused(official: dict[str, Tensor]) -> None:
    with pytest.raises(CheckpointError, match=r"unknown tensor decoder\.extra"):
        itsd_from_official({**official, "decoder.extra": torch.ones(1)})
    lacking = {name: t for name, t in official.items() if name != "decoder.final.conv.bias"}
    with pytest.raises(CheckpointError, match=r"1 tensors .* our joining\.join\.bias"):
        itsd_from_official(lacking)
    with pytest.raises(CheckpointError, match=r"1 tensors .* our joining\.join\.bias"):
        itsd_from_official({**official, "decoder.final.conv.bias": torch.ones(3)})


# --- the loss ----------------------------------------------------------------------------------------


def test_published_loss(drawn: tuple[ITSDMaps, Tensor, Tensor, float]) -> None:
    maps, label, contour, published = drawn
    assert itsd_loss(maps, label, contour=contour, published=True).item() == pytest.approx(
        published, rel=1e-5
    )


def test_without_the_quirks_the_loss_differs_by_the_contour_terms_alone(
    drawn: tuple[ITSDMaps, Tensor, Tensor, float],
) -> None:
    maps, label, contour, published = drawn
    difference = 0.0
    for weight, outline in zip((0.1, 0.3, 0.5, 0.7, 0.9), maps.contours, strict=True):
        edge = nn.functional.adaptive_max_pool2d(contour, outline.shape[-2:]).double()
        prob = outline.double().sigmoid()

        def entropy(prob: Tensor, edge: Tensor = edge) -> float:
            return -(edge * prob.log() + (1 - edge) * (1 - prob).log()).mean().item()

        difference += weight * (entropy(prob) - entropy(prob.sigmoid()))
    assert itsd_loss(maps, label, contour=contour).item() == pytest.approx(published + difference, rel=1e-5)


def test_weights_of_pixels_pass_gradients_in_the_published_loss_alone(
    drawn: tuple[ITSDMaps, Tensor, Tensor, float],
) -> None:
    """With contours that fit perfectly, what is left of their gradient comes through the weights."""
    maps, label, _, _ = drawn
    empty = torch.zeros_like(label)
    for published in (True, False):
        outlines = [torch.full_like(m, -30.0, requires_grad=True) for m in maps.contours]
        quiet = ITSDMaps(maps.final, maps.saliency, outlines)
        itsd_loss(quiet, label, contour=empty, published=published).backward()
        assert max(m.grad.abs().max() for m in outlines) < 1e-9
        raised = [torch.zeros_like(m).requires_grad_() for m in maps.contours]
        itsd_loss(
            ITSDMaps(maps.final, maps.saliency, raised), label, contour=empty, published=published
        ).backward()
        even = [float(m.grad.std()) < 1e-9 for m in raised]
        assert even == [not published] * LEVELS


def test_a_perfect_answer_costs_nothing_and_the_opposite_much() -> None:
    label = torch.zeros(1, 1, 64, 64)
    label[..., 16:48, 16:48] = 1
    edge = contour_target(label)
    shrunk = [label[..., :: 2**k, :: 2**k] for k in range(5, 0, -1)]
    edges = [nn.functional.adaptive_max_pool2d(edge, m.shape[-2:]) for m in shrunk]

    def signed(maps: list[Tensor], scale: float) -> list[Tensor]:
        return [scale * (2 * m - 1) for m in maps]

    # A cell of the coarsest level is 32 pixels wide; none is covered by more than half.
    shrunk[0] = torch.zeros_like(shrunk[0])
    right = ITSDMaps(*signed([label], 50), signed(shrunk, 50), signed(edges, 50))
    wrong = ITSDMaps(*signed([label], -50), signed(shrunk, -50), signed(edges, -50))
    assert itsd_loss(right, label).item() == pytest.approx(0, abs=1e-6)
    assert itsd_loss(wrong, label).item() > 100


def test_contour_target_by_hand() -> None:
    label = torch.zeros(1, 1, 9, 12)
    label[..., 6:] = 1
    expected = torch.zeros_like(label)
    expected[..., 4:8] = 1
    assert torch.equal(contour_target(label), expected)
    assert contour_target(torch.ones(1, 1, 9, 12)).max() == 0, "the border of the photo is no contour"


def test_gradcheck_of_the_loss() -> None:
    torch.manual_seed(0)
    final, *rest = (
        torch.randn(1, 1, s, s, dtype=torch.float64, requires_grad=True) for s in (8, 2, 3, 4, 5, 6) * 2
    )
    saliency, contours = rest[:5], [m for i, m in enumerate(rest[5:]) if i]
    label = (torch.rand(1, 1, 8, 8) > 0.5).double()
    for published in (True, False):

        def loss(*maps: Tensor, published: bool = published) -> Tensor:
            return itsd_loss(ITSDMaps(maps[0], list(maps[1:6]), contours), label, published=published)

        assert torch.autograd.gradcheck(loss, (final, *saliency))


# --- training ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", ["resnet10t", "mobilenetv2_050"])
def test_gradients_flow_to_every_parameter(encoder: str) -> None:
    network = small(encoder).train()
    for module in network.encoder.modules():
        if isinstance(module, nn.BatchNorm2d):  # timm starts the last ones of residual blocks at 0
            nn.init.ones_(module.weight)
    label = torch.zeros(2, 1, 64, 96)
    label[..., 20:40, 20:60] = 1
    itsd_loss(network.maps(torch.rand(2, 3, 64, 96)), label).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@torch.no_grad()
@pytest.mark.parametrize(
    ("encoder", "output_stride"),
    [("resnet10t", 32), ("mobilenetv2_050", 32), ("densenet121", 32), ("vgg11", 16)],
)
@pytest.mark.parametrize("size", [(64, 96), (65, 97), (33, 50)])
def test_photos_of_any_size(encoder: str, output_stride: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = ITSD(build_encoder(encoder, "random", output_stride=output_stride)).eval()
    photos = torch.rand(1, 3, *size)
    maps = network.maps(photos)
    assert network(photos).shape == maps.final.shape == (1, 1, *size)
    assert [len(maps.saliency), len(maps.contours)] == [LEVELS, LEVELS]
    assert itsd_loss(maps, torch.ones(1, 1, *size)).isfinite()


@torch.no_grad()
def test_the_answer_is_doubled_in_eval_mode_alone() -> None:
    network, photos = small(), torch.rand(1, 3, 64, 64)
    network.eval()
    doubled = network(photos)
    network.training = False
    torch.testing.assert_close(doubled, 2 * network.maps(photos).final)
    network.training = True  # of the network alone: the encoder's BatchNorm stays in eval mode
    torch.testing.assert_close(network(photos), doubled / 2)


def test_pair_maximum_by_hand() -> None:
    maps = torch.tensor([1.0, 4, 3, 2, -1, -5]).view(1, 6, 1, 1)
    assert pair_maximum(maps).flatten().tolist() == [4, 3, -1]
