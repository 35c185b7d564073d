"""Resizing by matrix products against `functional.interpolate`; flipping."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from act2sal.a2s.resampling import bilinear, flip

SIDE = st.integers(1, 23)


@settings(max_examples=60, deadline=None)
@given(SIDE, SIDE, SIDE, SIDE)
def test_as_interpolate_does_it(height: int, width: int, new_height: int, new_width: int) -> None:
    """Larger and smaller, with its gradient."""
    maps = torch.randn(
        2, 3, height, width, generator=torch.Generator().manual_seed(height * width), requires_grad=True
    )
    size = (new_height, new_width)
    ours, theirs = bilinear(maps, size), functional.interpolate(maps, size, mode="bilinear")
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    weight = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    (own,) = torch.autograd.grad((ours * weight).sum(), maps)
    (reference,) = torch.autograd.grad((theirs * weight).sum(), maps)
    torch.testing.assert_close(own, reference, atol=1e-4, rtol=1e-4)


def test_by_hand() -> None:
    line = torch.tensor([[[[0.0, 4.0]]]])
    assert bilinear(line, (1, 4)).tolist() == [[[[0.0, 1.0, 3.0, 4.0]]]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_keeps_the_type(dtype: torch.dtype) -> None:
    assert bilinear(torch.ones(1, 1, 2, 2, dtype=dtype), (4, 6)).dtype == dtype


def test_what_was_first_used_without_gradients_has_them_later() -> None:
    with torch.inference_mode():
        bilinear(torch.ones(1, 1, 3, 3), (31, 37))
    maps = torch.ones(1, 1, 3, 3, requires_grad=True)
    bilinear(maps, (31, 37)).sum().backward()
    assert maps.grad is not None
    torch.testing.assert_close(maps.grad.sum(), torch.tensor(31.0 * 37))


def test_an_autocast_computes_in_its_type_within_its_accuracy() -> None:
    maps = torch.rand(2, 8, 10, 10, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        ours = bilinear(maps, (40, 40))
    assert ours.dtype == torch.bfloat16
    theirs = functional.interpolate(maps, (40, 40), mode="bilinear")
    torch.testing.assert_close(ours.float(), theirs, atol=0.01, rtol=0)


def test_flip_mirrors_the_flagged_and_undoes_itself() -> None:
    maps, flags = torch.arange(8.0).view(2, 1, 2, 2), torch.tensor([True, False])
    assert flip(maps, flags).flatten().tolist() == [1, 0, 3, 2, 4, 5, 6, 7]
    assert torch.equal(flip(flip(maps, flags), flags), maps)
