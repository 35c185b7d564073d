"""Finds the files of detectors: the shipped ones, those of run directories, and model files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from act2sal.errors import CheckpointError
from act2sal.limits import LARGEST_SIZE, SMALLEST_SIZE

BUILTIN_PATH = Path(__file__).parent.parent / "models" / "detector.safetensors"
"""The detector that ships with the package."""

BUILTIN_ONNX_PATH = BUILTIN_PATH.with_suffix(".onnx")
"""The shipped detector for onnxruntime; an installation may lack it."""


def model_file(model: Path | None) -> Path:
    """The detector's file: of a run directory, a file itself, or (None) the one shipped with the package.

    Raises:
        CheckpointError: there is none.
    """
    if model is None:
        if not BUILTIN_PATH.is_file():
            raise CheckpointError("this installation ships no detector; name one with --model RUN_OR_FILE")
        return BUILTIN_PATH
    if model.is_dir():
        if not (model / "detector.safetensors").is_file():
            raise CheckpointError(f"{model} holds no detector yet; finish its training with --resume")
        return model / "detector.safetensors"
    return model


def onnx_file(model: Path | None) -> Path:
    """The detector's ONNX file: detector.onnx of a run directory, a file itself, or (None) the shipped one.

    Raises:
        CheckpointError: there is none.
    """
    if model is None:
        if not BUILTIN_ONNX_PATH.is_file():
            raise CheckpointError(
                "this installation ships no ONNX file; act2sal export --out FILE.onnx writes one"
            )
        return BUILTIN_ONNX_PATH
    path = model / "detector.onnx" if model.is_dir() else model
    if path.suffix != ".onnx" or (model.is_dir() and not path.is_file()):
        raise CheckpointError(
            f"{model} is no ONNX file; act2sal export --model {model} --out FILE.onnx writes one"
        )
    return path


def size_of(metadata: Mapping[str, str], name: str, default: int | None = None) -> int:
    """Side of a detector's squares, in pixels, by the entry `size` of its file.

    Args:
        metadata: of the file.
        name: of the file, for the error.
        default: where there is no such entry.

    Raises:
        CheckpointError: there is no entry and no default, or the entry is no whole number within the limits.
    """
    text = metadata.get("size")
    if text is None and default is not None:
        return default
    digits = text is not None and text.isascii() and text.isdigit() and len(text) < 10
    if text is None or not digits or not SMALLEST_SIZE <= int(text) <= LARGEST_SIZE:
        raise CheckpointError(
            f"{name}: the size in its metadata is {text!r}; needed are {SMALLEST_SIZE} to {LARGEST_SIZE} pixels"
        )
    return int(text)


def finite(prob: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the output of a detector, of any shape, if it is finite.

    Raises:
        CheckpointError: the output holds NaN or infinity, which is a fault of the weights and not of the photo.
    """
    if not np.isfinite(prob).all():
        raise CheckpointError(
            "the model gives values that are no numbers; its file is damaged or was never trained"
        )
    return prob
