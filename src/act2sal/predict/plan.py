"""Plans a call of `act2sal predict`: finds photos and videos, and decides where their results go."""

import glob
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import compress
from pathlib import Path

from act2sal.data.encoding import FORMAT_OF
from act2sal.data.photo_files import (
    SUFFIXES,
    DatasetError,
    Photo,
    png_paths,
    refuse_collisions,
)
from act2sal.data.photo_search import AUTO, Remarks, Search, is_result
from act2sal.predict.video import ALPHA_ENCODERS, ENCODERS, VIDEO_SUFFIXES

PICTURE_SUFFIXES = tuple(FORMAT_OF)
"""Suffixes of an `--out` that is one picture."""

VIDEO_CONTAINER = ".mp4"
"""Container of the result of a video whose own container can only be read, such as .avi."""

ALPHA_CONTAINER = ".webm"
"""Container of the result of a video whose own container has no transparency."""


@dataclass(frozen=True)
class Task:
    """A photo or video and the files of its results, one for each kind of output."""

    photo: Photo
    targets: tuple[Path, ...]

    @property
    def done(self) -> bool:
        """Whether all of its files are there."""
        return all(target.exists() for target in self.targets)

    @property
    def is_video(self) -> bool:
        """Whether it is a video."""
        return _is_video(self.photo)


def expanded(inputs: Sequence[str | Path]) -> list[Path]:
    """Files and folders; a pattern such as `photos/*.jpg`, where no file has that name, is what it matches.

    Raises:
        DatasetError: a pattern that matches nothing; an empty word.
    """
    found: list[Path] = []
    for given in map(str, inputs):
        if not given:
            raise DatasetError("an input is empty; name a photo, a folder or a pattern")
        if Path(given).exists() or not glob.has_magic(given):
            found.append(Path(given))
            continue
        matches = sorted(glob.glob(given, recursive=True))  # noqa: PTH207 (absolute patterns)
        if not matches:
            raise DatasetError(f"nothing matches {given}")
        found += map(Path, matches)
    return found


def planned(
    inputs: Sequence[str | Path],
    out: Path,
    suffixes: Sequence[str] = (".png",),
    *,
    overwrite: bool = False,
    skip_existing: bool = False,
    exclude: str = AUTO,
    remarks: Remarks | None = None,
) -> list[Task]:
    """The photos of all inputs and where their results go: `INPUT/a/b.jpg` gives `OUT/a/b.png`.

    Args:
        inputs: photos, folders of photos, patterns.
        out: folder of the results; or, with the suffix of a picture, the one file that a single photo gives.
        suffixes: what each result's name ends with, such as ".png", or ".mask.png" and ".cutout.png".
        overwrite: replace what is there already.
        skip_existing: leave out photos whose results are all there.
        exclude: as for `photo_search.Search`.
        remarks: gets what is left out, and what could not be had.

    Raises:
        DatasetError: an input holds no photo, or a result would replace a photo or the result of another.
        FileExistsError: a result is there already and neither flag is set.
    """
    search = Search(outside=out, exclude=exclude, remarks=remarks or Remarks())
    photos = _without_own_results(
        _found(inputs, search), partial(_photo_tasks, out=out, suffixes=suffixes), search
    )
    return _wanted(_photo_tasks(photos, out, suffixes), overwrite=overwrite, skip_existing=skip_existing)


