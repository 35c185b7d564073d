"""Encoder features: computed live, cached in float16, resumed, and their spread."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from act2sal.encoders import Encoder, freeze
from act2sal.photo_batches import stack, to_batch
from act2sal.stage1.features import (
    CachedFeatures,
    LiveFeatures,
    cache_features,
    cache_key,
    channel_deviation,
)
from tiny import SIZE, cpu, random_squares, tiny_encoder

CPU = torch.device("cpu")


def frozen(seed: int = 0) -> Encoder:
    return freeze(tiny_encoder(seed))


class Counting(Sequence[NDArray[np.uint8]]):
    """Photos that count how often they are read and can fail at one of them."""

    def __init__(self, photos: Sequence[NDArray[np.uint8]], fail_at: int | None = None) -> None:
        self.photos, self.fail_at, self.read = photos, fail_at, [0] * len(photos)

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:  # type: ignore[override]
        if index == self.fail_at:
            raise OSError("no space left on device")
        self.read[index] += 1
        return self.photos[index]


def cached(encoder: Encoder, photos: Sequence[NDArray[np.uint8]], folder: Path, key: str) -> CachedFeatures:
    return cache_features(encoder, photos, folder, fabric=cpu(), key=key, quiet=True)


def test_a_batch_is_rgb_in_0_to_1() -> None:
    photos = random_squares(3)
    batch = to_batch(stack(photos, [2, 0]), CPU)
    assert batch.shape == (2, 3, SIZE, SIZE)
    assert batch.dtype == torch.float32
    assert float(batch[0, 1, 5, 9]) == pytest.approx(photos[2][5, 9, 1] / 255)
    assert float(batch[1, 2, 60, 3]) == pytest.approx(photos[0][60, 3, 2] / 255)


def test_live_features_are_the_three_deepest_levels() -> None:
    encoder, photos = frozen(), random_squares(3)
    features = LiveFeatures(encoder, photos, CPU)
    levels = features.read([2, 1])
    expected = encoder(to_batch(np.stack([photos[2], photos[1]]), CPU))[2:]
    assert len(features) == 3
    assert features.channels == tuple(level.shape[1] for level in levels) == encoder.channels[2:]
    assert [level.shape[-1] for level in levels] == [SIZE // 8, SIZE // 16, SIZE // 32]
    for level, wanted in zip(levels, expected, strict=True):
        assert torch.equal(level, wanted)


def test_cached_features_equal_live_ones_to_half_precision(tmp_path: Path) -> None:
    encoder, photos = frozen(), random_squares(11)
    features = cached(encoder, photos, tmp_path, "k")
    live = LiveFeatures(encoder, photos, CPU)
    assert len(features) == 11
    assert features.channels == live.channels
    for indices in ([0, 7], [8, 9, 10], [10, 3]):
        for level, wanted in zip(features.read(indices), live.read(indices), strict=True):
            assert level.dtype == torch.float32
            assert wanted.abs().max() > 1e-3
            torch.testing.assert_close(level, wanted, rtol=2**-11 * 1.1, atol=1e-6)


def test_values_beyond_half_precision_are_clipped(tmp_path: Path) -> None:
    class Huge(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sign = torch.nn.Parameter(torch.ones(1))

        def forward(self, photos: Tensor) -> list[Tensor]:
            sides = (32, 16, 8, 4, 2)
            return [torch.full((len(photos), 1, s, s), 1e6) * (-1) ** n for n, s in enumerate(sides)]

    features = cached(Huge(), random_squares(2), tmp_path, "k")  # type: ignore[arg-type]
    assert [float(level.unique()) for level in features.read([0, 1])] == [65504.0, -65504.0, 65504.0]


def test_finished_features_are_not_computed_again(tmp_path: Path) -> None:
    photos = Counting(random_squares(5))
    first = cached(frozen(), photos, tmp_path, "k").read(range(5))
    photos.read = [0] * 5
    again = cached(frozen(), photos, tmp_path, "k").read(range(5))
    assert photos.read == [0] * 5
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_interrupted_features_go_on_where_they_were(tmp_path: Path) -> None:
    pictures = random_squares(150)
    whole = cached(frozen(), pictures, tmp_path / "whole", "k")
    with pytest.raises(OSError, match="no space"):
        cached(frozen(), Counting(pictures, fail_at=140), tmp_path / "parts", "k")
    photos = Counting(pictures)
    resumed = cached(frozen(), photos, tmp_path / "parts", "k")
    assert photos.read == [0] * 128 + [1] * 22  # 16 batches of 8 are between two notes of how far it is
    for level in (3, 4, 5):
        files = [(tmp_path / name / f"E{level}.npy").read_bytes() for name in ("whole", "parts")]
        assert files[0] == files[1]
    assert torch.equal(resumed.read([139])[0], whole.read([139])[0])


def test_another_key_computes_anew(tmp_path: Path) -> None:
    photos = random_squares(4)
    old = [level.clone() for level in cached(frozen(0), photos, tmp_path, "old").read(range(4))]
    new = cached(frozen(1), photos, tmp_path, "new").read(range(4))
    live = LiveFeatures(frozen(1), photos, CPU).read(range(4))
    for before, after, wanted in zip(old, new, live, strict=True):
        assert not torch.allclose(before, after, atol=1e-2)
        torch.testing.assert_close(after, wanted, rtol=1e-3, atol=1e-5)


def test_an_interrupted_other_key_does_not_pass_for_the_old_one(tmp_path: Path) -> None:
    photos = random_squares(10)
    cached(frozen(0), photos, tmp_path, "old")
    with pytest.raises(OSError, match="no space"):
        cached(frozen(1), Counting(photos, fail_at=9), tmp_path, "new")
    again = cached(frozen(0), photos, tmp_path, "old").read([0, 9])
    live = LiveFeatures(frozen(0), photos, CPU).read([0, 9])
    torch.testing.assert_close(again[0], live[0], rtol=1e-3, atol=1e-5)


def test_the_key_changes_with_weights_statistics_and_photos() -> None:
    encoder = frozen(0)
    key = cache_key(encoder, "photos")
    assert key == cache_key(frozen(0), "photos")
    assert key != cache_key(frozen(1), "photos")
    assert key != cache_key(encoder, "other photos")
    name = next(name for name in encoder.state_dict() if name.endswith("running_mean"))
    encoder.state_dict()[name][0] += 1
    assert key != cache_key(encoder, "photos")


def test_the_deviation_of_channels_is_numpys() -> None:
    photos = random_squares(11)
    features = LiveFeatures(frozen(), photos, CPU)
    chosen = [0, 1, 2, 3, 5, 6, 7, 8, 10]
    with torch.no_grad():
        levels = [level.double().numpy() for level in features.read(chosen)]
    for deviation, level in zip(channel_deviation(features, chosen), levels, strict=True):
        wanted = level.std(axis=(0, 2, 3))
        floor = 1e-3 * wanted.mean() + 1e-12
        np.testing.assert_allclose(deviation.numpy(), np.maximum(wanted, floor), rtol=1e-4)


def test_a_dead_channel_has_a_small_deviation_and_not_zero() -> None:
    class Constant:
        channels = (2, 1, 1)

        def __len__(self) -> int:
            return 2

        def read(self, indices: Sequence[int]) -> list[Tensor]:
            count = len(indices)
            alternating = torch.tensor([1.0, -1.0]).repeat(count, 1, 2, 1)
            return [torch.cat([alternating, torch.ones(count, 1, 2, 2)], dim=1)] + [
                torch.zeros(count, 1, 1, 1)
            ] * 2

    third, fourth, _ = channel_deviation(Constant(), [0, 1])
    assert third.tolist() == pytest.approx([1.0, 0.5e-3], rel=1e-6)
    assert 0 < float(fourth) < 1e-9
