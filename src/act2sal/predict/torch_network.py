"""A detector's network run by PyTorch."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from act2sal.data.photo_batches import to_batch
from act2sal.networks.checkpoint import load_detector, read_metadata
from act2sal.networks.model_files import finite, size_of
from act2sal.networks.rivals import SaliencyNetwork
from act2sal.runtime.allocator import keep_freed_memory
from act2sal.runtime.gpu import refuse_missing
from act2sal.runtime.hardware import named

DEFAULT_SIZE = 320


class TorchNetwork:
    """Squares in, maps out, on a device of PyTorch (`detector.Network`).

    Args:
        network: of the detector.
        size: side of the squares, in pixels.
        fabric: device and precision.
        metadata: what its file says of its making.
    """

    def __init__(
        self,
        network: SaliencyNetwork,
        *,
        size: int,
        fabric: Fabric,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.network = fabric.setup(network.to(memory_format=torch.channels_last).eval())
        self.rates = network.presence is not None
        if self.rates:
            self.network.mark_forward_method("rated")
        self.size = size
        self.fabric = fabric
        self.metadata = dict(metadata or {})

    @classmethod
    def load(cls, path: Path, *, device: str = "auto", devices: int | list[int] = 1) -> "TorchNetwork":
        """Read a model file. From then on the process keeps the memory that it frees (`allocator`).

        Args:
            path: of the model file.
            device: auto, cpu, cuda or mps.
            devices: 1: the first one; or the number of the one to use, in a list.

        Raises:
            CheckpointError: there is none, it is damaged, or no detector.
            DeviceError: this machine has no such device.
        """
        refuse_missing(device)
        keep_freed_memory()
        about = read_metadata(path)
        size = size_of(about, str(path), DEFAULT_SIZE)
        fabric = Fabric(accelerator=device, devices=devices)
        return cls(load_detector(path), size=size, fabric=fabric, metadata=about)

    @property
    def device(self) -> str:
        """What computes, for people."""
        return named(self.fabric.device)

    def __call__(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Squares (B, S, S, 3) uint8 RGB -> probs (B, S, S) float32 in [0, 1].

        Raises:
            CheckpointError: its weights give values that are no numbers.
        """
        with torch.inference_mode(), self.fabric.autocast():
            logits = self.network(to_batch(squares, self.fabric.device))
        return _probs(logits)

    def rated(self, squares: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Squares as in a call -> the probs, and confidences (B,) float32 in [0, 1] that there is an object."""
        with torch.inference_mode(), self.fabric.autocast():
            logits, confidences = self.network.rated(to_batch(squares, self.fabric.device))
        return _probs(logits), finite(confidences.float().cpu().numpy())


def _probs(logits: Tensor) -> NDArray[np.float32]:
    """(B, 1, S, S) -> (B, S, S) float32 in [0, 1]."""
    return finite(torch.sigmoid(logits.float())[:, 0].cpu().numpy())
