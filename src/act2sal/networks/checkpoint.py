"""Model files: the weights and all that is needed to rebuild the network, in one safetensors file.

Metadata entries: `format` and `version`, the options of the network, `encoder.*` as `encoders` writes them,
and the caller's own entries under `about.`. Two files with the same content are equal byte for byte.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeVar, cast, get_args

import safetensors.torch
import torch
from torch import Tensor, nn

from act2sal.a2s.activation import ActivationNetwork
from act2sal.a2s.boundary import BoundaryKind
from act2sal.a2s.detector import DetectorNetwork, ObjectPresence
from act2sal.data.images import write_atomic
from act2sal.errors import CheckpointError
from act2sal.networks.encoders import Encoder, encoder_from_metadata, encoder_metadata
from act2sal.networks.rivals import OURS, RIVALS, SaliencyNetwork, name_of
from act2sal.networks.weight_files import WeightsError, read_weights

DETECTOR_FORMAT = "act2sal detector"
STAGE1_FORMAT = "act2sal stage 1"
VERSION = "1"

_ABOUT = "about."

Module = TypeVar("Module", bound=nn.Module)


def save_detector(
    path: Path, detector: SaliencyNetwork, *, half: bool = False, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a detector with its encoder; the encoder has to be an `encoders.Encoder`.

    Args:
        path: safetensors file; replaced whole.
        detector: on any device.
        half: store the weights of convolutions and linear layers in float16; biases, normalisation and its
            statistics stay float32.
        metadata: entries of the caller's, such as how the model was trained; `read_metadata` gives them back.
    """
    options = {"presence": json.dumps(detector.presence is not None)}
    if isinstance(detector, DetectorNetwork):
        options["channels"] = str(detector.channels)
        options["attention"] = json.dumps(detector.attention)
        options["finest_stride"] = str(detector.finest_stride)
    else:
        options["network"] = name_of(detector)
    encoder = cast(Encoder, detector.encoder)
    _write(Path(path), DETECTOR_FORMAT, detector, encoder, options, half=half, about=metadata or {})


def load_detector(path: Path) -> SaliencyNetwork:
    """Read a detector, ours or the network that took its place, in eval mode, on the CPU, in float32.

    Raises:
        CheckpointError: no such file, a damaged one, or one that holds no detector of this package.
    """
    return _load(Path(path), DETECTOR_FORMAT, _empty_detector)


