"""Table VII of the paper at the size of a small machine: detectors on the same pseudo labels, with and without OLR.

    python recipes/detectors.py DATA --weights mobilenetv2_100_imagenet.safetensors --out detectors.json

DATA holds duts_tr_3000 and the test sets, each with images/ and masks/. Stage 1 labels the first `--count` photos
of duts_tr_3000; each detector is trained on these labels by one recipe, BCE + IoU, with the same encoder, size and
passes. No training opens a mask. Afterwards the detectors are scored on the test sets, and on their own training
photos, there against the labels that they were given and against the masks: a detector that follows its labels more
closely than the object has learnt their errors (Fig. 10). `--sheet FILE.png` shows it.

A run that was stopped goes on: finished trainings in `--runs` are taken as they are.
"""

import argparse
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from act2sal.cli import main as run_command
from act2sal.data.images import SaliencyMethod, read_photo, write_atomic
from act2sal.data.photo_files import find_photos
from act2sal.evaluation import Scores, evaluate
from act2sal.evaluation.comparison import compare
from act2sal.evaluation.scores import difference
from act2sal.networks.checkpoint import load_detector
from act2sal.predict.detector import Detector
from act2sal.runtime.hardware import hardware
from act2sal.version import __version__

TRAINING_SET = "duts_tr_3000"
TEST_SETS = ("ecssd_dev", "pascal_s_dev", "sod_dev")
DETECTORS = {
    "ours": [],
    "ours without RAM": ["--stage2.no-attention"],
    "minet": ["--detector", "minet"],
    "cpd": ["--detector", "cpd"],
    "itsd": ["--detector", "itsd"],
    "basnet": ["--detector", "basnet"],
    "picanet": ["--detector", "picanet"],
}
"""Options of `act2sal train` by the name of the row."""
RECTIFIERS = {"without OLR": "none", "with OLR": "olr"}
OURS = "ours"
SCORES = ("f_adaptive", "mae")


def main() -> None:
    """Label, train, predict, score, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", required=True, help="file of the encoder of both stages, or random")
    parser.add_argument("--encoder", default="mobilenetv2")
    parser.add_argument(
        "--detectors", nargs="+", choices=DETECTORS, default=["ours", "ours without RAM", "minet"]
    )
    parser.add_argument("--count", type=int, default=600, help="training photos")
    parser.add_argument("--size", type=int, default=224, help="pixels, of stage 2")
    parser.add_argument("--epochs", type=int, default=10, help="of stage 2")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--test-limit", type=int, help="only so many photos of each test set, to try the recipe"
    )
    parser.add_argument(
        "--label-options", type=shlex.split, default=[], help="further options of `act2sal label`"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/detectors"), help="folder of the trainings")
    parser.add_argument("--sheet", type=Path, help="also show predictions on training photos there, as PNG")
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    options = parser.parse_args()
    labels = labelled(options)
    runs = {
        f"{name}, {when}": trained(name, rectifier, labels, options)
        for name in options.detectors
        for when, rectifier in RECTIFIERS.items()
    }
    figures = {
        "command": shlex.join(["python", "recipes/detectors.py", "DATA", *told(options)]),
        "package": __version__,
        "hardware": hardware(),
        **{name: getattr(options, name) for name in ("encoder", "count", "size", "epochs", "seed")},
        "labels": rounded(scores_of(labels, options.data / TRAINING_SET / "masks")),
        "detectors": rows(runs, labels, options),
    }
    text = json.dumps(figures, indent=1) + "\n"
    print(text)
    if options.out:
        write_atomic(options.out, text.encode())
    if options.sheet:
        write_sheet(runs, labels, options)


def told(options: argparse.Namespace) -> list[str]:
    """The options that say what was measured."""
    names = ("encoder", "count", "size", "epochs", "seed")
    words = [word for name in names for word in (f"--{name}", str(getattr(options, name)))]
    labels = ["--label-options", shlex.join(options.label_options)] if options.label_options else []
    return [*words, *labels, "--weights", Path(options.weights).name, "--detectors", *options.detectors]


def labelled(options: argparse.Namespace) -> Path:
    """Folder of the pseudo labels of the training photos."""
    labels: Path = options.runs / "labels"
    if not (options.runs / "labelled").is_file():
        command = ["label", str(photos_of(options)), "--out", str(labels), "--overwrite"]
        act2sal([*command, *shared(options), *options.label_options])
        (options.runs / "labelled").touch()
    return labels


def trained(name: str, rectifier: str, labels: Path, options: argparse.Namespace) -> Path:
    """The run of a detector on the labels; goes on with one that was stopped."""
    run: Path = options.runs / f"{name}-{rectifier}".replace(" ", "-")
    if (run / "detector.safetensors").is_file():
        return run
    command = ["train", str(photos_of(options)), "--out", str(run)]
    if (run / "config.toml").is_file():
        act2sal([*command, "--resume"])
        return run
    recipe = ["--stage2.loss-bce", "1", "--stage2.rectifier", rectifier]
    sizes = ["--stage2.size", str(options.size), "--stage2.epochs", str(options.epochs)]
    given = ["--given-labels", str(labels)]
    act2sal([*command, *DETECTORS[name], *given, *shared(options), *sizes, *recipe])
    return run


def shared(options: argparse.Namespace) -> list[str]:
    """Options of both `act2sal label` and `act2sal train`."""
    encoder = ["--encoder", options.encoder, "--encoder-weights", options.weights]
    return [*encoder, "--limit", str(options.count), "--seed", str(options.seed)]


def rows(runs: Mapping[str, Path], labels: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Parameters, seconds and scores of each detector, with paired differences from ours."""
    scored = {row: test_scores(run, options) for row, run in runs.items()}
    found = {}
    for row, run in runs.items():
        ours = f"{OURS}, {row.partition(', ')[2]}"
        maps = predicted(run, photos_of(options), options.count)
        found[row] = {
            "parameters": sum(
                weight.numel() for weight in load_detector(run / "detector.safetensors").parameters()
            ),
            "seconds of stage 2": seconds(run),
            "training photos, against their labels": rounded(scores_of(maps, labels)),
            "training photos, against masks": rounded(scores_of(maps, options.data / TRAINING_SET / "masks")),
            **{name: with_intervals(scores) for name, scores in scored[row].items()},
        }
        if row != ours and ours in runs:
            found[row][f"less {ours}"] = {
                name: differences(scored[row][name], scored[ours][name]) for name in TEST_SETS
            }
    return found


