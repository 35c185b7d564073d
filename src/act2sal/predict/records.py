"""What `act2sal predict --json` keeps: one record for each photo and video, over several runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from act2sal.data.images import write_atomic
from act2sal.errors import InputError
from act2sal.predict.plan import Task
from act2sal.predict.regions import Box


class JsonRecord(Protocol):
    """What is known of something that was done."""

    def as_json(self) -> dict[str, Any]:
        """For a JSON file; "photo" or "video" names what it is of."""


@dataclass(frozen=True)
class FrameRecord:
    """What is known of a frame: as `rendering.Record`; time: in seconds from the start, None where nothing tells."""

    time: float | None
    confidence: float | None
    area: float
    boxes: list[Box]

    def as_json(self) -> dict[str, Any]:
        """For a JSON file."""
        return {
            "time": None if self.time is None else round(self.time, 3),
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "area": round(self.area, 4),
            "boxes": [list(box) for box in self.boxes],
        }


@dataclass(frozen=True)
class FilmRecord:
    """What is known of a video or an animation that was done; frames: all of them, in their order."""

    task: Task
    frames: list[FrameRecord] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For a JSON file: means of confidence and area over the frames, and the frames themselves."""
        confidences = [frame.confidence for frame in self.frames if frame.confidence is not None]
        return {
            "video" if self.task.is_video else "photo": str(self.task.photo.path),
            "files": [str(target) for target in self.task.targets],
            "confidence": round(_mean(confidences), 4) if confidences else None,
            "area": round(_mean([frame.area for frame in self.frames]), 4),
            "frames": [frame.as_json() for frame in self.frames],
        }


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
