"""Score saliency maps against masks: MAE, F, weighted F, S and E, by py-sod-metrics.

Every map is stretched to its full range first (min-max per image), every measure is taken per image and then
averaged. Curves over the thresholds 0..255 are averaged over the images before their mean and maximum are
taken, so `f_max` and `e_max` use one threshold for the whole set.

An image without any foreground in its mask scores 0 in F and weighted F.
"""

import json
import multiprocessing
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import py_sod_metrics
from numpy.typing import NDArray
from PIL import Image

from act2sal import progress
from act2sal.datasets import DatasetError, pairs
from act2sal.images import ImageError, read_photo

MASK_THRESHOLD = 127
"""Grey values above it are foreground."""

_BETA_SQUARED = 0.3
_PAIRS_PER_PROCESS = 64  # fewer are not worth the start of a process
_CHUNK = 8


@dataclass(frozen=True)
class Scores:
    """Means over the images of a set.

    mae: mean absolute error (Eq. 16). f_*: F-measure with beta^2 = 0.3 (Eq. 15) at the threshold of twice the
    map's mean (adaptive), as the mean and the maximum over 256 thresholds, and weighted (Margolin et al., 2014,
    beta = 1). s_measure: Fan et al., 2017. e_*: E-measure, Fan et al., 2018. All in [0, 1].

    images: pairs scored; resized: of these, maps that had another size than their mask; missing: masks without
    a map; extra: maps without a mask, both by relative path; unreadable: one line each, path and reason, of
    pairs left out.
    """

    mae: float
    f_adaptive: float
    f_mean: float
    f_max: float
    f_weighted: float
    s_measure: float
    e_adaptive: float
    e_mean: float
    e_max: float
    images: int
    resized: int
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()

    def metrics(self) -> dict[str, float]:
        """The nine measures by name."""
        return {name: value for name, value in asdict(self).items() if isinstance(value, float)}

    def to_json(self) -> str:
        """All fields as a JSON object."""
        return json.dumps(asdict(self), indent=2) + "\n"


@dataclass(frozen=True)
class ImageScores:
    """Measures of one map; f_curve and e_curve: (256,) float64 over the thresholds 255 down to 0."""

    mae: float
    f_adaptive: float
    f_curve: NDArray[np.float64]
    f_weighted: float
    s_measure: float
    e_adaptive: float
    e_curve: NDArray[np.float64]
    resized: bool


class StructureMeasure(py_sod_metrics.Smeasure):
    """S-measure of Fan et al., 2017.

    Differs: where the centre of the foreground lies in the last row or column, two of the four blocks are empty
    and py-sod-metrics gives NaN; here an empty block, whose weight is 0, adds nothing.
    """

    def ssim(self, pred: NDArray[np.float64], gt: NDArray[np.bool_]) -> float:
        """Similarity of one block, 0 for an empty one."""
        return float(super().ssim(pred, gt)) if pred.size else 0.0


def evaluate(maps: Path, masks: Path, *, workers: int = 0, quiet: bool = False) -> Scores:
    """Score the maps in a folder against the masks in another, paired by relative path without suffix.

    A map of another size than its mask is resized to it, bilinear. Colour is read as grey. The scores do not
    depend on `workers`.

    Args:
        maps: 8-bit saliency maps.
        masks: masks, foreground where the grey value is above `MASK_THRESHOLD`.
        workers: processes; 0: one per core, none for a few pictures; a script that uses several needs the
            `if __name__ == "__main__"` of multiprocessing.
        quiet: no progress bar.

    Raises:
        DatasetError: a folder holds no pictures or two of the same name, or no pair can be scored.
    """
    pairing = pairs(maps, masks)
    scored: list[ImageScores] = []
    unreadable: list[str] = []
    with progress.bar("evaluate", total=len(pairing.pairs), quiet=quiet) as advance:
        for result in _scored(pairing.pairs, workers):
            if isinstance(result, ImageScores):
                scored.append(result)
            else:
                unreadable.append(result)
            advance()
    if not scored:
        raise DatasetError(f"no map in {maps} can be scored with a mask of the same name in {masks}")
    return _summary(
        scored,
        missing=tuple(path.relative_to(masks).as_posix() for path in pairing.masks_alone),
        extra=tuple(path.relative_to(maps).as_posix() for path in pairing.maps_alone),
        unreadable=tuple(unreadable),
    )


