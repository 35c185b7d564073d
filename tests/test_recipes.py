"""Recipes: all of them are valid, and the one for a GPU runs on a CPU, too."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from act2sal.config import TrainConfig
from act2sal.config_files import load_toml
from act2sal.networks.checkpoint import read_metadata
from act2sal.presets import PRESETS
from act2sal.runs.run_directory import RunDirectory
from tiny import random_squares

RECIPES = Path(__file__).resolve().parents[1] / "recipes"


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_is_valid_and_says_where_its_scores_are(recipe: Path) -> None:
    load_toml(recipe, TrainConfig())
    text = recipe.read_text(encoding="utf-8")
    assert f"NAME={recipe.stem} " in text or "as the first part of" in text
    if f"Expected: recipes/results/{recipe.stem}-seed0.json" in text:
        assert (RECIPES / "results" / f"{recipe.stem}-seed0.json").is_file()


def test_the_gpu_recipe_is_the_paper_in_bfloat16() -> None:
    config = load_toml(RECIPES / "full_gpu.toml", TrainConfig())
    assert config == replace(PRESETS["paper"], precision="bfloat16")


def test_the_gpu_recipe_runs_on_a_cpu_with_a_packed_encoder(tmp_path: Path) -> None:
    """What a GPU does, autocast included, at 64 pixels; the encoder by `pack_encoder`, as `full_gpu.md` sends it."""
    weights, photos, run = tmp_path / "encoder.safetensors", tmp_path / "photos", tmp_path / "run"
    subprocess.run(
        [sys.executable, RECIPES / "pack_encoder.py", "resnet50", "random", "--out", weights], check=True
    )
    photos.mkdir()
    for number, square in enumerate(random_squares(4)):
        Image.fromarray(square).save(photos / f"{number}.png")
    command = [sys.executable, "-m", "act2sal.cli", "train", photos, "--out", run]
    command += ["--config", RECIPES / "full_gpu.toml", "--encoder-weights", weights, "--size", "64"]
    command += ["--stage1.epochs", "1", "--stage2.epochs", "1", "--device", "cpu", "--profile", "--quiet"]
    subprocess.run([str(word) for word in command], check=True)
    rows = RunDirectory(run, writes=False).rows()
    assert {"stage1", "stage2", "memory"} <= {str(row["stage"]) for row in rows}
    assert (run / "profile.json").is_file()
    assert read_metadata(run / "detector.safetensors")["size"] == "64"
