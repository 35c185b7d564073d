"""Videos and animations: the maps of all frames, one after the other, and what is made of them."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from act2sal.data.encoding import NO_PROFILE, encoded_animation, read_profile
from act2sal.data.origin import Origin
from act2sal.predict.animation import Animation
from act2sal.predict.maps import Decoded, MapMaker
from act2sal.predict.records import FrameRecord
from act2sal.predict.regions import THRESHOLD, area_of, boxes_of
from act2sal.predict.rendering import Rendering
from act2sal.predict.smoothing import Mapped, smoothed
from act2sal.predict.video import Frame


@dataclass(frozen=True)
class FrameWork:
    """What is done to the frames, one kind of output at a time (a `video.FramesFunction`).

    rendering: of one kind; smooth: frames on either side over which maps are averaged; on_frame: receives what is
    known of each, None: nobody wants to know; icc_profile: colour space of the frames, None: sRGB.
    """

    maker: MapMaker
    rendering: Rendering
    smooth: int = 0
    on_frame: Callable[[FrameRecord], None] | None = None
    icc_profile: bytes | None = None

    def __call__(self, frames: Iterable[Frame]) -> Iterator[NDArray[np.uint8]]:
        """Frames (H, W, 3) uint8 RGB -> those of the result: (H, W), (H, W, 3) or (H, W, 4) uint8."""
        with ThreadPoolExecutor(1) as pool:
            for frame, found in smoothed((self._mapped(frame, pool) for frame in frames), self.smooth):
                saliency = self.rendering.saliency(frame.pixels, found.prob, found.confidence)
                if frame.opacity is not None:  # what cannot be seen is not salient
                    saliency[frame.opacity.alpha == 0] = 0
                if self.on_frame is not None:
                    area, boxes = area_of(saliency, THRESHOLD), boxes_of(saliency, THRESHOLD)
                    self.on_frame(FrameRecord(frame.time, found.confidence, area, boxes))
                (pixels,) = self.rendering.pictures(frame.pixels, saliency, frame.opacity, self.icc_profile)
                yield pixels

    def _mapped(self, frame: Frame, pool: ThreadPoolExecutor) -> Mapped:
        (found,) = self.maker([Decoded.of(frame.pixels, self.maker.side)], pool)
        return Mapped(frame, found)


def animation_bytes(animation: Animation, work: FrameWork) -> bytes:
    """The file of what the work, of one kind of output, makes of an animation.

    Raises:
        ImageError: the animation cannot be read.
        InputError: the format cannot hold a picture of that size.
    """
    (kind,) = work.rendering.kinds
    profile = read_profile(animation.file) if kind.shows_photo else NO_PROFILE
    return encoded_animation(
        list(replace(work, icc_profile=profile.icc_profile)(animation.frames())),
        work.rendering.format,
        durations=animation.durations,
        plays=animation.plays,
        icc_profile=profile.icc_profile,
        exif=profile.exif,
        origin=Origin(kind.name, work.maker.seen),
    )