def test_scores(run: Path, options: argparse.Namespace) -> dict[str, Scores]:
    """Scores of a detector on each test set."""
    found = {}
    for name in TEST_SETS:
        folder = options.data / name
        maps = predicted(run, folder / "images", options.test_limit, out=run / "test" / name)
        found[name] = scores_of(maps, folder / "masks")
    return found


def predicted(run: Path, photos: Path, limit: int | None, out: Path | None = None) -> Path:
    """Folder of the maps of the first `limit` photos."""
    folder = out or run / "training-maps"
    links = run / "shown" / folder.name
    for photo in find_photos(photos, limit):
        link = links / photo.path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(photo.path.resolve())
    act2sal(["predict", str(links), "--model", str(run), "--out", str(folder), "--skip-existing"])
    return folder


def scores_of(maps: Path, masks: Path) -> Scores:
    """Scores of a folder of maps, against the masks of their names."""
    names = {path.stem for path in maps.glob("*.png")}
    folder = maps.parent / f"masks-of-{maps.name}-in-{masks.parent.name}-{masks.name}"
    folder.mkdir(exist_ok=True)
    for mask in masks.iterdir():
        link = folder / mask.name
        if mask.stem in names and not link.is_symlink():
            link.symlink_to(mask.resolve())
    return evaluate(maps, folder, quiet=True)


def rounded(scores: Scores) -> dict[str, float]:
    """The scores that the paper gives, to 4 decimals."""
    return {name: round(scores.values[name], 4) for name in SCORES}


def with_intervals(scores: Scores) -> dict[str, Any]:
    """The same with 95 % intervals."""
    ends = {name: [round(end, 4) for end in scores.interval(name)] for name in SCORES}
    return {**rounded(scores), "intervals": ends, "images": scores.counts.images}


def differences(theirs: Scores, ours: Scores) -> dict[str, Any]:
    """Paired differences, theirs less ours, with 95 % intervals."""
    found = {name: difference(theirs, ours, name) for name in SCORES}
    return {
        name: {"value": round(of.value, 4), "interval": [round(end, 4) for end in of.interval]}
        for name, of in found.items()
    }


def seconds(run: Path) -> float:
    """Seconds of the passes of stage 2."""
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    logged = [json.loads(line) for line in lines]
    return round(sum(row.get("seconds", 0.0) for row in logged if row["stage"] == "stage2"), 1)


def write_sheet(runs: Mapping[str, Path], labels: Path, options: argparse.Namespace) -> None:
    """Show the training photos whose labels are worst: masks, labels, what each detector finds."""
    masks = options.data / TRAINING_SET / "masks"
    rows = sorted(scores_of(labels, masks).rows, key=lambda row: row.measures.f_adaptive)
    by_name = {photo.path.stem: photo.path for photo in find_photos(photos_of(options), options.count)}
    worst = [by_name[Path(row.name).stem] for row in rows[: 3 * 8 : 3]]
    given = {read_photo(path).tobytes(): labels / f"{path.stem}.png" for path in worst}

    def label(photo: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(Image.open(given[photo.tobytes()]), dtype=np.float32) / np.float32(255)

    methods: dict[str, SaliencyMethod] = {
        "label": label,
        **{row: Detector.load(run) for row, run in runs.items()},
    }
    compare(worst, options.sheet, methods, masks=masks, overwrite=True)


def photos_of(options: argparse.Namespace) -> Path:
    """Folder of the training photos."""
    folder: Path = options.data / TRAINING_SET / "images"
    return folder


def act2sal(arguments: list[str]) -> None:
    """Run one command of the package; stops the recipe if it fails."""
    print("act2sal", shlex.join(arguments), flush=True)
    status = run_command(arguments)
    if status:
        raise SystemExit(status)


if __name__ == "__main__":
    main()
