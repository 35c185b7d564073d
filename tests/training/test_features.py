"""Encoder features: live, or frozen and cached; how often the encoder is asked, and that bits never depend on it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from act2sal.config import Mirrored, StoredPrecision
from act2sal.data.photo_batches import stack, to_batch
from act2sal.networks.encoders import Encoder, freeze
from act2sal.training.stage1.features import (
    Features,
    Fetched,
    FrozenFeatures,
    LiveFeatures,
    channel_deviation,
)
from tiny import SIZE, cpu, random_squares, tiny_encoder

CPU = torch.device("cpu")
PLENTY = 10**9
Photos = list[NDArray[np.uint8]]


def frozen(seed: int = 0) -> Encoder:
    return freeze(tiny_encoder(seed))


class Asked:
    """An encoder that counts the photos it is given, and can fail at one of them."""

    def __init__(self, seed: int = 0, fail_at: int | None = None) -> None:
        self.encoder, self.photos, self.fail_at = frozen(seed), 0, fail_at
        self.encoder.register_forward_pre_hook(self._count)

    def _count(self, module: torch.nn.Module, inputs: tuple[Tensor]) -> None:
        if self.photos == self.fail_at:
            raise KeyboardInterrupt
        self.photos += len(inputs[0])


def kept(
    asked: Asked,
    photos: Photos,
    folder: Path,
    *,
    budget: int = PLENTY,
    precision: StoredPrecision = "float16",
    mirror: Mirrored = "features",
) -> FrozenFeatures:
    features = FrozenFeatures(asked.encoder, photos, fabric=cpu(), precision=precision, mirror=mirror)
    features.keep(folder, budget, mirrored=True, quiet=True)
    return features


def equal(ours: list[Tensor], theirs: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


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
    assert equal(levels, expected)


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_frozen_features_equal_live_ones_to_their_precision(
    precision: StoredPrecision, tmp_path: Path
) -> None:
    asked, photos = Asked(), random_squares(11)
    features = kept(asked, photos, tmp_path, precision=precision)
    live = LiveFeatures(asked.encoder, photos, CPU)
    assert len(features) == 11
    assert features.channels == live.channels
    for indices in ([0, 7], [8, 9, 10], [10, 3]):
        for level, wanted in zip(features.read(indices), live.read(indices), strict=True):
            assert level.dtype == torch.float32
            assert wanted.abs().max() > 1e-3
            peak = wanted.abs().amax(dim=(2, 3), keepdim=True)
            bound = peak / 254 if precision == "int8" else wanted.abs() * 2**-11
            assert ((level - wanted).abs() <= bound * 1.01 + 1e-6).all()


@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.parametrize("mirror", ["features", "photos"])
def test_the_budget_does_not_change_a_bit(
    precision: StoredPrecision, mirror: Mirrored, tmp_path: Path
) -> None:
    """All, some or none of them cached, and in batches of any kind."""
    photos, flags = random_squares(7), torch.tensor([True, False, False, True])
    whole = kept(Asked(), photos, tmp_path / "whole", precision=precision, mirror=mirror)
    size = sum(path.stat().st_size for path in (tmp_path / "whole").rglob("*.safetensors"))
    for budget in (0, size // 2):
        part = kept(
            Asked(), photos, tmp_path / str(budget), budget=budget, precision=precision, mirror=mirror
        )
        assert equal(part.read([5, 0, 6, 2]), whole.read([5, 0, 6, 2]))
        assert equal(part.read([5, 0, 6, 2], flags), whole.read([5, 0, 6, 2], flags))
        assert equal(part.read([6, 1]), [level[:2] for level in whole.read([6, 1, 3])])
        stored = sum(path.stat().st_size for path in (tmp_path / str(budget)).rglob("*.safetensors"))
        assert stored <= budget
        assert (stored > 0) == (budget > 0)
    uncached = FrozenFeatures(frozen(), photos, fabric=cpu(), precision=precision, mirror=mirror)
    assert equal(uncached.read([3, 4], flags[:2]), whole.read([3, 4], flags[:2]))


def test_photos_that_do_not_fit_are_computed_at_every_epoch_and_the_others_never_again(
    tmp_path: Path,
) -> None:
    photos, asked = random_squares(6), Asked()
    kept(Asked(), photos, tmp_path / "whole")
    size = sum(path.stat().st_size for path in (tmp_path / "whole").rglob("*.safetensors")) // 6
    features = kept(asked, photos, tmp_path / "part", budget=4 * size)
    assert asked.photos == 5  # the fifth is the one that shows that there is no more room
    for epoch in (1, 2):
        features.read(range(6))
        assert asked.photos == 5 + 2 * epoch


def test_mirrored_features_or_features_of_mirrored_photos() -> None:
    photos, flags = random_squares(3), torch.tensor([True, False])
    mirrored = [np.ascontiguousarray(photo[:, ::-1]) for photo in photos]
    plain = FrozenFeatures(frozen(), photos, fabric=cpu(), precision="float16")
    exact = FrozenFeatures(frozen(), photos, fabric=cpu(), precision="float16", mirror="photos")
    of_mirrored = FrozenFeatures(frozen(), mirrored, fabric=cpu(), precision="float16")
    for place, index in enumerate((2, 0)):
        for by_features, by_photos, as_is, wanted in zip(
            plain.read([2, 0], flags),
            exact.read([2, 0], flags),
            plain.read([2, 0]),
            of_mirrored.read([2, 0]),
            strict=True,
        ):
            if flags[place]:
                assert torch.equal(by_features[place], as_is[place].flip(-1))
                assert torch.equal(by_photos[place], wanted[place]), index
                assert not torch.equal(by_photos[place], by_features[place])
            else:
                assert torch.equal(by_features[place], as_is[place])
                assert torch.equal(by_photos[place], as_is[place])


def test_live_features_are_mirrored_in_both_ways() -> None:
    encoder, photos, flags = frozen(), random_squares(2), torch.tensor([False, True])
    mirrored = LiveFeatures(encoder, [photo[:, ::-1] for photo in photos], CPU).read([1])
    by_photos = LiveFeatures(encoder, photos, CPU, mirror="photos").read([0, 1], flags)
    by_features = LiveFeatures(encoder, photos, CPU).read([0, 1], flags)
    for one, other, wanted, as_is in zip(
        by_photos, by_features, mirrored, LiveFeatures(encoder, photos, CPU).read([0, 1]), strict=True
    ):
        torch.testing.assert_close(one[1:], wanted)
        assert torch.equal(other[1], as_is[1].flip(-1))
        torch.testing.assert_close(one[0], as_is[0])


def test_both_sides_of_a_photo_are_computed_once(tmp_path: Path) -> None:
    asked, photos = Asked(), random_squares(5)
    features = kept(asked, photos, tmp_path, mirror="photos")
    assert asked.photos == 10
    for flags in ([True] * 5, [False] * 5, [True, False, True, False, True]):
        features.read(range(5), torch.tensor(flags))
    kept(asked, photos, tmp_path, mirror="photos")
    kept(asked, photos, tmp_path, mirror="features")
    assert asked.photos == 10


def test_only_what_changed_is_computed_again(tmp_path: Path) -> None:
    """Photos added, removed, moved, changed: the encoder is asked for new contents alone."""
    photos, asked = random_squares(6), Asked()
    kept(asked, photos, tmp_path)
    assert asked.photos == 6

    def newly_asked(now: Photos) -> int:
        before = asked.photos
        features = kept(asked, now, tmp_path)
        added = asked.photos - before
        expected = FrozenFeatures(frozen(), now, fabric=cpu(), precision="float16")
        assert equal(features.read(range(len(now))), expected.read(range(len(now))))
        return added

    changed = photos[2].copy()
    changed[10, 10, 0] ^= 255
    assert newly_asked(photos) == 0
    assert newly_asked(photos[::-1]) == 0
    assert newly_asked(photos[:2] + photos[3:]) == 0
    assert newly_asked(photos) == 0
    assert newly_asked([*photos, *random_squares(2, seed=5)]) == 2
    assert newly_asked([*photos[:2], changed, *photos[3:]]) == 1
    assert newly_asked([*photos, photos[0]]) == 0
    assert newly_asked([photo[:32, :32] for photo in photos]) == 6


def test_two_photos_that_look_the_same_are_computed_once(tmp_path: Path) -> None:
    asked, photos = Asked(), random_squares(3)
    features = kept(asked, [*photos, photos[1]], tmp_path)
    assert asked.photos == 3
    assert equal(features.read([1]), features.read([3]))
    assert asked.photos == 3


def test_other_weights_have_features_of_their_own(tmp_path: Path) -> None:
    photos, other = random_squares(4), Asked(1)
    first = kept(Asked(0), photos, tmp_path)
    second = kept(other, photos, tmp_path)
    assert other.photos == 4
    expected = FrozenFeatures(frozen(1), photos, fabric=cpu(), precision="float16")
    assert equal(second.read(range(4)), expected.read(range(4)))
    assert not equal(second.read(range(4)), first.read(range(4)))
    again = Asked(0)
    kept(again, photos, tmp_path)
    assert again.photos == 0


def test_interrupted_features_go_on_where_they_were(tmp_path: Path) -> None:
    photos, asked = random_squares(30), Asked()
    whole = kept(Asked(), photos, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        kept(Asked(fail_at=17), photos, tmp_path / "parts")
    resumed = kept(asked, photos, tmp_path / "parts")
    assert asked.photos == 30 - 17
    files = [
        {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.safetensors")}
        for name in ("whole", "parts")
    ]
    assert len(files[0]) == 30
    assert files[0] == files[1]
    assert equal(resumed.read([29, 3]), whole.read([29, 3]))


def test_damaged_features_are_computed_anew_once(tmp_path: Path) -> None:
    photos, asked = random_squares(4), Asked()
    whole = kept(Asked(), photos, tmp_path).read(range(4))
    features = kept(asked, photos, tmp_path)
    for path in sorted(tmp_path.rglob("*.safetensors"))[:2]:
        content = bytearray(path.read_bytes())
        content[-9] ^= 4
        path.write_bytes(content)
    assert equal(features.read(range(4)), whole)
    assert asked.photos == 2
    assert equal(features.read(range(4)), whole)
    assert asked.photos == 2


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
    class Constant(Features):
        channels = (2, 1, 1)

        def __len__(self) -> int:
            return 2

        def fetch(self, indices: Sequence[int], mirrored: Tensor | None = None) -> Fetched:
            return Fetched(indices, mirrored, {})

        def levels(self, fetched: Fetched) -> list[Tensor]:
            count = len(fetched.indices)
            alternating = torch.tensor([1.0, -1.0]).repeat(count, 1, 2, 1)
            return [torch.cat([alternating, torch.ones(count, 1, 2, 2)], dim=1)] + [
                torch.zeros(count, 1, 1, 1)
            ] * 2

    third, fourth, _ = channel_deviation(Constant(), [0, 1])
    assert third.tolist() == pytest.approx([1.0, 0.5e-3], rel=1e-6)
    assert 0 < float(fourth) < 1e-9
