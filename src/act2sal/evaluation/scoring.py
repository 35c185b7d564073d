"""`act2sal evaluate`: one or several methods, on one or several data sets, as table, files, curves and pictures."""

import csv
import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from act2sal.data.images import write_atomic
from act2sal.data.mask_files import MaskReader, read_map
from act2sal.data.origin import LABEL_FREE, MASKS, UNKNOWN, all_seen, origin_of
from act2sal.data.photo_files import DatasetError, Photo, pairs
from act2sal.data.photo_search import Search, SilentRemarks
from act2sal.data.sod_sets import FoundSet, SodSet, find_sod_sets
from act2sal.evaluation import (
    CODE_CONVENTIONS,
    CONVENTIONS,
    PUBLISHED_CODE,
    STANDARD,
    Scores,
    difference,
    evaluate,
    name_of,
    names_of,
)
from act2sal.evaluation.contact_sheet import cell_of, write_sheet
from act2sal.evaluation.folders import Scorer
from act2sal.evaluation.plots import write_curves
from act2sal.evaluation.tables import HEADINGS, TableFormat, score_text, table

logger = logging.getLogger("act2sal")

COMPARED = "f_adaptive"
"""The score by which images are the worst."""


@dataclass(frozen=True)
class MapSet:
    """Maps of a method to score on a data set; facts: of a known set, one line."""

    method: str
    data_set: str
    maps: Path
    masks: Path
    photos: Path | None = None
    facts: str = ""


@dataclass(frozen=True)
class Scored:
    """A set of maps and its scores.

    seen: labels that the encoders behind the maps were trained with, as the maps say.
    """

    map_set: MapSet
    scores: Scores
    seen: str = ""

    @property
    def supervised(self) -> bool:
        """Whether the maps say that labels were seen: such maps are not label-free, and are marked ‡."""
        return self.seen not in ("", LABEL_FREE)


def map_sets_of(maps: Mapping[str, Path], masks: Path) -> list[MapSet]:
    """What to score: the maps of each method against `masks`, a folder of masks or of known data sets.

    Below a folder of data sets (`sod_sets.find_sod_sets`), the maps of a set lie in `MAPS/FOLDER`, the set's folder
    by its own name.

    Raises:
        DatasetError: none of the sets has maps.
    """
    sets = find_sod_sets(masks)
    if not sets:
        return [MapSet(method, "", folder, masks) for method, folder in maps.items()]
    map_sets = [
        MapSet(method, _name_of(known, sets), maps_of_set, known.masks, known.photos, facts_of(known.sod_set))
        for known in sets
        for method, folder in maps.items()
        if (maps_of_set := folder / known.folder.name).is_dir()
    ]
    for known in sets:
        for folder in maps.values():
            if not (folder / known.folder.name).is_dir():
                logger.warning("%s: no maps in %s, left out", known.sod_set.name, folder / known.folder.name)
    if not map_sets:
        folders = ", ".join(known.folder.name for known in sets)
        raise DatasetError(f"{masks} holds data sets ({folders}), but no maps lie in folders of these names")
    return map_sets


def _name_of(known: FoundSet, sets: Sequence[FoundSet]) -> str:
    """The name of a set, with its folder where several hold parts of the same set."""
    alone = sum(other.sod_set is known.sod_set for other in sets) == 1
    return known.sod_set.name if alone else f"{known.sod_set.name} ({known.folder.name})"


def facts_of(sod_set: SodSet) -> str:
    """Size, split, source and note of a known data set."""
    facts = (f"{sod_set.images} images as published", sod_set.split, sod_set.source, sod_set.note)
    return "; ".join(fact for fact in facts if fact)


def score(
    map_sets: Sequence[MapSet], *, ending: str, workers: int, quiet: bool, scorer: Scorer | None = None
) -> list[Scored]:
    """Score all sets of maps; methods are compared on the images of a set that all of them have.

    Args:
        map_sets: maps of a method on a set each.
        ending: as of `evaluate`.
        workers: likewise.
        quiet: likewise.
        scorer: likewise.

    Raises:
        DatasetError: see `evaluate`.
    """
    scored = []
    for map_set in map_sets:
        rivals = [other for other in map_sets if other.masks == map_set.masks]
        shared = frozenset.intersection(*(names_of(o.maps, o.masks, ending=ending) for o in rivals))
        only = shared if len(rivals) > 1 else None
        result = evaluate(
            map_set.maps,
            map_set.masks,
            ending=ending,
            only=only,
            workers=workers,
            quiet=quiet,
            scorer=scorer,
        )
        scored.append(Scored(map_set, result, seen_by(map_set, ending=ending)))
    return scored


def seen_by(map_set: MapSet, *, ending: str = "") -> str:
    """What the maps that have masks say of the encoders behind them (`Origin.seen`); "" where none says anything."""
    origins = (origin_of(file) for file, _ in pairs(map_set.maps, map_set.masks, ending=ending).pairs)
    told = [origin.seen for origin in origins if origin is not None and origin.seen]
    return all_seen(told) if told else ""


def score_names(*, code: bool) -> tuple[str, ...]:
    """The scores to show: the standard ones, and with `code` those of the published code."""
    return (*STANDARD, *PUBLISHED_CODE) if code else STANDARD


def header(*, code: bool) -> str:
    """The conventions, one line each."""
    return "\n".join((*CONVENTIONS, *(CODE_CONVENTIONS if code else ())))


