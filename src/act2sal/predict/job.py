"""`act2sal predict`: photos, videos, pipes and watched folders, by a detector or a classical method."""

import glob
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from act2sal.config import Annotations, Backend, Format, Matting, Refine
from act2sal.data.encoding import ANIMATED, FORMAT_OF
from act2sal.data.images import ImageError
from act2sal.data.origin import write_result
from act2sal.data.photo_files import DatasetError, Photo
from act2sal.data.photo_search import AUTO, Remarks, is_animation
from act2sal.errors import InputError, MissingPackageError
from act2sal.predict.animation import Animation
from act2sal.predict.annotations import AnnotationFiles
from act2sal.predict.detector import Detector
from act2sal.predict.film import FrameWork, animation_bytes
from act2sal.predict.maps import MapMaker, MethodMaps, Outcome, done, maps_by
from act2sal.predict.output_kinds import OBJECT, parse_kind, refuse_kinds
from act2sal.predict.photo_bytes import photo_bytes
from act2sal.predict.plan import Task, is_one_file, planned_with_videos
from act2sal.predict.records import FilmRecord, FrameRecord, Record, read_records, write_records
from act2sal.predict.rendering import Rendering
from act2sal.predict.selection import Selection
from act2sal.predict.video import VideoError, require_video, rewrite_video
from act2sal.predict.watch import arrivals

PIPE = "-"

MOST_PIPED = 2**30
"""Bytes of a photo or an animation from standard input, which is held in memory whole."""
"""Standard input as an input, standard output as the place of the result."""

MOST_SMOOTH = 15
"""Most frames on either side for smoothing; twice as many are held at once."""

SAVE_EVERY = 30.0
"""Seconds between two saves of the records."""

logger = logging.getLogger("act2sal")


def read_pipe(stream: BinaryIO) -> bytes:
    """Read the photo that is piped in.

    Raises:
        InputError: there are more than `MOST_PIPED` bytes; the rest is not read.
    """
    content = stream.read(MOST_PIPED + 1)
    if len(content) > MOST_PIPED:
        raise InputError(f"standard input: more than {MOST_PIPED >> 20} MiB; name the file instead")
    return content


def rendering_of(
    kinds: Sequence[str],
    out: Path,
    *,
    format: Format | None = None,
    selection: Selection = OBJECT,
    crop: float | None = None,
    annotations: Annotations | None = None,
    matting: Matting | None = None,
    refine: Refine = "none",
    min_confidence: float = 0.0,
    rates: bool = False,
) -> Rendering:
    """Turn the words of the command line into a `Rendering`.

    Args:
        kinds: such as "map" or "color:#ffffff" (`output_kinds.parse_kind`).
        out: its suffix is the format where none is given and it names one picture.
        format: of the files.
        selection: what of the saliency is shown.
        crop: as of `Rendering`.
        annotations: as of `Rendering`.
        matting: as of `Rendering`.
        refine: what is done to a map before it is enlarged.
        min_confidence: in [0, 1].
        rates: whether confidences are wanted.

    Raises:
        InputError: words that mean nothing, numbers out of range, or a format that cannot hold a kind.
    """
    if not 0 <= min_confidence <= 1:
        raise InputError(f"--min-confidence is in [0, 1], not {min_confidence}")
    if format is None:
        format = _format_of(out)
    parsed = tuple(parse_kind(kind) for kind in kinds)
    refuse_kinds(parsed, format)
    return Rendering(
        kinds=parsed,
        format=format,
        selection=selection,
        crop=crop,
        annotations=annotations,
        matting=matting,
        refine=refine,
        min_confidence=min_confidence,
        rates=rates,
    )


def maker_of(
    method: str, model: Path | None, rendering: Rendering, *, device: str = "auto", backend: Backend = "auto"
) -> MapMaker:
    """Choose what makes the maps.

    Args:
        method: "a2s" for the detector, or a name of `classical.METHODS`.
        model: of the detector, as for `Detector.load`.
        rendering: says whether confidences are asked for.
        device: of the detector.
        backend: that runs the detector.

    Raises:
        InputError: a model or a confidence asked of a method that has none.
        CheckpointError: as `Detector.load`.
    """
    if method == "a2s":
        return maps_by(Detector.load(model, device=device, backend=backend), rendering)
    if model is not None:
        raise InputError(f"--model is for the detector; --method {method} has none")
    if rendering.min_confidence > 0:
        raise InputError(f"--min-confidence is for the detector; --method {method} says none")
    from act2sal import classical

    return MethodMaps(classical.METHODS[method])


