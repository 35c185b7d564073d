"""The review of pseudo labels: doubtful ones first; what a person decides is written at once, for a training."""

import io
import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from act2sal.data.images import ImageError, gray_png, read_photo, resize_photo, write_atomic
from act2sal.data.photo_files import Photo, find_photos, label_path
from act2sal.predict.detector import Network
from act2sal.serve.problems import ProblemError

DECISIONS = ("accept", "reject", "invert")
"""Beside `painted`, which comes with a label."""

SHOWN = 512
"""Longest side of the pictures that are shown and painted, in pixels."""

LEAST_AREA, MOST_AREA = 0.01, 0.9
"""Shares of a photo beyond which a label is doubtful whatever else speaks for it; our choice."""


@dataclass
class Entry:
    """A photo with its pseudo label; doubt in [0, 1], None until the detector has looked at it."""

    photo: Photo
    label: Path
    doubt: float | None = None


class Review:
    """The labels of a run, and the folder of what was decided.

    The folder holds `labels` and `photos`, the latter as links where the disk allows it: rejected ones are in
    neither, and labels without a decision count as accepted. `decisions.json` keeps what was decided.

    Args:
        labels: folder of the pseudo labels.
        photos: folder of the photos.
        out: folder of the results.

    Raises:
        DatasetError: there are no photos.
    """

    def __init__(self, labels: Path, photos: Path, out: Path) -> None:
        pairs = [(photo, label_path(labels, photo.relative)) for photo in find_photos(photos)]
        self.entries = [Entry(photo, label) for photo, label in pairs if label.is_file()]
        self.out = out
        self.writer = ThreadPoolExecutor(1, thread_name_prefix="review")
        self._stopped = threading.Event()
        self._decisions = self._earlier()
        for number, entry in enumerate(self.entries):
            if self._decision(number) is None and not self._target(entry).exists():
                self._write(entry, entry.label.read_bytes())

    def as_json(self) -> dict[str, object]:
        """All entries, the most doubtful first; those nobody has looked at yet come last."""
        numbers = sorted(range(len(self.entries)), key=lambda number: -(self.entries[number].doubt or 0.0))
        return {
            "labels": [
                {
                    "number": number,
                    "name": self.entries[number].photo.relative.as_posix(),
                    "doubt": self.entries[number].doubt,
                    "decision": self._decision(number),
                }
                for number in numbers
            ]
        }

    def picture(self, number: int, what: str) -> bytes:
        """A small PNG of the photo, or of the label as it is decided now.

        Raises:
            ProblemError: there is none (404), or it cannot be read (422).
        """
        entry = self._entry(number)
        if what == "label":
            target = self._target(entry)
            path = target if target.exists() else entry.label
        elif what == "photo":
            path = entry.photo.path
        else:
            raise ProblemError(404, "there is the photo and the label")
        return _png(_small(_read(path)))

    def decide(self, number: int, decision: str) -> None:
        """Accept, reject or invert the label of the run.

        Raises:
            ProblemError: there is no such entry or decision.
        """
        entry = self._entry(number)
        if decision not in DECISIONS:
            raise ProblemError(422, f"a decision is one of {', '.join(DECISIONS)}")
        if decision == "reject":
            self._target(entry).unlink(missing_ok=True)
            self._photo(entry).unlink(missing_ok=True)
        elif decision == "invert":
            self._write(entry, gray_png(np.uint8(255) - _read(entry.label)[..., 0]))
        else:
            self._write(entry, entry.label.read_bytes())
        self._keep(entry, decision)

    def repaint(self, number: int, content: bytes) -> None:
        """Replace a label by a painted one, brought to its size and to 0 and 255.

        Raises:
            ProblemError: there is no such entry (404), or the content is no picture (422).
        """
        entry = self._entry(number)
        painted = _read(content)
        if max(painted.shape[:2]) > SHOWN:
            raise ProblemError(422, f"a painted label has at most {SHOWN} pixels along a side")
        size = _read(entry.label).shape[:2]
        levels = resize_photo(painted, (size[0], size[1]))[..., 0]
        self._write(entry, gray_png(np.where(levels > 127, 255, 0).astype(np.uint8)))
        self._keep(entry, "painted")

    def look(self, network: Network) -> None:
        """Find out how doubtful each label is, until `close`: the network sees each photo and its mirror image."""
        for entry in self.entries:
            if self._stopped.is_set():
                return
            with suppress(ImageError, OSError):
                entry.doubt = doubt_of(network, read_photo(entry.photo.path), read_photo(entry.label)[..., 0])

    def close(self) -> None:
        """Stop the threads."""
        self._stopped.set()
        self.writer.shutdown(wait=True)

    def _entry(self, number: int) -> Entry:
        if not 0 <= number < len(self.entries):
            raise ProblemError(404, "there is no such label")
        return self.entries[number]

    def _target(self, entry: Entry) -> Path:
        return label_path(self.out / "labels", entry.photo.relative)

    def _photo(self, entry: Entry) -> Path:
        return self.out / "photos" / entry.photo.relative

    def _write(self, entry: Entry, label: bytes) -> None:
        write_atomic(self._target(entry), label)
        photo = self._photo(entry)
        if not photo.exists():
            photo.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(entry.photo.path, photo)
            except OSError:  # another disk
                shutil.copyfile(entry.photo.path, photo)

    def _decision(self, number: int) -> str | None:
        return self._decisions.get(self.entries[number].photo.relative.as_posix())

    def _keep(self, entry: Entry, decision: str) -> None:
        self._decisions[entry.photo.relative.as_posix()] = decision
        write_atomic(self.out / "decisions.json", (json.dumps(self._decisions, indent=1) + "\n").encode())

    def _earlier(self) -> dict[str, str]:
        try:
            return dict(json.loads((self.out / "decisions.json").read_bytes()))
        except FileNotFoundError:
            return {}


def doubt_of(network: Network, photo: NDArray[np.uint8], label: NDArray[np.uint8]) -> float:
    """How doubtful a label (H, W) uint8 is, in [0, 1]: the largest of three signs.

    1 - the IoU of the masks of the photo and of its mirror image; 1 - the confidence that there is an object; 1 where
    the area of the label is beyond `LEAST_AREA` and `MOST_AREA`.
    """
    square = resize_photo(photo, (network.size, network.size))
    squares = np.stack([square, square[:, ::-1]])
    probs, confidences = (
        network.rated(squares) if network.rates else (network(squares), np.ones(2, np.float32))
    )
    one, two = probs[0] > 0.5, probs[1][:, ::-1] > 0.5
    union = int((one | two).sum())
    disagreement = 1 - int((one & two).sum()) / union if union else 1.0
    area = float((label > 127).mean())
    odd = 0.0 if LEAST_AREA <= area <= MOST_AREA else 1.0
    return max(disagreement, 1 - float(confidences[0]), odd)


def _read(file: Path | bytes) -> NDArray[np.uint8]:
    try:
        return read_photo(file)
    except ImageError as error:
        raise ProblemError(422, error.reason) from error


def _small(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    scale = min(1.0, SHOWN / max(height, width))
    return resize_photo(pixels, (max(1, round(height * scale)), max(1, round(width * scale))))


def _png(pixels: NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", compress_level=1)
    return content.getvalue()