def score_table(scored: Sequence[Scored], style: TableFormat, *, code: bool) -> str:
    """Scores with half of the width of their 95 % interval; a second row where masks without foreground were met."""
    names = score_names(code=code)
    rows = []
    for one in scored:
        rows.append([_heading(one), *(_with_interval(one.scores, n) for n in names), _images(one.scores)])
        filled = one.scores.without_empty
        if filled is not None:
            title = f"{_heading(one)}, masks with foreground"
            rows.append([title, *(_with_interval(filled, n) for n in names), _images(filled)])
    return table(["", *(HEADINGS[n] for n in names), "images"], rows, style)


def difference_table(scored: Sequence[Scored], style: TableFormat, *, code: bool) -> str:
    """Each method against the first on the same data set: paired difference, its interval, images won; or nothing."""
    rows = []
    for one in scored:
        first = next(other for other in scored if other.map_set.masks == one.map_set.masks)
        if first is one:
            continue
        for name in score_names(code=code):
            gap = difference(one.scores, first.scores, name)
            low, high = gap.interval
            won = "" if gap.ours_better is None else f"{gap.ours_better} : {gap.theirs_better}"
            cells = [f"{gap.value:+.4f}", f"[{low:+.4f}, {high:+.4f}]", won]
            rows.append([f"{_title(one.map_set)} - {first.map_set.method}", HEADINGS[name], *cells])
    if not rows:
        return ""
    return table(["", "score", "difference", "95 % interval", "images better : worse"], rows, style)


def count_lines(scored: Sequence[Scored]) -> list[str]:
    """What is known of each data set and what was met in it, one line each."""
    known = {one.map_set.data_set: one.map_set.facts for one in scored if one.map_set.facts}
    counts = [
        f"{_title(one.map_set)}: {line}" if _title(one.map_set) else line
        for one in scored
        for line in one.scores.counts.lines()
    ]
    seen = dict.fromkeys(one.seen for one in scored if one.supervised)
    daggers = [_dagger(labels) for labels in seen]
    return [*(f"{name}: {facts}" for name, facts in known.items()), *counts, *daggers]


def write_json(path: Path, scored: Sequence[Scored]) -> None:
    """All scores, intervals and counts, and what the maps say of their encoders: of the only set, or by its name."""
    contents = {
        _title(one.map_set): {**json.loads(one.scores.to_json()), "encoders saw": one.seen or None}
        for one in scored
    }
    content = next(iter(contents.values())) if len(scored) == 1 else contents
    write_atomic(path, (json.dumps(content, indent=2) + "\n").encode())


def write_csv(path: Path, scored: Sequence[Scored]) -> None:
    """One line per image: method, data set, image and what was measured of it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "data set", "image", *asdict(scored[0].scores.rows[0].measures)])
    for one in scored:
        for row in one.scores.rows:
            values = [f"{value:.6f}" for value in asdict(row.measures).values()]
            writer.writerow([one.map_set.method, one.map_set.data_set, row.name, *values])
    write_atomic(path, text.getvalue().encode(errors="surrogateescape"))


def write_plots(folder: Path, scored: Sequence[Scored]) -> list[Path]:
    """Precision-recall and F curves: in `folder`, or in a folder of each data set; returns the files."""
    files = []
    for data_set in dict.fromkeys(one.map_set.data_set for one in scored):
        curves = {
            s.map_set.method or "maps": s.scores.curves for s in scored if s.map_set.data_set == data_set
        }
        files += write_curves(folder / data_set if data_set else folder, curves)
    return files


def write_worst(path: Path, one: Scored, count: int, photos: Path | None, *, ending: str) -> None:
    """A contact sheet of the images with the lowest adaptive F: photo, mask, map; written as PNG."""
    map_set = one.map_set
    pairing = pairs(map_set.maps, map_set.masks, ending=ending)
    files = {name_of(mask, map_set.masks): (m, mask) for m, mask in pairing.pairs}
    folder = photos or map_set.photos
    found = (
        {}
        if folder is None
        else {photo.relative.with_suffix("").as_posix(): photo.path for photo in _photos(folder)}
    )
    worst = sorted(one.scores.rows, key=lambda row: (getattr(row.measures, COMPARED), -row.measures.mae))
    masks = MaskReader.of(mask for _, mask in pairing.pairs)
    rows = []
    for row in worst[:count]:
        map_file, mask_file = files[row.name]
        caption = f"F {row.measures.f_adaptive:.3f}  MAE {row.measures.mae:.3f}"
        photo = cell_of(found.get(row.name), row.name)
        rows.append([photo, cell_of(mask_file, read=masks.read), cell_of(map_file, caption, read=read_map)])
    write_sheet(path, ["photo", "mask", "map"], rows)


def _photos(folder: Path) -> list[Photo]:
    """Photos alone, also where masks lie among them."""
    return Search(remarks=SilentRemarks()).photos([folder])


def _dagger(seen: str) -> str:
    """What ‡ means."""
    if MASKS in seen.split(", "):
        return f"‡ trained on masks: the detector behind the maps learnt from {seen}"
    if UNKNOWN in seen:
        return f"‡ it is not known whether encoders behind the maps saw labels ({seen})"
    return f"‡ not label-free: encoders behind the maps were trained with {seen}"


def _heading(one: Scored) -> str:
    """The title of a row, with its ‡."""
    return " ".join(part for part in (_title(one.map_set), "‡" if one.supervised else "") if part)


def _title(map_set: MapSet) -> str:
    return ", ".join(part for part in (map_set.data_set, map_set.method) if part)


def _with_interval(scores: Scores, name: str) -> str:
    low, high = scores.interval(name)
    return f"{score_text(scores.values[name])} ±{score_text((high - low) / 2)}"


def _images(scores: Scores) -> str:
    return str(scores.counts.images)
