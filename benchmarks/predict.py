"""Photos a second from files to files: `act2sal predict --backend onnx` beside a supervised cut-out network.

    python benchmarks/predict.py PHOTOS --out recipes/results/predict_speed.json

Both at 320 x 320, on the same photos, in one run, loaded and warm: decoding, resizing, network, resizing back and
writing PNG. The other is a network of the shape of U2-Net-p (`u2netp.py`), run in the way such tools do, one photo
at a time, with onnxruntime as it comes. Processor time counts all cores and suffers less from other programs. Then
each part alone, and with --memory what stays of 5,000 photos.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image
from u2netp import SIZE, write_u2netp

from act2sal.data.images import read_photo, resize_map, resize_photo, write_atomic, write_gray_png
from act2sal.data.photo_files import find_photos
from act2sal.predict.detector import BATCH, Detector
from act2sal.predict.export import export
from act2sal.predict.maps import predict
from act2sal.predict.onnx_network import OnnxNetwork
from act2sal.runtime.hardware import processor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MEMORY_PHOTOS, MEMORY_WARM, MEMORY_SIZE = 5000, 500, 64
PART_PHOTOS = 24


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument(
        "--count", type=int, default=200, help="photos for the speed, every n-th of the folder"
    )
    parser.add_argument("--model", type=Path, help="run or model file; without: the shipped detector")
    parser.add_argument("--memory", action="store_true", help="also the growth over 5,000 small photos")
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    options = parser.parse_args()
    result: dict[str, Any] = {
        "command": "python benchmarks/predict.py PHOTOS --out recipes/results/predict_speed.json",
        "machine": {"processor": processor(), "cores": os.cpu_count(), "python": platform.python_version()},
        "other_load_at_the_start": round(os.getloadavg()[0], 1),
        "versions": {name: version(name) for name in ("onnxruntime", "opencv-python-headless", "pillow")},
        "size": SIZE,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = copied(options.photos, folder / "photos", options.count)
        export(options.model, folder / "detector.onnx", size=SIZE)
        write_u2netp(folder / "u2netp.onnx")
        result |= speed(photos, folder)
        result["seconds_a_photo_of_each_part_alone"] = parts(photos[:PART_PHOTOS], folder)
        if options.memory:
            result["memory"] = memory(photos[0], options.model, folder)
    text = json.dumps(result, indent=1) + "\n"
    print(text)
    if options.out:
        write_atomic(options.out, text.encode())


def copied(source: Path, target: Path, count: int) -> list[Path]:
    """Every n-th photo of a folder, copied into a flat one."""
    found = find_photos(source)
    target.mkdir()
    chosen = found[:: max(1, len(found) // count)][:count]
    return [
        Path(shutil.copy(photo.path, target / f"{number:05d}{photo.path.suffix}"))
        for number, photo in enumerate(chosen)
    ]


def speed(photos: Sequence[Path], folder: Path) -> dict[str, Any]:
    """Photos a second of both, the ratio, and the command with its start."""
    detector = Detector.load(folder / "detector.onnx")
    predict(photos[:BATCH], folder / "warm", detector, quiet=True)
    ours, ours_cpu = wall_and_processor(lambda: predict(photos, folder / "maps", detector, quiet=True))
    other = onnxruntime.InferenceSession(folder / "u2netp.onnx", providers=["CPUExecutionProvider"])
    cut_out(photos[0], folder / "warm" / "other.png", other)
    theirs, theirs_cpu = wall_and_processor(lambda: cut_out_all(photos, folder / "other", other))
    command = [sys.executable, "-m", "act2sal.cli", "predict", str(folder / "photos")]
    command += ["--out", str(folder / "again")]
    command += ["--backend", "onnx", "--model", str(folder / "detector.onnx"), "--quiet"]
    whole = seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
    return {
        "photos": len(photos),
        "photos_a_second": round(len(photos) / ours, 1),
        "photos_a_second_of_the_command_with_its_start": round(len(photos) / whole, 1),
        "photos_a_second_of_u2netp": round(len(photos) / theirs, 2),
        "ratio": round(theirs / ours, 2),
        "processor_seconds_a_photo": round(ours_cpu / len(photos), 4),
        "processor_seconds_a_photo_of_u2netp": round(theirs_cpu / len(photos), 4),
    }


def cut_out_all(photos: Sequence[Path], folder: Path, session: onnxruntime.InferenceSession) -> None:
    """Write the maps of all photos, one after the other."""
    for photo in photos:
        cut_out(photo, folder / f"{photo.stem}.png", session)


def cut_out(photo: Path, target: Path, session: onnxruntime.InferenceSession) -> None:
    """Write the map of one photo as the supervised tools do."""
    image = Image.open(photo).convert("RGB")
    (prob,) = session.run(None, {"photos": normalised(image)})
    spread = (prob[0, 0] - prob.min()) / max(float(prob.max() - prob.min()), 1e-6)
    gray = Image.fromarray((spread * 255).astype(np.uint8)).resize(image.size, Image.Resampling.LANCZOS)
    target.parent.mkdir(exist_ok=True)
    gray.save(target)


def normalised(image: Image.Image) -> NDArray[np.float32]:
    """(1, 3, 320, 320) float32 for the network."""
    pixels = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.LANCZOS), np.float32) / 255
    mean, std = np.array(MEAN, np.float32), np.array(STD, np.float32)
    return np.asarray((pixels - mean) / std, np.float32).transpose(2, 0, 1)[None]


def parts(photos: Sequence[Path], folder: Path) -> dict[str, float]:
    """Wall seconds a photo, one after the other; the networks with all cores and with one."""
    decoded = [read_photo(photo) for photo in photos]
    squares = np.stack([resize_photo(photo, (SIZE, SIZE)) for photo in decoded])
    network, alone = OnnxNetwork(folder / "detector.onnx"), OnnxNetwork(folder / "detector.onnx", threads=1)
    other = onnxruntime.InferenceSession(folder / "u2netp.onnx", providers=["CPUExecutionProvider"])
    probs = list(network(squares))
    maps = [
        np.round(resize_map(prob, photo.shape[:2]) * 255).astype(np.uint8)
        for prob, photo in zip(probs, decoded, strict=True)
    ]
    inputs = [normalised(Image.fromarray(photo)) for photo in decoded]
    programs: dict[str, Callable[[], object]] = {
        "decode": lambda: [read_photo(photo) for photo in photos],
        "resize to the network": lambda: [resize_photo(photo, (SIZE, SIZE)) for photo in decoded],
        "network": lambda: [network(squares[i : i + BATCH]) for i in range(0, len(squares), BATCH)],
        "network, one thread": lambda: [alone(square[None]) for square in squares],
        "resize back": lambda: [
            resize_map(p, photo.shape[:2]) for p, photo in zip(probs, decoded, strict=True)
        ],
        "write PNG": lambda: write_all(maps, folder / "parts"),
        "network of u2netp": lambda: [other.run(None, {"photos": photo}) for photo in inputs],
    }
    return {name: round(seconds(program) / len(photos), 5) for name, program in programs.items()}


def write_all(maps: Sequence[NDArray[np.uint8]], folder: Path) -> None:
    """Write maps as PNG files."""
    for number, pixels in enumerate(maps):
        write_gray_png(folder / f"{number}.png", pixels)


def memory(photo: Path, model: Path | None, folder: Path) -> dict[str, float]:
    """Resident megabytes of this process after the first small photos and after all of them."""
    small = folder / "small"
    pixels = resize_photo(read_photo(photo), (48, 64))
    for number in range(MEMORY_PHOTOS):
        write_gray_png(small / f"{number:05d}.png", pixels[..., 1])
    found = sorted(small.iterdir())
    export(model, folder / "small.onnx", size=MEMORY_SIZE)
    detector = Detector.load(folder / "small.onnx")
    predict(found[:MEMORY_WARM], folder / "memory", detector, quiet=True)
    before = resident()
    predict(found, folder / "memory", detector, overwrite=True, quiet=True)
    return {
        "photos": MEMORY_PHOTOS,
        f"mb_after_{MEMORY_WARM}": round(before, 1),
        "mb_after_all": round(resident(), 1),
    }


def resident() -> float:
    """Resident megabytes of this process (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def wall_and_processor(program: Callable[[], object]) -> tuple[float, float]:
    """Wall seconds and processor seconds of one call."""
    start = time.process_time()
    wall = seconds(program)
    return wall, time.process_time() - start


def seconds(program: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    program()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
