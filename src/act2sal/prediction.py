"""`act2sal predict`: photos, videos, pipes and watched folders, by a detector or a classical method."""

import json
import logging
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from act2sal.config import Backend, Format, Refine
from act2sal.detect import Detector
from act2sal.encoding import FORMAT_OF
from act2sal.errors import InputError, MissingPackageError
from act2sal.images import ImageError, read_photo, write_atomic
from act2sal.output_kinds import parse_kind, refuse_kinds
from act2sal.photo_search import AUTO, Remarks
from act2sal.planning import Task, is_one_file, planned, planned_with_videos
from act2sal.predict import Decoded, MapMaker, MethodMaps, Outcome, done, maps_by
from act2sal.rendering import Record, Rendering
from act2sal.thresholds import parse_threshold
from act2sal.video import VideoError, predict_video, require_video
from act2sal.watching import arrivals

logger = logging.getLogger("act2sal")


def rendering_of(
    kinds: Sequence[str],
    out: Path,
    *,
    format: Format | None = None,
    threshold: str | None = None,
    refine: Refine = "none",
    min_confidence: float = 0.0,
    rates: bool = False,
) -> Rendering:
    """What the words of the command line ask for.

    Args:
        kinds: such as "map" or "color:#ffffff" (`output_kinds.parse_kind`).
        out: its suffix is the format where none is given and it names one picture.
        format: of the files.
        threshold: "otsu", "adaptive" or a number (`thresholds.parse_threshold`).
        refine: what is done to a map before it is enlarged.
        min_confidence: in [0, 1].
        rates: whether confidences are wanted.

    Raises:
        InputError: words that mean nothing, or a format that cannot hold a kind.
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
        threshold=None if threshold is None else parse_threshold(threshold),
        refine=refine,
        min_confidence=min_confidence,
        rates=rates,
    )


def maker_of(
    method: str, model: Path | None, rendering: Rendering, *, device: str = "auto", backend: Backend = "auto"
) -> MapMaker:
    """What makes the maps.

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
    """One call of `act2sal predict`; records: of the photos done so far; remarks: on its inputs."""

    maker: MapMaker
    rendering: Rendering
    out: Path
    overwrite: bool = False
    skip_existing: bool = False
    workers: int = 0
    quiet: bool = False
    records: list[Record] = field(default_factory=list)
    exclude: str = AUTO
    remarks: Remarks = field(default_factory=Remarks)

    def run(self, inputs: Sequence[str]) -> Outcome:
        """Do all photos and videos of the inputs.

        Raises:
            DatasetError, FileExistsError: as `planning.planned_with_videos`.
            Interrupted: Ctrl-C; what was written stays.
        """
        outcome = self._do(self._plan(inputs))
        return replace(outcome, failures=self.remarks.undone + outcome.failures)

    def watch(self, inputs: Sequence[str]) -> None:
        """Do photos and videos as they arrive in the folders, until Ctrl-C."""
        with suppress(KeyboardInterrupt):
            for tasks in arrivals(lambda: self._plan(inputs)):
                self._do(tasks)

    def piped(self, content: bytes) -> bytes:
        """A photo's file in, the file of its result out.

        Raises:
            InputError: several kinds of output, or no photo.
        """
        if len(self.rendering.kinds) > 1:
            raise InputError("standard output takes one kind of output")
        with tempfile.TemporaryDirectory() as folder:
            photo, result = Path(folder, "photo"), Path(folder, f"result.{self.rendering.format}")
            photo.write_bytes(content)
            try:
                read_photo(photo)
            except ImageError as error:
                raise InputError(f"standard input: {error.reason}") from error
            replace(self, quiet=True)._photos(planned([photo], result, self.rendering.suffixes))
            return result.read_bytes()

    def write_json(self, path: Path) -> None:
        """Write what is known of the photos done so far."""
        content = [record.as_json() for record in self.records]
        write_atomic(path, (json.dumps(content, indent=1) + "\n").encode())

    def _plan(self, inputs: Sequence[str]) -> list[Task]:
        return planned_with_videos(
            inputs,
            self.out,
            self.rendering.suffixes,
            overwrite=self.overwrite,
            skip_existing=self.skip_existing,
            exclude=self.exclude,
            remarks=self.remarks,
        )

    def _do(self, tasks: Sequence[Task]) -> Outcome:
        videos = [task for task in tasks if task.is_video]
        photos = [task for task in tasks if not task.is_video]
        outcome = self._photos(photos) if photos or not videos else Outcome()
        self._videos(videos, outcome)
        return outcome

    def _photos(self, tasks: Sequence[Task]) -> Outcome:
        return done(
            tasks,
            self.maker,
            self.rendering,
            workers=self.workers,
            quiet=self.quiet,
            on_record=self.records.append,
        )

    def _videos(self, tasks: Sequence[Task], outcome: Outcome) -> None:
        """Do them one by one; without the package that reads them, one line names them all."""
        if not tasks:
            return
        try:
            require_video()
        except MissingPackageError as error:
            paths = [str(task.photo.path) for task in tasks]
            logger.warning("%s: %s", ", ".join(paths), error)
            outcome.failures += [f"{path}: {error}" for path in paths]
            return
        for task in tasks:
            try:
                self._film(task)
                outcome.written += 1
            except VideoError as error:
                outcome.failures.append(str(error))
                logger.warning("%s", error)
            except OSError as error:
                outcome.failures.append(f"{task.targets[0]}: {error.strerror or error}")
                logger.warning("%s", outcome.failures[-1])

    def _film(self, task: Task) -> None:
        """Write one video for each kind.

        Raises VideoError: it cannot be read, or holds no such kind. OSError: it cannot be written.
        """
        video = task.photo.path
        for kind in self.rendering.kinds:
            if kind.has_alpha:
                raise VideoError(
                    f"{video}: a video has no transparency, which {kind.name} needs; color:#rrggbb has none"
                )
        for kind, target in zip(self.rendering.kinds, task.targets, strict=True):
            if target.exists() and self.skip_existing:
                continue
            with ThreadPoolExecutor(1) as pool:
                frame = partial(self._frame, replace(self.rendering, kinds=(kind,)), pool)
                predict_video(video, target, frame, overwrite=self.overwrite, quiet=self.quiet)

    def _frame(
        self, rendering: Rendering, pool: ThreadPoolExecutor, frame: NDArray[np.uint8]
    ) -> NDArray[np.uint8]:
        """A frame (H, W, 3) uint8 RGB -> that of the result, (H, W, 3) RGB or (H, W) grey."""
        (found,) = self.maker([Decoded.of(frame, self.maker.side)], pool)
        saliency = rendering.saliency(frame, found.prob, found.confidence)
        (pixels,) = rendering.pictures(frame, saliency)
        return pixels


def _format_of(out: Path) -> Format:
    """The format that the name of one picture asks for; PNG for a folder."""
    if not is_one_file(out):
        return "png"
    return FORMAT_OF[out.suffix.lower()]
