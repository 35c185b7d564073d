"""The demo: trains and predicts on bundled material, offline, and scores what can be scored."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from act2sal.config import Stage2Config, TrainConfig
from act2sal.data.images import write_atomic
from act2sal.evaluation import evaluate
from act2sal.predict.maps import Detector, predict
from act2sal.presets import PRESETS
from act2sal.runs.report import write_report
from act2sal.runs.run_directory import RunDirectory
from act2sal.scenes import write_demo_photos, write_scenes
from act2sal.training.about import read_supervision
from act2sal.training.pipeline import train

TRAINING_SCENES, TEST_SCENES = 64, 24


def demo_config() -> TrainConfig:
    """The default preset, smaller: a few minutes on two cores."""
    default = PRESETS["default"]
    stage1 = replace(default.stage1, epochs=2, milestones=(1,), rounds=1, round_epochs=3)
    return replace(default, size=192, stage1=stage1, stage2=Stage2Config(epochs=5, milestones=(4,)))


def demo(out: Path, *, quiet: bool = False) -> Path:
    """Train on rendered scenes and scikit-image's photographs, predict on others, score the scenes.

    Makes OUT/train/photos, OUT/train/masks (never opened by the training), OUT/test, OUT/run and OUT/maps, in
    place of an earlier demo's.

    Returns:
        The report, OUT/run/report.html.

    Raises:
        FileExistsError: `out` holds something else.
    """
    _clear(out)
    write_scenes(out / "train", TRAINING_SCENES, seed=1)
    write_demo_photos(out / "train" / "photos")
    write_scenes(out / "test", TEST_SCENES, seed=2)
    config, run = demo_config(), out / "run"
    trained = train(out / "train" / "photos", run, config, quiet=quiet)
    predict([out / "test" / "photos"], out / "maps", Detector.load(run), quiet=quiet)
    rows = {
        "pseudo labels of the training scenes": (run / "labels", out / "train" / "masks"),
        "detector on other scenes": (out / "maps", out / "test" / "masks"),
    }
    numbers = {name: evaluate(maps, masks, quiet=True).metrics() for name, (maps, masks) in rows.items()}
    with RunDirectory(run) as directory:
        write_atomic(run / "scores.json", json.dumps(numbers, indent=1).encode())
        supervision = read_supervision(run / "detector.safetensors")
        write_report(
            directory, config, photos=trained.photos, failures=trained.failures, supervision=supervision
        )
    return run / "report.html"


def _clear(out: Path) -> None:
    """Remove an earlier demo; anything else in the folder is left alone and refused."""
    known = {"train", "test", "run", "maps"}
    if not out.exists():
        return
    foreign = [entry.name for entry in out.iterdir() if entry.name not in known]
    if foreign:
        raise FileExistsError(
            f"{out} holds other files ({foreign[0]}, ...); the demo needs a folder of its own"
        )
    shutil.rmtree(out)
