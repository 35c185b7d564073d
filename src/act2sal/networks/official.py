"""Checkpoints of the official A2S code, stage 1 (`mnet`) and detector (`cornet`), by their own tensor names.

What they need beyond the paper is expressed by options of our networks: F_3..F_5 are joined at the size of
E_1, and the column sums of the ResNet classifier become the channel scale of E_5. Photos are normalised with
ImageNet's mean and standard deviation; all bilinear resizing leaves corners unaligned; epsilons are PyTorch's
own. The GroupNorm inside each gate of stage 1 and the classifier of the detector are never used, and dropped.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from act2sal.a2s.activation import ActivationNetwork
from act2sal.a2s.detector import DetectorNetwork
from act2sal.data.origin import MASKS
from act2sal.errors import CheckpointError
from act2sal.networks.checkpoint import save_detector, save_stage1
from act2sal.networks.encoder_weights import encoder_tensors, match
from act2sal.networks.encoders import UNKNOWN, Encoder, encoder_from_metadata
from act2sal.networks.official_rivals import OFFICIAL_RIVALS, THIRD_PARTY_PICANET_MARK
from act2sal.networks.weight_files import WeightsError, read_weights

RESNET50 = {
    "encoder.name": "resnet50",
    "encoder.mean": "0.485,0.456,0.406",
    "encoder.std": "0.229,0.224,0.225",
    "encoder.supervision": UNKNOWN,
}

_BLOCKS = {"ad2": "blocks.0", "ad3": "blocks.1", "ad4": "blocks.2", "fusion": "fusion"}
_BLOCK_LAYERS = {"ad0.0": "conv", "ad0.1": "norm", "se.conv": "gate"}
_MODULES = {"region": "regional", "local": "local"}
_MODULE_LAYERS = {
    "gconv.0": "deep.0",
    "gconv.1": "deep.1",
    "res_conv1": "attention.0",
    "res_conv2": "attention.1",
    "fuse": "fuse",
}
STAGE1_LAYERS = {
    f"{block}.{layer}": f"{our_block}.{our_layer}"
    for block, our_block in _BLOCKS.items()
    for layer, our_layer in _BLOCK_LAYERS.items()
}
DETECTOR_LAYERS = {
    **{f"adapter{level}.{layer}": f"adapters.{level}.{layer}" for level in range(5) for layer in range(2)},
    **{
        f"{module}.{layer}": f"{our_module}.{our_layer}"
        for module, our_module in _MODULES.items()
        for layer, our_layer in _MODULE_LAYERS.items()
    },
    "gb_conv.0": "deepening.widen.0",
    "gb_conv.1": "deepening.widen.1",
    "gb_conv.4": "deepening.narrow.0",
    "gb_conv.5": "deepening.narrow.1",
}


def convert_official(source: Path, target: Path, *, half: bool = False) -> str:
    """Turn a published checkpoint into a model file of this package, and return its kind.

    Known are those of A2S with ResNet-50 ("stage1", "detector"), and those of `official_rivals` (their names).

    Args:
        source: `.pth` file; a `module.` before every name is accepted.
        target: safetensors file; replaced whole.
        half: as in `checkpoint.save_detector`.

    Raises:
        CheckpointError: no such file, a damaged one, or one with other tensors than the official ones.
    """
    tensors = _read_official(Path(source))
    metadata = {"converted_from": Path(source).name}
    try:
        if "decoder.fusion.ad0.0.weight" in tensors:
            network, encoder = stage1_from_official(tensors)
            save_stage1(target, network, encoder, half=half, metadata=metadata)
            return "stage1"
        if "decoder.adapter0.0.weight" in tensors:
            save_detector(target, detector_from_official(tensors), half=half, metadata=metadata)
            return "detector"
        for name, rival in OFFICIAL_RIVALS.items():
            if rival.mark in tensors:
                seen = {"stage 1 supervision": MASKS, "stage 2 supervision": UNKNOWN, "trained on": MASKS}
                metadata |= {"size": str(rival.size), **seen}
                save_detector(target, rival.build(tensors), half=half, metadata=metadata)
                return name
    except OSError:
        raise
    except Exception as error:  # tensors of any shape, under the official names
        first = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"{source} is not as the official code writes it: {first}") from error
    if THIRD_PARTY_PICANET_MARK in tensors:
        raise CheckpointError(
            f"{source} is a third party's PiCANet: its local attention sums along the wrong axis and "
            "it has other layers, so no network of ours gives its maps"
        )
    raise CheckpointError(
        f"{source} is neither a stage 1 nor a detector of the official A2S code, nor one of "
        f"{', '.join(OFFICIAL_RIVALS)} with the encoder that its authors took"
    )


def stage1_from_official(tensors: Mapping[str, Tensor]) -> tuple[ActivationNetwork, Encoder]:
    """Stage 1 and its encoder out of an official state dict, in eval mode.

    The signs of the official code are `foreground_sign(theta, "area_zero")`, and its fused map is to be asked
    for with the photo's size.
    """
    network = ActivationNetwork(in_channels=(512, 1024, 2048), channels=64, fusion_stride=2)
    state = _renamed(tensors, STAGE1_LAYERS, unused=tuple(f"{block}.se.gn" for block in _BLOCKS))
    scales = {name: scale for name, scale in network.state_dict().items() if name.startswith("scale")}
    scales["scale5"] = tensors["encoder.fc.weight"].sum(dim=0)
    network.load_state_dict({**state, **scales})
    return network.eval(), _encoder(tensors)


def detector_from_official(tensors: Mapping[str, Tensor]) -> DetectorNetwork:
    """The detector out of an official state dict, in eval mode."""
    encoder = _encoder(tensors)
    detector = DetectorNetwork(encoder, channels=64, finest_stride=2)
    encoder_state = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    detector.load_state_dict({**_renamed(tensors, DETECTOR_LAYERS), **encoder_state})
    return detector.eval()


def _read_official(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}")
    try:
        tensors, _ = read_weights(path)
    except WeightsError as error:
        raise CheckpointError(str(error)) from error
    return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}


def _renamed(
    tensors: Mapping[str, Tensor], layers: Mapping[str, str], unused: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    state = {}
    for name, tensor in tensors.items():
        layer, _, leaf = name.removeprefix("decoder.").rpartition(".")
        if name.startswith("decoder.") and layer not in unused:
            if layer not in layers:
                raise CheckpointError(f"unknown tensor {name}")
            state[f"{layers[layer]}.{leaf}"] = tensor
    return state


def _encoder(tensors: Mapping[str, Tensor]) -> Encoder:
    encoder = encoder_from_metadata(RESNET50)
    plain = encoder_tensors({name: t for name, t in tensors.items() if name.startswith("encoder.")})
    body = encoder.body.state_dict()
    encoder.body.load_state_dict(match(plain, body, ignored=frozenset({"fc"}), source="the checkpoint"))
    return encoder.eval()
