"""What single changes to A2S are worth, by masks of training photos that no training has opened.

    python recipes/levers.py --data DATA --weights WEIGHTS --labels LABELS --out recipes/results/levers.json

Every fifth photo of the training set, in the order of names, is set aside. `first fits` are fits of stage 1 on all
photos, which need no labels; their pseudo labels of the photos set aside are scored. `detectors` are trained on the
labels in LABELS of the other photos; their maps of the photos set aside are scored. One of them, `masks`, is trained
on masks in place of labels: the most that labels can give to this network on these photos, and no method of this
package.

Each change is run alone, in a process of its own, several at a time (--jobs); what --out holds already is kept.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from run import TRAINING_SET, WEIGHT_FILES

from act2sal.a2s.pseudo_labels import label_from_logits
from act2sal.config import LabelConfig, Stage1Config, Stage2Config, TrainConfig
from act2sal.data.images import read_photo, write_atomic
from act2sal.data.photo_bank import PhotoBank
from act2sal.data.photo_files import find_photos
from act2sal.evaluation import Tally
from act2sal.predict.detector import Detector
from act2sal.runs.training_state import LogRow
from act2sal.runtime.fabric import make_fabric
from act2sal.runtime.hardware import hardware
from act2sal.training.epochs import Trainer
from act2sal.training.photos import photo_bank
from act2sal.training.pipeline import train
from act2sal.training.stage1.cues import cue_logits
from act2sal.training.stage1.rounds import fit_stage1
from act2sal.training.stage1.stage import Stage1

EVERY = 5
"""One of so many photos is set aside."""

FIRST = Stage1Config(encoder="densenet169", use_e3=False, rounds=0, texture=0.0)
MOBILE = replace(FIRST, encoder="mobilenetv2", use_e3=True)
TWO_SIZES: dict[str, Any] = {"scale_consistency": 1.0, "second_sizes": (-64, 64)}
FALLING: dict[str, Any] = {"distance": "falling"}
DECIDED: dict[str, Any] = {"distance": "falling", "curriculum": True}
WEAK: dict[str, Any] = {"texture": 0.005}
LONGER: dict[str, Any] = {"epochs": 10, "milestones": (6, 8)}
ROUNDS: dict[str, Any] = {"rounds": 2}
FIRST_FITS: dict[str, Stage1Config] = {
    "plain": FIRST,
    "two sizes": replace(FIRST, **TWO_SIZES),
    "falling distance": replace(FIRST, **FALLING),
    "curriculum": replace(FIRST, **DECIDED),
    "10 epochs": replace(FIRST, **LONGER),
    "two sizes, 10 epochs": replace(FIRST, **TWO_SIZES, **LONGER),
    "two sizes, falling distance, 10 epochs": replace(FIRST, **TWO_SIZES, **LONGER, **FALLING),
    "two sizes, curriculum, 10 epochs": replace(FIRST, **TWO_SIZES, **LONGER, **DECIDED),
    "texture": replace(FIRST, texture=0.05),
    "weak texture": replace(FIRST, **WEAK),
    "weaker texture": replace(FIRST, texture=0.002),
    "less weak texture": replace(FIRST, texture=0.01),
    "weak texture, with E3": replace(FIRST, **WEAK, use_e3=True),
    "weak texture, 10 epochs": replace(FIRST, **WEAK, **LONGER),
    "weak texture, two sizes": replace(FIRST, **WEAK, **TWO_SIZES),
    "weak texture, two rounds": replace(FIRST, **WEAK, **ROUNDS),
    "MobileNetV2, weak texture": replace(MOBILE, **WEAK),
    "MobileNetV2, weak texture, two rounds": replace(MOBILE, **WEAK, **ROUNDS),
    "MobileNetV2, two rounds": replace(MOBILE, **ROUNDS),
    "A2S-v2": replace(FIRST, **TWO_SIZES, **FALLING, sign="corners", texture=0.05),
    "A2S-v3": replace(FIRST, **TWO_SIZES, **DECIDED, sign="corners", texture=0.05),
    "sign by corners": replace(FIRST, sign="corners"),
    "with E3": replace(FIRST, use_e3=True),
    "two sizes, with E3": replace(FIRST, **TWO_SIZES, use_e3=True),
    "MobileNetV2": MOBILE,
    "MobileNetV2, two sizes": replace(MOBILE, **TWO_SIZES),
    "two rounds": replace(FIRST, **ROUNDS),
    "two trimmed rounds": replace(FIRST, **ROUNDS, round_trim=0.25),
    "two sizes, two rounds": replace(FIRST, **TWO_SIZES, **ROUNDS),
    "two sizes, 10 epochs, two trimmed rounds": replace(
        FIRST, **TWO_SIZES, **LONGER, **ROUNDS, round_trim=0.25
    ),
}
"""Stage 1 with few changes each, on DenseNet-169 where nothing else is said."""

STUDENT = Stage2Config(
    encoder="mobilenetv2", epochs=10, batch_size=32, lr=2e-3, rectifier="none", crop=0.6, view=256, jitter=0.3
)
LARGE = replace(STUDENT, encoder="densenet169", channels=64)
DETECTORS: dict[str, Stage2Config] = {
    "plain": STUDENT,
    "masks": STUDENT,
    "average": replace(STUDENT, average=0.995),
    "several sizes": replace(STUDENT, view_sides=(192, 256, 320, 384)),
    "view 320": replace(STUDENT, view=320),
    "DenseNet-169, masks": LARGE,
    "trimmed": replace(STUDENT, trim=0.15),
    "64 channels, stride 2": replace(STUDENT, channels=64, finest_stride=2),
    "DenseNet-169": LARGE,
    "two sizes": replace(STUDENT, scale_consistency=1.0, second_sizes=(-64, 64)),
    "OLR": replace(STUDENT, rectifier="olr", rectify_warmup=4, rectify_lambda=0.7),
    "20 epochs": replace(STUDENT, epochs=20),
    "BCE and IoU": replace(STUDENT, loss_bce=1.0),
    "5 epochs": replace(STUDENT, epochs=5),
    "frozen epoch": replace(STUDENT, frozen_epochs=1),
}
"""Stage 2 with one change each, on MobileNetV2 where nothing else is said."""

GROUPS: dict[str, dict[str, Any]] = {"first fits": FIRST_FITS, "detectors": DETECTORS}


def main() -> None:
    """Run what is asked for and not there yet, several at a time; write after each."""
    options = parsed()
    if options.table:
        print(table(json.loads(options.out.read_text(encoding="utf-8"))))
        return
    if options.only is not None:
        print(json.dumps(one(options.group, options.only, options)))
        return
    found: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    wanted = [
        (group, name, seed)
        for group in options.groups
        for name in GROUPS[group]
        for seed in options.seeds
        if str(seed) not in found.get(group, {}).get(name, {})
        and (options.names is None or name in options.names)
    ]
    start = time.monotonic()

    def run(task: tuple[str, str, int]) -> None:
        group, name, seed = task
        if options.budget is not None and time.monotonic() - start > options.budget:
            print(f"not begun, as the time is over: {group}, {name}, seed {seed}", flush=True)
            return
        result = child(group, name, seed, options)
        if isinstance(result, str):
            print(f"failed: {group}, {name}, seed {seed}: {result}", flush=True)
            return
        found.setdefault(group, {}).setdefault(name, {})[str(seed)] = result
        found["about"] = {"hardware": hardware(), "jobs": options.jobs, "command": command(options)}
        write_atomic(options.out, (json.dumps(found, indent=1) + "\n").encode())
        print(f"{time.monotonic() - start:5.0f} s  {group}, {name}, seed {seed}: {result}", flush=True)

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(run, wanted))


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help=f"folder with {TRAINING_SET}")
    parser.add_argument("--weights", type=Path, help="folder of encoder files; without: random weights")
    parser.add_argument("--labels", type=Path, help="labels of all photos, for the detectors")
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--names", nargs="+", help="changes to run; without: all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--budget", type=float, help="seconds after which none is begun")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=0, help="threads of each training")
    parser.add_argument("--limit", type=int, help="use only the first so many photos")
    parser.add_argument("--size", type=int, default=320, help="pixels")
    parser.add_argument("--runs", type=Path, help="keep the detectors there")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    parser.add_argument("--table", action="store_true", help="only print what FILE.json holds, as Markdown")
    parser.add_argument("--group", choices=GROUPS, help=argparse.SUPPRESS)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    return parser.parse_args()


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown, one table for each group; means over the seeds."""
    lines = []
    for group in [name for name in GROUPS if name in found]:
        lines += [f"| {group} | adaptive F | MAE | IoU | seeds |", "| --- | ---: | ---: | ---: | ---: |"]
        for name, seeds in found.get(group, {}).items():
            means = [np.mean([row[key] for row in seeds.values()]) for key in ("f_adaptive", "mae", "iou")]
            told = " | ".join(f"{value:.3f}".removeprefix("0") for value in means)
            lines.append(f"| {name} | {told} | {len(seeds)} |")
        lines.append("")
    return "\n".join(lines)


