"""Training on masks: only where it is asked for, loud in all that comes of it; pairing, soft and damaged masks."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from act2sal.cli import main
from act2sal.config import ConfigError, TrainConfig
from act2sal.config_files import load_toml
from act2sal.data.images import read_photo
from act2sal.data.mask_files import UnclearError
from act2sal.data.origin import origin_of
from act2sal.data.photo_files import DatasetError
from act2sal.errors import InputError
from act2sal.networks.checkpoint import read_metadata
from act2sal.training.pipeline import train
from tiny import tiny_arguments, tiny_config


@pytest.fixture
def masks(scenes: Path, tmp_path: Path) -> Path:
    """A copy of the masks, to be changed."""
    return Path(shutil.copytree(scenes / "masks", tmp_path / "masks"))


def words_of(scenes: Path, run: Path, *more: str) -> list[str]:
    """A tiny training on masks; no labels are rectified, so that a warm-up would be refused."""
    words = tiny_arguments()
    warmup = words.index("--stage2.rectify-warmup")
    kept = words[:warmup] + words[warmup + 2 :]
    masks = str(scenes / "masks")
    return ["train", str(scenes / "photos"), "--out", str(run), "--masks", masks, "--quiet", *kept, *more]


@pytest.fixture(scope="module")
def supervised(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a training on masks, from the command line."""
    folder = tmp_path_factory.mktemp("supervised") / "run"
    assert main(words_of(scenes, folder)) == 0
    return folder


def config_of(masks: Path) -> TrainConfig:
    return replace(tiny_config(stage2={"epochs": 1, "rectifier": "none"}), masks=str(masks))


def first_of(folder: Path) -> Path:
    return sorted(folder.iterdir())[0]


# --- loud --------------------------------------------------------------------------------------------


def test_it_is_said_at_the_start_and_at_the_end(
    scenes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words_of(scenes, tmp_path / "run", "--stage2.epochs", "0")) == 0
    assert "trained on MASKS" in caplog.text
    assert "trained on MASKS, of 6 photos" in capsys.readouterr().out


def test_run_model_file_and_report_say_it(supervised: Path) -> None:
    assert load_toml(supervised / "config.toml", TrainConfig()).masks is not None
    metadata = read_metadata(supervised / "detector.safetensors")
    assert metadata["trained on"] == "masks"
    assert metadata["stage 1 supervision"] == "masks"
    report = (supervised / "report.html").read_text()
    assert "MASKS (supervised)" in report
    assert "Trained on masks, those in" in report
    assert "no mask was opened" not in report
    assert "Stage 1 encoder" not in report
    assert not (supervised / "stage1.safetensors").exists()