def save_stage1(
    path: Path,
    network: ActivationNetwork,
    encoder: Encoder,
    *,
    half: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write the activation network and the encoder it was fitted on; arguments as in `save_detector`."""
    options = {
        "in_channels": json.dumps(network.in_channels),
        "channels": str(network.channels),
        "fusion_stride": str(network.fusion_stride),
        "boundary": network.boundary,
    }
    whole = nn.ModuleDict({"network": network, "encoder": encoder})
    _write(Path(path), STAGE1_FORMAT, whole, encoder, options, half=half, about=metadata or {})


def load_stage1(path: Path) -> tuple[ActivationNetwork, Encoder]:
    """Read an activation network and its encoder in eval mode, on the CPU, in float32.

    Raises:
        CheckpointError: no such file, a damaged one, or one that holds no stage 1 of this package.
    """
    whole = _load(Path(path), STAGE1_FORMAT, _empty_stage1)
    return cast(ActivationNetwork, whole["network"]), cast(Encoder, whole["encoder"])


def read_metadata(path: Path) -> dict[str, str]:
    """The entries that were given to `save_detector` or `save_stage1`.

    Raises:
        CheckpointError: no such file, or a damaged one.
    """
    _, metadata = _read(Path(path))
    return {key.removeprefix(_ABOUT): text for key, text in metadata.items() if key.startswith(_ABOUT)}


def _empty_detector(metadata: Mapping[str, str]) -> SaliencyNetwork:
    name = metadata.get("network", OURS)
    if name == OURS:
        return _empty_ours(metadata)
    if name not in RIVALS:
        raise ValueError(f"unknown network {name}")
    network = RIVALS[name](encoder_from_metadata(metadata))
    if json.loads(metadata["presence"]):
        network.presence = ObjectPresence(channels=network.encoder.channels[-1])
    return network


def _empty_ours(metadata: Mapping[str, str]) -> DetectorNetwork:
    stride = int(metadata["finest_stride"])
    if stride not in (2, 4):
        raise ValueError(f"finest stride {stride}")
    encoder = encoder_from_metadata(metadata)
    has_presence = json.loads(metadata.get("presence", "false"))
    return DetectorNetwork(
        encoder,
        channels=int(metadata["channels"]),
        attention=bool(json.loads(metadata["attention"])),
        finest_stride=cast(Literal[2, 4], stride),
        presence=ObjectPresence(channels=encoder.channels[-1]) if has_presence else None,
    )


def _empty_stage1(metadata: Mapping[str, str]) -> nn.ModuleDict:
    if metadata["boundary"] not in get_args(BoundaryKind):
        raise ValueError(f"decision boundary {metadata['boundary']}")
    c3, c4, c5 = json.loads(metadata["in_channels"])
    network = ActivationNetwork(
        in_channels=(c3, c4, c5),
        channels=int(metadata["channels"]),
        fusion_stride=int(metadata["fusion_stride"]),
        boundary=cast(BoundaryKind, metadata["boundary"]),
    )
    return nn.ModuleDict({"network": network, "encoder": encoder_from_metadata(metadata)})


def _write(
    path: Path,
    kind: str,
    module: nn.Module,
    encoder: Encoder,
    options: Mapping[str, str],
    *,
    half: bool,
    about: Mapping[str, str],
) -> None:
    metadata = {"format": kind, "version": VERSION, **options, **encoder_metadata(encoder)}
    metadata |= {f"{_ABOUT}{key}": text for key, text in about.items()}
    tensors = {name: _stored(tensor, half) for name, tensor in module.state_dict().items()}
    write_atomic(path, _sort_metadata(safetensors.torch.save(tensors, metadata)))


def _stored(tensor: Tensor, half: bool) -> Tensor:
    dtype = torch.float16 if half and tensor.ndim >= 2 else tensor.dtype
    return tensor.detach().to("cpu", dtype).contiguous()


def _sort_metadata(content: bytes) -> bytes:
    """A safetensors file with its metadata sorted: the library writes the entries in a random order."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def _load(path: Path, kind: str, build: Callable[[Mapping[str, str]], Module]) -> Module:
    tensors, metadata = _read(path)
    if metadata.get("format") != kind:
        raise CheckpointError(f"{path} holds no {kind}: it is {_described(tensors, metadata)}")
    if metadata.get("version") != VERSION:
        raise CheckpointError(f"{path} has version {metadata.get('version')}; this package reads {VERSION}")
    # First without memory for the weights: what the metadata claim may be larger than any machine.
    _refuse_others(path, _built(path, build, metadata, "meta"), tensors)
    module = _built(path, build, metadata, "cpu")
    module.load_state_dict(tensors)
    return module.eval()


def _built(
    path: Path, build: Callable[[Mapping[str, str]], Module], metadata: Mapping[str, str], device: str
) -> Module:
    try:
        with torch.device(device):
            return build(metadata)
    except KeyError as error:
        raise CheckpointError(f"{path} lacks the entry {error} in its metadata") from error
    except Exception as error:  # metadata can ask for anything, and timm and PyTorch raise whatever they like
        first = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"{path} does not fit its own description: {first}") from error


def _refuse_others(path: Path, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Raise a CheckpointError where the tensors are not those of the module."""
    asked = {name: tensor.shape for name, tensor in module.state_dict().items()}
    there = {name: tensor.shape for name, tensor in tensors.items()}
    wrong = sorted(name for name in asked.keys() | there.keys() if asked.get(name) != there.get(name))
    if wrong:
        raise CheckpointError(
            f"{path} does not fit its own description: {len(wrong)} tensors are missing, unexpected or of another "
            f"shape, such as {wrong[0]}"
        )


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.is_file():
        raise CheckpointError(f"there is no model file {path}")
    try:
        return read_weights(path)
    except WeightsError as error:
        raise CheckpointError(str(error)) from error


def _described(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    if "format" in metadata:
        return f"an {metadata['format']}"
    if any(name.removeprefix("module.").startswith("decoder.") for name in tensors):
        return "in the layout of the official A2S code; `act2sal convert` turns it into a model file"
    return "a file of other weights"