def evaluate_pairs(pairs_of_arrays: Iterable[tuple[NDArray[np.float32], NDArray[np.bool_]]]) -> Scores:
    """Score pairs of prob (H, W) float in [0, 1] and mask (h, w) bool, as if each prob had been saved in 8 bits.

    Raises:
        DatasetError: there is no pair.
    """
    scored = [score_map(np.round(prob * 255).astype(np.uint8), mask) for prob, mask in pairs_of_arrays]
    if not scored:
        raise DatasetError("there are no maps to score")
    return _summary(scored)


def score_map(pixels: NDArray[np.uint8], mask: NDArray[np.bool_]) -> ImageScores:
    """Score one map (H, W) uint8 against mask (h, w) bool; the map is resized where the sizes differ."""
    resized = pixels.shape != mask.shape
    if resized:
        height, width = mask.shape
        pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    f_handler = py_sod_metrics.FmeasureHandler(with_dynamic=True, with_adaptive=True, beta=_BETA_SQUARED)
    f_measure = py_sod_metrics.FmeasureV2({"f": f_handler})
    mae, weighted = py_sod_metrics.MAE(), py_sod_metrics.WeightedFmeasure()
    structure, alignment = StructureMeasure(), py_sod_metrics.Emeasure()
    for measure in (f_measure, mae, weighted, structure, alignment):
        measure.step(pred=pixels, gt=mask.astype(np.uint8) * 255)
    f, e = f_measure.get_results()["f"], alignment.get_results()["em"]
    return ImageScores(
        mae=float(mae.get_results()["mae"]),
        f_adaptive=float(f["adaptive"]),
        f_curve=f["dynamic"],
        f_weighted=float(weighted.get_results()["wfm"]),
        s_measure=float(structure.get_results()["sm"]),
        e_adaptive=float(e["adp"]),
        e_curve=e["curve"],
        resized=resized,
    )


def _summary(
    scored: list[ImageScores],
    *,
    missing: tuple[str, ...] = (),
    extra: tuple[str, ...] = (),
    unreadable: tuple[str, ...] = (),
) -> Scores:
    f_curve = np.mean([image.f_curve for image in scored], axis=0)
    e_curve = np.mean([image.e_curve for image in scored], axis=0)
    return Scores(
        mae=float(np.mean([image.mae for image in scored])),
        f_adaptive=float(np.mean([image.f_adaptive for image in scored])),
        f_mean=float(f_curve.mean()),
        f_max=float(f_curve.max()),
        f_weighted=float(np.mean([image.f_weighted for image in scored])),
        s_measure=float(np.mean([image.s_measure for image in scored])),
        e_adaptive=float(np.mean([image.e_adaptive for image in scored])),
        e_mean=float(e_curve.mean()),
        e_max=float(e_curve.max()),
        images=len(scored),
        resized=sum(image.resized for image in scored),
        missing=missing,
        extra=extra,
        unreadable=unreadable,
    )


def _scored(files: list[tuple[Path, Path]], workers: int) -> Iterator[ImageScores | str]:
    """Scores of each pair of files in their order, or one line that says what could not be read."""
    processes = workers or min(os.cpu_count() or 1, len(files) // _PAIRS_PER_PROCESS)
    if processes <= 1:
        yield from map(_score_files, files)
        return
    # Started afresh: a forked copy of a process whose libraries run threads can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        yield from pool.map(_score_files, files, chunksize=_CHUNK)


def _score_files(files: tuple[Path, Path]) -> ImageScores | str:
    try:
        pixels, grey = (_read_grey(path) for path in files)
    except ImageError as error:
        return str(error)
    return score_map(pixels, grey > MASK_THRESHOLD)


def _read_grey(path: Path) -> NDArray[np.uint8]:
    """A picture as (H, W) uint8; grey values stay as they are."""
    return np.array(Image.fromarray(read_photo(path)).convert("L"))
