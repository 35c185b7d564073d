"""Who watches a training changes nothing in it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from act2sal.data.images import read_photo
from act2sal.reproduce.material import PhotoSet
from act2sal.reproduce.watching import EpochScores, Watched, read_rows, shown_file
from act2sal.training.pipeline import train
from tiny import tiny_config


@pytest.fixture(scope="module")
def photo_set(scenes: Path) -> PhotoSet:
    names = tuple(sorted(path.stem for path in (scenes / "photos").iterdir()))
    return PhotoSet("scenes", scenes / "photos", scenes / "masks", names, "")


def test_a_watched_training_is_the_same_to_the_bit(photo_set: PhotoSet, tmp_path: Path) -> None:
    config = tiny_config()
    train(photo_set.photos, tmp_path / "alone", config, quiet=True)
    watcher = EpochScores(
        tmp_path / "rows.json", {"some": Watched(photo_set, 3)}, config, Watched(photo_set, 2)
    )
    train(photo_set.photos, tmp_path / "watched", config, quiet=True, watcher=watcher)
    for name in ("detector.safetensors", "stage1.safetensors"):
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "watched" / name).read_bytes()
    rows = read_rows(tmp_path / "rows.json")
    assert [(row["stage"], row["epoch"]) for row in rows] == [
        *(("stage1", epoch + 1) for epoch in range(config.stage1.epochs)),
        *(("stage2", epoch + 1) for epoch in range(config.stage2.epochs)),
    ]
    assert all(0 <= float(row["mae"]) <= 1 for row in rows)
    shown = shown_file(tmp_path, config.stage2.epochs, photo_set.names[0])
    assert read_photo(shown).shape[:2] == (config.size, config.size)


def test_an_unfrozen_encoder_is_scored_as_it_is_by_then(photo_set: PhotoSet, tmp_path: Path) -> None:
    config = tiny_config(stage1={"freeze_encoder": False, "rounds": 0})
    seen: list[nn.Module] = []
    watcher = EpochScores(
        tmp_path / "rows.json", {"some": Watched(photo_set, 2)}, config, Watched(photo_set, 2)
    )

    def watch(stage: str, epoch: int, network: nn.Module) -> None:
        watcher(stage, epoch, network)
        seen.append(network)
        assert not torch.is_grad_enabled()
        assert not network.training

    train(photo_set.photos, tmp_path / "run", config, quiet=True, watcher=watch)
    assert len(seen) == config.stage1.epochs + config.stage2.epochs
    assert not watcher._encoded


@torch.no_grad()
def test_rows_of_a_repeated_epoch_are_replaced(photo_set: PhotoSet, tmp_path: Path) -> None:
    class Blank(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logit = nn.Parameter(torch.tensor(0.0))

        def forward(self, photos: torch.Tensor) -> torch.Tensor:
            return photos[:, :1] * 0 + self.logit

    watcher = EpochScores(
        tmp_path / "rows.json",
        {"a": Watched(photo_set, 2), "b": Watched(photo_set, 3)},
        tiny_config(),
        Watched(photo_set, 1),
    )
    for stage, epoch in (
        ("stage2", 1),
        ("stage2", 2),
        ("stage2", 1),
        ("sbf round 1", 1),
        ("stage1 round 1", 1),
    ):
        watcher(stage, epoch, Blank())
    assert sorted((row["epoch"], row["set"]) for row in read_rows(tmp_path / "rows.json")) == [
        (1, "a"),
        (1, "b"),
        (2, "a"),
        (2, "b"),
    ]


def test_scores_of_perfect_maps(photo_set: PhotoSet) -> None:
    watched = Watched(photo_set, 3)
    assert watched.squares(32).shape == (3, 32, 32, 3)
    scores = watched.scores([mask.astype(np.float32) for mask in watched.masks])
    assert scores["mae"] == 0
    assert scores["f_adaptive"] == pytest.approx(1)


def test_several_processes_cannot_be_watched(photo_set: PhotoSet, tmp_path: Path) -> None:
    from dataclasses import replace

    with pytest.raises(ValueError, match="several processes"):
        train(photo_set.photos, tmp_path / "run", replace(tiny_config(), devices=2), watcher=lambda *_: None)
    assert not (tmp_path / "run").exists()
