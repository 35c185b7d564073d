"""Gradients on a CPU: those of PyTorch in double precision, and what is replaced and what is not."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from act2sal.runtime.cpu_gradients import ChannelsLastGroupNorm, StridedDepthwise, with_fast_gradients
from tiny import tiny_detector

BFLOAT16, FLOAT32 = torch.bfloat16, torch.float32
TOLERANCE = {BFLOAT16: 0.02, FLOAT32: 1e-5}
"""Of the largest value."""


def maps(channels: int, dtype: torch.dtype, *, channels_last: bool = True) -> Tensor:
    """(3, channels, 13, 10), off zero."""
    drawn = 1 + torch.randn(3, channels, 13, 10, generator=torch.Generator().manual_seed(0)).to(dtype)
    return drawn.contiguous(memory_format=torch.channels_last) if channels_last else drawn


def depthwise(kernel: int, stride: int | tuple[int, int], padding: int = 1, dilation: int = 1) -> nn.Conv2d:
    torch.manual_seed(1)
    return nn.Conv2d(6, 6, kernel, stride=stride, padding=padding, dilation=dilation, groups=6, bias=False)


def group_norm(groups: int) -> nn.GroupNorm:
    norm = nn.GroupNorm(groups, 6)
    torch.manual_seed(2)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def gradients(module: nn.Module, values: Tensor) -> list[Tensor]:
    """What the module answers, and the gradients of input and weights of a random sum of it."""
    leaf = values.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    answer = module(leaf)
    weights = torch.randn(answer.shape, generator=torch.Generator().manual_seed(3))
    return [
        answer.detach(),
        *torch.autograd.grad((answer * weights.to(answer.dtype)).sum(), [leaf, *module.parameters()]),
    ]


def close(ours: list[Tensor], exact: list[Tensor], tolerance: float) -> None:
    for one, other in zip(ours, exact, strict=True):
        assert one.shape == other.shape
        assert float((one.double() - other).abs().max()) <= tolerance * float(other.abs().max())


@pytest.mark.parametrize(
    "make",
    [
        lambda: depthwise(3, 2),
        lambda: depthwise(5, 2, 2),
        lambda: depthwise(3, (1, 3), 0),
        lambda: depthwise(3, 2, 2, 2),
    ],
    ids=["3x3", "5x5", "one axis", "dilated"],
)
@pytest.mark.parametrize("channels_last", [True, False])
def test_a_strided_depthwise_convolution(make: Callable[[], nn.Conv2d], channels_last: bool) -> None:
    values = maps(6, BFLOAT16, channels_last=channels_last)
    with torch.autocast("cpu", BFLOAT16):
        ours = gradients(with_fast_gradients(nn.Sequential(make())), values)
    assert ours[0].dtype == ours[1].dtype == BFLOAT16
    assert ours[2].dtype == FLOAT32
    close(ours, gradients(make().double(), values.double()), TOLERANCE[BFLOAT16])


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize("dtype", [BFLOAT16, FLOAT32])
@pytest.mark.parametrize("channels_last", [True, False])
def test_a_group_norm(groups: int, dtype: torch.dtype, channels_last: bool) -> None:
    values = maps(6, dtype, channels_last=channels_last)
    ours = gradients(with_fast_gradients(nn.Sequential(group_norm(groups))), values)
    assert ours[0].dtype == ours[1].dtype == dtype
    close(ours, gradients(group_norm(groups).double(), values.double()), TOLERANCE[dtype])
    assert torch.equal(ours[0], group_norm(groups)(values))


def test_a_constant_map_has_finite_gradients() -> None:
    for gradient in gradients(with_fast_gradients(group_norm(2)), torch.full((2, 6, 4, 4), 3.0)):
        assert gradient.isfinite().all()


def test_weights_are_shared_and_the_answers_stay() -> None:
    detector = tiny_detector()
    replaced = with_fast_gradients(copy.deepcopy(detector))
    kinds = [type(module) for module in replaced.modules()]
    assert kinds.count(ChannelsLastGroupNorm) == sum(
        isinstance(module, nn.GroupNorm) for module in detector.modules()
    )
    assert kinds.count(StridedDepthwise) == sum(
        isinstance(m, nn.Conv2d) and m.groups == m.in_channels > 1 and m.stride != (1, 1)
        for m in detector.modules()
    )
    assert min(kinds.count(ChannelsLastGroupNorm), kinds.count(StridedDepthwise)) > 0
    assert replaced.state_dict().keys() == detector.state_dict().keys()
    photos = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(replaced(photos), detector(photos))
    with torch.no_grad():
        for weight in (replaced.state_dict()[name] for name in replaced.state_dict() if "weight" in name):
            weight.mul_(1.5)
        assert not torch.equal(replaced(photos), detector(photos))


def test_other_convolutions_are_left_alone() -> None:
    module = nn.Sequential(
        nn.Conv2d(4, 4, 3, stride=2),
        nn.Conv2d(4, 4, 3, groups=4, bias=False),
        nn.Conv2d(4, 4, 3, groups=4, stride=2),
        nn.Conv2d(4, 4, 3, groups=4, stride=2, bias=False, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 8, 3, groups=4, stride=2, bias=False),
        nn.GroupNorm(2, 4, affine=False),
    )
    before = [type(child) for child in module]
    assert [type(child) for child in with_fast_gradients(module)] == before
