"""The cache of features: what it finds again, what is damaged, what does not fit, and what names depend on."""

import errno
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from act2sal.runs.cache_folder import clear_all_but_features
from act2sal.training.stage1 import feature_cache
from act2sal.training.stage1.feature_cache import FeatureCache, budget_in_bytes, encoder_digest, feature_name
from tiny import random_squares, tiny_encoder

NAMES = ["aa11", "aa22", "bb33"]
PLENTY = 10**9


def tensors(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-127, 128, (3, 4, 5), generator=generator, dtype=torch.int8)
    return {
        "E3": values,
        "E3.scales": torch.rand(3, 1, 1, generator=generator),
        "E4": torch.ones(2, 2).half(),
    }


def same(ours: dict[str, Tensor] | None, theirs: dict[str, Tensor]) -> bool:
    assert ours is not None
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)


def filled(folder: Path) -> FeatureCache:
    cache = FeatureCache(folder, NAMES, PLENTY)
    assert all(cache.write(name, tensors(seed)) for seed, name in enumerate(NAMES))
    return cache


def on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_what_is_written_is_read_by_this_and_by_the_next_process(tmp_path: Path) -> None:
    for cache in (filled(tmp_path), FeatureCache(tmp_path, NAMES, PLENTY)):
        for seed, name in enumerate(NAMES):
            assert name in cache
            assert same(cache.read(name), tensors(seed))
        assert cache.used == on_disk(tmp_path)
        assert "cc44" not in cache
        assert cache.read("cc44") is None


def file_of(folder: Path, name: str) -> Path:
    return folder / name[:2] / f"{name}.safetensors"


def test_any_byte_that_changed_is_noticed(tmp_path: Path) -> None:
    filled(tmp_path)
    path = file_of(tmp_path, "aa22")
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        found = FeatureCache(tmp_path, NAMES, PLENTY).read("aa22")
        assert found is None or same(found, tensors(1)), f"byte {place}"
        assert path.exists() == (found is not None)


@pytest.mark.parametrize("kept", [0, 1, 100, -1])
def test_a_truncated_file_is_named_and_written_anew(
    kept: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = filled(tmp_path)
    path = file_of(tmp_path, "aa22")
    path.write_bytes(path.read_bytes()[:kept])
    with caplog.at_level(logging.WARNING, logger="act2sal"):
        assert cache.read("aa22") is None
    assert [str(path) in record.getMessage() for record in caplog.records] == [True]
    assert "aa22" not in cache
    assert cache.write("aa22", tensors(1))
    assert same(cache.read("aa22"), tensors(1))
    assert cache.used == on_disk(tmp_path)


def test_a_file_that_was_deleted_is_only_missing(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    file_of(tmp_path, "bb33").unlink()
    assert cache.read("bb33") is None
    assert same(cache.read("aa11"), tensors(0))


def test_the_budget_is_kept(tmp_path: Path) -> None:
    size = on_disk(filled(tmp_path / "one").folder) // len(NAMES)
    cache = FeatureCache(tmp_path / "two", NAMES, 2 * size + size // 2)
    assert [cache.write(name, tensors()) for name in NAMES] == [True, True, False]
    assert cache.write("aa11", tensors())  # takes the place of what is there
    assert cache.used == on_disk(tmp_path / "two") == 2 * size


def test_what_is_no_longer_asked_for_stays_until_its_room_is_needed(tmp_path: Path) -> None:
    size = on_disk(filled(tmp_path).folder) // len(NAMES)
    (tmp_path / "aa" / ".tmp-1-2").write_bytes(b"of a process that was killed")
    cache = FeatureCache(tmp_path, ["aa11", "cc44"], PLENTY)
    assert cache.write("cc44", tensors())
    again = FeatureCache(tmp_path, [*NAMES, "cc44"], PLENTY)
    assert all(name in again for name in [*NAMES, "cc44"])
    small = FeatureCache(tmp_path, ["aa11", "dd55"], 2 * size)
    assert small.used <= 2 * size
    assert small.write("dd55", tensors())
    assert same(small.read("aa11"), tensors(0))
    assert on_disk(tmp_path) == 2 * size


def test_a_full_disk_is_told_once_and_nothing_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FeatureCache(tmp_path, NAMES, PLENTY)
    assert cache.write("aa11", tensors())

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(feature_cache, "write_atomic", full)
    with caplog.at_level(logging.WARNING, logger="act2sal"):
        assert [cache.write(name, tensors()) for name in NAMES[1:]] == [False, False]
    (record,) = caplog.records
    assert "No space left on device" in record.getMessage()
    assert str(tmp_path) in record.getMessage()
    assert same(cache.read("aa11"), tensors())


def test_a_budget_is_in_gib_or_half_of_what_is_free(tmp_path: Path) -> None:
    assert budget_in_bytes(0, tmp_path) == 0
    assert budget_in_bytes(0.5, tmp_path) == 2**29
    default = budget_in_bytes(None, tmp_path / "new")
    assert 0 < default < feature_cache.shutil.disk_usage(tmp_path).total
    assert not list((tmp_path / "new").iterdir())


def test_all_but_the_features_is_cleared(tmp_path: Path) -> None:
    filled(tmp_path / "features")
    (tmp_path / "photos-64").mkdir()
    (tmp_path / "photos-64" / "photos.u8").write_bytes(b"...")
    (tmp_path / "cues.npy").write_bytes(b"...")
    clear_all_but_features(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["features"]
    assert same(FeatureCache(tmp_path / "features", NAMES, PLENTY).read("aa11"), tensors(0))


def test_names_change_with_weights_statistics_and_pre_processing() -> None:
    encoder = tiny_encoder(0)
    digests = [encoder_digest(encoder), encoder_digest(tiny_encoder(1))]
    assert digests[0] == encoder_digest(tiny_encoder(0))
    name = next(name for name in encoder.state_dict() if name.endswith("running_mean"))
    encoder.state_dict()[name][0] += 1
    digests.append(encoder_digest(encoder))
    for spec in (replace(encoder.spec, mean=(0.0, 0.0, 0.0)), replace(encoder.spec, bn_eps=0.1)):
        encoder.spec = spec
        digests.append(encoder_digest(encoder))
    assert len(set(digests)) == len(digests)


def test_names_change_with_pixels_size_encoder_and_precision() -> None:
    (photo,) = random_squares(1)
    changed = photo.copy()
    changed[63, 63, 2] ^= 1
    names = {
        feature_name(photo, b"a", "int8"),
        feature_name(changed, b"a", "int8"),
        feature_name(photo[:, ::-1], b"a", "int8"),
        feature_name(photo[:32], b"a", "int8"),
        feature_name(photo.reshape(32, 128, 3), b"a", "int8"),
        feature_name(photo, b"b", "int8"),
        feature_name(photo, b"a", "float16"),
    }
    assert len(names) == 7
    assert feature_name(np.asfortranarray(photo), b"a", "int8") == feature_name(photo, b"a", "int8")
