"""`act2sal compare`: the maps of several methods side by side, one row per photo (as in Fig. 4 and 8)."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from act2sal.data.images import ImageError, SaliencyMethod, read_photo
from act2sal.data.mask_files import MaskReader, refuse_turned
from act2sal.data.photo_files import DatasetError, Photo, find_photos
from act2sal.data.photo_search import AUTO, Remarks, Search
from act2sal.data.pixel_budget import held
from act2sal.errors import InputError
from act2sal.evaluation import MASK_THRESHOLD, score_prob
from act2sal.evaluation.contact_sheet import Cell, thumbnail, write_sheet
from act2sal.predict.maps import Outcome
from act2sal.runtime import cores, progress

logger = logging.getLogger("act2sal")


@dataclass(frozen=True)
class Comparison:
    """Methods to compare, by the heads of their columns, and masks by the relative names of the photos."""

    methods: Mapping[str, SaliencyMethod]
    masks: Mapping[str, Path] | None
    reader: MaskReader

    @property
    def heads(self) -> list[str]:
        """Heads of the columns."""
        return ["photo", *(["mask"] if self.masks is not None else []), *self.methods]

    def row(self, photo: Photo) -> list[Cell]:
        """The photo, its mask if masks are given, and the map of each method.

        Raises:
            ImageError: the photo or its mask cannot be read.
        """
        with held(photo.path):
            return self._row(photo)

    def _row(self, photo: Photo) -> list[Cell]:
        pixels = read_photo(photo.path)
        name = photo.relative.with_suffix("").as_posix()
        mask_file = self.masks.get(name) if self.masks is not None else None
        mask = None if mask_file is None else self.reader.read(mask_file)
        if mask is not None and mask_file is not None:
            refuse_turned(mask_file, mask.shape, photo.path, pixels.shape[:2])
        cells = [Cell(thumbnail(pixels), name)]
        if self.masks is not None:
            cells.append(Cell(None, "no mask") if mask is None else Cell(thumbnail(mask)))
        return cells + [_map_cell(method(pixels), mask) for method in self.methods.values()]


def compare(
    inputs: Sequence[Path],
    out: Path,
    methods: Mapping[str, SaliencyMethod],
    *,
    masks: Path | None = None,
    limit: int | None = None,
    workers: int = 0,
    overwrite: bool = False,
    quiet: bool = False,
    exclude: str = AUTO,
) -> Outcome:
    """Write a contact sheet with one row per photo and one column per method, as PNG.

    A photo that cannot be read, or whose mask cannot be used, is named and left out.

    Args:
        inputs: photos and folders of photos.
        out: the PNG file.
        methods: by the heads of their columns.
        masks: folder of masks, named like the photos; adds them, and adaptive F and MAE under each map.
        limit: only the first so many photos; None: all.
        workers: threads; 0: one per core.
        overwrite: replace the file.
        quiet: no progress bar.
        exclude: as for `photo_search.Search`.

    Raises:
        DatasetError: there is no photo in an input, or none that can be shown.
        FileExistsError: `out` is there already and `overwrite` is not set.
        UnclearError: what the values of all masks mean is unclear.
    """
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists already; --overwrite replaces it")
    search = Search(outside=out, exclude=exclude, limit=limit)
    photos = search.photos(inputs)
    named = None if masks is None else _by_name(masks, search.remarks)
    comparison = Comparison(methods, named, MaskReader.of((named or {}).values()))
    rows: list[list[Cell]] = []
    failures = list(search.remarks.undone)
    with (
        ThreadPoolExecutor(cores.threads(workers)) as pool,
        progress.bar("compare", total=len(photos), quiet=quiet) as advance,
    ):
        for begun in [pool.submit(comparison.row, photo) for photo in photos]:
            try:
                rows.append(begun.result())
            except (ImageError, InputError) as error:
                logger.warning("%s", error)
                failures.append(str(error))
            advance()
    if not rows:
        raise DatasetError(f"none of the photos can be shown; {failures[0]}" if failures else "no photos")
    write_sheet(out, comparison.heads, rows)
    return Outcome(len(rows), failures)


def _by_name(masks: Path, remarks: Remarks) -> dict[str, Path]:
    found = find_photos(masks, unreadable=remarks.closed)
    return {mask.relative.with_suffix("").as_posix(): mask.path for mask in found}


def _map_cell(prob: NDArray[np.float32], mask: NDArray[np.uint8] | None) -> Cell:
    caption = ""
    if mask is not None:
        measures = score_prob(prob, mask > MASK_THRESHOLD).measures
        caption = f"F {measures.f_adaptive:.3f}  MAE {measures.mae:.3f}"
    return Cell(thumbnail(np.round(prob * 255).astype(np.uint8)), caption)
