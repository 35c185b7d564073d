"""The steps of stage 1 by hand: the fresh network, what the encoder computes in, the weight of the texture loss."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from act2sal.a2s.activation import Activation, ActivationNetwork
from act2sal.a2s.resampling import resize
from act2sal.a2s.texture import texture_loss
from act2sal.data.photo_batches import to_batch
from act2sal.runtime.stopwatch import Stopwatch
from act2sal.training.stage1.features import Features, Fetched
from act2sal.training.stage1.fit import SCALE_PHOTOS, _loss, _Trained, activation_network, enlarged
from act2sal.training.stage1.views import Views, views
from tiny import random_squares, tiny_config

CPU = torch.device("cpu")
OPTIONS = replace(tiny_config().stage1, drop_pixels=0.0, side_weights=(1.0, 1.0, 1.0))
CHANNELS = (4, 6, 8)


class RandomFeatures(Features):
    """Noise in place of features; says whether it was asked for them in lower precision."""

    def __init__(self, count: int) -> None:
        drawn = torch.Generator().manual_seed(count)
        self.whole = [
            torch.randn(count, channels, side, side, generator=drawn)
            for channels, side in zip(CHANNELS, (8, 4, 2), strict=True)
        ]
        self.channels = CHANNELS
        self.lower: list[bool] = []

    def __len__(self) -> int:
        return len(self.whole[0])

    def fetch(self, indices: Sequence[int], mirrored: Tensor | None = None) -> Fetched:
        return Fetched(indices, mirrored, {})

    def levels(self, fetched: Fetched) -> list[Tensor]:
        self.lower.append(torch.is_autocast_enabled("cpu"))
        return [level[list(fetched.indices)] for level in self.whole]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("channels", [5, 12])
def test_a_fresh_network_has_the_channels_of_the_config(channels: int) -> None:
    options = replace(OPTIONS, channels=channels, fusion_stride=4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        wanted = ActivationNetwork(in_channels=CHANNELS, channels=channels, fusion_stride=4)
        gain = torch.nn.Linear(CHANNELS[2], 1000).weight.detach().sum(dim=0)
    found = activation_network(RandomFeatures(4), replace(options, random_gain=True), seed=3)
    shapes = {name: tensor.shape for name, tensor in found.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in wanted.state_dict().items()}
    assert torch.equal(found.scales[2], gain)


def test_scales_are_measured_on_as_many_photos_as_there_are_or_on_256() -> None:
    counted: list[int] = []

    class Counted(RandomFeatures):
        def fetch(self, indices: Sequence[int], mirrored: Tensor | None = None) -> Fetched:
            counted.extend(indices)
            return super().fetch(indices, mirrored)

    for count in (7, SCALE_PHOTOS + 44):
        counted.clear()
        activation_network(Counted(count), OPTIONS, seed=0)
        assert len(counted) == len(set(counted)) == min(count, SCALE_PHOTOS)
        assert (min(counted), max(counted)) == (0, count - 1)


def test_a_map_that_is_no_square_is_enlarged_to_its_photo() -> None:
    theta = torch.zeros(1, 1, 24, 40)
    sides = (torch.zeros(1, 1, 24, 40), torch.zeros(1, 1, 12, 20), torch.zeros(1, 1, 6, 10))
    assert enlarged(Activation(theta, sides)).theta.shape == (1, 1, 192, 320)


def test_the_encoder_computes_in_its_own_precision() -> None:
    features = RandomFeatures(3)
    network = activation_network(RandomFeatures(3), OPTIONS, seed=0)
    (seen,) = views(features, [], None, [[0, 2]], [None], generator(), CPU)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (found,) = _Trained([network])(seen, Stopwatch())
    assert features.lower == [False]
    assert found.theta.dtype == torch.bfloat16 or not torch.equal(found.theta, network(features.whole).theta)


def test_a_view_without_its_source_is_refused() -> None:
    features = RandomFeatures(3)
    network = activation_network(features, OPTIONS, seed=0)
    fetched = features.fetch([0])
    with pytest.raises(ValueError, match="zip"):
        _Trained([network])(Views([fetched, fetched], [features], None), Stopwatch())
    with pytest.raises(ValueError, match="zip"):
        list(views(features, [], None, [[0], [1]], [None], generator(), CPU))


def test_photos_that_are_not_mirrored_show_their_colours_as_they_are() -> None:
    quarters = [photo[::4, ::4] for photo in random_squares(3)]
    (seen,) = views(RandomFeatures(3), [], quarters, [[2, 0]], [None], generator(), CPU)
    assert seen.colours is not None
    np.testing.assert_array_equal(seen.colours.numpy(), np.stack([quarters[2], quarters[0]]))


@pytest.mark.parametrize("weight", [0.05, 3.0])
def test_the_texture_loss_counts_by_its_weight(weight: float) -> None:
    features = RandomFeatures(2)
    with torch.no_grad():
        activation = activation_network(features, OPTIONS, seed=0)(features.whole)
    colours = torch.from_numpy(np.stack([photo[::4, ::4] for photo in random_squares(2)]))
    config = replace(OPTIONS, texture=weight)
    plain = _loss([activation], None, config, 0, generator())
    photos = to_batch(colours, CPU)
    added = weight * texture_loss(resize(torch.sigmoid(activation.theta), photos.shape[-2:]), photos)
    assert float(added) > 1e-4
    assert float(_loss([activation], colours, config, 0, generator())) == pytest.approx(
        float(plain + added), rel=1e-5
    )
