"""The detector as its users see it: any picture in, a saliency map or a cut-out back."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from act2sal.config import Backend, Matting, Refine
from act2sal.data.image_inputs import ImageInput, opacity_of, rgb_of
from act2sal.data.images import resize_photo
from act2sal.data.origin import UNKNOWN, all_seen
from act2sal.errors import CheckpointError, InputError
from act2sal.networks import model_files
from act2sal.predict.cropping import crop_around, cropped, refuse_margin
from act2sal.predict.output_kinds import Kind, rendered
from act2sal.predict.selection import Selection
from act2sal.predict.upsampling import full_size
from act2sal.runtime.gpu import gpu_is_possible

BATCH = 8
"""Photos that go through the network together."""

NO_CONFIDENCE = (
    "this detector does not say how sure it is that there is an object; act2sal train makes those that do"
)


class Network(Protocol):
    """What runs a detector: squares of one size in, maps out; safe to call from several threads."""

    @property
    def size(self) -> int:
        """Side of the squares, in pixels."""

    def __call__(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Squares (B, S, S, 3) uint8 RGB -> probs (B, S, S) float32 in [0, 1]."""

    @property
    def rates(self) -> bool:
        """Whether it can say how sure it is that there is a salient object."""

    def rated(self, squares: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Squares as in a call -> the probs, and confidences (B,) float32 in [0, 1] that there is an object."""


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
            backend: torch, or onnx (onnxruntime, on the CPU); auto: onnx for .onnx files and, where there is no
                GPU, for the detector shipped with the package, else torch.

        Raises:
            CheckpointError: there is none, it is damaged, no detector, or not for this backend or device.
            DeviceError: this machine has no such device.
            MissingPackageError: onnxruntime is not installed.
        """
        path = model_file_of(None if model is None else Path(model), device, backend)
        if path.suffix == ".onnx":
            from act2sal.predict.onnx_network import OnnxNetwork

            return cls(OnnxNetwork.load(path))
        from act2sal.predict.torch_network import TorchNetwork

        return cls(TorchNetwork.load(path, device=device))

    @property
    def size(self) -> int:
        """Side of the square a photo is resized to before the network, in pixels."""
        return self.network.size

    @property
    def device(self) -> str:
        """What computes, for people: "CPU, 2 threads (onnxruntime)"; "" where the network does not say."""
        return str(getattr(self.network, "device", ""))

    @property
    def seen(self) -> str:
        """The labels that its encoders were trained with; "none": no labels at all; `UNKNOWN`; "": it has no file."""
        about: Mapping[str, str] | None = getattr(self.network, "metadata", None)
        if not about:
            return ""
        return all_seen(about.get(f"stage {stage} supervision", UNKNOWN) for stage in (1, 2))

    @overload
    def __call__(
        self, images: list[Any] | tuple[Any, ...], *, refine: Refine = ...
    ) -> list[NDArray[np.float32]]: ...
    @overload
    def __call__(self, images: ImageInput, *, refine: Refine = ...) -> NDArray[np.float32]: ...
    def __call__(self, images: ImageInput | list[Any] | tuple[Any, ...], *, refine: Refine = "none") -> Any:
        """Saliency of one picture, (H, W) float32 in [0, 1] at its own size; of a list or tuple, a list of those.

        Args:
            images: one, or several.
            refine: crf: the mean over the picture and its mirror image, sharpened by the dense CRF; slower, better.

        Raises:
            ImageError: as `image_inputs.rgb_of`.
            ValueError: as `image_inputs.rgb_of`.
            TypeError: as `image_inputs.rgb_of`.
        """
        if isinstance(images, list | tuple):
            return self.batch([rgb_of(image) for image in images], refine=refine)
        return self.batch([rgb_of(images)], refine=refine)[0]

    def batch(
        self, photos: Sequence[NDArray[np.uint8]], *, refine: Refine = "none"
    ) -> list[NDArray[np.float32]]:
        """Photos (H_i, W_i, 3) uint8 RGB of any sizes -> probs (H_i, W_i) float32 in [0, 1]; refine as in a call."""
        maps: list[NDArray[np.float32]] = []
        for start in range(0, len(photos), BATCH):
            part = photos[start : start + BATCH]
            squares = np.stack([resize_photo(photo, (self.size, self.size)) for photo in part])
            probs = self.squares(squares, mirrored=refine == "crf")
            maps += [full_size(prob, photo, refine) for prob, photo in zip(probs, part, strict=True)]
        return maps

    def squares(self, squares: NDArray[np.uint8], *, mirrored: bool = False) -> NDArray[np.float32]:
        """Maps on the network's own grid; with `mirrored`, the mean of those of each photo and its mirror image.

        (B, S, S, 3) uint8 RGB -> (B, S, S) float32 in [0, 1].
        """
        probs = self.network(squares)
        return self.mean_of_sides(probs, squares) if mirrored else probs

    def mean_of_sides(self, probs: NDArray[np.float32], squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Mean of the maps of photos and of those of their mirror images; shapes as of `squares`."""
        mirrored = self.network(np.ascontiguousarray(squares[:, :, ::-1]))
        return np.float32(0.5) * (probs + mirrored[:, :, ::-1])

    def confidence(self, image: ImageInput) -> float:
        """Confidence in [0, 1] that the picture holds a salient object at all.

        Raises:
            ImageError: as `image_inputs.rgb_of`.
            ValueError: as `image_inputs.rgb_of`.
            TypeError: as `image_inputs.rgb_of`.
            InputError: the detector does not say it: it was converted, or trained by an early version.
        """
        if not self.network.rates:
            raise InputError(NO_CONFIDENCE)
        photo = resize_photo(rgb_of(image), (self.size, self.size))
        return float(self.network.rated(photo[None])[1][0])

    def cutout(
        self,
        image: ImageInput,
        *,
        crop: float | None = None,
        grow: int = 0,
        feather: float = 0.0,
        ground: bool = False,
        matting: Matting | None = None,
    ) -> Image.Image:
        """The picture as RGBA, its saliency as alpha, without the colours of its background at the edges.

        Where the picture is transparent itself, the result has the product of both.

        Args:
            image: the picture.
            crop: margin around the object, as a share of its longer side, to which the result is cropped; None, and
                where nothing is found: all of it.
            grow: as of `Selection`.
            feather: as of `Selection`.
            ground: as of `Selection`.
            matting: as of `output_kinds.rendered`.

        Raises:
            ImageError: as `image_inputs.rgb_of`.
            ValueError: as `image_inputs.rgb_of`.
            TypeError: as `image_inputs.rgb_of`.
            MissingPackageError: `matting` without pymatting.
            InputError: a number out of range.
        """
        selection = Selection(None, grow, feather, ground=ground)
        if crop is not None:
            refuse_margin(crop)
        photo, opacity = rgb_of(image), opacity_of(image)
        prob = self.batch([photo])[0]
        if opacity is not None:  # what cannot be seen is not salient
            prob[opacity.alpha == 0] = 0
        pixels = rendered(Kind("cutout"), photo, prob, selection, matting=matting, opacity=opacity)
        part = None if crop is None else crop_around(selection.object_of(prob), crop)
        return Image.fromarray(np.ascontiguousarray(cropped(pixels, part)))


def model_file_of(model: Path | None, device: str, backend: Backend) -> Path:
    """The file to read; its ending says which backend runs it."""
    shipped = model is None and backend == "auto" and model_files.BUILTIN_ONNX_PATH.is_file()
    if backend == "onnx" or (shipped and _onnx_is_at_hand() and not _computes_on_gpu(device)):
        path = model_files.onnx_file(model)
    else:
        path = model_files.model_file(model)
    if path.suffix == ".onnx" and backend == "torch":
        raise CheckpointError(f"{path} is an ONNX file, which PyTorch does not read")
    if path.suffix == ".onnx" and device not in ("auto", "cpu"):
        raise CheckpointError(f"{path} is an ONNX file, which is computed on the CPU, not on {device}")
    return path


def _onnx_is_at_hand() -> bool:
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        return False
    return True


def _computes_on_gpu(device: str) -> bool:
    """Whether PyTorch would compute on a GPU; without PyTorch nothing does."""
    if device != "auto":
        return device != "cpu"
    if not gpu_is_possible():
        return False
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available() or torch.backends.mps.is_available()
