"""Records of `act2sal predict --json`: one for each photo and video, kept over several runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from act2sal.data.images import write_atomic
from act2sal.errors import InputError
from act2sal.predict.outlines import Region
from act2sal.predict.plan import Task
from act2sal.predict.regions import THRESHOLD, Box, area_of, boxes_of


class JsonRecord(Protocol):
    """A record that can be written as JSON."""

    def as_json(self) -> dict[str, Any]:
        """For a JSON file; "photo" or "video" names what it is of."""


@dataclass(frozen=True)
class Facts:
    """What is known of a photo or a frame, in its own pixels whatever part of it is written.

    Attributes:
        confidence: that it holds a salient object; None: not asked for.
        area: share of its pixels that are salient.
        boxes: boxes of the salient regions, the largest first.
        crop: part that the results show; None: all of it.
        size: height and width.
        regions: regions of the object as it is cut and grown, for annotations.
    """

    confidence: float | None
    area: float
    boxes: list[Box]
    size: tuple[int, int]
    crop: Box | None = None
    regions: tuple[Region, ...] = field(default=(), compare=False)

    @classmethod
    def of(
        cls,
        saliency: NDArray[np.float32],
        confidence: float | None,
        crop: Box | None = None,
        regions: tuple[Region, ...] = (),
    ) -> "Facts":
        """Of a photo with this saliency, (H, W) float32 in [0, 1]."""
        area, boxes = area_of(saliency, THRESHOLD), boxes_of(saliency, THRESHOLD)
        return cls(confidence, area, boxes, (saliency.shape[0], saliency.shape[1]), crop, regions)

    def as_json(self) -> dict[str, Any]:
        """For a JSON file: boxes and crop as [left, top, width, height] in pixels."""
        return {
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "area": round(self.area, 4),
            "boxes": [list(box) for box in self.boxes],
            **_crop_as_json(self.crop),
        }


@dataclass(frozen=True)
class Record:
    """Record of a photo."""

    task: Task
    facts: Facts

    def as_json(self) -> dict[str, Any]:
        """For a JSON file: the photo, the files of its results, the facts."""
        return {
            "photo": str(self.task.photo.path),
            "files": [str(target) for target in self.task.targets],
            **self.facts.as_json(),
        }


@dataclass(frozen=True)
class FrameRecord:
    """Record of a frame; time: seconds from the start, or None if unknown."""

    time: float | None
    facts: Facts

    def as_json(self) -> dict[str, Any]:
        """For a JSON file."""
        return {"time": None if self.time is None else round(self.time, 3), **self.facts.as_json()}


@dataclass(frozen=True)
class FilmRecord:
    """Record of a video or an animation.

    Attributes:
        frames: all of them, in their order.
        crop: part of all frames that the results show; None: all of it.
    """

    task: Task
    frames: list[FrameRecord] = field(default_factory=list)
    crop: Box | None = None

    def as_json(self) -> dict[str, Any]:
        """For a JSON file: means of confidence and area over the frames, and the frames themselves."""
        facts = [frame.facts for frame in self.frames]
        confidences = [one.confidence for one in facts if one.confidence is not None]
        return {
            "video" if self.task.is_video else "photo": str(self.task.photo.path),
            "files": [str(target) for target in self.task.targets],
            "confidence": round(_mean(confidences), 4) if confidences else None,
            "area": round(_mean([one.area for one in facts]), 4),
            **_crop_as_json(self.crop),
            "frames": [frame.as_json() for frame in self.frames],
        }


def _crop_as_json(crop: Box | None) -> dict[str, Any]:
    return {} if crop is None else {"crop": list(crop)}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(len(values), 1)


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records of earlier runs; none where there is no file, or an empty one.

    Raises:
        InputError: the file holds something else, and is not to be replaced.
    """
    if not path.is_file() or path.stat().st_size == 0:
        return []
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        content = None
    if not isinstance(content, list) or not all(isinstance(one, dict) and "files" in one for one in content):
        raise InputError(f"--json {path}: holds something else than records of act2sal predict")
    return content


def write_records(path: Path, earlier: Sequence[Mapping[str, Any]], records: Sequence[JsonRecord]) -> None:
    """Write the earlier records, and those of this run in the place of earlier ones of the same photo."""
    found = {_of(one): one for one in earlier} | {_of(one): one for one in (r.as_json() for r in records)}
    write_atomic(path, (json.dumps(list(found.values()), indent=1) + "\n").encode())


def _of(record: Mapping[str, Any]) -> str:
    return str(record.get("photo") or record.get("video"))