def planned_with_videos(
    inputs: Sequence[str | Path],
    out: Path,
    suffixes: Sequence[str] = (".png",),
    *,
    overwrite: bool = False,
    skip_existing: bool = False,
    exclude: str = AUTO,
    remarks: Remarks | None = None,
    transparent: Sequence[bool] = (),
    animations: bool = False,
    watching: bool = False,
    earlier: Set[Path] = frozenset(),
) -> list[Task]:
    """The photos, then the videos: `INPUT/a/c.mov` gives `OUT/a/c.mov`, or `OUT/a/c.mask.mov` and so on.

    Args:
        inputs: photos, videos, folders of both, patterns.
        out: as for `planned`; also, with the suffix of a video, the one file that a single video gives.
        suffixes: as for `planned`; videos take what these have before the format.
        overwrite: as for `planned`.
        skip_existing: as for `planned`.
        exclude: as for `planned`.
        remarks: as for `planned`.
        transparent: of each of the suffixes, whether what is written has transparency, for which a video needs
            another container; empty: none has.
        animations: all of their frames are done, and not the first alone.
        watching: folders can be empty, and what would replace an input or the result of another is a remark.
        earlier: files that were done while watching, before whose results others give way.

    Raises:
        DatasetError: an input holds neither, or a result would replace an input or the result of another.
        FileExistsError: as `planned`.
    """
    remarks = remarks or Remarks()
    search = Search(
        SUFFIXES | VIDEO_SUFFIXES, outside=out, exclude=exclude, animations=animations, remarks=remarks
    )
    found = _arrived(inputs, search, earlier) if watching else _found(inputs, search)
    told = remarks if watching else None
    of_photos = partial(_photo_tasks, out=out, suffixes=suffixes, told=told)
    alpha = transparent or [False] * len(suffixes)
    of_videos = partial(_video_tasks, out=out, suffixes=suffixes, transparent=alpha, told=told)
    videos = _without_own_results([file for file in found if _is_video(file)], of_videos, search)
    photos = _without_own_results([file for file in found if not _is_video(file)], of_photos, search)
    if is_one_video(out) and photos:
        raise DatasetError(f"{out} is one video, and there are photos; name a folder instead")
    if is_one_file(out) and videos:
        raise DatasetError(f"{out} is one picture, and there are videos; name a folder instead")
    return _wanted(of_photos(photos) + of_videos(videos), overwrite=overwrite, skip_existing=skip_existing)


def _found(inputs: Sequence[str | Path], search: Search) -> list[Photo]:
    """What the inputs hold; of several, a pattern that matches nothing is a remark."""
    roots: list[Path] = []
    for given in inputs:
        try:
            roots += expanded([given])
        except DatasetError as error:
            if len(inputs) == 1:
                raise
            search.remarks.fail(str(error))
    return search.photos(roots)


def _arrived(inputs: Sequence[str | Path], search: Search, earlier: Set[Path]) -> list[Photo]:
    """What the inputs hold by now, each file once, the earlier ones first; there may be nothing."""
    found: dict[Path, Photo] = {}
    for given in inputs:
        with suppress(DatasetError):
            for photo in search.photos(expanded([given])):
                found.setdefault(photo.path.resolve(), photo)
    return sorted(found.values(), key=lambda photo: photo.path not in earlier)


def _without_own_results(
    files: list[Photo], tasks_of: Callable[[Sequence[Photo]], list[Task]], search: Search
) -> list[Photo]:
    """Without named files that an earlier run made of others of the files, as `*.png` names them with the photos."""
    own = [file for file in files if is_result(file.path)]
    others = [file for file in files if file not in own]
    if not own or not others:
        return files
    made = {target.resolve() for task in tasks_of(others) for target in task.targets}
    again = [file for file in own if file.path.resolve() in made]
    if again:
        search.remarks.say("own results", f"{len(again)} results of act2sal left out ({again[0].path}, ...)")
    return [file for file in files if file not in again]


def is_one_file(out: Path) -> bool:
    """Whether `out` is the name of a picture, and no folder."""
    return out.suffix.lower() in PICTURE_SUFFIXES and not out.is_dir()


def is_one_video(out: Path) -> bool:
    """Whether `out` is the name of a video, and no folder."""
    return out.suffix.lower() in VIDEO_SUFFIXES and not out.is_dir()


def refuse_unwritten(out: Path) -> None:
    """Refuse an `out` that is a file of a kind that cannot be written.

    Raises:
        DatasetError: its suffix is that of a picture or video that is only read.
    """
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES | VIDEO_SUFFIXES or out.is_dir():
        return
    if suffix in VIDEO_SUFFIXES and suffix not in ENCODERS:
        raise DatasetError(f"{out}: a video is written as {', '.join(ENCODERS)}")
    if suffix not in VIDEO_SUFFIXES and suffix not in PICTURE_SUFFIXES:
        raise DatasetError(f"{out}: a picture is written as {', '.join(PICTURE_SUFFIXES)}")


def _is_video(file: Photo) -> bool:
    return file.path.suffix.lower() in VIDEO_SUFFIXES


def _wanted(tasks: list[Task], *, overwrite: bool, skip_existing: bool) -> list[Task]:
    """Those that are to be done, as `planned` says."""
    if skip_existing:
        return [task for task in tasks if not task.done]
    existing = next((t for task in tasks for t in task.targets if t.exists()), None)
    if existing is not None and not overwrite:
        raise FileExistsError(
            f"{existing} exists already; --overwrite replaces it, --skip-existing does the others"
        )
    return tasks


