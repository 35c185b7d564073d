"""Reads animations (GIF, WebP, PNG): their frames, how long each is shown, and how often all are shown."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageOps

from act2sal.data.images import (
    ImageError,
    ImageFile,
    name_of,
    open_image,
    reason_of,
    refuse_larger,
    upright_rgb,
)
from act2sal.predict.video import Frame, TransparentFrames

MOST_PIXELS = 250_000_000
"""Most pixels of all frames together; the frames of a result are held until it is written."""

SHORTEST = 100
"""Milliseconds of a frame whose file says 0, as in browsers."""


@dataclass(frozen=True)
class Animation:
    """An animation whose frames can be read.

    Attributes:
        file: its path or its content.
        durations: milliseconds of each frame.
        plays: how often it is shown; 0: without end.
    """

    file: ImageFile = field(repr=False)
    durations: tuple[int, ...]
    plays: int

    @classmethod
    def open(cls, file: ImageFile) -> "Animation":
        """Read the durations of the frames of a file.

        Raises:
            ImageError: it cannot be read, or has more than `MOST_PIXELS` pixels.
        """
        try:
            with open_image(file) as image:
                refuse_larger(name_of(file), image.size)
                frames = getattr(image, "n_frames", 1)
                if frames * image.width * image.height > MOST_PIXELS:
                    most = MOST_PIXELS // 10**6
                    raise ImageError(
                        name_of(file), f"more than {most} megapixels over all frames; make a video of it"
                    )
                durations = []
                for number in range(frames):
                    image.seek(number)
                    image.load()  # a WebP file tells the time of a frame with its pixels
                    durations.append(round(image.info.get("duration", 0)) or SHORTEST)
                return cls(file, tuple(durations), _plays(image))
        except ImageError:
            raise
        except Exception as error:  # Pillow's decoders raise errors of many types on malformed bytes
            raise ImageError(name_of(file), reason_of(error)) from error

    def frames(self) -> Iterator[Frame]:
        """The frames, upright, by the rules of `images.read_photo`.

        Raises:
            ImageError: the file has changed.
        """
        seconds, clear = 0.0, TransparentFrames()
        try:
            with open_image(self.file) as image:
                for number, duration in enumerate(self.durations):
                    image.seek(number)
                    yield _frame(image, seconds, clear)
                    seconds += duration / 1000
        except GeneratorExit:
            raise
        except Exception as error:  # as above
            raise ImageError(name_of(self.file), reason_of(error)) from error


def _frame(image: Image.Image, seconds: float, clear: TransparentFrames) -> Frame:
    """The current picture of an animation."""
    if not image.has_transparency_data:
        return Frame(upright_rgb(image), seconds)
    rgba = ImageOps.exif_transpose(image).convert("RGBA")
    return clear.frame(np.array(rgba), seconds)


def _plays(image: Image.Image) -> int:
    """How often an animation is shown; GIF stores repetitions instead, and nothing if there are none."""
    loop = image.info.get("loop")
    if image.format == "GIF":
        return 1 if loop is None else int(loop) + (loop > 0)
    return int(loop or 0)
