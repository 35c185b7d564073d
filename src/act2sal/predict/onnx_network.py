"""A detector's network run by onnxruntime on the CPU, without PyTorch."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from act2sal.errors import CheckpointError, MissingPackageError
from act2sal.networks.model_files import finite, size_of
from act2sal.runtime import cores

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

FORMAT = "act2sal detector"
"""Entry `format` in the metadata of the files that `act2sal export` writes."""


class OnnxNetwork:
    """Runs a detector's network (`detector.Network`); safe to call from several threads.

    Each photo of a batch goes through the network by itself, several at a time: the layers of a whole batch do not
    fit into the cache of a CPU.

    Args:
        model: an ONNX file or its content, as `act2sal export` writes it.
        threads: to compute with; 0: one per core.

    Raises:
        MissingPackageError: onnxruntime is not installed.
        CheckpointError: damaged, or not written by `act2sal export`.
    """

    def __init__(self, model: Path | bytes, *, threads: int = 0) -> None:
        threads = cores.threads(threads)
        self._session = _session(model, threads)
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        if self.metadata.get("format") != FORMAT or "size" not in self.metadata:
            raise CheckpointError(f"{_name(model)} holds no {FORMAT}; act2sal export writes such files")
        self.size = size_of(self.metadata, _name(model))
        if not _takes_squares(self._session, self.size):
            raise CheckpointError(
                f"{_name(model)} does not fit its own description: its input or output is another"
            )
        self.rates = any(output.name == "confidence" for output in self._session.get_outputs())
        self.device = f"{cores.on_cpu(threads)} (onnxruntime)"
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="onnx")

    @classmethod
    def load(cls, path: Path, threads: int = 0) -> "OnnxNetwork":
        """Read an ONNX file that `act2sal export` wrote.

        Raises:
            MissingPackageError, CheckpointError: as the class; also if there is no such file.
        """
        if not path.is_file():
            raise CheckpointError(f"there is no model file {path}")
        return cls(path, threads=threads)

    def __call__(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Squares (B, S, S, 3) uint8 RGB -> probs (B, S, S) float32 in [0, 1]."""
        return self._run(squares, ["prob"])[0]

    def rated(self, squares: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Squares as in a call -> the probs, and confidences (B,) float32 in [0, 1] that there is an object."""
        probs, confidences = self._run(squares, ["prob", "confidence"])
        return probs, confidences

    def _run(self, squares: NDArray[np.uint8], outputs: list[str]) -> list[NDArray[np.float32]]:
        def run(part: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
            try:
                return [finite(values) for values in self._session.run(outputs, {"squares": part})]
            except CheckpointError:
                raise
            except Exception as error:  # onnxruntime has a type of its own for each status
                raise CheckpointError("the ONNX file does not compute what its description says") from error

        if len(squares) == 1:
            return run(squares)
        parts = self._pool.map(run, squares[:, None])
        return [np.concatenate(of_all) for of_all in zip(*parts, strict=True)]


def _session(model: Path | bytes, threads: int) -> "InferenceSession":
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackageError('ONNX files need onnxruntime: pip install "act2sal[onnx]"') from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what goes wrong is raised too
    # Threads that wait would otherwise take the core from those that decode and write.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a type of its own for each status
        raise CheckpointError(f"{_name(model)} is damaged or no ONNX file") from error


def _takes_squares(session: "InferenceSession", size: int) -> bool:
    """Whether input and outputs are those that `act2sal export` writes, for squares of this size."""
    inputs = {one.name: one for one in session.get_inputs()}
    outputs = {one.name: one for one in session.get_outputs()}
    if set(inputs) != {"squares"} or "prob" not in outputs or not outputs.keys() <= {"prob", "confidence"}:
        return False
    squares, floats = inputs["squares"], all(one.type == "tensor(float)" for one in outputs.values())
    if squares.type != "tensor(uint8)" or not floats or len(squares.shape) != 4:
        return False
    sides = [side for side in squares.shape[1:3] if isinstance(side, int)]
    return all(side == size for side in sides) and squares.shape[3] == 3


def _name(model: Path | bytes) -> str:
    return "the model" if isinstance(model, bytes) else str(model)
