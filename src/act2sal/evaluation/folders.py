"""Score the maps in a folder against the masks in another, on all cores."""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from act2sal.data.images import ImageError
from act2sal.data.mask_files import MaskReader, read_map, refuse_turned
from act2sal.data.origin import origin_of
from act2sal.data.photo_files import DatasetError, Pairing, pairs
from act2sal.data.pixel_budget import held
from act2sal.evaluation.accumulator import REPLICATES, Accumulator
from act2sal.evaluation.image_scores import MASK_THRESHOLD, ImageScores, score_map, score_prob
from act2sal.evaluation.scores import Counts, ImageRow, Scores
from act2sal.runtime import cores, progress

_AHEAD = 8  # pairs in work per thread

Scorer = Callable[[Collection[tuple[Path, Path]]], Iterator[ImageScores | str]]
"""Scores pairs of a map and a mask, in their order; one line for each that cannot be read."""


class Tally:
    """Scores a set image by image, as in a training loop; no image is kept.

        tally = Tally()
        for prob, mask in validation:
            tally.add(prob, mask)
        print(tally.scores())

    Args:
        replicates: replicates of the bootstrap behind the confidence intervals; 0: no intervals.
    """

    def __init__(self, *, replicates: int = REPLICATES) -> None:
        self._all, self._filled = (Accumulator(replicates=replicates) for _ in range(2))
        self._rows: list[ImageRow] = []
        self._filled_rows: list[ImageRow] = []
        self._unreadable: list[str] = []
        self._resized = self._constant = self._graded = 0

    def add(self, prob: ArrayLike, mask: ArrayLike, name: str = "") -> None:
        """Score prob (H, W) float in [0, 1] against mask (h, w) bool, as if the map had been saved in 8 bits.

        `name` tells the image from others; without one its place in the sequence does.

        Raises:
            ValueError: values outside [0, 1], or maps that are not two-dimensional.
        """
        self.add_scored(score_prob(np.asarray(prob), np.asarray(mask)), name or str(len(self._rows)))

    def add_scored(self, image: ImageScores, name: str) -> None:
        """Add an image whose scores are known, under its name."""
        row = ImageRow(name, image.measures)
        self._all.add(image, name)
        self._rows.append(row)
        if not image.empty:
            self._filled.add(image, name)
            self._filled_rows.append(row)
        self._resized += image.resized
        self._constant += image.constant
        self._graded += image.graded

    def add_unreadable(self, line: str) -> None:
        """Note a pair that cannot be read."""
        self._unreadable.append(line)

    def scores(self, *, missing: tuple[str, ...] = (), extra: tuple[str, ...] = ()) -> Scores:
        """The scores of what was added so far.

        Raises:
            DatasetError: nothing was added.
        """
        if not self._rows:
            raise DatasetError("there are no maps to score")
        empty = len(self._rows) - len(self._filled_rows)
        counts = Counts(
            images=len(self._rows),
            resized=self._resized,
            constant=self._constant,
            empty=empty,
            graded=self._graded,
            missing=missing,
            extra=extra,
            unreadable=tuple(self._unreadable),
        )
        filled = None
        if empty and self._filled_rows:
            filled_counts = Counts(images=len(self._filled_rows))
            filled = Scores.of(self._filled.totals(), filled_counts, tuple(self._filled_rows))
        return Scores.of(self._all.totals(), counts, tuple(self._rows), filled)


