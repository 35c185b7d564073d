"""The detector as its users see it: any picture in, a saliency map or a cut-out back."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from act2sal.compositing import cutout
from act2sal.confidence import confidence
from act2sal.image_inputs import ImageInput, rgb_of
from act2sal.images import resize_photo
from act2sal.model_files import model_file
from act2sal.upsampling import enlarged

BATCH = 8
"""Photos that go through the network together."""

Backend = Literal["auto", "torch", "onnx"]


class Network(Protocol):
    """What the detector asks: squares of one size in, maps out. May be called from several threads."""

    @property
    def size(self) -> int:
        """Side of the squares, in pixels."""

    def __call__(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Squares (B, S, S, 3) uint8 RGB -> probs (B, S, S) float32 in [0, 1]."""


class Detector:
    """A salient-object detector ready for photos of any size.

        detector = Detector.load()
        prob = detector("photo.jpg")            # (H, W) float32 in [0, 1]
        detector.cutout("photo.jpg").save("cutout.png")

    May be called from several threads.

    Args:
        network: what runs it.
    """

    def __init__(self, network: Network) -> None:
        self.network = network

    @classmethod
    def load(
        cls, model: str | Path | None = None, *, device: str = "auto", backend: Backend = "auto"
    ) -> "Detector":
        """Read a model file, or the detector of a run directory; None: the detector shipped with the package.

        Args:
            model: a file, a run directory, or None.
            device: where PyTorch computes: auto, cpu, cuda or mps; auto takes a GPU if there is one.
            backend: torch, or onnx (onnxruntime, on the CPU); auto: onnx for .onnx files, else torch.

        Raises:
            CheckpointError: there is none, it is damaged, or no detector.
        """
        from act2sal.torch_network import TorchNetwork

        path = model_file(None if model is None else Path(model))
        return cls(TorchNetwork.load(path, device=device))

    @property
    def size(self) -> int:
        """Side of the square a photo is resized to before the network, in pixels."""
        return self.network.size

    @overload
    def __call__(self, images: list[Any] | tuple[Any, ...]) -> list[NDArray[np.float32]]: ...
    @overload
    def __call__(self, images: ImageInput) -> NDArray[np.float32]: ...
    def __call__(self, images: ImageInput | list[Any] | tuple[Any, ...]) -> Any:
        """Saliency of one picture, (H, W) float32 in [0, 1] at its own size; of a list or tuple, a list of those.

        Raises:
            ImageError, ValueError, TypeError: as `image_inputs.rgb_of`.
        """
        if isinstance(images, list | tuple):
            return self.batch([rgb_of(image) for image in images])
        return self.batch([rgb_of(images)])[0]

    def batch(self, photos: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """Photos (H_i, W_i, 3) uint8 RGB of any sizes -> probs (H_i, W_i) float32 in [0, 1]."""
        return [enlarged(prob, photo) for photo, prob in zip(photos, self._squares(photos), strict=True)]

    def confidence(self, image: ImageInput) -> float:
        """Confidence in [0, 1] that the picture holds a salient object at all, from two passes of the network.

        Raises:
            ImageError, ValueError, TypeError: as `image_inputs.rgb_of`.
        """
        photo = resize_photo(rgb_of(image), (self.size, self.size))
        prob, mirrored = self.network(np.stack([photo, photo[:, ::-1]]))
        return confidence(prob, mirrored)

    def cutout(self, image: ImageInput) -> Image.Image:
        """The picture as RGBA, its saliency as alpha, without the colours of its background at the edges.

        Raises:
            ImageError, ValueError, TypeError: as `image_inputs.rgb_of`.
        """
        photo = rgb_of(image)
        return Image.fromarray(cutout(photo, self.batch([photo])[0]))

    def _squares(self, photos: Sequence[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """Maps of the photos on the network's own grid, a batch at a time."""
        for start in range(0, len(photos), BATCH):
            part = photos[start : start + BATCH]
            yield from self.network(np.stack([resize_photo(photo, (self.size, self.size)) for photo in part]))
