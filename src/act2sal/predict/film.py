"""Processes the frames of videos and animations, one after the other."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from act2sal.data.encoding import NO_PROFILE, encoded_animation, read_profile
from act2sal.data.origin import Origin
from act2sal.predict.animation import Animation
from act2sal.predict.cropping import around_all, cropped
from act2sal.predict.maps import Decoded, MapMaker
from act2sal.predict.records import Facts, FrameRecord
from act2sal.predict.regions import Box
from act2sal.predict.rendering import Rendering
from act2sal.predict.smoothing import Mapped, smoothed
from act2sal.predict.video import Frame


@dataclass(frozen=True)
class FrameWork:
    """What is done to the frames, one kind of output at a time (a `video.FramesFunction`).

    Attributes:
        maker: makes the maps.
        rendering: one kind of output.
        smooth: frames on either side over which maps are averaged.
        on_frame: called with what is known of each frame; None: not called.
        on_crop: called, in the same order, with the part of each frame that holds its object; frames have one size
            and are not cropped here.
        icc_profile: colour space of the frames; None: sRGB.
    """

    maker: MapMaker
    rendering: Rendering
    smooth: int = 0
    on_frame: Callable[[FrameRecord], None] | None = None
    on_crop: Callable[[Box | None], None] | None = None
    icc_profile: bytes | None = None

    def __call__(self, frames: Iterable[Frame]) -> Iterator[NDArray[np.uint8]]:
        """Frames (H, W, 3) uint8 RGB -> those of the result: (H, W), (H, W, 3) or (H, W, 4) uint8."""
        with ThreadPoolExecutor(1) as pool:
            for frame, found in smoothed((self._mapped(frame, pool) for frame in frames), self.smooth):
                saliency = self.rendering.saliency(frame.pixels, found.prob, found.confidence)
                if frame.opacity is not None:  # what cannot be seen is not salient
                    saliency[frame.opacity.alpha == 0] = 0
                if self.on_frame is not None:
                    self.on_frame(FrameRecord(frame.time, Facts.of(saliency, found.confidence)))
                if self.on_crop is not None:
                    self.on_crop(self.rendering.crop_of(saliency))
                (pixels,) = self.rendering.pictures(frame.pixels, saliency, frame.opacity, self.icc_profile)
                yield pixels

    def _mapped(self, frame: Frame, pool: ThreadPoolExecutor) -> Mapped:
        (found,) = self.maker([Decoded.of(frame.pixels, self.maker.side)], pool)
        return Mapped(frame, found)


def animation_bytes(animation: Animation, work: FrameWork) -> tuple[bytes, Box | None]:
    """The file of what the work, of one kind of output, makes of an animation, and the part that it shows.

    Where the results are cropped, it is the part that holds the object of every frame; None: all of the animation.

    Raises:
        ImageError: the animation cannot be read.
        InputError: the format cannot hold a picture of that size.
    """
    (kind,) = work.rendering.kinds
    profile = read_profile(animation.file) if kind.shows_photo else NO_PROFILE
    parts: list[Box | None] = []
    frames = list(replace(work, on_crop=parts.append, icc_profile=profile.icc_profile)(animation.frames()))
    crop = around_all(parts)
    content = encoded_animation(
        [cropped(frame, crop) for frame in frames],
        work.rendering.format,
        durations=animation.durations,
        plays=animation.plays,
        icc_profile=profile.icc_profile,
        exif=profile.exif,
        origin=Origin(kind.name, work.maker.seen),
    )
    return content, crop