def evaluate(
    maps: Path,
    masks: Path,
    *,
    ending: str = "",
    only: frozenset[str] | None = None,
    replicates: int = REPLICATES,
    workers: int = 0,
    quiet: bool = False,
    scorer: Scorer | None = None,
) -> Scores:
    """Score the maps in a folder against the masks in another, paired by relative path without suffix.

    A map of another size than its mask is resized to it, bilinear. `mask_files` says how pictures are read. The
    scores do not depend on `workers`.

    Args:
        maps: 8-bit saliency maps.
        masks: masks, foreground where the grey value is above `MASK_THRESHOLD`.
        ending: what the names of the maps have behind those of the masks, such as "_HS".
        only: names (relative path without suffix) to keep to; None: all.
        replicates: of the bootstrap behind the confidence intervals; 0: none.
        workers: threads; 0: one per core.
        quiet: no progress bar.
        scorer: scores the pairs elsewhere than in this process; None: here, in threads.

    Raises:
        DatasetError: a folder holds no pictures or two of the same name, or no pair can be scored.
        UnclearError: the values of a map or a mask could mean two things.
        InputError: a map is turned by 90 degrees against its mask.
    """
    pairing = pairs(maps, masks, ending=ending)
    found = {name_of(mask, masks): (map_, mask) for map_, mask in pairing.pairs}
    kept = {name: files for name, files in found.items() if only is None or name in only}
    tally = Tally(replicates=replicates)
    for line in pairing.closed:
        tally.add_unreadable(line)
    with progress.bar("evaluate", total=len(kept), quiet=quiet) as advance:
        results = scorer(kept.values()) if scorer is not None else _scored(kept.values(), workers)
        for name, result in zip(kept, results, strict=True):
            if isinstance(result, ImageScores):
                tally.add_scored(result, name)
            else:
                tally.add_unreadable(result)
            advance()
    try:
        return tally.scores(**_alone(pairing, maps, masks))
    except DatasetError as error:
        message = f"no map in {maps} can be scored with a mask of the same name in {masks}"
        raise DatasetError(message) from error


def names_of(maps: Path, masks: Path, *, ending: str = "") -> frozenset[str]:
    """Names (relative path without suffix) of the masks that have a map.

    Raises:
        DatasetError: see `evaluate`.
    """
    return frozenset(name_of(mask, masks) for _, mask in pairs(maps, masks, ending=ending).pairs)


def evaluate_pairs(pairs_of_arrays: Iterable[tuple[NDArray[np.floating], NDArray[np.bool_]]]) -> Scores:
    """Score pairs of prob (H, W) float in [0, 1] and mask (h, w) bool, as if each prob had been saved in 8 bits.

    Raises:
        DatasetError: there is no pair.
        ValueError: values outside [0, 1].
    """
    tally = Tally()
    for prob, mask in pairs_of_arrays:
        tally.add(prob, mask)
    return tally.scores()


def _scored(files: Collection[tuple[Path, Path]], workers: int) -> Iterator[ImageScores | str]:
    """Scores of each pair in order, or one line that says what cannot be read; few pairs are held at a time."""
    threads = cores.threads(workers)
    masks = MaskReader.of(mask for _, mask in files)
    score_map(np.zeros((2, 2), np.uint8), np.eye(2, dtype=bool))  # compiles: Numba's cache is not for threads
    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[ImageScores | str]] = deque()
        for pair in files:
            ahead.append(pool.submit(score_files, masks, *pair))
            if len(ahead) >= _AHEAD * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def score_files(masks: MaskReader, map_file: Path, mask_file: Path) -> ImageScores | str:
    """Scores of a map against its mask, or one line that says what cannot be read.

    Raises:
        UnclearError, InputError: as `evaluate`.
    """
    try:
        with held(map_file, mask_file):
            return _score_read(masks, map_file, mask_file)
    except ImageError as error:
        return str(error)


def _score_read(masks: MaskReader, map_file: Path, mask_file: Path) -> ImageScores:
    pixels, grey = _read_grey(map_file), masks.read(mask_file)
    refuse_turned(map_file, pixels.shape, mask_file, grey.shape)
    low, high = int(grey.min()), int(grey.max())
    graded = bool(((grey != low) & (grey != high)).any())
    return score_map(pixels, grey > MASK_THRESHOLD, graded=graded)


def _read_grey(path: Path) -> NDArray[np.uint8]:
    """The grey levels of a map, (H, W) uint8."""
    return read_map(path)


def name_of(mask: Path, masks: Path) -> str:
    """Name of an image: path of its mask below the folder `masks`, or of the mask itself, without suffix."""
    relative = mask.relative_to(masks) if mask != masks else Path(mask.name)  # a single file
    return relative.with_suffix("").as_posix()


def _alone(pairing: Pairing, maps: Path, masks: Path) -> dict[str, tuple[str, ...]]:
    """Masks and maps without a partner, by relative path; sheets and plots that lie among the maps are none."""
    origins = {path: origin_of(path) for path in pairing.maps_alone}
    extra = [
        path for path, origin in origins.items() if origin is None or origin.what not in ("sheet", "plot")
    ]
    return {
        "missing": tuple(path.relative_to(masks).as_posix() for path in pairing.masks_alone),
        "extra": tuple(path.relative_to(maps).as_posix() for path in extra),
    }
