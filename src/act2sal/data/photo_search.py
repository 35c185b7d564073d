"""Finds the photos of a command; masks and earlier results are left out, which is said once."""

import logging
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from act2sal.data.images import ImageFile, open_image
from act2sal.data.layouts import Listed, Masks, masks_among, masks_of_another
from act2sal.data.origin import image_origin, is_noted, video_origin
from act2sal.data.photo_files import SUFFIXES, DatasetError, Photo, known_files, refuse_limit

AUTO, NOTHING = "auto", "none"
"""Values of `--exclude` that are keywords instead of patterns."""

HEIC = frozenset({".heic", ".heif"})

OTHER_PICTURES = frozenset(
    {".jxl", ".jp2", ".j2k", ".jpx", ".svg", ".psd", ".xcf", ".ico", ".tga", ".ppm", ".pgm", ".exr", ".hdr"}
    | {".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".raw", ".eps"}
)
OTHER_VIDEOS = frozenset(
    {".mp4", ".mov", ".mkv", ".webm", ".m4v", ".avi", ".mpg", ".mpeg", ".wmv", ".3gp", ".flv", ".m2ts"}
    | {".mts", ".ogv", ".vob", ".asf", ".rm", ".3g2", ".f4v", ".mxf", ".divx"}
)
"""Suffixes of other files that a user may expect to be read; how many are left out is said."""

_MOVING = ("GIF", "WEBP", "PNG", "AVIF")
"""Formats in which several pictures are frames of an animation and not pages."""

_RUN = frozenset({"config.toml", ".lock"})
_OF_A_RUN = frozenset({"log.jsonl", "checkpoints", "cache", "labels", "detector.safetensors"})
_LOOKED_AT = 5
_LARGEST_MASK = 50_000_000
_NEARLY = 0.9
_COLOURLESS = 8
_NAMED = 3

logger = logging.getLogger("act2sal")


@dataclass
class Remarks:
    """Messages of a search to its user; each is said once.

    Attributes:
        undone: one line for each thing that the user named and that cannot be had, such as an unreadable folder.
    """

    undone: list[str] = field(default_factory=list)
    _said: set[str] = field(default_factory=set)

    def say(self, about: str, line: str) -> None:
        """Say that something is left out, once per topic `about`."""
        if about not in self._said:
            self._said.add(about)
            logger.info("%s", line)

    def fail(self, line: str) -> None:
        """Say that something the user named is not done."""
        if line not in self.undone:
            self.undone.append(line)
            logger.warning("%s", line)

    def closed(self, error: OSError) -> None:
        """Say that a folder may not be entered."""
        self.fail(f"{error.filename}: {(error.strerror or str(error)).lower()}")


class SilentRemarks(Remarks):
    """Remarks that are kept but not shown."""

    def say(self, about: str, line: str) -> None:
        """Do nothing."""

    def fail(self, line: str) -> None:
        """Keep the line."""
        self.undone.append(line)


@dataclass(frozen=True)
class Search:
    """Options of a search for photos.

    Attributes:
        suffixes: lower-case suffixes of the files that are wanted.
        outside: folder of the results, left out.
        exclude: "auto" leaves out masks and what this package wrote, "none" leaves out nothing. Names and patterns,
            separated by commas, leave out what they match as well ("none,gt": that alone).
        careful: never open a mask. Where names do not show which pictures are masks, and no pattern says it, the
            search ends with an error; otherwise a few pictures are opened to find out.
        limit: most photos in all.
        animations: whether all frames of animations are wanted.
        remarks: receives what is left out.
    """

    suffixes: Set[str] = SUFFIXES
    outside: Path | None = None
    exclude: str = AUTO
    careful: bool = False
    limit: int | None = None
    animations: bool = False
    remarks: Remarks = field(default_factory=Remarks)

    def photos(self, roots: Sequence[str | Path]) -> list[Photo]:
        """Find the photos in files and folders (to any depth), each once.

        A file that is named itself is found whatever its suffix and origin. Of several roots, one without photos is
        a remark and not an error.

        Raises:
            DatasetError: there are no photos, `limit` is below 1, or a careful search cannot tell which are masks.
        """
        refuse_limit(self.limit)
        found: list[Photo] = []
        for root in map(Path, roots):
            try:
                found += self._below(root)
            except DatasetError as error:
                if len(roots) == 1 or isinstance(error, UndecidedError):
                    raise
                self.remarks.fail(str(error))
        if not found:
            raise DatasetError(
                self.remarks.undone[0]
                if self.remarks.undone
                else "there is no input; name a photo, a folder or a pattern"
            )
        return self._each_once(found)[: self.limit]

    def _below(self, root: Path) -> list[Photo]:
        if root.is_file():
            self._tell_several([Photo(root, Path(root.name))])
            return [Photo(root, Path(root.name))]
        if not root.is_dir():
            raise DatasetError(f"no such file or folder: {root}")
        if self.careful and self._guesses:
            _refuse_masks(root)
        files = self._readable(root, self._listed(root))
        if self._guesses and self.careful:  # what may be a mask is not opened
            files = self._no_results(root, self._no_masks(root, self._unnoted(root, files)))
        elif self._guesses:
            files = self._no_masks(root, self._no_results(root, files))
        self._tell_several(files)
        if not files:
            raise DatasetError(f"no {self._what} in {root} (looked for {', '.join(sorted(self.suffixes))})")
        return files

    @property
    def _words(self) -> list[str]:
        return [word.strip() for word in self.exclude.split(",")]

    @property
    def _guesses(self) -> bool:
        return NOTHING not in self._words

    @property
    def _patterns(self) -> list[str]:
        return [word.rstrip("/") for word in self._words if word not in (AUTO, NOTHING)]

    @property
    def _what(self) -> str:
        return "photos and no videos" if self.suffixes & OTHER_VIDEOS else "photos"

    def _listed(self, root: Path) -> list[Photo]:
        """All pictures and videos below the folder but those that are excluded by name or place."""
        runs: list[Path] = []

        def is_run(folder: Path, names: Set[str]) -> bool:
            if not self._guesses or not (names >= _RUN and names & _OF_A_RUN):
                return False
            runs.append(folder)
            return True

        known = self.suffixes | OTHER_PICTURES | OTHER_VIDEOS | HEIC
        files = known_files(root, known, unreadable=self.remarks.closed, skipped=is_run)
        if runs:
            self._leave_out(f"runs {root}", f"{_counted(len(runs), 'run')} of act2sal", runs)
        if self.outside is not None and root.resolve() in self.outside.resolve().parents:
            results = self.outside.resolve().relative_to(root.resolve())
            there = [file for file in files if file.relative.is_relative_to(results)]
            files = [file for file in files if not file.relative.is_relative_to(results)]
            if there:
                self._leave_out(
                    f"outside {root}", f"{_counted(len(there), 'file')} where the results go", [self.outside]
                )
        return self._without_patterns(root, files)

    def _without_patterns(self, root: Path, files: list[Photo]) -> list[Photo]:
        """The files that no pattern matches; a pattern without any match may be mistyped."""
        kept = [file for file in files if not any(_matches(file.relative, p) for p in self._patterns)]
        for pattern in self._patterns:
            if self.careful and not any(_matches(file.relative, pattern) for file in files):
                raise UndecidedError(f"--exclude {pattern}: nothing in {root} has this name or path")
        if len(kept) < len(files):
            self._leave_out(f"patterns {root}", _counted(len(files) - len(kept), "file"), [self.exclude])
        return kept

    def _readable(self, root: Path, files: list[Photo]) -> list[Photo]:
        """Those of the suffixes that are wanted; the others are counted."""
        wanted = self.suffixes if find_spec("pillow_heif") else self.suffixes - HEIC
        others = Counter(file.path.suffix.lower() for file in files if file.path.suffix.lower() not in wanted)
        for suffix, count in sorted(others.items()):
            why = "videos" if suffix in OTHER_VIDEOS else "not read"
            if suffix in HEIC and suffix in self.suffixes:
                why = 'need pip install "act2sal[heic]"'
            self.remarks.say(
                f"{suffix} {root}", f"{root}: {_counted(count, 'file')} left out ({suffix}: {why})"
            )
        return [file for file in files if file.path.suffix.lower() in wanted]

    def _no_masks(self, root: Path, files: list[Photo]) -> list[Photo]:
        pictures = {
            Listed(file.relative, _bytes(file.path)): file
            for file in files
            if file.path.suffix.lower() in SUFFIXES
        }
        masks: set[PurePath] = set()
        for group in masks_among(list(pictures)):
            if self.careful and not group.certain:
                if self._patterns:  # they say what the masks are
                    continue
                raise UndecidedError(_undecided(root, group))
            paths = [root / file.relative for file in group.files]
            likely = group.certain or len(paths) > 1
            if self.careful or (likely and _look_like_masks(paths, graded=group.certain)):
                masks |= {file.relative for file in group.files}
                self._leave_out(
                    f"masks {root / group.place}",
                    f"{_counted(len(group.files), 'mask')} of the photos in {root / group.beside}",
                    [root / group.place],
                )
        return [file for file in files if file.relative not in masks]

    def _unnoted(self, root: Path, files: list[Photo]) -> list[Photo]:
        """Leave out what this package wrote, as far as extended attributes tell; no file is opened."""
        results = {file.path for file in files if is_noted(file.path)}
        if results:
            them = f"{_counted(len(results), 'result')} of act2sal"
            self._leave_out(f"noted {root}", them, sorted(results))
        return [file for file in files if file.path not in results]

    def _no_results(self, root: Path, files: list[Photo]) -> list[Photo]:
        """Leave out what this package wrote; a careful search opens no more files than the limit needs."""
        kept: list[Photo] = []
        results: list[Photo] = []
        for file in files:
            (results if is_result(file.path) else kept).append(file)
            if self.limit is not None and len(kept) == self.limit:
                break
        if results:
            them = f"{_counted(len(results), 'result')} of act2sal"
            self._leave_out(f"results {root}", them, [file.path for file in results])
        return kept

    def _tell_several(self, files: Sequence[Photo]) -> None:
        looked = [(file.path, _looked_at(file.path)) for file in files[: self.limit]]
        several = [path for path, one in looked if one.several and not (one.animated and self.animations)]
        if several:
            self.remarks.say(
                "several " + str(several),
                f"{_counted(len(several), 'file')} with several pictures, of which the first is taken: "
                + _named(several),
            )

    def _each_once(self, files: list[Photo]) -> list[Photo]:
        once: dict[Path, Photo] = {}
        for file in files:
            once.setdefault(file.path.parent.resolve() / file.path.name, file)
        if len(once) < len(files):
            again = _counted(len(files) - len(once), "file")
            self.remarks.say("twice", f"{again} given more than once, done once")
        return list(once.values())

    def _leave_out(self, about: str, them: str, where: Sequence[Path | str]) -> None:
        how = "" if about.startswith(("outside", "patterns")) else f"; --exclude {NOTHING} takes them"
        self.remarks.say(about, f"{them} left out ({_named(where)}){how}")


class UndecidedError(DatasetError):
    """A folder of which it cannot be known which pictures are masks; the message names the option that decides."""


def is_result(path: Path) -> bool:
    """Whether this package wrote the picture, as its metadata says."""
    return _looked_at(path).ours


@dataclass(frozen=True)
class _Looked:
    """Whether this package wrote a picture, how many pictures its file holds, and whether they are an animation."""

    ours: bool = False
    several: bool = False
    animated: bool = False


def is_animation(file: ImageFile) -> bool:
    """Whether the file holds pictures that follow each other in time; its content says so."""
    return (_looked_into(file) if isinstance(file, bytes) else _looked_at(file)).animated


def _looked_at(path: Path) -> _Looked:
    """Read the header of a file, not its pixels; cached until the file changes."""
    try:
        status = path.stat()
    except OSError:  # a broken link: reading it names the reason
        return _Looked()
    return _looked(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=2**17)
def _looked(path: Path, size: int, modified: int) -> _Looked:
    if path.suffix.lower() in OTHER_VIDEOS:
        return _Looked(is_noted(path) or video_origin(path) is not None)
    return _looked_into(path)


def _looked_into(file: ImageFile) -> _Looked:
    try:
        with open_image(file) as image:
            # Telephones put depth and gain maps behind the photo of a JPEG.
            several = image.format not in ("JPEG", "MPO") and getattr(image, "n_frames", 1) > 1
            return _Looked(image_origin(image) is not None, several, several and image.format in _MOVING)
    except Exception:  # Pillow raises errors of many types; `read_photo` is who says what is wrong
        return _Looked()


def _refuse_masks(root: Path) -> None:
    photos = masks_of_another(root)
    if photos is not None:
        raise UndecidedError(
            f"{root} seems to hold the masks of {photos}; name the photos, or --exclude {NOTHING} takes what is there"
        )


def _undecided(root: Path, group: Masks) -> str:
    one, other = root / group.place, root / group.beside
    return (
        f"{one} may hold the masks of {other}, which cannot be known without opening them: "
        f"--exclude '{group.pattern}' leaves them out, --exclude {NOTHING} takes both"
    )


def _look_like_masks(files: Sequence[Path], *, graded: bool) -> bool:
    """Whether a sample of the files is nearly binary; or, with `graded`, grey."""
    step = max(1, len(files) // _LOOKED_AT)
    samples = [_sample(path) for path in files[::step][:_LOOKED_AT]]
    return all(
        sample is not None and (nearly_binary(sample) or (graded and _grey(sample))) for sample in samples
    )


def nearly_binary(pixels: NDArray[np.uint8]) -> bool:
    """Whether two colours cover nearly all of a picture (H, W, 3) uint8, and one of them is black or white."""
    colours, counts = np.unique(pixels.reshape(-1, 3) >> 5, axis=0, return_counts=True)
    commonest = counts.argsort()[::-1][:2]
    plain = {tuple(colour) for colour in colours[commonest].tolist()} & {(0, 0, 0), (7, 7, 7)}
    return bool(plain) and counts[commonest].sum() >= _NEARLY * counts.sum()


def _grey(pixels: NDArray[np.uint8]) -> bool:
    return bool(np.ptp(pixels, axis=-1).max() <= _COLOURLESS)


def _sample(path: Path) -> NDArray[np.uint8] | None:
    """Sample pixels of a picture, (64, 64, 3) uint8; None where it cannot be read or is too large for a mask."""
    try:
        with open_image(path) as image:
            if image.width * image.height > _LARGEST_MASK:
                return None
            return np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.NEAREST))
    except Exception:  # as above
        return None


def _matches(relative: PurePath, pattern: str) -> bool:
    """Whether a pattern matches a path, one of its parent folders, or the name of one of these."""
    places = [relative, *relative.parents[:-1]]
    return any(fnmatchcase(p.as_posix(), pattern) or fnmatchcase(p.name, pattern) for p in places)


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _named(files: Sequence[Path | str]) -> str:
    shown = ", ".join(str(file) for file in files[:_NAMED])
    return shown if len(files) <= _NAMED else f"{shown}, ..."
