"""Run everything that computes on a GPU once, at its real size, and compare its maps with those of the CPU.

    python recipes/gpu_check.py --out gpu_check.json

Rendered scenes, no data needed. MobileNetV2 with the weights of the package at 320 pixels (the preset `paper`:
ResNet-50 with random ones): `train` under every preset and with every part that computes in another way, a training
that is killed and goes on, `label`, `predict`, `compare`, `export`. A case that fails is printed and the others go
on; the exit status is 1 then. On an H100 with 16 cores the first 13 cases took 264 s beside other trainings; --only
takes cases by name; most start from "default". Rehearsal without a GPU: --device cpu --photos 6 --size 96.

What it is not: the scenes are few and the trainings short, so that nothing is said about quality or speed.
"""

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from act2sal.cli import main as act2sal
from act2sal.config import PresetName, TrainConfig
from act2sal.data.images import read_photo, write_atomic
from act2sal.predict.detector import Detector
from act2sal.presets import PRESETS
from act2sal.runs.run_directory import RunDirectory
from act2sal.runtime.hardware import hardware
from act2sal.scenes import write_scenes
from act2sal.training.pipeline import train

LARGEST_MEAN_DIFFERENCE = 0.005
"""Of two maps of one photo on CUDA, whose convolutions round to TF32, and on the CPU."""
LEAST_AGREEMENT = 0.97
"""Share of a map's pixels on the same side of one half on both."""
PATIENCE = 120
"""Seconds in which a training has to come to its second stage before it is killed."""

WAYS: dict[str, dict[str, Any]] = {
    "int8, photos mirrored": {"stage1": {"precision": "int8", "mirror": "photos"}},
    "features nowhere, float32": {"cache_size": 0.0, "precision": "float32"},
    "encoder trained along": {"stage1": {"freeze_encoder": False}},
    "statistics drift": {"stage1": {"batchnorm_drift": True, "random_gain": True, "boundary": "db1"}},
    "HMA": {
        "stage1": {"boundary": "db4", "sign": "border", "use_e3": False},
        "stage2": {"rectifier": "hma", "crop": 0.5},
    },
    "windows and colours": {"stage2": {"view": 256, "crop": 0.5, "jitter": 0.2, "flip_once": True}},
    "A2S-v2 and v3": {
        "stage1": {"distance": "falling", "curriculum": True, "scale_consistency": 1.0, "texture": 0.05}
        | {"second_sizes": (-64, 64)},
        "stage2": {"view_sides": (256, 320), "scale_consistency": 1.0, "average": 0.9, "frozen_epochs": 1},
    },
    "losses of the paper, SGD": {"stage2": {"loss_bce": 1.0, "loss_ssim": 1.0, "optimizer": "sgd"}},
    "two generations": {"generations": 2},
}
"""Options beside those of `brief`."""


@dataclass(frozen=True)
class Place:
    """Where the cases work: device, side of the squares, and a folder with photos/ for all that is written."""

    device: Any
    size: int
    folder: Path

    @property
    def photos(self) -> Path:
        """The scenes."""
        return self.folder / "photos"

    @property
    def run(self) -> Path:
        """The run directory of the case `default`, which others start from."""
        return self.folder / "default"

    def options(self) -> tuple[str, ...]:
        """Of a command."""
        return ("--device", self.device, "--quiet")


Case = Callable[[Place], dict[str, Any]]