@dataclass
class Job:
    """One call of `act2sal predict`.

    Attributes:
        json: file of the records.
        smooth: frames on either side over which maps of videos and animations are averaged.
        format_named: whether the user named the format.
        records: of what was done so far.
        remarks: on its inputs.
    """

    maker: MapMaker
    rendering: Rendering
    out: Path
    overwrite: bool = False
    skip_existing: bool = False
    workers: int = 0
    quiet: bool = False
    exclude: str = AUTO
    json: Path | None = None
    smooth: int = 0
    format_named: bool = False
    records: list[Record | FilmRecord] = field(default_factory=list)
    remarks: Remarks = field(default_factory=Remarks)

    def __post_init__(self) -> None:
        if self.smooth < 0 or self.smooth > MOST_SMOOTH:
            raise InputError(f"--smooth is in 0..{MOST_SMOOTH}, not {self.smooth}")
        earlier = [] if self.json is None else read_records(self.json)
        self._earlier = earlier if self.skip_existing else []
        kind, flags = self.rendering.annotations, {"add": self.skip_existing, "replace": self.overwrite}
        self._annotated = kind and AnnotationFiles.begun(kind, self.out, self.maker.seen, **flags)
        self._saved = time.monotonic()

    def run(self, inputs: Sequence[str]) -> Outcome:
        """Do all photos and videos of the inputs.

        Raises:
            DatasetError, FileExistsError: as `planning.planned_with_videos`.
            InputError: smoothing, and nothing moves.
            Interrupted: Ctrl-C; what was written stays.
        """
        tasks = self._plan(inputs)
        if self.smooth and not any(self._moves(task) for task in tasks):
            raise InputError("--smooth is for videos and animations, and there are none to do")
        if self._not_of_videos and (videos := [task for task in tasks if task.is_video]):
            raise InputError(f"{self._not_of_videos}, and {videos[0].photo.path} is a video")
        if self.format_named and tasks and all(task.is_video for task in tasks):
            raise InputError("--format is for pictures, and there are only videos to do")
        outcome = self._do(tasks)
        return replace(outcome, failures=self.remarks.undone + outcome.failures)

    def watch(self, inputs: Sequence[str]) -> Outcome:
        """Do photos and videos that are in the folders, and those that arrive, until Ctrl-C.

        Raises:
            DatasetError: there is no such folder, or nothing in which something could arrive.
        """
        _refuse_unwatched(inputs)
        outcome = Outcome()
        with suppress(KeyboardInterrupt):
            for tasks in arrivals(lambda: self._plan(inputs, watching=True)):
                outcome.failures += self._do(tasks).failures
                self.save()
        outcome.written = len(self.records)
        outcome.failures[:0] = self.remarks.undone
        return outcome

    def piped(self, content: bytes, out: Path | None = None) -> bytes:
        """Turn the file of a photo into the file of its result.

        Args:
            content: of the photo.
            out: file to which the result is written, too.

        Raises:
            InputError: several kinds of output, or no photo.
            FileExistsError: `out` is there already and is not to be replaced.
        """
        if len(self.rendering.kinds) > 1:
            raise InputError("- (standard input) takes one kind of output")
        if out is not None and out.exists() and not self.overwrite:
            raise FileExistsError(f"{out} exists already; --overwrite replaces it")
        pipe = Path(PIPE)
        task = Task(Photo(pipe, pipe), (out or pipe,))
        try:
            made = self._made_of(content, task)
        except ImageError as error:
            raise InputError(f"standard input: {error.reason}") from error
        except InputError as error:
            raise InputError(f"standard input: {error}") from error
        if out is not None:
            write_result(out, made)
        return made

    def _made_of(self, content: bytes, task: Task) -> bytes:
        """Make the result of a photo or an animation in one kind of output, and keep its record."""
        if self._animates and is_animation(content):
            frames: list[FrameRecord] = []
            made, crop = animation_bytes(Animation.open(content), self._frame_work(0, frames))
            self._note(FilmRecord(task, frames, crop))
            return made
        rendered = photo_bytes(content, self.maker, self.rendering)
        self._note(Record(task, rendered.facts))
        return rendered.files[0]

    def save(self) -> None:
        """Write what is known of the photos done so far, and before, to the files of records and annotations."""
        if self.json is not None:
            write_records(self.json, self._earlier, self.records)
        if self._annotated:
            self._annotated.write([record for record in self.records if isinstance(record, Record)])

    def _note(self, record: Record | FilmRecord) -> None:
        """Keep a record; save all from time to time, in case the process is killed."""
        self.records.append(record)
        crop = record.facts.crop if isinstance(record, Record) else record.crop
        if self.rendering.crop is not None and crop is None:
            path = record.task.photo.path
            named = "standard input" if path == Path(PIPE) else path
            logger.warning("%s: nothing was found to crop to, so all of it is kept", named)
        if time.monotonic() - self._saved > SAVE_EVERY:
            self._saved = time.monotonic()
            with suppress(OSError):  # the last time will tell
                self.save()

    def _plan(self, inputs: Sequence[str], *, watching: bool = False) -> list[Task]:
        return planned_with_videos(
            inputs,
            self.out,
            self.rendering.suffixes,
            overwrite=self.overwrite,
            skip_existing=self.skip_existing,
            exclude=self.exclude,
            remarks=self.remarks,
            transparent=self.rendering.transparent,
            animations=self._animates,
            watching=watching,
            earlier={record.task.photo.path for record in self.records},
        )

    def _do(self, tasks: Sequence[Task]) -> Outcome:
        moving = [task for task in tasks if self._moves(task)]
        photos = [task for task in tasks if not self._moves(task)]
        outcome = self._photos(photos) if photos or not moving else Outcome()
        self._one_by_one([task for task in moving if not task.is_video], self._animate, outcome)
        self._videos([task for task in moving if task.is_video], outcome)
        return outcome

    def _photos(self, tasks: Sequence[Task]) -> Outcome:
        return done(
            tasks,
            self.maker,
            self.rendering,
            workers=self.workers,
            quiet=self.quiet,
            on_record=self._note,
        )

    def _videos(self, tasks: Sequence[Task], outcome: Outcome) -> None:
        """Do videos one by one; without the package that reads them, one line names them all."""
        if not tasks:
            return
        if self._not_of_videos:  # they arrived in a folder that is watched
            for task in tasks:
                outcome.failures.append(f"{task.photo.path}: {self._not_of_videos}")
                logger.warning("%s", outcome.failures[-1])
            return
        try:
            require_video()
        except MissingPackageError as error:
            paths = [str(task.photo.path) for task in tasks]
            logger.warning("%s: %s", ", ".join(paths), error)
            outcome.failures += [f"{path}: {error}" for path in paths]
            return
        self._one_by_one(tasks, self._film, outcome)

    def _one_by_one(
        self, tasks: Sequence[Task], work: Callable[[Task], FilmRecord], outcome: Outcome
    ) -> None:
        """Do each task, or name it if it fails."""
        for task in tasks:
            try:
                self._note(work(task))
                outcome.written += 1
            except (VideoError, ImageError) as error:
                outcome.failures.append(str(error))
                logger.warning("%s", error)
            except InputError as error:
                outcome.failures.append(f"{task.photo.path}: {error}")
                logger.warning("%s", outcome.failures[-1])
            except OSError as error:
                outcome.failures.append(f"{task.targets[0]}: {error.strerror or error}")
                logger.warning("%s", outcome.failures[-1])

    def _animate(self, task: Task) -> FilmRecord:
        """Write one animation for each kind.

        Raises:
            ImageError: it cannot be read.
            InputError: the format cannot hold it.
            OSError: it cannot be written.
        """
        animation = Animation.open(task.photo.path)
        record = FilmRecord(task)
        for number, target in enumerate(task.targets):
            if target.exists() and self.skip_existing:
                continue
            frames: list[FrameRecord] = []
            content, crop = animation_bytes(animation, self._frame_work(number, frames))
            write_result(target, content)
            record = replace(record, frames=frames, crop=crop)
        return record

    def _film(self, task: Task) -> FilmRecord:
        """Write one video for each kind.

        Raises:
            VideoError: it cannot be read.
            OSError: it cannot be written.
        """
        record = FilmRecord(task)
        for number, target in enumerate(task.targets):
            if target.exists() and self.skip_existing:
                continue
            frames: list[FrameRecord] = []
            rewrite_video(
                task.photo.path,
                target,
                self._frame_work(number, frames),
                alpha=self.rendering.kinds[number].has_alpha,
                overwrite=self.overwrite,
                quiet=self.quiet,
            )
            record = replace(record, frames=frames)
        return record

    def _frame_work(self, number: int, frames: list[FrameRecord]) -> FrameWork:
        """The work for one kind of output; facts of each frame are added to `frames` if they are wanted."""
        one = replace(self.rendering, kinds=(self.rendering.kinds[number],))
        wanted = self.json is not None
        return FrameWork(self.maker, one, self.smooth, frames.append if wanted else None)

    def _moves(self, task: Task) -> bool:
        return task.is_video or (self._animates and is_animation(task.photo.path))

    @property
    def _animates(self) -> bool:
        """Whether animations are done whole: the format of the results holds them, and no frame is annotated."""
        return self.rendering.format in ANIMATED and self.rendering.annotations is None

    @property
    def _not_of_videos(self) -> str:
        """An option that does not apply to videos; "" if there is none."""
        if self.rendering.annotations is not None:
            return "--annotations is for photos"
        return "--crop is for photos and animations" if self.rendering.crop is not None else ""


def _refuse_unwatched(inputs: Sequence[str]) -> None:
    for given in inputs:
        if not Path(given).exists() and not glob.has_magic(given):
            raise DatasetError(f"no such file or folder: {given}")
    if not any(Path(given).is_dir() or glob.has_magic(given) for given in inputs):
        raise DatasetError("--watch needs a folder or a pattern, in which something can arrive")


def _format_of(out: Path) -> Format:
    """Format by the name of a single result; PNG for a folder."""
    if not is_one_file(out):
        return "png"
    return FORMAT_OF[out.suffix.lower()]
