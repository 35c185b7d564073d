"""Where detectors are: those shipped with the package, those of run directories, and model files."""

from pathlib import Path

from act2sal.errors import CheckpointError

BUILTIN_PATH = Path(__file__).parent / "models" / "detector.safetensors"
"""The detector that ships with the package."""

BUILTIN_ONNX_PATH = BUILTIN_PATH.with_suffix(".onnx")
"""The same for onnxruntime; an installation need not have it."""


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