def main() -> int:
    """Run all cases, print a line for each, write the figures after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the results")
    parser.add_argument("--device", choices=("cuda", "cpu", "mps"), default="cuda")
    parser.add_argument("--photos", type=int, default=24, help="rendered scenes to train on")
    parser.add_argument("--size", type=int, default=320, help="side of the squares, in pixels")
    parser.add_argument("--only", nargs="*", help="names of cases; default: all")
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    result: dict[str, Any] = {"command": "python recipes/gpu_check.py", "hardware": hardware(), "cases": {}}
    with tempfile.TemporaryDirectory() as folder:
        place = Place(options.device, options.size, Path(folder))
        write_scenes(place.folder, options.photos, seed=5)
        for name, case in all_cases().items():
            if options.only and name not in options.only:
                continue
            row = outcome(case, place)
            told = {key: value for key, value in row.items() if key not in ("seconds", "failed", "trace")}
            state = "FAILED" if "failed" in row else "ok"
            print(
                f"{state:6} {row['seconds']:6.1f} s  {name}  {row.get('failed', '')}  {told or ''}",
                flush=True,
            )
            result["cases"][name] = row
            write_atomic(options.out, (json.dumps(result, indent=1) + "\n").encode())
    failed = [name for name, row in result["cases"].items() if "failed" in row]
    print(
        f"{len(result['cases']) - len(failed)} of {len(result['cases'])} cases passed; failed: {failed or 'none'}"
    )
    return 1 if failed else 0


def all_cases() -> dict[str, Case]:
    """The cases by name, those that others start from first."""
    return {
        "default": lambda place: trained(place, "default", whole_preset("default", place)),
        "maps": maps_are_those_of_the_cpu,
        "shipped maps": lambda place: compared_maps(place, None),
        "confidences": confidences_are_those_of_the_cpu,
        "tensors": tensors_of_the_device,
        "killed and resumed": killed_and_resumed,
        "teacher": lambda place: trained(place, "teacher", replace(brief(place), teacher=str(place.run))),
        "given labels": with_given_labels,
        "paper": lambda place: trained(place, "paper", whole_preset("paper", place)),
        "official": lambda place: trained(place, "official", whole_preset("official", place)),
        "predict": predicted,
        "label": labelled,
        "compare": compared,
        "export": exported,
        **{name: _way(name) for name in WAYS},
    }


def _way(name: str) -> Case:
    return lambda place: trained(place, name, changed(brief(place), WAYS[name]))


def outcome(case: Case, place: Place) -> dict[str, Any]:
    """What a case measured, its seconds, its warnings, and why it failed where it did."""
    started = time.perf_counter()
    row: dict[str, Any] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            row = case(place)
        except (Exception, SystemExit) as error:  # the other cases go on, whatever it was
            row = {
                "failed": f"{type(error).__name__}: {error}"[:500],
                "trace": traceback.format_exc()[-3000:],
            }
    told = sorted({f"{one.category.__name__}: {one.message}"[:300] for one in caught})
    return row | {"seconds": round(time.perf_counter() - started, 2)} | ({"warnings": told} if told else {})


def brief(place: Place) -> TrainConfig:
    """Both stages of the default preset with few passes over the photos."""
    preset = PRESETS["default"]
    return replace(
        preset,
        size=place.size,
        device=place.device,
        stage1=replace(preset.stage1, epochs=2, milestones=(1,), rounds=1, round_epochs=1),
        stage2=replace(preset.stage2, epochs=2, rectify_warmup=1),
    )


def changed(config: TrainConfig, options: dict[str, Any]) -> TrainConfig:
    """`config` with other options, those of the stages in tables of their own."""
    stages = {
        name: replace(getattr(config, name), **values) for name, values in options.items() if name in STAGES
    }
    return replace(config, **{**options, **stages})


STAGES = ("stage1", "stage2")


def whole_preset(name: PresetName, place: Place) -> TrainConfig:
    """A preset; those with many passes over the photos get two, and ResNet-50 random weights in place of MoCo v2."""
    preset = replace(PRESETS[name], size=place.size, device=place.device)
    if name == "default":
        return preset
    few: dict[str, Any] = {"epochs": 2, "milestones": (1,)}
    return replace(
        preset,
        encoder_weights="random",
        stage1=replace(preset.stage1, **few),
        stage2=replace(preset.stage2, **few, rectify_warmup=1),
    )


def trained(place: Place, name: str, config: TrainConfig, **options: Any) -> dict[str, Any]:
    """Train; losses that are finite, and labels that are no single colour."""
    run = place.folder / name
    train(place.photos, run, config, quiet=True, **options)
    with RunDirectory(run, writes=False) as directory:
        losses = {str(row["stage"]): float(row["loss"]) for row in directory.rows() if "loss" in row}
    labels = [read_photo(path)[..., 0] for path in sorted((run / "labels").rglob("*.png"))]
    share = float(np.mean([label > 127 for label in labels])) if labels else 0.0
    if not (losses and np.isfinite(list(losses.values())).all()):
        raise AssertionError(f"losses {losses}")
    if not 0 < share < 1:
        raise AssertionError(f"{share:.3f} of the pixels of {len(labels)} labels are foreground")
    return {"losses": {key: round(loss, 4) for key, loss in losses.items()}, "foreground": round(share, 3)}


def maps_are_those_of_the_cpu(place: Place) -> dict[str, Any]:
    """Of the detector that was trained on the device."""
    return compared_maps(place, place.run)


def compared_maps(place: Place, model: Path | None) -> dict[str, Any]:
    """Maps of one model file on the device and on the CPU."""
    photos = [read_photo(path) for path in sorted(place.photos.iterdir())[:12]]
    there = Detector.load(model, device=place.device, backend="torch").batch(photos)
    here = Detector.load(model, device="cpu", backend="torch").batch(photos)
    apart = [np.abs(a - b) for a, b in zip(there, here, strict=True)]
    same = float(np.mean([((a > 0.5) == (b > 0.5)).mean() for a, b in zip(there, here, strict=True)]))
    mean, largest = float(np.mean([d.mean() for d in apart])), float(max(d.max() for d in apart))
    if not (mean <= LARGEST_MEAN_DIFFERENCE and same >= LEAST_AGREEMENT):
        raise AssertionError(f"maps differ by {mean:.4f} on average, {same:.4f} of the pixels agree")
    return {
        "mean difference": round(mean, 6),
        "largest difference": round(largest, 4),
        "agreement": round(same, 5),
    }


def confidences_are_those_of_the_cpu(place: Place) -> dict[str, Any]:
    """That there is an object."""
    photos = sorted(place.photos.iterdir())[:4]
    both = [Detector.load(place.run, device=device) for device in (place.device, "cpu")]
    apart = max(abs(both[0].confidence(photo) - both[1].confidence(photo)) for photo in photos)
    if apart > 0.02:
        raise AssertionError(f"confidences differ by {apart:.4f}")
    return {"largest difference": round(apart, 5)}


def tensors_of_the_device(place: Place) -> dict[str, Any]:
    """Pictures that are tensors on the device, in float32 and in bfloat16."""
    detector = Detector.load(place.run, device=place.device)
    for dtype in (torch.float32, torch.bfloat16):
        prob = detector(torch.rand(3, 60, 80, device=place.device).to(dtype))
        if prob.shape != (60, 80) or not np.isfinite(prob).all():
            raise AssertionError(f"{dtype}: a map of shape {prob.shape}")
    return {}


def killed_and_resumed(place: Place) -> dict[str, Any]:
    """A process that is killed in stage 2; the same training goes on in this one."""
    run = place.folder / "killed"
    config = replace(brief(place), stage2=replace(brief(place).stage2, epochs=40))
    toml = place.folder / "killed.toml"
    from act2sal.config_files import to_toml

    toml.write_text(to_toml(config), encoding="utf-8")
    words = ("train", place.photos, "--out", run, "--config", toml, "--quiet")
    command = [sys.executable, "-m", "act2sal.cli", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + PATIENCE
    log = run / "log.jsonl"
    while time.monotonic() < deadline and process.poll() is None:
        if log.is_file() and b'"stage2"' in log.read_bytes():
            break
        time.sleep(0.02)
    process.kill()
    said = process.communicate()[0].decode()[-1000:]
    if not (log.is_file() and b'"stage2"' in log.read_bytes()):
        raise AssertionError(f"never came to stage 2: {said}")
    if (run / "detector.safetensors").is_file():
        raise AssertionError("it had ended before it was killed")
    before = log.read_text().count('"stage2"')
    return {"epochs before": before} | trained(place, "killed", config, resume=True)


def with_given_labels(place: Place) -> dict[str, Any]:
    """Stage 2 alone, on the labels of an earlier run."""
    given = str(place.run / "labels")
    return trained(place, "given", replace(brief(place), given_labels=given))


def command(*words: object) -> None:
    """A command of act2sal that has to succeed."""
    status = act2sal([str(word) for word in words])
    if status != 0:
        raise AssertionError(f"act2sal {words[0]} ended with status {status}")


def predicted(place: Place) -> dict[str, Any]:
    """Maps with confidences, and refined cut-outs."""
    out, model = place.folder / "predicted", ("--model", place.run)
    command(
        "predict", place.photos, "--out", out / "maps", *model, "--json", out / "r.json", *place.options()
    )
    command(
        *("predict", place.photos, "--out", out / "cutouts", *model, "--kind", "cutout", "--refine", "crf"),
        *place.options(),
    )
    return {"files": sum(1 for path in out.rglob("*.png"))}


def labelled(place: Place) -> dict[str, Any]:
    """By a new fit, and by the stage 1 of a run."""
    out, size = place.folder / "labelled", ("--size", place.size)
    command("label", place.photos, "--out", out / "new", *size, *place.options())
    command("label", place.photos, "--out", out / "run", "--run", place.run, *place.options())
    own = {path.name: read_photo(path) for path in (place.run / "labels").glob("*.png")}
    same = [(read_photo(out / "run" / name) == label).mean() for name, label in own.items()]
    if np.mean(same) < LEAST_AGREEMENT:
        raise AssertionError(f"{np.mean(same):.4f} of the pixels are labelled as in the run")
    return {"as in the run": round(float(np.mean(same)), 5)}


def compared(place: Place) -> dict[str, Any]:
    """The detector beside a classical method."""
    sheet, model = place.folder / "sheet.png", ("--model", place.run)
    command(
        *("compare", place.photos, "--out", sheet, "--methods", "rbd,a2s", "--limit", 4),
        *("--masks", place.folder / "masks", *model, *place.options()),
    )
    return {}


def exported(place: Place) -> dict[str, Any]:
    """An ONNX file of the detector that was trained on the device."""
    onnx = place.folder / "model.onnx"
    command("export", "--model", place.run, "--out", onnx)
    photo = read_photo(sorted(place.photos.iterdir())[0])
    apart = Detector.load(onnx)(photo) - Detector.load(place.run, device=place.device)(photo)
    if np.abs(apart).mean() > LARGEST_MEAN_DIFFERENCE:
        raise AssertionError(f"maps differ by {np.abs(apart).mean():.4f} on average")
    return {"mean difference": round(float(np.abs(apart).mean()), 6)}


if __name__ == "__main__":
    sys.exit(main())
