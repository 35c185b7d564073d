"""Smoothing over frames: each map becomes a mean over those before and behind it, so that edges flicker less.

Two-sided, and so without lag: what moves stays where it is. It needs the frames behind, which are decoded ahead; a
causal mean would need none, and would trail behind what moves.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from act2sal.predict.maps import Found
from act2sal.predict.video import Frame

CUT = 30.0
"""Mean difference of two frames, in grey levels of 255 on a grid of 32 x 32, from which a new scene begins. Our
choice: a scene moves by less from frame to frame, and few scenes resemble each other so much."""

_GRID = 32


class Mapped(NamedTuple):
    """A frame and its map."""

    frame: Frame
    found: Found


class _Seen(NamedTuple):
    mapped: Mapped
    scene: int


def smoothed(frames: Iterable[Mapped], reach: int) -> Iterator[Mapped]:
    """The frames with means of their maps over up to `reach` frames on either side, none of another scene.

    Weights fall evenly with the distance, from 1 to 1 / (reach + 1). Confidences stay.

    Args:
        frames: with maps of one size.
        reach: 0: they stay as they are; so many frames are held at both sides.
    """
    if reach == 0:
        yield from frames
        return
    window: deque[_Seen] = deque()
    current = 0  # of the window, the next to be given
    for seen in _in_scenes(frames):
        window.append(seen)
        if len(window) - current > reach:
            yield _mean(window, current, reach)
            current += 1
            if current > reach:
                window.popleft()
                current -= 1
    for place in range(current, len(window)):
        yield _mean(window, place, reach)


def _in_scenes(frames: Iterable[Mapped]) -> Iterator[_Seen]:
    scene, before = 0, None
    for mapped in frames:
        grid = _grey_grid(mapped.frame.pixels)
        if before is not None and float(np.abs(grid - before).mean()) > CUT:
            scene += 1
        before = grid
        yield _Seen(mapped, scene)


def _grey_grid(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    grid = cv2.resize(pixels, (_GRID, _GRID), interpolation=cv2.INTER_AREA)
    return np.asarray(grid, np.float32).mean(axis=2)


def _mean(window: "deque[_Seen]", place: int, reach: int) -> Mapped:
    mapped, scene = window[place]
    total, weights = np.zeros_like(mapped.found.prob), 0.0
    for other in range(max(0, place - reach), min(len(window), place + reach + 1)):
        if window[other].scene == scene:
            weight = 1 - abs(other - place) / (reach + 1)
            total += np.float32(weight) * window[other].mapped.found.prob
            weights += weight
    mean = np.minimum(total / np.float32(weights), np.float32(1))  # rounding can lead beyond
    return Mapped(mapped.frame, Found(mean, mapped.found.confidence))
