"""Reads tensors from safetensors and PyTorch files of any origin, and refuses other files in one line.

The first bytes of a file decide on its format, not its name. No code in a file is run, and its header is compared
with the bytes that are there before it is used.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from act2sal.errors import InputError

_WRAPPERS = ("state_dict", "model", "model_state", "net")
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_LENGTH = 8
"""Number of bytes that hold the length of the header of a safetensors file."""


class WeightsError(InputError):
    """Weights that cannot be found, read or used; the message says what to do or lists the tensors."""


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and the metadata of a safetensors or PyTorch file.

    Floating point tensors come as float32. PyTorch files have no metadata.

    Raises:
        WeightsError: the file is missing, damaged or of another format, or holds tensors that are not finite numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path} is a folder" if path.is_dir() else f"no encoder weights at {path}")
    try:
        with path.open("rb") as stream:
            head = stream.read(_LENGTH + 1)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from error
    if _is_safetensors(head, path.stat().st_size):
        tensors, metadata = _read_safetensors(path)
    elif head.startswith((_ZIP, _PICKLE)):
        tensors, metadata = _read_torch(path), {}
    else:
        raise WeightsError(f"{path} is no model file: neither safetensors nor a checkpoint of PyTorch")
    return {name: _plain(tensor, name, path) for name, tensor in tensors.items()}, metadata


def _is_safetensors(head: bytes, size: int) -> bool:
    return head[_LENGTH:] == b"{" and int.from_bytes(head[:_LENGTH], "little") <= size - _LENGTH


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as stored:
            return {name: stored.get_tensor(name) for name in stored.keys()}, stored.metadata() or {}  # noqa: SIM118
    except Exception as error:  # the library has errors of its own, and PyTorch's below them
        raise WeightsError(f"{path} is damaged, or no safetensors file") from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        # A stream, as PyTorch goes by the names of paths.
        with warnings.catch_warnings(), path.open("rb") as stream:
            warnings.simplefilter("ignore")
            content = torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:  # a foreign pickle raises whatever it likes
        if "nsupported" in str(error) and "GLOBAL" in str(error):
            why = "it holds Python objects, which are never loaded; save the tensors alone, as a state dict"
        else:
            why = "it is damaged, or no checkpoint of PyTorch"
        raise WeightsError(f"cannot read {path}: {why}") from error
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not _is_state_dict(content):
        raise WeightsError(f"{path} holds no state dict (names and tensors)")
    return dict(content)


def _is_state_dict(content: Any) -> bool:
    return isinstance(content, Mapping) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    )


def _plain(tensor: Tensor, name: str, path: Path) -> Tensor:
    """Return a tensor, as float32 if it holds floats; refuse one that is not a dense array of finite numbers."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.is_meta:
        raise WeightsError(f"{path}: {name} is no plain array of numbers")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise WeightsError(f"{path}: {name} claims more numbers than the file holds")
    if not tensor.is_floating_point():
        return tensor
    numbers = tensor.float()
    if not numbers.isfinite().all():
        raise WeightsError(f"{path}: {name} holds values that are no finite numbers")
    return numbers