def command(options: argparse.Namespace) -> str:
    """What gives the figures."""
    return f"python recipes/levers.py --data DATA --weights WEIGHTS --labels LABELS --size {options.size}"


def child(group: str, name: str, seed: int, options: argparse.Namespace) -> dict[str, Any] | str:
    """The figures of one training, from a process of its own; what went wrong where it fails."""
    arguments = [*sys.argv[1:], "--group", group, "--only", name, "--seeds", str(seed)]
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        return done.stderr[-2000:]
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def one(group: str, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Scores and seconds of one training."""
    kinds: dict[str, Callable[[str, argparse.Namespace], Tally]] = {
        "first fits": first_fit,
        "detectors": detector,
    }
    start = time.perf_counter()
    scores = kinds[group](name, options).scores()
    metrics = {key: round(scores.metrics()[key], 4) for key in ("f_adaptive", "mae", "f_max", "iou")}
    return {**metrics, "images": scores.counts.images, "seconds": round(time.perf_counter() - start, 1)}


def config_of(options: argparse.Namespace, **stages: Any) -> TrainConfig:
    """What all trainings share."""
    return TrainConfig(
        size=options.size,
        seed=options.seeds[0],
        device=options.device,
        workers=options.workers,
        limit=options.limit,
        **stages,
    )


def with_weights(stage: Any, options: argparse.Namespace) -> Any:
    """The options of a stage with the file of its encoder."""
    if options.weights is None:
        return replace(stage, encoder_weights="random")
    return replace(stage, encoder_weights=str(options.weights / WEIGHT_FILES[stage.encoder]))


def first_fit(name: str, options: argparse.Namespace) -> Tally:
    """Stage 1 fitted on all photos; its labels of those set aside."""
    config = config_of(options, stage1=with_weights(FIRST_FITS[name], options), labels=LabelConfig())
    fabric = make_fabric(config)
    with tempfile.TemporaryDirectory() as name_of_folder:
        folder = Path(name_of_folder)
        found = find_photos(images(options), options.limit)
        bank = photo_bank(found, folder, config, config.size, quiet=True)
        rows: list[LogRow] = []
        trainer = Trainer(fabric, config.seed, rows.append, quiet=True)
        fitted = fit_stage1(Stage1(bank, folder / "features", folder, folder, config, trainer))
        cues = cue_logits(
            fitted.network, fitted.features, config.stage1, folder / "cues.npy", fabric=fabric, quiet=True
        )
        learnt = fitted.network.boundary == "affine"
        chosen = range(0, len(bank), EVERY)
        tally = Tally()

        def scored(index: int) -> tuple[np.ndarray, np.ndarray]:
            photo = read_photo(bank.photos[index].path)
            label = label_from_logits(photo, np.asarray(cues[index]), config.labels, fitted=learnt)
            return label / np.float32(255), mask_of(bank, index, options)

        with ThreadPoolExecutor(options.workers or os.cpu_count()) as pool:
            for prob, mask in pool.map(scored, chosen):
                tally.add(prob, mask)
    return tally


def detector(name: str, options: argparse.Namespace) -> Tally:
    """A detector trained on labels of the photos that are not set aside; its maps of those that are."""
    labels = options.data / TRAINING_SET / "masks" if name.endswith("masks") else options.labels
    if labels is None:
        raise SystemExit("detectors need --labels")
    stage = with_weights(DETECTORS[name], options)
    with tempfile.TemporaryDirectory() as name_of_folder:
        folder = Path(name_of_folder)
        found = find_photos(images(options), options.limit)
        taken = folder / "photos"
        taken.mkdir()
        for index, photo in enumerate(found):
            if index % EVERY:
                (taken / photo.path.name).symlink_to(photo.path.resolve())
        config = config_of(options, stage2=stage, given_labels=str(labels.resolve()))
        run = folder / "run"
        train(taken, run, replace(config, limit=None), quiet=True)
        if options.runs is not None:
            kept = options.runs / f"{name}-seed{config.seed}" / "detector.safetensors"
            write_atomic(kept, (run / "detector.safetensors").read_bytes())
        return scored_maps(Detector.load(run, device=options.device), found[::EVERY], options)


def scored_maps(trained: Detector, photos: Sequence[Any], options: argparse.Namespace) -> Tally:
    """Scores of a detector's maps."""
    tally = Tally()
    for photo in photos:
        tally.add(trained(photo.path), mask_file(photo.path, options))
    return tally


def images(options: argparse.Namespace) -> Path:
    """The folder of photos."""
    folder: Path = options.data / TRAINING_SET / "images"
    return folder


def mask_of(bank: PhotoBank, index: int, options: argparse.Namespace) -> np.ndarray:
    """The mask of a photo of a bank."""
    return mask_file(bank.photos[index].path, options)


def mask_file(photo: Path, options: argparse.Namespace) -> np.ndarray:
    """The mask of a photo, (H, W) bool."""
    file = options.data / TRAINING_SET / "masks" / f"{photo.stem}.png"
    return np.asarray(read_photo(file)[..., 0] > 127)


if __name__ == "__main__":
    torch.set_float32_matmul_precision("high")
    main()
