"""How a saliency map is written: which kinds of output, in which format, with which threshold."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from act2sal.images import resize_map, write_gray_png
from act2sal.planning import Task


@dataclass(frozen=True)
class Record:
    """What is known of a photo that was done; confidence: None where it was not asked for."""

    task: Task
    confidence: float | None


@dataclass(frozen=True)
class Rendering:
    """Kinds of output and how they are made."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What the name of each result ends with."""
        return (".png",)

    def write(
        self, task: Task, photo: NDArray[np.uint8], prob: NDArray[np.float32], confidence: float | None
    ) -> Record:
        height, width = photo.shape[:2]
        write_gray_png(task.targets[0], np.round(resize_map(prob, (height, width)) * 255).astype(np.uint8))
        return Record(task, confidence)


MAPS = Rendering()
