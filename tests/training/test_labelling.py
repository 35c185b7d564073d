"""From photos to labels: the same by every way, resumable, and with an encoder that stays as it was."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from act2sal.a2s.pseudo_labels import label_from_logits
from act2sal.config import ConfigError, TrainConfig
from act2sal.data.array_files import open_array
from act2sal.data.images import ImageError, read_photo, write_gray_png
from act2sal.data.locks import FolderInUseError, locked
from act2sal.data.photo_files import DatasetError, find_photos
from act2sal.errors import CheckpointError
from act2sal.networks.checkpoint import load_stage1
from act2sal.networks.encoders import EncoderError
from act2sal.runs.training_state import TrainingState
from act2sal.training.assembly import initial_encoder
from act2sal.training.labelling import label
from act2sal.training.photos import read_label
from act2sal.training.pipeline import train
from act2sal.training.stage1 import label_writing
from tiny import files_of, tiny_config

VARIANTS: dict[str, dict[str, Any]] = {
    "published code": {
        "rounds": 0,
        "scale_features": False,
        "fusion_stride": 2,
        "sign": "area_zero",
        "batchnorm_drift": True,
        "random_gain": True,
        "loss_at_photo_size": True,
        "cues_at_photo_size": True,
    },
    "A0": {"freeze_encoder": False},
    "own size": {"size": 96, "batch_size": 3, "fusion_stride": 4},
}


def labels_of(folder: Path) -> dict[str, bytes]:
    labels = files_of(folder)
    assert len(labels) == 6
    return labels


def test_label_gives_the_labels_of_the_run(scenes: Path, trained: Path, tmp_path: Path) -> None:
    outcome = label(scenes / "photos", tmp_path / "fitted", tiny_config(), quiet=True)
    label(scenes / "photos", tmp_path / "taken", TrainConfig(device="cpu"), run=trained, quiet=True)
    wanted = labels_of(trained / "labels")
    assert (outcome.photos, outcome.failures) == (6, [])
    assert labels_of(tmp_path / "fitted") == wanted
    assert labels_of(tmp_path / "taken") == wanted
    assert not (tmp_path / "fitted" / ".act2sal").exists()
    assert not (tmp_path / "taken" / ".act2sal").exists()


@pytest.mark.parametrize("name", VARIANTS)
def test_label_gives_the_labels_of_a_run_with_other_options(name: str, scenes: Path, tmp_path: Path) -> None:
    config = tiny_config(stage1=VARIANTS[name], stage2={"epochs": 1})
    train(scenes / "photos", tmp_path / "run", config, quiet=True)
    label(scenes / "photos", tmp_path / "taken", TrainConfig(device="cpu"), run=tmp_path / "run", quiet=True)
    assert labels_of(tmp_path / "taken") == labels_of(tmp_path / "run" / "labels")


@pytest.mark.parametrize("rounds", [0, 1])
def test_only_cues_of_a_network_fitted_on_labels_are_log_odds(
    rounds: int, scenes: Path, tmp_path: Path
) -> None:
    config = replace(tiny_config(stage1={"rounds": rounds}, stage2={"epochs": 1}), keep_cache=True)
    train(scenes / "photos", tmp_path, config, quiet=True)
    cues = open_array(tmp_path / "cache" / "cues.npy")
    photos = [photo.path for photo in find_photos(scenes / "photos")]
    for cue, photo in zip(cues, photos, strict=True):
        expected = label_from_logits(read_photo(photo), cue, config.labels, fitted=rounds > 0)
        assert np.array_equal(read_photo(tmp_path / "labels" / f"{photo.stem}.png")[..., 0], expected)


def test_labels_are_black_and_white_at_the_photos_size(trained: Path) -> None:
    for file in sorted((trained / "labels").glob("*.png")):
        pixels = read_photo(file)
        assert pixels.shape == (72, 96, 3)
        assert set(np.unique(pixels)) <= {0, 255}


def test_the_frozen_encoder_of_a_run_is_the_initial_one(trained: Path) -> None:
    _, encoder = load_stage1(trained / "stage1.safetensors")
    initial = initial_encoder(tiny_config().stage1, tiny_config()).state_dict()
    kept = encoder.state_dict()
    assert kept.keys() == initial.keys()
    assert all(torch.equal(kept[name], initial[name]) for name in kept)


def test_random_encoders_come_from_the_seed_alone() -> None:
    config = tiny_config()
    torch.manual_seed(5)
    state = torch.get_rng_state()

    def first_weights(config: TrainConfig) -> torch.Tensor:
        return next(initial_encoder(config.stage2, config).parameters())

    weights = first_weights(config)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert torch.equal(weights, first_weights(config))
    assert not torch.equal(weights, first_weights(replace(config, seed=1)))


def test_labels_that_are_there_are_kept_unless_overwritten(
    scenes: Path, trained: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "scene0002.png"
    write_gray_png(mine, np.full((72, 96), 7, np.uint8))
    label(scenes / "photos", tmp_path, TrainConfig(device="cpu"), run=trained, quiet=True)
    assert (read_photo(mine) == 7).all()
    assert len(labels_of(tmp_path)) == 6
    label(scenes / "photos", tmp_path, TrainConfig(device="cpu"), run=trained, overwrite=True, quiet=True)
    assert labels_of(tmp_path) == labels_of(trained / "labels")


class Interrupted:
    """Breaks off `label` when it writes the labels, and counts the checkpoints that are saved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.saved = 0
        save, write = TrainingState.save, label_writing.write_labels

        def counted(state: TrainingState, *arguments: Any) -> None:
            self.saved += 1
            save(state, *arguments)

        def broken(*arguments: Any, **options: Any) -> Any:
            if arguments[1][0].parent.name == "labels":
                raise KeyboardInterrupt
            return write(*arguments, **options)

        monkeypatch.setattr(TrainingState, "save", counted)
        self.monkeypatch = monkeypatch
        self.broken = broken

    def label(self, photos: Path, out: Path, config: TrainConfig) -> None:
        with self.monkeypatch.context() as patched:
            patched.setattr(label_writing, "write_labels", self.broken)
            with pytest.raises(KeyboardInterrupt):
                label(photos, out, config, quiet=True)


