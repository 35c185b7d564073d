"""Maps scored a second, beside a plain loop over py-sod-metrics, and how much memory each takes.

    python benchmarks/evaluate.py MAPS MASKS [--out recipes/results/evaluate_speed.json]

Both score the same pairs in the same run, decoding included, each in a process of its own; the loop is the one of
py-sod-metrics' own examples with the measures that `act2sal evaluate` shows. Turns alternate; the fastest counts.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from act2sal.data.images import write_atomic
from act2sal.data.photo_files import pairs
from act2sal.evaluation import evaluate
from act2sal.runtime.hardware import hardware

PROGRAMS = ("py-sod-metrics loop", "act2sal")
TURNS = 2


def main() -> None:
    """Measure both programs in turns and print, or run the one that is named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("maps", type=Path)
    parser.add_argument("masks", type=Path)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    parser.add_argument("--program", choices=PROGRAMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.program:
        print(json.dumps(measured(options.program, options.maps, options.masks)))
        return
    turns = {
        name: [child(name, options.maps, options.masks) for _ in range(options.turns)] for name in PROGRAMS
    }
    best = {name: min(runs, key=lambda run: run["seconds"]) for name, runs in turns.items()}
    images = best["act2sal"]["images"]
    result = {
        "command": "python benchmarks/evaluate.py MAPS MASKS --out recipes/results/evaluate_speed.json",
        "hardware": hardware(),
        "images": images,
        "programs": {
            name: {
                "images_per_second": round(images / run["seconds"], 1),
                "peak_mib": run["peak_mib"],
                "peak_mib_without_images": run["base_mib"],
            }
            for name, run in best.items()
        },
        "ratio": round(best[PROGRAMS[0]]["seconds"] / best["act2sal"]["seconds"], 2),
        "largest_difference": max(
            abs(best["act2sal"]["scores"][name] - value)
            for name, value in best[PROGRAMS[0]]["scores"].items()
        ),
    }
    text = json.dumps(result, indent=1) + "\n"
    print(text)
    if options.out:
        write_atomic(options.out, text.encode())


def child(program: str, maps: Path, masks: Path) -> dict[str, Any]:
    """The figures of one process."""
    command = [sys.executable, __file__, str(maps), str(masks), "--program", program]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measured(program: str, maps: Path, masks: Path) -> dict[str, Any]:
    """Seconds, images, scores, and peak memory in MiB before and after."""
    base = peak_mib()
    start = time.perf_counter()
    if program == "act2sal":
        scores = evaluate(maps, masks, quiet=True)
        images, values = scores.counts.images, scores.metrics()
    else:
        images, values = plain_loop(maps, masks)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "images": images, "scores": values, "base_mib": base, "peak_mib": peak_mib()}


def plain_loop(maps: Path, masks: Path) -> tuple[int, dict[str, float]]:
    """Every pair through every measure, one after the other."""
    import py_sod_metrics

    f = py_sod_metrics.FmeasureV2(
        {
            "f": py_sod_metrics.FmeasureHandler(with_dynamic=True, with_adaptive=True, beta=0.3),
            "iou": py_sod_metrics.IOUHandler(with_dynamic=False, with_adaptive=True, with_binary=True),
        }
    )
    mae, weighted = py_sod_metrics.MAE(), py_sod_metrics.WeightedFmeasure()
    s, e = py_sod_metrics.Smeasure(), py_sod_metrics.Emeasure()
    found = pairs(maps, masks).pairs
    for map_file, mask_file in found:
        mask = cv2.imread(str(mask_file), cv2.IMREAD_GRAYSCALE)
        pixels = cv2.imread(str(map_file), cv2.IMREAD_GRAYSCALE)
        if mask is None or pixels is None:
            raise SystemExit(f"OpenCV does not read {map_file} or {mask_file}")
        if pixels.shape != mask.shape:
            pixels = cv2.resize(pixels, mask.shape[::-1])
        for measure in (f, mae, weighted, s, e):
            measure.step(pred=pixels, gt=np.where(mask > 127, 255, 0).astype(np.uint8))
    fm, iou, em = f.get_results()["f"], f.get_results()["iou"], e.get_results()["em"]
    return len(found), {
        "mae": float(mae.get_results()["mae"]),
        "f_adaptive": float(fm["adaptive"]),
        "f_max": float(fm["dynamic"].max()),
        "f_weighted": float(weighted.get_results()["wfm"]),
        "s_measure": float(s.get_results()["sm"]),
        "e_max": float(em["curve"].max()),
        "iou": float(iou["binary"]),
    }


def peak_mib() -> float:
    """Peak resident memory of this process so far."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


if __name__ == "__main__":
    main()
