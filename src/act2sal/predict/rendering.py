"""How saliency is written: which kinds of output, in which format, what of it, and when not at all."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from act2sal.config import Annotations, Matting
from act2sal.data.encoding import NO_PROFILE, Format, Profile, encoded, read_profile
from act2sal.data.images import ImageFile
from act2sal.data.origin import Origin, write_result
from act2sal.data.transparency import Opacity
from act2sal.predict.annotations import YOLO_SUFFIX, yolo_lines
from act2sal.predict.cropping import crop_around, cropped, refuse_margin
from act2sal.predict.matting import require_pymatting
from act2sal.predict.outlines import Region, regions_of
from act2sal.predict.output_kinds import OBJECT, Kind, rendered, suffix_of
from act2sal.predict.plan import Task
from act2sal.predict.records import Facts, Record
from act2sal.predict.regions import Box
from act2sal.predict.selection import Selection
from act2sal.predict.upsampling import Refine, full_size

WriteFile = Callable[[Path, bytes], None]


class Rendered(NamedTuple):
    """The results of one photo: the content of its files, as `Rendering.suffixes`, and what is known of it."""

    files: list[bytes]
    facts: Facts


@dataclass(frozen=True)
class Rendering:
    """What is written of each photo.

    Args:
        kinds: of output.
        format: of the files.
        selection: what of the saliency.
        crop: margin that is kept around the object (`cropping.crop_around`); None: the whole photo.
        annotations: also say where the regions of the object are; yolo: in a file for each photo.
        matting: as of `output_kinds.rendered`.
        refine: what is done to a map before it is enlarged.
        min_confidence: below it the saliency counts as empty.
        rates: whether the confidence is wanted even so.
        seen: labels that the encoders behind the maps were trained with (`Origin.seen`).

    Raises:
        InputError: a margin that is none.
        MissingPackageError: `matting` without pymatting.
    """

    kinds: tuple[Kind, ...] = (Kind("map"),)
    format: Format = "png"
    selection: Selection = OBJECT
    crop: float | None = None
    annotations: Annotations | None = None
    matting: Matting | None = None
    refine: Refine = "none"
    min_confidence: float = 0.0
    rates: bool = False
    seen: str = ""

    def __post_init__(self) -> None:
        if self.crop is not None:
            refuse_margin(self.crop)
        if self.matting is not None:
            require_pymatting()

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What the name of each result ends with."""
        pictures = tuple(suffix_of(kind, len(self.kinds) > 1, self.format) for kind in self.kinds)
        return (*pictures, YOLO_SUFFIX) if self.annotations == "yolo" else pictures

    @property
    def transparent(self) -> tuple[bool, ...]:
        """Whether each result has transparency."""
        pictures = tuple(kind.has_alpha for kind in self.kinds)
        return (*pictures, False) if self.annotations == "yolo" else pictures

    @property
    def asks_confidence(self) -> bool:
        """Whether maps have to come with a confidence."""
        return self.rates or self.min_confidence > 0

    def saliency(
        self, photo: NDArray[np.uint8], prob: NDArray[np.float32], confidence: float | None
    ) -> NDArray[np.float32]:
        """The saliency at the size of the photo: (H, W, 3) uint8, (h, w) float32 in [0, 1] -> (H, W) float32."""
        if confidence is not None and confidence < self.min_confidence:
            return np.zeros(photo.shape[:2], np.float32)
        return full_size(prob, photo, self.refine)

    def crop_of(self, saliency: NDArray[np.float32]) -> Box | None:
        """The part of a photo that its results show; None: all of it, as nobody asked or nothing was found."""
        return None if self.crop is None else crop_around(self.selection.object_of(saliency), self.crop)

    def pictures(
        self,
        photo: NDArray[np.uint8],
        prob: NDArray[np.float32],
        opacity: Opacity | None = None,
        icc_profile: bytes | None = None,
    ) -> list[NDArray[np.uint8]]:
        """The pixels of each output, from a photo, its saliency at its size, its transparency and its profile."""
        return list(self._pictures(photo, prob, opacity, icc_profile))

    def _pictures(
        self,
        photo: NDArray[np.uint8],
        prob: NDArray[np.float32],
        opacity: Opacity | None,
        icc_profile: bytes | None,
    ) -> Iterator[NDArray[np.uint8]]:
        for kind in self.kinds:
            yield rendered(
                kind,
                photo,
                prob,
                self.selection,
                matting=self.matting,
                opacity=opacity,
                icc_profile=icc_profile,
            )

    def rendered_bytes(
        self,
        photo: NDArray[np.uint8],
        prob: NDArray[np.float32],
        confidence: float | None = None,
        *,
        opacity: Opacity | None = None,
        profile: Profile = NO_PROFILE,
    ) -> Rendered:
        """The files of one photo's results, from arrays and bytes alone.

        Args:
            photo: (H, W, 3) uint8 RGB.
            prob: its map, (h, w) float32 in [0, 1] of any size.
            confidence: that it holds a salient object, if known.
            opacity: its transparency, if it has any; what is transparent is not salient.
            profile: its colour profile and EXIF, for the kinds that show it.

        Raises:
            InputError: the format cannot hold a picture of that size.
        """
        saliency = self.saliency(photo, prob, confidence)
        if opacity is not None:
            saliency[opacity.alpha == 0] = 0
        facts = self._facts_of(saliency, confidence)
        files = []
        for kind, pixels in zip(
            self.kinds, self._pictures(photo, saliency, opacity, profile.icc_profile), strict=True
        ):
            icc, exif = profile if kind.shows_photo else NO_PROFILE
            origin = Origin(kind.name, self.seen)
            shown = cropped(pixels, facts.crop)
            files.append(encoded(shown, self.format, icc_profile=icc, exif=exif, origin=origin))
        if self.annotations == "yolo":
            files.append(yolo_lines(facts).encode())
        return Rendered(files, facts)

    def _facts_of(self, saliency: NDArray[np.float32], confidence: float | None) -> Facts:
        regions: tuple[Region, ...] = ()
        if self.annotations is not None:
            regions = regions_of(self.selection.object_of(saliency), saliency)
        return Facts.of(saliency, confidence, self.crop_of(saliency), regions)

    def profile_of(self, file: ImageFile) -> Profile:
        """Colour profile and EXIF of a photo, if a kind shows it."""
        return read_profile(file) if any(kind.shows_photo for kind in self.kinds) else NO_PROFILE

    def write(
        self,
        task: Task,
        photo: NDArray[np.uint8],
        prob: NDArray[np.float32],
        confidence: float | None,
        opacity: Opacity | None = None,
        write_file: WriteFile = write_result,
    ) -> Record:
        """Write the results of one photo to the files of its task; the rest as of `rendered_bytes`.

        Args:
            task: the photo and the files.
            photo: (H, W, 3) uint8 RGB.
            prob: its map, (h, w) float32 in [0, 1] of any size.
            confidence: as of `rendered_bytes`.
            opacity: likewise.
            write_file: takes the path and the content of each file.

        Raises:
            OSError: a file cannot be written.
            InputError: the format cannot hold a picture of that size.
        """
        profile = self.profile_of(task.photo.path)
        rendered = self.rendered_bytes(photo, prob, confidence, opacity=opacity, profile=profile)
        for target, content in zip(task.targets, rendered.files, strict=True):
            write_file(target, content)
        return Record(task, rendered.facts)


MAPS = Rendering()
"""8-bit PNG maps."""
