"""Features in the memory of the device are those that the cache on disk would hold."""

from typing import get_args

import pytest
import torch

from act2sal.config import Mirrored, StoredPrecision
from act2sal.networks.encoders import freeze
from act2sal.training.stage1.features import FrozenFeatures
from act2sal.training.stage1.resident_features import ResidentFeatures, fit_in_memory
from tiny import cpu, random_squares, tiny_encoder


def frozen_features(mirror: Mirrored, precision: StoredPrecision = "float16") -> FrozenFeatures:
    encoder, photos = freeze(tiny_encoder()), random_squares(35)
    return FrozenFeatures(encoder, photos, fabric=cpu(), precision=precision, mirror=mirror)


@pytest.mark.parametrize("mirror", get_args(Mirrored))
@pytest.mark.parametrize("precision", get_args(StoredPrecision))
def test_they_are_those_of_the_frozen_encoder(mirror: Mirrored, precision: StoredPrecision) -> None:
    frozen = frozen_features(mirror, precision)
    resident = ResidentFeatures(frozen, mirrored=True, quiet=True)
    assert len(resident) == 35
    assert resident.channels == frozen.channels
    for mirrored in (None, torch.tensor([True, False, True])):
        ours, theirs = resident.read([33, 0, 34], mirrored), frozen.read([33, 0, 34], mirrored)
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=0.02, atol=0.02 * float(other.abs().max()))


def test_the_encoder_is_asked_once_for_each_photo_and_not_while_features_are_read() -> None:
    frozen, asked = frozen_features("features"), []
    frozen.encoder.register_forward_pre_hook(lambda _, inputs: asked.append(len(inputs[0])))
    resident = ResidentFeatures(frozen, mirrored=True, quiet=True)
    resident.read(range(35))
    assert asked == [32, 3]


def test_half_of_the_free_memory_is_theirs() -> None:
    frozen = frozen_features("photos")
    (one,) = [
        sum(t.numel() * t.element_size() for t in frozen.encoded(frozen.squares([(0, False)])).values())
    ]
    assert fit_in_memory(frozen, mirrored=True, free=4 * 35 * one)
    assert not fit_in_memory(frozen, mirrored=True, free=4 * 35 * one - 2)
    assert fit_in_memory(frozen, mirrored=False, free=2 * 35 * one)
