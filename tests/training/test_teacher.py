"""A detector as the teacher of the next generation: what it says, and a run of two generations."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from act2sal.a2s.pseudo_labels import label_from_logits
from act2sal.config import ConfigError, TrainConfig
from act2sal.data.images import read_photo
from act2sal.data.photo_files import find_photos, png_paths
from act2sal.networks.checkpoint import load_detector, load_stage1
from act2sal.predict.detector import Detector
from act2sal.predict.torch_network import TorchNetwork
from act2sal.runs.run_directory import RunDirectory
from act2sal.runs.training_state import TrainingState
from act2sal.training.assembly import initial_encoder
from act2sal.training.photos import photo_bank
from act2sal.training.pipeline import train
from act2sal.training.teacher import coarse, logit, predicted_logits
from tiny import SIZE, cpu, files_of, random_squares, tiny_config


class Brightness(nn.Module):
    """Logits from the red channel alone, brighter for the right half: not the same for a mirror image."""

    presence = None

    def forward(self, photos: Tensor) -> Tensor:
        ramp = torch.linspace(-1, 1, photos.shape[-1])
        return 4 * photos[:, :1] - 2 + ramp


def predictor(size: int = SIZE) -> Detector:
    return Detector(TorchNetwork(Brightness(), size=size, fabric=cpu()))  # type: ignore[arg-type]


def test_a_teacher_says_the_mean_of_photo_and_mirror_image(tmp_path: Path) -> None:
    photos = random_squares(11)
    found = predicted_logits(predictor(), photos, tmp_path / "cues.npy", quiet=True)
    assert found.shape == (11, SIZE // 4, SIZE // 4)
    assert found.dtype == np.float32
    red = photos[9][..., 0].astype(np.float64) / 255
    ramp = np.linspace(-1, 1, SIZE)
    prob = [1 / (1 + np.exp(-(4 * red - 2 + side))) for side in (ramp, -ramp)]
    # The photos are made of blocks of 8 pixels, so that a block of 4 differs by the ramp alone.
    by_hand = np.mean(prob, axis=0).reshape(SIZE // 4, 4, SIZE // 4, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(1 / (1 + np.exp(-found[9])), by_hand, atol=1e-5)


def test_photos_are_brought_to_the_size_of_the_teacher(tmp_path: Path) -> None:
    found = predicted_logits(predictor(48), random_squares(2), tmp_path / "cues.npy", quiet=True)
    assert found.shape == (2, 12, 12)


def test_blocks_are_averaged_and_what_is_left_over_is_cut_off() -> None:
    prob = np.arange(100, dtype=np.float32).reshape(1, 10, 10)
    assert coarse(prob)[0, 0, 0] == prob[0, :4, :4].mean()
    assert coarse(prob).shape == (1, 2, 2)


def test_logits_of_certainties_are_finite() -> None:
    found = logit(np.array([0, 0.5, 1], np.float32))
    np.testing.assert_allclose(found, [-6.9068, 0, 6.9068], atol=1e-3)


@pytest.fixture(scope="module")
def config() -> TrainConfig:
    return replace(tiny_config(), generations=2, keep_cache=True)


@pytest.fixture(scope="module")
def twice(scenes: Path, tmp_path_factory: pytest.TempPathFactory, config: TrainConfig) -> Path:
    """Run directory of two generations."""
    run = tmp_path_factory.mktemp("twice") / "run"
    train(scenes / "photos", run, config, quiet=True)
    return run


def test_the_first_generation_is_a_run_of_its_own(twice: Path, trained: Path) -> None:
    folder = twice / "generation-1"
    assert files_of(folder / "labels") == files_of(trained / "labels")
    for name in ("detector", "stage1"):
        ours, theirs = (load_file(path / f"{name}.safetensors") for path in (folder, trained))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_the_second_begins_with_what_the_first_detector_predicts(
    twice: Path, scenes: Path, config: TrainConfig, tmp_path: Path
) -> None:
    teacher = Detector.load(twice / "generation-1", device="cpu")
    bank = photo_bank(find_photos(scenes / "photos"), tmp_path, config, None, quiet=True)
    cues = predicted_logits(teacher, bank, tmp_path / "cues.npy", quiet=True)
    targets = png_paths(bank.photos, twice / "cache" / "round-1")
    for cue, photo, target in zip(cues, bank.photos, targets, strict=True):
        expected = label_from_logits(read_photo(photo.path), cue, config.labels, fitted=True)
        assert np.array_equal(read_photo(target)[..., 0], expected)


def test_the_second_detector_starts_from_the_first(scenes: Path, tmp_path: Path) -> None:
    standing = tiny_config(stage2={"encoder_lr_factor": 0.0, "epochs": 1})
    train(scenes / "photos", tmp_path / "run", replace(standing, generations=2), quiet=True)
    first, second = (
        load_detector(tmp_path / "run" / name / "detector.safetensors") for name in ("generation-1", "")
    )
    ours, theirs = (dict(d.encoder.named_parameters()) for d in (first, second))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    ours, theirs = (dict(d.regional.named_parameters()) for d in (first, second))
    assert not all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_log_and_the_report_name_the_generations(twice: Path) -> None:
    with RunDirectory(twice) as run:
        photos, *rows, memory = run.rows()
    assert photos["stage"] == "photos at 64 pixels"
    assert memory["stage"] == "memory"
    assert "generation" not in photos
    assert {row["generation"] for row in rows} == {1, 2}
    assert [row["stage"] for row in rows if row["generation"] == 2] == [
        "features",
        "labels of round 0",
        "stage1 round 1",
        "stage1 round 1",
        "labels",
        "stage2",
        "stage2",
        "stage2",
    ]
    assert "Generation 2, stage 2: loss" in (twice / "report.html").read_text()


def test_a_run_that_was_cut_off_between_generations_goes_on(
    twice: Path, scenes: Path, config: TrainConfig, tmp_path: Path
) -> None:
    run = shutil.copytree(twice, tmp_path / "run")
    for name in ("labels", "checkpoints/stage2.pt", "checkpoints/labels"):
        entry = run / name
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    for name in (
        "detector.safetensors",
        "stage1.safetensors",
        "checkpoints/labels.done",
        "cache/round-1.npy",
    ):
        (run / name).unlink()
    train(scenes / "photos", run, config, resume=True, quiet=True)
    for name in ("detector.safetensors", "stage1.safetensors"):
        assert (run / name).read_bytes() == (twice / name).read_bytes()
    assert files_of(run / "labels") == files_of(twice / "labels")


def test_overwriting_removes_the_generations_before(twice: Path, scenes: Path, tmp_path: Path) -> None:
    run = shutil.copytree(twice, tmp_path / "run")
    RunDirectory.open(run, tiny_config(), resume=False, overwrite=True).close()
    assert not (run / "generation-1").exists()


def test_a_generation_needs_a_round_to_learn_in() -> None:
    stage1 = replace(TrainConfig().stage1, rounds=0)
    with pytest.raises(ConfigError, match=r"generations above 1 need stage1\.rounds"):
        TrainConfig(generations=2, stage1=stage1)


@pytest.mark.parametrize("lever", [{"freeze_encoder": False}, {"batchnorm_drift": True}])
def test_with_a_teacher_the_encoder_of_stage_1_stays_as_it_is(
    lever: dict[str, Any], scenes: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no first fit that could keep what changes in it, so that a run that goes on would differ."""
    config = replace(tiny_config(stage1=lever, stage2={"epochs": 1}), teacher=str(trained))
    train(scenes / "photos", tmp_path / "run", config, quiet=True)
    _, encoder = load_stage1(tmp_path / "run" / "stage1.safetensors")
    before = initial_encoder(config.stage1, config).state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    saved = TrainingState.save

    def save_and_stop(*state: Any) -> None:
        saved(*state)
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(TrainingState, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):  # after the first epoch of the round
            train(scenes / "photos", tmp_path / "again", config, quiet=True)
    train(scenes / "photos", tmp_path / "again", config, resume=True, quiet=True)
    for name in ("stage1.safetensors", "detector.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()
    assert files_of(tmp_path / "again" / "labels") == files_of(tmp_path / "run" / "labels")
