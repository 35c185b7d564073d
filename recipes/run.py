"""Run a recipe of this folder and write what it gave: `recipes/results/NAME.json`.

The masks of the training set are read after the training, to score its pseudo labels; the training never opens
them.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mean import write_mean

from act2sal.config import TrainConfig
from act2sal.config_files import load_toml
from act2sal.data.images import write_atomic, write_gray_png
from act2sal.data.label_bank import LabelBank
from act2sal.data.photo_files import find_photos, png_paths
from act2sal.evaluation import evaluate
from act2sal.runs.run_directory import stage_title
from act2sal.runs.training_state import LogRow
from act2sal.runtime.hardware import hardware
from act2sal.runtime.peak_memory import MEMORY
from act2sal.runtime.stopwatch import SECONDS
from act2sal.training.about import read_supervision
from act2sal.version import __version__

FOLDER = Path(__file__).resolve().parent
TRAINING_SET = "duts_tr_3000"
TEST_SETS = ("ecssd_dev", "pascal_s_dev", "sod_dev")
LABELS_OF = {
    "duts3000-student": "duts3000-densenet-mobilenet",
    "duts3000-rectified-student": "duts3000-densenet-mobilenet",
    "duts3000-crossfit": "duts3000-densenet-mobilenet",
}
"""Recipes that train on the labels which the run of another one leaves."""
FOLDS_OF = {"duts3000-crossfit-student": "duts3000-crossfit"}
"""Recipes that train on labels each of which comes from a detector of another one that did not see the photo."""
TEACHER_OF = {"duts3000-second-student": "duts3000-student"}
"""Recipes that begin where the detector of another one stands."""
MEAN_OF = {"duts3000-mean-student": ("duts3000-student", "duts3000-second-student")}
"""Recipes without options of their own: the mean of the detectors of others."""
WEIGHT_FILES = {
    "densenet169": "densenet169_imagenet.safetensors",
    "mobilenetv2": "mobilenetv2_100_imagenet.safetensors",
    "resnet50": "resnet50_moco_v2.safetensors",
}


def main() -> None:
    """Train, label, predict, score, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="a recipe of this folder, without .toml")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--weights", type=Path, help="folder of encoder files, in place of timm's download")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the run directories")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--test-sets", nargs="*", choices=TEST_SETS, default=TEST_SETS)
    parser.add_argument("--results", type=Path, default=FOLDER / "results", help="folder of the results")
    parser.add_argument(
        "--smaller",
        type=shlex.split,
        default=[],
        metavar="OPTIONS",
        help="further options of `act2sal train`, to try a recipe",
    )
    parser.add_argument("--note", default="", help="what a reader of the results has to know about this run")
    options = parser.parse_args()
    run = run_of(options.name, options)
    scores, rows = {}, []
    if options.name in MEAN_OF:
        sources = [trained(name, options) for name in MEAN_OF[options.name]]
        write_mean(sources, run, photos=options.data / TRAINING_SET / "images", seed=options.seed)
    else:
        train(options.name, run, options)
        labels = label_rows(run, options.data / TRAINING_SET)
        scores = {f"labels {TRAINING_SET}, {row}": found for row, found in labels.items()}
        rows = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    for name in options.test_sets:
        labelled = options.name not in {**LABELS_OF, **FOLDS_OF, **MEAN_OF}
        scores |= test_rows(run, name, options.data / name, labelled=labelled)
    result = {
        "command": f"make recipe NAME={options.name} SEED={options.seed}",
        "seed": options.seed,
        "package": __version__,
        "hardware": hardware(),
        "supervision": read_supervision(run / "detector.safetensors"),
        "seconds": seconds_by_stage(rows),
        "photos_a_second": photos_a_second(rows, len(find_photos(options.data / TRAINING_SET / "images"))),
        "memory": {unit: most for unit, most in memory_row(rows).items() if unit.endswith("MiB")},
        "note": options.note,
        "scores": scores,
    }
    result["hours"] = round(sum(result["seconds"].values()) / 3600, 2)
    text = json.dumps(result, indent=1) + "\n"
    write_atomic(options.results / f"{run.name}.json", text.encode())
    print(text)


def run_of(name: str, options: argparse.Namespace) -> Path:
    """The run directory of a recipe."""
    return options.runs / f"{name}-seed{options.seed}"


def train(name: str, run: Path, options: argparse.Namespace, photos: Path | None = None) -> None:
    """`act2sal train`, going on with a run that was stopped; first what it builds upon."""
    recipe = FOLDER / f"{name}.toml"
    config = load_toml(recipe, TrainConfig())
    given = []
    if name in LABELS_OF:
        given = ["--given-labels", str(trained(LABELS_OF[name], options) / "labels")]
    if name in FOLDS_OF:
        given = ["--given-labels", str(cross_fitted(FOLDS_OF[name], options))]
    if name in TEACHER_OF:
        given = ["--teacher", str(trained(TEACHER_OF[name], options))]
    photos = photos or options.data / TRAINING_SET / "images"
    command = ["train", str(photos), "--out", str(run), "--keep-cache"]
    if (run / "config.toml").is_file():
        command += ["--resume"]
    else:
        command += ["--config", str(recipe), "--seed", str(options.seed), *given]
        for stage, encoder in (("stage1", config.stage1.encoder), ("stage2", config.stage2.encoder)):
            unread = {"stage1": "--given-labels", "stage2": "--teacher"}[stage]
            if options.weights is not None and unread not in given:
                file = WEIGHT_FILES[encoder or config.encoder]
                command += [f"--{stage}.encoder-weights", str(options.weights / file)]
        command += options.smaller
    act2sal(command)