def test_an_interrupted_label_goes_on_with_the_same_options_and_photos(
    scenes: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "labels"
    shutil.copytree(scenes / "photos", photos)
    interrupted = Interrupted(monkeypatch)
    interrupted.label(photos, out, tiny_config())
    assert interrupted.saved == 4  # two epochs of stage 1, two of the round
    label(photos, out, tiny_config(), quiet=True)
    assert interrupted.saved == 4
    assert labels_of(out) == labels_of(trained / "labels")


def test_an_interrupted_label_starts_anew_with_other_photos(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "labels"
    shutil.copytree(scenes / "photos", photos)
    (photos / "scene0005.jpg").unlink()
    interrupted = Interrupted(monkeypatch)
    interrupted.label(photos, out, tiny_config())
    shutil.copy(scenes / "photos" / "scene0005.jpg", photos)
    label(photos, out, tiny_config(), quiet=True)
    assert interrupted.saved == 8
    assert len(labels_of(out)) == 6


def test_only_one_process_writes_the_labels_of_a_folder(scenes: Path, trained: Path, tmp_path: Path) -> None:
    config, out = TrainConfig(device="cpu"), tmp_path / "labels"
    with locked(out), pytest.raises(FolderInUseError, match=f"another process is writing to {out}"):
        label(scenes / "photos", out, config, run=trained, quiet=True)
    assert list(out.iterdir()) == []
    label(scenes / "photos", out, config, run=trained, quiet=True)
    assert {path.suffix for path in out.iterdir()} == {".png"}


def test_labels_never_replace_the_photos(trained: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_gray_png(tmp_path / name, np.zeros((40, 40), np.uint8))
    before = files_of(tmp_path)
    with pytest.raises(DatasetError, match=r"a\.png is an input and would be replaced"):
        label(tmp_path, tmp_path, TrainConfig(device="cpu"), run=trained, overwrite=True, quiet=True)
    assert files_of(tmp_path) == before


def test_a_photo_that_vanishes_on_the_way_is_named(
    scenes: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(scenes / "photos", photos)
    write = label_writing.write_labels

    def vanishing(*arguments: Any, **options: Any) -> Any:
        (photos / "scene0003.jpg").unlink()
        return write(*arguments, **options)

    monkeypatch.setattr(label_writing, "write_labels", vanishing)
    with pytest.raises(ImageError, match=r"scene0003\.jpg: vanished or changed while it was in use"):
        label(photos, tmp_path / "labels", TrainConfig(device="cpu"), run=trained, quiet=True)


def test_a_mistyped_encoder_is_found_before_the_work(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError):
        label(scenes / "photos", tmp_path / "labels", replace(tiny_config(), encoder="resnet5"), quiet=True)
    assert not (tmp_path / "labels").exists()


def test_a_folder_without_a_stage_1_is_refused(scenes: Path, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.toml"):
        label(scenes / "photos", tmp_path / "out", tiny_config(), run=tmp_path, quiet=True)
    shutil.copy(trained / "config.toml", tmp_path)
    with pytest.raises(CheckpointError, match=r"stage1\.safetensors"):
        label(scenes / "photos", tmp_path / "out", tiny_config(), run=tmp_path, quiet=True)


def test_a_label_is_read_at_the_size_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "label.png"
    pixels = np.zeros((8, 4), np.uint8)
    pixels[:4] = 255
    write_gray_png(file, pixels)
    assert read_label(file, (8, 4)).tolist() == pixels.tolist()
    assert read_label(file, (2, 2)).shape == (2, 2)
    assert read_label(file, (2, 2))[0, 0] > 200 > 50 > read_label(file, (2, 2))[1, 1]
