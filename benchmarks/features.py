"""Quality of pseudo labels, bytes and seconds with each way of computing, storing and mirroring frozen features.

    python benchmarks/features.py PHOTOS MASKS --weights densenet169_imagenet.safetensors \\
        --out recipes/results/features.json

Stage 1 with one round of self-training is fitted anew for each way, with the same seed, on the first photos of a
folder. The masks are read afterwards, to score the labels; the fits never open them.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

from act2sal.config import Mirrored, Precision, Stage1Config, StoredPrecision, TrainConfig
from act2sal.data.images import write_atomic
from act2sal.data.photo_files import find_photos
from act2sal.evaluation import evaluate
from act2sal.runs.training_state import LogRow
from act2sal.runtime.fabric import make_fabric
from act2sal.runtime.hardware import hardware
from act2sal.training.epochs import Trainer
from act2sal.training.photos import photo_bank
from act2sal.training.stage1.label_writing import write_all_labels
from act2sal.training.stage1.rounds import fit_stage1
from act2sal.training.stage1.stage import Stage1

WAYS: tuple[tuple[Precision, StoredPrecision, Mirrored], ...] = (
    ("float32", "float16", "features"),
    ("bfloat16", "float16", "features"),
    ("float32", "int8", "features"),
    ("bfloat16", "int8", "features"),
    ("float32", "float16", "photos"),
)
STAGE1 = Stage1Config(epochs=2, milestones=(1,), use_e3=False, rounds=1, round_epochs=2)


def main() -> None:
    """Label the photos in every way and print what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("masks", type=Path, help="folder of masks, named like the photos")
    parser.add_argument("--encoder", default="densenet169")
    parser.add_argument("--weights", required=True, help="of the encoder: a file, or timm")
    parser.add_argument("--count", type=int, default=200, help="photos")
    parser.add_argument("--size", type=int, default=320, help="pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    options = parser.parse_args()
    config = TrainConfig(
        encoder=options.encoder,
        encoder_weights=options.weights,
        size=options.size,
        limit=options.count,
        seed=options.seed,
        device="cpu",
        workers=1,
        stage1=STAGE1,
    )
    result = {
        "command": f"python benchmarks/features.py PHOTOS MASKS --weights {Path(options.weights).name} "
        f"--count {options.count} --size {options.size} --seed {options.seed}",
        "hardware": hardware(),
        "encoder": options.encoder,
        "photos": options.count,
        "seed": options.seed,
    }
    for precision, stored, mirrored in WAYS:
        stage1 = replace(STAGE1, precision=stored, mirror=mirrored)
        name = f"computed in {precision}, stored in {stored}, {mirrored} mirrored"
        way = replace(config, precision=precision, stage1=stage1)
        result[name] = measured(options.photos, options.masks, way)
        print(name, result[name], flush=True)
    if options.out:
        write_atomic(options.out, (json.dumps(result, indent=1) + "\n").encode())


def measured(photos: Path, masks: Path, config: TrainConfig) -> dict[str, float]:
    """Adaptive F and MAE of the labels, MiB of features a photo, seconds a photo of the parts."""
    seconds: dict[str, float] = {}

    def log(row: LogRow) -> None:
        stage = str(row["stage"])
        seconds[stage] = seconds.get(stage, 0) + float(row["seconds"])

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        bank = photo_bank(find_photos(photos, config.limit), work, config, None, quiet=True)
        fabric = make_fabric(config)
        trainer = Trainer(fabric, config.seed, log, quiet=True)
        stage = Stage1(bank, work / "features", work, work, config, trainer)
        fitted = fit_stage1(stage)
        stored = sum(path.stat().st_size for path in (work / "features").rglob("*") if path.is_file())
        write_all_labels(fitted, work / "labels", stage, phase="labels", resume=False)
        scores = evaluate(work / "labels", masks, quiet=True)
    return {
        "f_adaptive": round(scores.f_adaptive, 4),
        "mae": round(scores.mae, 4),
        "MiB a photo": round(stored / len(bank) / 2**20, 3),
        **{f"seconds a photo, {stage}": round(s / len(bank), 3) for stage, s in seconds.items()},
    }


if __name__ == "__main__":
    main()