def _photo_tasks(
    photos: Sequence[Photo], out: Path, suffixes: Sequence[str], told: Remarks | None = None
) -> list[Task]:
    """Plan the results; told: as for `_in_same_tree`."""
    if is_one_file(out):
        return _to_one_file(photos, out, suffixes, "photo")
    return _in_same_tree(photos, out, [suffixes] * len(photos), told)


def _video_tasks(
    videos: Sequence[Photo],
    out: Path,
    suffixes: Sequence[str],
    transparent: Sequence[bool],
    told: Remarks | None = None,
) -> list[Task]:
    """Plan the results; told: as for `_in_same_tree`."""
    if videos and is_one_video(out):
        if transparent[0] and out.suffix.lower() not in ALPHA_ENCODERS:
            possible = ", ".join(ALPHA_ENCODERS)
            raise DatasetError(f"{out}: such a video holds no transparency; possible: {possible}")
        return _to_one_file(videos, out, suffixes, "video")
    names = [
        [
            suffix.rpartition(".")[0] + _container(video.path, transparent=clear)
            for suffix, clear in zip(suffixes, transparent, strict=True)
        ]
        for video in videos
    ]
    return _in_same_tree(videos, out, names, told)


def _container(video: Path, *, transparent: bool) -> str:
    """The suffix of its result: its own, where such files are written and can hold it."""
    own = video.suffix.lower()
    if transparent:
        return own if own in ALPHA_ENCODERS else ALPHA_CONTAINER
    return own if own in ENCODERS else VIDEO_CONTAINER


def _to_one_file(files: Sequence[Photo], out: Path, suffixes: Sequence[str], what: str) -> list[Task]:
    if len(files) != 1 or len(suffixes) != 1:
        raise DatasetError(
            f"{out} is one file: it takes one {what} and one kind of output; name a folder instead"
        )
    refuse_collisions(files, [out])
    return [Task(files[0], (out,))]


def _in_same_tree(
    files: Sequence[Photo], out: Path, suffixes: Sequence[Sequence[str]], told: Remarks | None = None
) -> list[Task]:
    """The tree below `out`.

    Args:
        files: inputs.
        out: folder of the results.
        suffixes: of each file, one for each kind of output.
        told: gets the files whose results would replace others, which are left out; None: they are refused.
    """
    if told is not None:
        return _in_same_tree_apart(files, out, suffixes, told)
    tasks = _tasks_in_same_tree(files, out, suffixes)
    for targets in zip(*(task.targets for task in tasks), strict=True):
        refuse_collisions(files, targets)
    return tasks


def _tasks_in_same_tree(files: Sequence[Photo], out: Path, suffixes: Sequence[Sequence[str]]) -> list[Task]:
    stems = [target.with_suffix("") for target in png_paths(files, out)]
    return [
        Task(file, tuple(stem.with_name(stem.name + suffix) for suffix in own))
        for file, stem, own in zip(files, stems, suffixes, strict=True)
    ]


def _in_same_tree_apart(
    files: Sequence[Photo], out: Path, suffixes: Sequence[Sequence[str]], told: Remarks
) -> list[Task]:
    """Without those whose results would replace an input or the result of one before."""
    first: dict[str, Path] = {}
    for file in files:
        first.setdefault(file.relative.as_posix().casefold(), file.path)
    alone = [first[file.relative.as_posix().casefold()] == file.path for file in files]
    for file, kept in zip(files, alone, strict=True):
        if not kept:
            other = first[file.relative.as_posix().casefold()]
            told.fail(f"{file.path}: left out, as its result would lie where that of {other} lies")
    tasks = _tasks_in_same_tree(list(compress(files, alone)), out, list(compress(suffixes, alone)))
    inputs, taken, kept_tasks = {file.path.resolve() for file in files}, set[str](), []
    for task in tasks:
        replaced = next((target for target in task.targets if target.resolve() in inputs), None)
        if replaced is not None:
            told.fail(f"{task.photo.path}: left out, as {replaced} is an input and would be replaced")
        elif not taken.isdisjoint(_names(task)):
            told.fail(f"{task.photo.path}: left out, as {task.targets[0]} is the result of another")
        else:
            taken.update(_names(task))
            kept_tasks.append(task)
    return kept_tasks


def _names(task: Task) -> list[str]:
    return [target.as_posix().casefold() for target in task.targets]
