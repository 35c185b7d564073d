"""What a batch of stage 2 holds: everything that is drawn, in its order, and what the network sees of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from act2sal.a2s.resampling import resize
from act2sal.config import Stage2Config
from act2sal.data.label_bank import LabelBank
from act2sal.training.sampling import flip_flags, own_generator
from act2sal.training.stage2.batches import Batches
from act2sal.training.views import change_colours, draw_colours, draw_windows, look_through
from tiny import SIZE, random_squares, tiny_config

COUNT = 5
CUT = [[3, 0], [2, 4, 1]]
PHOTOS = random_squares(COUNT)
CPU = torch.device("cpu")
PLAIN = replace(
    tiny_config().stage2, flip=True, crop=1.0, view=None, view_sides=(), jitter=0.0, scale_consistency=0.0
)
ALL = replace(
    PLAIN, crop=0.5, view_sides=(32, 48, 64), jitter=0.3, scale_consistency=1.0, second_sizes=(-16, 16)
)


def labels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (COUNT, SIZE, SIZE), np.uint8)


@pytest.fixture
def bank(tmp_path: Path) -> LabelBank:
    LabelBank.create(tmp_path / "labels", iter(labels()), count=COUNT, size=SIZE)
    return LabelBank(tmp_path / "labels")


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def batches(config: Stage2Config, seed: int = 7) -> Batches:
    return Batches(PHOTOS, config, CPU, seed)


def mirrored(pictures: NDArray[np.uint8], flags: torch.Tensor) -> NDArray[np.uint8]:
    """(B, H, W, ...) with the flagged ones mirrored left to right."""
    return np.stack([p[:, ::-1] if flag else p for p, flag in zip(pictures, flags.tolist(), strict=True)])


def one_of(values: tuple[int, ...], same: torch.Generator) -> int:
    return values[int(torch.randint(len(values), (1,), generator=same))]


def test_all_that_is_drawn_comes_from_the_generator_in_one_order(bank: LabelBank) -> None:
    same, made = generator(), batches(ALL)
    for indices, drawn in zip(CUT, made.drawn(bank, CUT, generator()), strict=True):
        flags = flip_flags(len(indices), same)
        shown, targets = mirrored(np.stack(PHOTOS)[indices], flags), mirrored(labels()[indices], flags)
        side = one_of(ALL.view_sides, same)
        windows = draw_windows(targets, 0.5, same)
        colours = draw_colours(len(indices), 0.3, same)
        second = side + one_of(ALL.second_sizes, same)
        assert list(drawn.indices) == indices
        assert torch.equal(drawn.mirrored, flags)
        assert (drawn.side, drawn.windows, drawn.second) == (side, windows, second)
        assert drawn.colours is not None
        assert torch.equal(drawn.colours, colours)
        batch = made.on_device(drawn)
        seen = torch.from_numpy(shown).permute(0, 3, 1, 2).float() / 255
        whole = torch.from_numpy(targets)[:, None].float() / 255
        expected = change_colours(look_through(seen, windows, side), colours)
        torch.testing.assert_close(batch.photos, expected)
        torch.testing.assert_close(batch.labels, whole)
        torch.testing.assert_close(batch.targets, look_through(whole, windows, side))
        assert batch.second is not None
        torch.testing.assert_close(batch.second, resize(expected, (second, second)))
        assert list(batch.indices) == indices
        assert torch.equal(batch.mirrored, flags)
        assert batch.windows == windows


def test_without_levers_photos_and_labels_are_whole(bank: LabelBank) -> None:
    made = batches(PLAIN)
    (drawn, _) = made.drawn(bank, CUT, generator())
    assert (drawn.windows, drawn.colours, drawn.second, drawn.side) == (None, None, None, SIZE)
    batch = made.on_device(drawn)
    assert batch.photos.shape == (2, 3, SIZE, SIZE)
    assert batch.targets is batch.labels
    assert batch.second is None


@pytest.mark.parametrize(
    ("changes", "windowed", "side"),
    [({"view": 32}, True, 32), ({"view": SIZE}, False, SIZE), ({"crop": 0.9}, True, SIZE)],
)
def test_windows_are_drawn_for_crops_and_for_views_of_another_size(
    changes: dict[str, int], windowed: bool, side: int, bank: LabelBank
) -> None:
    made = batches(replace(PLAIN, **changes))  # type: ignore[arg-type]
    (drawn, _) = made.drawn(bank, CUT, generator())
    assert (drawn.windows is not None, drawn.side) == (windowed, side)
    assert made.on_device(drawn).targets.shape[-1] == side


def test_mirroring_once_is_that_of_the_seed_in_every_epoch(bank: LabelBank) -> None:
    once = flip_flags(COUNT, own_generator(7, -1))
    assert 0 < int(once.sum()) < COUNT
    for seed in (1, 2):
        made = batches(replace(PLAIN, flip_once=True)).drawn(bank, CUT, torch.Generator().manual_seed(seed))
        for indices, drawn in zip(CUT, made, strict=True):
            assert torch.equal(drawn.mirrored, once[indices])


@pytest.mark.parametrize("once", [False, True])
def test_nothing_is_mirrored_where_that_is_off(once: bool, bank: LabelBank) -> None:
    for drawn in batches(replace(PLAIN, flip=False, flip_once=once)).drawn(bank, CUT, generator()):
        assert drawn.mirrored.dtype == torch.bool
        assert not drawn.mirrored.any()
        expected = torch.from_numpy(labels()[list(drawn.indices)])[:, None]
        assert torch.equal(drawn.labels, expected)


def test_a_batch_lies_on_the_device_of_the_network(bank: LabelBank) -> None:
    made = replace(batches(replace(ALL, view_sides=(), second_sizes=(16,))), device=torch.device("meta"))
    for drawn in made.drawn(bank, CUT, generator()):
        assert drawn.photos.device == drawn.labels.device == CPU
        batch = made.on_device(drawn)
        assert batch.second is not None
        found = (batch.photos, batch.labels, batch.targets, batch.mirrored, batch.second)
        assert {tensor.device.type for tensor in found} == {"meta"}


def test_colours_that_were_not_drawn_are_not_copied(bank: LabelBank, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    def pinned(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        assert device == CPU
        seen.append(tensor.clone())
        return tensor

    monkeypatch.setattr("act2sal.training.stage2.batches.pinned", pinned)
    assert len(list(batches(PLAIN).drawn(bank, CUT, generator()))) == len(CUT)
    assert len(seen) == 3 * len(CUT)