def test_tables_sheets_and_maps_say_it(
    supervised: Path, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, maps = str(scenes / "photos"), tmp_path / "maps"
    assert main(["predict", photos, "--out", str(maps), "--model", str(supervised), "--quiet"]) == 0
    origin = origin_of(first_of(maps))
    assert origin is not None
    assert "masks" in origin.seen
    capsys.readouterr()
    for style in ("terminal", "markdown"):
        words = ["--masks", str(scenes / "masks"), "--format", style, "--quiet"]
        assert main(["evaluate", "--table", f"ours={maps}", *words]) == 0
        said = capsys.readouterr()
        assert "ours ‡" in said.out
        assert "‡ trained on masks" in said.out + said.err


def test_without_the_option_nothing_is_said(trained: Path) -> None:
    assert "trained on" not in read_metadata(trained / "detector.safetensors")
    assert "no mask was opened" in (trained / "report.html").read_text()


def test_what_learns_from_such_a_detector_says_it_too(supervised: Path, scenes: Path, tmp_path: Path) -> None:
    config = replace(tiny_config(stage2={"epochs": 0}), teacher=str(supervised))
    train(scenes / "photos", tmp_path / "run", config, quiet=True)
    assert read_metadata(tmp_path / "run" / "detector.safetensors")["stage 1 supervision"] == "masks"


# --- masks as they come ------------------------------------------------------------------------------


def test_labels_are_the_masks_and_stay_so(supervised: Path, scenes: Path) -> None:
    for label in sorted((supervised / "labels").glob("*.png")):
        mask = read_photo(scenes / "masks" / label.name)
        np.testing.assert_array_equal(read_photo(label), mask)
    assert load_toml(supervised / "config.toml", TrainConfig()).stage2.rectifier == "none"
    rows = (supervised / "log.jsonl").read_text()
    assert '"label_change": 0.0' in rows
    assert '"stage": "stage1' not in rows


def test_soft_masks_keep_their_greys_and_other_formats_are_read(
    scenes: Path, masks: Path, tmp_path: Path
) -> None:
    soft = first_of(masks)
    grey = np.array(Image.open(soft).convert("L"), dtype=np.float32) * 0.8
    Image.fromarray(grey.astype(np.uint8)).save(soft.with_suffix(".bmp"))
    soft.unlink()
    train(scenes / "photos", tmp_path / "run", config_of(masks), quiet=True)
    label = read_photo(tmp_path / "run" / "labels" / soft.name)
    assert set(np.unique(label)) == {0, 204}


def test_masks_of_another_size_are_brought_to_that_of_the_photo(
    scenes: Path, masks: Path, tmp_path: Path
) -> None:
    mask = first_of(masks)
    Image.open(mask).resize((48, 36)).save(mask)
    train(scenes / "photos", tmp_path / "run", config_of(masks), quiet=True)
    assert (tmp_path / "run" / "detector.safetensors").is_file()


def test_a_photo_without_a_mask_is_named_before_the_work(scenes: Path, masks: Path, tmp_path: Path) -> None:
    gone = first_of(masks)
    gone.unlink()
    with pytest.raises(DatasetError, match=rf"1 of 6 photos have no mask; the first one is .*{gone.stem}"):
        train(scenes / "photos", tmp_path / "run", config_of(masks), quiet=True)
    assert not (tmp_path / "run").exists()


def test_two_masks_of_one_name_and_no_folder_are_refused(scenes: Path, masks: Path, tmp_path: Path) -> None:
    shutil.copy(first_of(masks), first_of(masks).with_suffix(".bmp"))
    with pytest.raises(DatasetError, match="have the same name"):
        train(scenes / "photos", tmp_path / "run", config_of(masks), quiet=True)
    with pytest.raises(DatasetError, match="nothing: no such folder"):
        train(scenes / "photos", tmp_path / "run", config_of(tmp_path / "nothing"), quiet=True)


def test_a_damaged_mask_is_named(scenes: Path, masks: Path, tmp_path: Path) -> None:
    damaged = first_of(masks)
    damaged.write_bytes(damaged.read_bytes()[:60])
    with pytest.raises(DatasetError, match=damaged.name):
        train(scenes / "photos", tmp_path / "run", config_of(masks), quiet=True)


def test_masks_that_could_mean_two_things_and_turned_ones_are_refused(
    scenes: Path, masks: Path, tmp_path: Path
) -> None:
    turned = first_of(masks)
    upright = Image.open(turned).copy()
    upright.rotate(90, expand=True).save(turned)
    with pytest.raises(InputError, match=r"turned by 90 degrees"):
        train(scenes / "photos", tmp_path / "run", config_of(masks), quiet=True)
    for mask in masks.iterdir():
        Image.fromarray((np.array(Image.open(mask).convert("L")) > 127).astype(np.uint8) * 7).save(mask)
    with pytest.raises(UnclearError, match="largest value is 7"):
        train(scenes / "photos", tmp_path / "other", config_of(masks), quiet=True)


def test_masks_beside_labels_and_generations_are_refused(
    scenes: Path, masks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="masks are for one generation"):
        replace(config_of(masks), generations=2)
    words = ["train", str(scenes / "photos"), "--out", str(tmp_path / "run"), "--masks", str(masks)]
    assert main([*words, "--given-labels", str(masks)]) == 2
    assert "--given-labels has no effect beside --masks" in capsys.readouterr().err