def trained(name: str, options: argparse.Namespace) -> Path:
    """The run directory of a recipe, which is run if it was not."""
    run = run_of(name, options)
    if not (run / "detector.safetensors").is_file():
        train(name, run, options)
    return run


def cross_fitted(name: str, options: argparse.Namespace) -> Path:
    """Labels of all photos: two detectors, each trained on every second one, predict the photos of the other."""
    folder = run_of(name, options)
    found = find_photos(options.data / TRAINING_SET / "images")
    folds = [folder / f"photos-{number}" for number in range(2)]
    for number, fold in enumerate(folds):
        fold.mkdir(parents=True, exist_ok=True)
        for photo in found[number::2]:
            link = fold / photo.path.name
            if not link.is_symlink():
                link.symlink_to(photo.path.resolve())
    labels = folder / "labels"
    for number, fold in enumerate(folds):
        run = folder / f"fold-{number}"
        if not (run / "detector.safetensors").is_file():
            train(name, run, options, fold)
        command = ["predict", str(folds[1 - number]), "--model", str(run), "--out", str(labels)]
        act2sal([*command, "--refine", "crf", "--skip-existing"])
    return labels


def label_rows(run: Path, training_set: Path) -> dict[str, dict[str, float]]:
    """Scores of the training photos' labels, of each generation: of every round, the last one, and after OLR."""
    earlier = sorted(run.glob("generation-*"))
    rows: dict[str, dict[str, float]] = {}
    for number, folder in enumerate([*earlier, run], start=1):
        prefix = f"generation {number}, " if earlier else ""
        for row, maps in label_folders(folder, training_set / "images").items():
            rows[prefix + row] = scored(maps, training_set / "masks")
    return rows


def label_folders(folder: Path, photos: Path) -> dict[str, Path]:
    """The folders of one generation that hold its labels, by the row of the table."""
    cached = sorted(path for path in (folder / "cache").glob("round-*") if path.is_dir())
    rows = {f"round {number}": labels for number, labels in enumerate(cached)}
    rows["before OLR"] = folder / "labels"
    banks = folder / "checkpoints" / "labels"
    last = max(int(path.stem.removeprefix("labels_")) for path in banks.glob("*.npy"))
    if last == 0:
        return rows
    bank = LabelBank(banks, epoch=last)
    rows["after OLR"] = folder / "cache" / "rectified"
    for index, target in enumerate(png_paths(find_photos(photos), rows["after OLR"])):
        write_gray_png(target, bank.read([index])[0, 0].numpy())
    return rows


def test_rows(run: Path, name: str, folder: Path, *, labelled: bool) -> dict[str, dict[str, float]]:
    """Scores on a test set: labels of stage 1, where the run has its own, and maps of the detector."""
    labels, maps, refined = (run / "test" / name / kind for kind in ("labels", "maps", "refined"))
    photos, masks = str(folder / "images"), folder / "masks"
    rows = {}
    if labelled:
        act2sal(["label", photos, "--out", str(labels), "--run", str(run), "--overwrite"])
        rows[f"stage 1 labels {name}"] = scored(labels, masks)
    predict = ["predict", photos, "--model", str(run), "--overwrite", "--out"]
    act2sal([*predict, str(maps)])
    act2sal([*predict, str(refined), "--refine", "crf"])
    return rows | {
        f"detector {name}": scored(maps, masks),
        f"detector, --refine crf, {name}": scored(refined, masks),
    }


def act2sal(arguments: list[str]) -> None:
    """Run one command of the package; stops the recipe if it fails."""
    print("act2sal", shlex.join(arguments), flush=True)
    subprocess.run([sys.executable, "-m", "act2sal.cli", *arguments], check=True)


def scored(maps: Path, masks: Path) -> dict[str, float]:
    """All scores of a folder of maps, to 4 decimals."""
    scores = evaluate(maps, masks, quiet=True)
    rounded = {name: round(value, 4) for name, value in scores.metrics().items()}
    return {**rounded, "images": scores.counts.images, "resized": scores.counts.resized}


def seconds_by_stage(rows: Sequence[LogRow]) -> dict[str, float]:
    """Seconds of every stage and phase."""
    seconds: dict[str, float] = {}
    for row in rows:
        if SECONDS in row:
            stage = stage_title(row)
            seconds[stage] = round(seconds.get(stage, 0) + float(row[SECONDS]), 1)
    return seconds


def photos_a_second(rows: Sequence[LogRow], photos: int) -> dict[str, float]:
    """Photos that the fits took in a second, by stage: the median over the epochs."""
    seconds: dict[str, list[float]] = {}
    for row in rows:
        if int(row["epoch"]) > 0 and SECONDS in row:
            seconds.setdefault(stage_title(row), []).append(float(row[SECONDS]))
    return {stage: round(photos / statistics.median(each), 1) for stage, each in seconds.items()}


def memory_row(rows: Sequence[LogRow]) -> LogRow:
    """The last row that says how much memory the training held; an empty one where none does."""
    return next((row for row in reversed(rows) if row["stage"] == MEMORY), {})


if __name__ == "__main__":
    main()
