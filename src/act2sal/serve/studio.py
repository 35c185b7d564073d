"""From the bytes of a photo to the bytes of its results, for many requests at once."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from act2sal.data.encoding import encoded
from act2sal.data.images import (
    NAMELESS,
    ImageError,
    open_image,
    read_with_opacity,
    reason_of,
    resize_photo,
)
from act2sal.data.pixel_budget import naming_lack
from act2sal.data.transparency import Opacity
from act2sal.errors import InputError
from act2sal.predict.detector import Detector
from act2sal.predict.maps import Decoded, Found
from act2sal.predict.output_kinds import Kind
from act2sal.predict.rendering import Rendered, Rendering
from act2sal.runtime import cores
from act2sal.serve.batching import Batcher
from act2sal.serve.problems import ProblemError
from act2sal.serve.settings import Limits
from act2sal.serve.threads import Room, in_thread


@dataclass(frozen=True)
class Size:
    """How large results may be: longest side and area, in pixels; None: as large as the photo."""

    longest: int | None = None
    area: int | None = None

    def of(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the results of a photo; never larger than the photo."""
        scale = 1.0
        if self.longest is not None:
            scale = min(scale, self.longest / max(height, width))
        if self.area is not None:
            scale = min(scale, math.sqrt(self.area / (height * width)))
        return max(1, round(height * scale)), max(1, round(width * scale))


FULL = Size()
"""As large as the photo."""


class Studio:
    """Decodes and encodes in threads, and sends squares through the network in batches.

    Args:
        detector: whose network it is.
        limits: of pixels.
        workers: threads; 0: one per core.
        on_batch: called with the number of photos of each batch.
    """

    def __init__(
        self,
        detector: Detector,
        limits: Limits,
        *,
        workers: int = 0,
        on_batch: Callable[[int], None] = lambda size: None,
    ) -> None:
        self.detector, self.limits = detector, limits
        self.seen = detector.seen
        self.batcher = Batcher(detector.network, on_batch=on_batch)
        self.room = Room(limits.held_pixels)
        self.pool = ThreadPoolExecutor(cores.threads(workers), thread_name_prefix="photos")

    async def rendered(self, content: bytes, rendering: Rendering, size: Size = FULL) -> Rendered:
        """The results of one photo.

        Args:
            content: of the photo's file.
            rendering: kinds of output and their format.
            size: of the results.

        Raises:
            ProblemError: it is no photo (422), or has more pixels than the limit (413).
        """
        pixels = await in_thread(self.pool, lambda: pixels_of(content))
        if pixels > self.limits.pixels:
            raise ProblemError(413, f"the photo has {pixels} pixels; this service takes {self.limits.pixels}")
        async with self.room.hold(pixels):
            side = self.detector.size
            decoded = await in_thread(self.pool, lambda: decoded_at(content, side, size))
            assert decoded.square is not None
            found = await self.batcher.found(decoded.square)
            named = replace(rendering, seen=self.seen)
            return await in_thread(self.pool, lambda: _rendered(content, decoded, found, named))

    async def warm(self) -> None:
        """Do a small photo once, so that what is compiled at its first use is ready for the first request."""
        pixels = np.zeros((64, 64, 3), np.uint8)
        pixels[16:48, 16:48] = 255
        kinds = (Kind("cutout"), Kind("blur"))
        await self.rendered(encoded(pixels, "png"), Rendering(kinds=kinds))

    def close(self) -> None:
        """Stop the threads; what has not begun is dropped."""
        self.pool.shutdown(wait=False, cancel_futures=True)


def pixels_of(content: bytes) -> int:
    """Pixels of a photo according to its header.

    Raises:
        ProblemError: 422, as it is no photo.
    """
    if not content:
        raise ProblemError(422, "the photo is empty")
    try:
        with open_image(content) as image:
            return image.width * image.height
    except ImageError as error:
        raise ProblemError(422, error.reason) from error
    except Exception as error:  # Pillow's decoders raise errors of many types on malformed bytes
        raise ProblemError(422, reason_of(error)) from error


def decoded_at(content: bytes, side: int, size: Size) -> Decoded:
    """A photo with its square of `side` pixels, brought to the size of the results.

    Raises:
        ProblemError: 422, as it cannot be read.
    """
    try:
        with naming_lack(NAMELESS):
            photo, opacity = read_with_opacity(content)
            whole = replace(Decoded.of(photo, side), opacity=opacity)
            return _resized(whole, size.of(*photo.shape[:2]))
    except ImageError as error:
        raise ProblemError(422, error.reason) from error


def _resized(decoded: Decoded, size: tuple[int, int]) -> Decoded:
    if decoded.photo.shape[:2] == size:
        return decoded
    opacity = decoded.opacity
    if opacity is not None:
        opacity = Opacity(resize_photo(opacity.colours, size), _resized_grey(opacity.alpha, size))
    return replace(decoded, photo=resize_photo(decoded.photo, size), opacity=opacity)


def _resized_grey(levels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(resize_photo(np.repeat(levels[..., None], 3, axis=2), size)[..., 0])


def _rendered(content: bytes, decoded: Decoded, found: Found, rendering: Rendering) -> Rendered:
    try:
        with naming_lack(NAMELESS):
            return rendering.rendered_bytes(
                decoded.photo,
                found.prob,
                found.confidence,
                opacity=decoded.opacity,
                profile=rendering.profile_of(content),
            )
    except ImageError as error:
        raise ProblemError(422, error.reason) from error
    except InputError as error:
        raise ProblemError(422, str(error)) from error
