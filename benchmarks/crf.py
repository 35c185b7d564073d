"""How fast, how exact and how large the dense CRF is, beside pydensecrf2 (extra `bench`).

    python benchmarks/crf.py PHOTOS --out recipes/results/crf_speed.json

Everything runs in one process on one core, except where two workers are compared. Times of the two programs
are taken in turn for each photo, so that whatever else the machine does hits both. Sections measured before
stay in the file; `--only workers label_stage` takes those two again on a machine that is idle.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from act2sal.a2s import crf
from act2sal.a2s.crf import inference, lattice, simplex
from act2sal.a2s.pseudo_labels import write_labels
from act2sal.config import LabelConfig
from act2sal.data.images import read_photo, write_atomic
from act2sal.runtime.hardware import processor

Photo = NDArray[np.uint8]
Mask = NDArray[np.bool_]
MODULES = {"pydensecrf2": "pydensecrf"}
"""Names to import, where they differ from those of the packages."""
SIZE = (300, 400)
MEGAPIXELS = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
KERNELS = {
    "gaussian_sxy": 3.0,
    "gaussian_compat": 3.0,
    "bilateral_sxy": 50.0,
    "bilateral_srgb": 5.0,
    "bilateral_compat": 10.0,
}


def seconds(action: Callable[..., object], *arguments: object) -> float:
    start = time.perf_counter()
    action(*arguments)
    return time.perf_counter() - start


def load_photos(folder: Path, count: int) -> list[Photo]:
    """`count` photos that are 400x300 on file, spread over the sorted folder; upright ones are turned."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in {".jpg", ".png"})
    found: list[Photo] = []
    for path in files[:: max(1, len(files) // (12 * count))]:
        photo = read_photo(path)
        if sorted(photo.shape[:2]) == sorted(SIZE):
            found.append(np.ascontiguousarray(photo if photo.shape[:2] == SIZE else np.rot90(photo)))
        if len(found) == count:
            return found
    raise SystemExit(f"only {len(found)} photos of {SIZE[1]}x{SIZE[0]} in {folder}, {count} are needed")


def rough_mask(photo: Photo) -> Mask:
    """A blob that cuts across the edges of the photo, as the thresholded map of a network does."""
    level = cv2.GaussianBlur(photo.mean(axis=2), (0, 0), 12)
    return np.asarray(level > np.median(level))


def refined(photo: Photo, mask: Mask) -> NDArray[np.float32]:
    """Foreground probability of this package, with the constants of its labels: (H, W) float32."""
    return crf.mean_field(photo, crf.unary_from_labels(mask))


def published(photo: Photo, mask: Mask, iterations: int = 10) -> NDArray[np.float32]:
    """Foreground probability of pydensecrf2: (H, W) float32."""
    from pydensecrf.densecrf import DenseCRF2D
    from pydensecrf.utils import unary_from_labels

    model = DenseCRF2D(mask.shape[1], mask.shape[0], 2)
    model.setUnaryEnergy(unary_from_labels(mask.astype(np.int32), 2, gt_prob=0.7, zero_unsure=False))
    model.addPairwiseGaussian(sxy=3, compat=3)
    model.addPairwiseBilateral(sxy=50, srgb=5, rgbim=photo, compat=10)
    return np.array(model.inference(iterations))[1].reshape(mask.shape)


def compare(photos: list[Photo], repeats: int) -> dict[str, Any]:
    """Time per photo, unary and kernels included: the least of `repeats`, in turn; medians over the photos."""
    ours, theirs, apart, agree = [], [], [], []
    for photo in photos:
        mask = rough_mask(photo)
        rounds = [(seconds(refined, photo, mask), seconds(published, photo, mask)) for _ in range(repeats)]
        ours.append(min(a for a, _ in rounds))
        theirs.append(min(b for _, b in rounds))
        a, b = refined(photo, mask), published(photo, mask)
        apart.append(np.abs(a - b).mean())
        agree.append(((a > 0.5) == (b > 0.5)).mean())
    ratio = np.array(theirs) / np.array(ours)
    return {
        "photos": len(photos),
        "act2sal_ms": 1e3 * np.median(ours),
        "pydensecrf2_ms": 1e3 * np.median(theirs),
        "times_as_fast_median": np.median(ratio),
        "times_as_fast_least": ratio.min(),
        "times_as_fast_most": ratio.max(),
        "mean_abs_difference": np.mean(apart),
        "label_agreement_mean": np.mean(agree),
        "label_agreement_least": min(agree),
    }


def scale_with_workers(photos: list[Photo], repeats: int) -> dict[str, Any]:
    """Photos per second of one and of two threads, in turn, the best of `repeats`; and what a thread cannot
    share.
    """
    tasks = [(photo, rough_mask(photo)) for photo in photos] * 2
    rate = {1: 0.0, 2: 0.0}
    cpu_ms = {1: np.inf, 2: np.inf}
    for _ in range(repeats):
        for workers in rate:
            busy = time.process_time()
            with ThreadPoolExecutor(workers) as pool:
                took = seconds(lambda: list(pool.map(lambda task: refined(*task), tasks)))
            rate[workers] = max(rate[workers], len(tasks) / took)
            cpu_ms[workers] = min(cpu_ms[workers], 1e3 * (time.process_time() - busy) / len(tasks))
    tiny = np.zeros((4, 4, 3), np.uint8), np.ones((4, 4), bool)
    return {
        "photos_per_s_1_worker": rate[1],
        "photos_per_s_2_workers": rate[2],
        "gain": rate[2] / rate[1],
        "cpu_ms_per_photo_1_worker": cpu_ms[1],
        "cpu_ms_per_photo_2_workers": cpu_ms[2],
        "interpreter_ms_per_photo": 1e3 * min(seconds(refined, *tiny) for _ in range(50)),
        "cores": len(os.sched_getaffinity(0)),
        "load_average_1_min": os.getloadavg()[0],
    }


def label_stage(folder: Path, count: int) -> dict[str, float]:
    """Decoding, Eq. 6 and the PNG of `count` photos with one thread per core; the logits are given."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in {".jpg", ".png"})[:count]
    y, x = np.mgrid[-1:1:40j, -1:1:40j]
    waves = np.random.default_rng(0).uniform(1, 4, (len(files), 1, 1))
    logits = (2 - 4 * np.hypot(x, y) + np.sin(waves * x) * np.cos(waves * y)).astype(np.float32)
    with tempfile.TemporaryDirectory() as out:
        targets = [Path(out) / f"{file.stem}.png" for file in files]
        busy = time.process_time()
        took = seconds(lambda: write_labels(files, targets, logits, LabelConfig(), quiet=True))
        busy = time.process_time() - busy
    return {
        "photos": len(files),
        "s_per_photo": took / len(files),
        "cpu_s_per_photo": busy / len(files),
        "cores_used": busy / took,
        "load_average_1_min": os.getloadavg()[0],
    }


def mosaic(photos: list[Photo], megapixels: float) -> Photo:
    """A photo of that size with the texture of real ones: the photos side by side, cut to 4:3."""
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
    height = round(megapixels * 1e6 / width)
    columns, rows = -(-width // SIZE[1]), -(-height // SIZE[0])
    tiles = [photos[i % len(photos)] for i in range(rows * columns)]
    lines = [np.concatenate(tiles[r * columns : (r + 1) * columns], axis=1) for r in range(rows)]
    return np.ascontiguousarray(np.concatenate(lines)[:height, :width])


def grow(photos: list[Photo], sizes: Sequence[float], repeats: int) -> list[dict[str, float]]:
    """Processor time, which other programs disturb less, for photos of growing size; the least of `repeats`."""
    rows = []
    for megapixels in sizes:
        photo = mosaic(photos, megapixels)
        mask = rough_mask(photo)
        times = []
        for _ in range(repeats):
            start = time.process_time()
            refined(photo, mask)
            times.append(time.process_time() - start)
        pixels = mask.size
        rows.append(
            {"megapixels": pixels / 1e6, "cpu_s": min(times), "us_per_pixel": 1e6 * min(times) / pixels}
        )
    return rows


@numba.njit(fastmath=True, error_model="numpy")
def coordinates_only(photo: Photo, scales: NDArray[np.float32], weights: NDArray[np.float32]) -> None:
    """The part of the lattice's building that is arithmetic: everything before a table is asked."""
    residual = np.zeros((simplex.CORNERS, simplex.BLOCK), np.float32)
    ordered = np.zeros((simplex.CORNERS, simplex.BLOCK), np.float32)
    nearest = np.zeros((simplex.CORNERS, simplex.BLOCK), np.int32)
    rank = np.zeros((simplex.CORNERS, simplex.BLOCK), np.int32)
    axis = np.zeros((simplex.CORNERS, simplex.BLOCK), np.int32)
    excess = np.zeros(simplex.BLOCK, np.int32)
    first = 0
    for strip in range(0, photo.shape[1], simplex.BLOCK):
        for row in range(photo.shape[0]):
            run = photo[row, strip : strip + simplex.BLOCK]
            simplex.elevate(run, row, strip, scales, residual)
            simplex.round_to_lattice(residual, nearest, rank, excess)
            simplex.sort_by_rank(residual, rank, ordered, axis)
            simplex.weigh(ordered, weights[first : first + run.shape[0]])
            first += run.shape[0]


def profile(photo: Photo, repeats: int = 7) -> dict[str, float]:
    """Nanoseconds per pixel of each part, the least of `repeats`; the last five are paid once per iteration."""
    field = inference.RandomField(photo, **KERNELS)
    graph, vertices = field._lattice, field._vertices
    values = crf.unary_from_labels(rough_mask(photo))
    total = values.copy()
    scales = lattice.feature_scales(KERNELS["bilateral_sxy"], KERNELS["bilateral_srgb"]).astype(np.float32)
    weights = np.empty_like(graph.weights)
    line = (field._taps, field._column_scale, field._row_scale, field._padded, field._line)
    parts: dict[str, Callable[[], object]] = {
        "lattice: coordinates and weights": lambda: coordinates_only(photo, scales, weights),
        "lattice: all": lambda: lattice.build_lattice(photo, sxy=50.0, srgb=5.0),
        "lattice and normalisation": lambda: inference.RandomField(photo, **KERNELS),
        "iteration: tanh": lambda: inference.to_spin(values.reshape(-1), total.reshape(-1)),
        "iteration: Gaussian kernel": lambda: inference._add_gaussian(values, *line, total),
        "iteration: spread": lambda: inference._spread(values, graph.corners, graph.weights, vertices[0]),
        "iteration: blur": lambda: inference._blur(graph.neighbours, vertices),
        "iteration: read": lambda: inference._read(vertices[0], graph.corners, graph.weights, total),
    }
    parts["lattice: coordinates and weights"]()
    least = {name: min(seconds(part) for _ in range(repeats)) for name, part in parts.items()}
    pixels = values.size
    return {
        **{name: 1e9 * took / pixels for name, took in least.items()},
        "vertices per pixel": graph.neighbours.shape[1] / pixels,
        "bytes of corners and weights read per pixel and iteration": 2.0 * 2 * 4 * simplex.CORNERS,
    }


def exactness(photos: list[Photo]) -> dict[str, float]:
    """Mean |q - q_exact| over 32x32 cut-outs of the photos, against all pairs of pixels in float64."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from exact_crf import exact_mean_field

    sets = {
        "default": KERNELS,
        "sxy 20, srgb 13": KERNELS | {"bilateral_sxy": 20.0, "bilateral_srgb": 13.0},
        "sxy 30, srgb 10, no Gaussian": KERNELS
        | {"bilateral_sxy": 30.0, "bilateral_srgb": 10.0, "gaussian_compat": 0.0},
    }
    result: dict[str, float] = {}
    for name, parameters in sets.items():
        for iterations in (1, 5, 10):
            apart = []
            for photo in photos:
                cut = np.ascontiguousarray(photo[130:162, 180:212])
                unary = crf.unary_from_labels(rough_mask(photo)[130:162, 180:212])
                ours = crf.mean_field(cut, unary, iterations=iterations, **parameters)
                exact = exact_mean_field(cut, unary, iterations=iterations, **parameters)
                apart.append(np.abs(ours - exact).mean())
            result[f"{name}, {iterations} iterations"] = float(np.mean(apart))
    return result


def in_new_process(code: str, **environment: str) -> float:
    """The number that `code` prints in a fresh interpreter."""
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return float(run.stdout)


def compilation() -> dict[str, float]:
    """Seconds until the kernels are ready, imports excluded, with an empty and with a filled cache."""
    code = (
        "import time; from act2sal.a2s import crf; start = time.perf_counter();"
        "crf.compile_kernels(); print(time.perf_counter() - start)"
    )
    with tempfile.TemporaryDirectory() as cache:
        return {
            "empty_cache_s": in_new_process(code, NUMBA_CACHE_DIR=cache),
            "filled_cache_s": in_new_process(code, NUMBA_CACHE_DIR=cache),
        }


def peak_memory(photo: Photo) -> dict[str, float]:
    """Resident megabytes of a process that refines one photo, before and at the peak; imports are in both."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "photo.npy"
        np.save(file, photo)
        code = (
            "import numpy as np; from pathlib import Path; from act2sal.a2s import crf; crf.compile_kernels();"
            f"photo = np.load({str(file)!r}); mask = photo[..., 1] > 128; {{}}"
            "lines = Path('/proc/self/status').read_text().splitlines();"
            "print(next(int(line.split()[1]) / 1024 for line in lines if line.startswith('VmHWM')))"
        )
        return {
            "megapixels": photo.shape[0] * photo.shape[1] / 1e6,
            "before_mb": in_new_process(code.format("")),
            "peak_mb": in_new_process(
                code.format("crf.mean_field(photo, crf.unary_from_labels(mask), iterations=2);")
            ),
        }


def rounded(value: Any) -> Any:
    """Four significant digits, all the way down."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float | np.floating) else value


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="folder with photos of 400x300")
    parser.add_argument("--out", type=Path, help="JSON file that gets the figures")
    parser.add_argument("--only", nargs="+", metavar="SECTION", help="measure these sections alone")
    parser.add_argument("--count", type=int, default=30, help="photos to compare on")
    parser.add_argument("--repeats", type=int, default=3, help="runs per photo, of which the fastest counts")
    parser.add_argument("--megapixels", nargs="+", type=float, default=MEGAPIXELS, help="of growing photos")
    parser.add_argument("--labels", type=int, default=100, help="photos to label")
    options = parser.parse_args()
    cv2.setNumThreads(1)  # OpenCV's own threads would hide what the workers do
    photos = load_photos(options.photos, options.count)
    largest = mosaic(photos, max(options.megapixels))
    sections: dict[str, Callable[[], Any]] = {
        "compilation": compilation,
        "against_pydensecrf2_400x300_10_iterations": lambda: compare(photos, options.repeats),
        "workers": lambda: scale_with_workers(photos, options.repeats),
        "label_stage": lambda: label_stage(options.photos, options.labels),
        "growth": lambda: grow(photos, options.megapixels, options.repeats),
        "memory": lambda: peak_memory(largest),
        "profile_ns_per_pixel_400x300": lambda: profile(photos[0]),
        f"profile_ns_per_pixel_{max(options.megapixels):g}_megapixels": lambda: profile(largest, repeats=3),
        "mean_abs_difference_to_exact_32x32": lambda: exactness(photos[:10]),
    }
    result: dict[str, Any] = {}
    if options.out and options.out.is_file():
        result = json.loads(options.out.read_text())
    result["command"] = "python benchmarks/crf.py PHOTOS --out recipes/results/crf_speed.json"
    result["machine"] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    packages = ("numba", "numpy", "pydensecrf2")
    result["versions"] = {name: version(name) for name in packages if find_spec(MODULES.get(name, name))}
    crf.compile_kernels()
    for name in options.only or sections:
        result[name] = rounded(sections[name]())
        print(name, json.dumps(result[name], indent=2), flush=True)
        if options.out:
            write_atomic(options.out, (json.dumps(result, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
