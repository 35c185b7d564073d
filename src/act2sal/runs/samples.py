"""Small pictures of a few photos of a run, from the photo to the prediction, for its report."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from act2sal.a2s.pseudo_labels import cue_mask
from act2sal.config import LabelThreshold
from act2sal.data.images import read_photo, resize_map, write_atomic
from act2sal.data.label_bank import LabelBank
from act2sal.data.origin import Origin, marked_png, write_result
from act2sal.data.photo_bank import PhotoBank

LONGEST_SIDE = 200
"""Longest side of a picture, in pixels; the other follows from the photo's own proportions."""

_JPEG_QUALITY = 85
_ORIGIN = Origin("sample")
_COLOURS = "coolwarm"
_BOUNDARY_COLOUR = (20, 20, 20)


@dataclass(frozen=True)
class Sample:
    """The pictures of one photo so far, each None where it is missing.

    Attributes:
        name: path of the photo below its folder of photos.
        rectified: the label after each epoch of stage 2, by epoch in ascending order.
        rounds: the label after each round of a rival, likewise; other attributes are pictures.
    """

    name: str
    photo: Path | None = None
    activation: Path | None = None
    cue: Path | None = None
    label: Path | None = None
    prediction: Path | None = None
    rectified: dict[int, Path] = field(default_factory=dict)
    rounds: dict[int, Path] = field(default_factory=dict)


class Labels(Protocol):
    """Labels of photos by their indices."""

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]: ...


class Samples:
    """Writes `folder/03/photo.jpg`, `activation.png`, `cue.png`, ... for some photos of a bank.

    Each method writes one kind of picture and replaces it where it exists; the others stay.

    Args:
        folder: of the samples, inside the run directory.
        bank: all photos of the run.
        count: most photos to show; they are spread evenly over the bank.
    """

    def __init__(self, folder: Path, bank: PhotoBank, count: int = 12) -> None:
        self.bank = bank
        spread = np.linspace(0, len(bank) - 1, min(count, len(bank)))
        self.indices: list[int] = spread.round().astype(int).tolist()
        self._folders = {index: folder / f"{n:02d}" for n, index in enumerate(self.indices)}

    def photos(self) -> None:
        """Write the photos and their names."""
        for index, folder in self._folders.items():
            name = self.bank.photos[index].relative.as_posix()
            write_atomic(folder / "name.txt", name.encode(errors="replace"))  # it may be no UTF-8
            _write_picture(folder / "photo.jpg", _shrunk(self.bank[index], self._size(index)))

    def activations(self, cues: Sequence[NDArray[np.float32]], *, threshold: LabelThreshold = "half") -> None:
        """Write the activation maps in colour, and the cues: the masks that the CRF starts from.

        Args:
            cues: (h, w) float32 logits of every photo of the bank, positive on the foreground.
            threshold: of the labels (`LabelConfig.threshold`).
        """
        for index, folder in self._folders.items():
            size = self._size(index)
            _write_picture(folder / "activation.png", colour_activation(resize_map(cues[index], size)))
            mask = cue_mask(cues[index], self.bank.original_sizes[index], threshold)
            _write_picture(folder / "cue.png", _shrunk(mask.astype(np.uint8) * 255, size))

    def labels(self, label_paths: Sequence[Path]) -> None:
        """Write the pseudo labels after CRF and median filter; one PNG per photo of the bank is given."""
        for index, folder in self._folders.items():
            label = read_photo(label_paths[index])[..., 0]
            _write_picture(folder / "label.png", _shrunk(label, self._size(index)))

    def square_labels(self, labels: Labels) -> None:
        """Write labels that are squares as the photos are; `labels[index]` is (S, S) uint8."""
        for index, folder in self._folders.items():
            picture = _shrunk(np.asarray(labels[index]), self._size(index))
            _write_picture(folder / "label.png", picture)

    def rectified(self, epoch: int, bank: LabelBank) -> None:
        """Write the labels that stand in `bank` after `epoch`, counted from 1."""
        for index, folder in self._folders.items():
            label = bank.read([index])[0, 0].numpy()
            _write_picture(folder / f"rectified_{epoch:02d}.png", _shrunk(label, self._size(index)))

    def round_labels(self, number: int, labels: Labels) -> None:
        """Write the labels after a round of a rival, counted from 1; `labels[index]` is (S, S) uint8."""
        for index, folder in self._folders.items():
            picture = _shrunk(np.asarray(labels[index]), self._size(index))
            _write_picture(folder / f"round_{number:02d}.png", picture)

    def predictions(self, predict: Callable[[NDArray[np.uint8]], NDArray[np.float32]]) -> None:
        """Write the saliency maps of a detector.

        Args:
            predict: photos (B, S, S, 3) uint8 -> probs (B, S, S) float32 in [0, 1].
        """
        probs = predict(np.stack([self.bank[index] for index in self.indices]))
        for (index, folder), prob in zip(self._folders.items(), probs, strict=True):
            pixels = np.round(prob * 255).astype(np.uint8)
            _write_picture(folder / "prediction.png", _shrunk(pixels, self._size(index)))

    def _size(self, index: int) -> tuple[int, int]:
        return picture_size(self.bank.original_sizes[index])


def read_samples(folder: Path) -> list[Sample]:
    """The samples in `folder`, in their order; none where there is no such folder."""
    return [_sample(entry) for entry in sorted(folder.glob("[0-9]*")) if entry.is_dir()]


def picture_size(original: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the picture of a photo of (height, width): longest side `LONGEST_SIDE`."""
    scale = LONGEST_SIDE / max(original)
    return max(1, round(original[0] * scale)), max(1, round(original[1] * scale))


def colour_activation(logits: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colour logits (H, W) float32 as (H, W, 3) uint8: foreground red, background blue, boundary dark."""
    strongest = float(np.abs(logits).max())
    scaled = logits / strongest if strongest > 0 else logits
    coloured = matplotlib.colormaps[_COLOURS](0.5 + 0.5 * scaled, bytes=True)[..., :3].copy()
    coloured[_boundary(logits > 0)] = _BOUNDARY_COLOUR
    return coloured


def _boundary(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels whose right or lower neighbour lies on the other side."""
    boundary = np.zeros_like(mask)
    boundary[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    boundary[:-1] |= mask[:-1] != mask[1:]
    return boundary


def _shrunk(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize (H, W) or (H, W, 3) uint8 to `size` = (height, width), antialiased."""
    return np.array(Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _write_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    content = io.BytesIO()
    if path.suffix == ".jpg":
        Image.fromarray(pixels).save(content, format="JPEG", quality=_JPEG_QUALITY, comment=_ORIGIN.text)
        write_result(path, content.getvalue())
    else:
        Image.fromarray(pixels).save(content, format="PNG", optimize=True)
        write_result(path, marked_png(content.getvalue(), _ORIGIN))


def _sample(folder: Path) -> Sample:
    def present(name: str) -> Path | None:
        return folder / name if (folder / name).is_file() else None

    name = present("name.txt")

    def numbered(name: str) -> dict[int, Path]:
        found = {int(path.stem.removeprefix(name)): path for path in folder.glob(f"{name}*.png")}
        return dict(sorted(found.items()))

    return Sample(
        name=name.read_text(encoding="utf-8") if name else folder.name,
        photo=present("photo.jpg"),
        activation=present("activation.png"),
        cue=present("cue.png"),
        label=present("label.png"),
        prediction=present("prediction.png"),
        rectified=numbered("rectified_"),
        rounds=numbered("round_"),
    )
