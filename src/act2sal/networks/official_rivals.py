"""Checkpoints of the published code of rivals (see `minet`, `cpd`, ...), by their own tensor names.

Rules turn these names into ours. Every tensor has to follow one of them: a checkpoint with other tensors is refused.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from act2sal.errors import CheckpointError
from act2sal.networks.basnet import BASNet
from act2sal.networks.cpd import CPD
from act2sal.networks.encoders import UNKNOWN, encoder_from_metadata
from act2sal.networks.itsd import CONVOLUTIONS, ITSD
from act2sal.networks.minet import MINet
from act2sal.networks.picanet import PiCANet
from act2sal.networks.rival import Rival

Rules = tuple[tuple[str, str], ...]
"""Regular expressions that match whole names, and what takes their place; the first that matches counts."""

Network = TypeVar("Network", bound=nn.Module)

RESNET50 = {
    "encoder.name": "resnet50",
    "encoder.mean": "0.485,0.456,0.406",
    "encoder.std": "0.229,0.224,0.225",
    "encoder.supervision": UNKNOWN,
}
RESNET34 = {**RESNET50, "encoder.name": "resnet34"}

MINET_MARK = "trans.conv0.h2h_0.weight"
_SCALES = ("h", "m", "l")
_OF_BLOCK = (("h", "l"), _SCALES, _SCALES, _SCALES, ("h", "l"))
"""Letters of the levels that meet in a block of AIM, finest first."""
_MAIN = (0, 1, 1, 1, 1)


def _interaction_rules(theirs: str, ours: str, letters: Sequence[str], main: str) -> Rules:
    """Rules of one block of AIM, or of SIM, which has no more than the steps 0, 1 and 2."""
    rules = []
    for i, to in enumerate(letters):
        rules += [
            (rf"{theirs}\.[{to}h]2{to}_0\.(.*)", rf"{ours}.enter.{i}.\1"),
            (rf"{theirs}\.bn{to}_0\.(.*)", rf"{ours}.enter_norms.{i}.\1"),
            (rf"{theirs}\.bn{to}_1\.(.*)", rf"{ours}.exchange_norms.{i}.\1"),
            (rf"{theirs}\.{to}2{main}_2\.(.*)", rf"{ours}.gather.{i}.\1"),
        ]
        for j, source in enumerate(letters):
            rules.append((rf"{theirs}\.{source}2{to}_1\.(.*)", rf"{ours}.exchange.{i}.{j}.\1"))
    rules.append((rf"{theirs}\.bn{main}_2\.(.*)", rf"{ours}.gather_norm.\1"))
    return tuple(rules)


MINET_RULES: Rules = (
    (r"div_2\.0\.(.*)", r"encoder.body.conv1.\1"),
    (r"div_2\.1\.(.*)", r"encoder.body.bn1.\1"),
    (r"div_4\.1\.(.*)", r"encoder.body.layer1.\1"),
    *((rf"div_{4 << layer}\.(.*)", rf"encoder.body.layer{1 + layer}.\1") for layer in (1, 2, 3)),
    *(
        rule
        for block, letters in enumerate(_OF_BLOCK)
        for rule in _interaction_rules(
            rf"trans\.conv{block}", f"aggregations.{block}", letters, letters[_MAIN[block]]
        )
    ),
    (r"trans\.conv(\d)\.(\w)2\2_3\.(.*)", r"aggregations.\1.leave.\3"),
    (r"trans\.conv(\d)\.bn\w_3\.(.*)", r"aggregations.\1.leave_norm.\2"),
    (r"trans\.conv(\d)\.identity\.(.*)", r"aggregations.\1.shortcut.\2"),
    *(
        rule
        for level in range(5)
        for rule in _interaction_rules(f"sim{2 << level}", f"interactions.{level}", ("h", "l"), "h")
    ),
    *((rf"upconv{2 << level}\.basicconv\.(.*)", rf"climbs.{level}.\1") for level in range(5)),
    (r"upconv1\.basicconv\.(.*)", r"last.\1"),
    (r"classifier\.(.*)", r"classifier.\1"),
)

CPD_MARK = "HA.gaussian_kernel"
_TURNS = (("1", "first"), ("2", "second"))
_CPD_DECODER = {
    "conv_upsample1": "weigh4",
    "conv_upsample2": "weigh3_by5",
    "conv_upsample3": "weigh3_by4",
    "conv_upsample4": "pass5",
    "conv_concat2": "join4",
    "conv_upsample5": "pass4",
    "conv_concat3": "join3",
    "conv4": "last",
}
_UNIT = (("conv", 0), ("bn", 1))
"""A convolution and its BatchNorm: their names, our numbers."""
CPD_RULES: Rules = (
    (r"resnet\.layer([34])_1\.(.*)", r"encoder.body.layer\1.\2"),
    (r"resnet\.layer3_2\.(.*)", r"again.layers.0.\1"),
    (r"resnet\.layer4_2\.(.*)", r"again.layers.1.\1"),
    (r"resnet\.(.*)", r"encoder.body.\1"),
    (r"HA\.gaussian_kernel", "attention.kernel"),
    *(
        rule
        for number, turn in _TURNS
        for level in range(3)
        for name, position in _UNIT
        for rule in (
            (
                rf"rfb{level + 2}_{number}\.branch0\.0\.{name}\.(.*)",
                rf"{turn}_fields.{level}.views.0.{position}.\1",
            ),
            (
                rf"rfb{level + 2}_{number}\.branch(\d)\.(\d)\.{name}\.(.*)",
                rf"{turn}_fields.{level}.views.\1.\2.{position}.\3",
            ),
            (
                rf"rfb{level + 2}_{number}\.conv_cat\.{name}\.(.*)",
                rf"{turn}_fields.{level}.join.{position}.\1",
            ),
            (
                rf"rfb{level + 2}_{number}\.conv_res\.{name}\.(.*)",
                rf"{turn}_fields.{level}.shortcut.{position}.\1",
            ),
        )
    ),
    *(
        (rf"agg{number}\.{theirs}\.{name}\.(.*)", rf"{turn}_decoder.{ours}.{position}.\1")
        for number, turn in _TURNS
        for theirs, ours in _CPD_DECODER.items()
        for name, position in _UNIT
    ),
    *((rf"agg{number}\.conv5\.(.*)", rf"{turn}_decoder.classifier.\1") for number, turn in _TURNS),
)

BASNET_MARK = "refunet.conv0.weight"
_STEPS = (("1", 0), ("m", 1), ("2", 2))
BASNET_RULES: Rules = (
    (r"inconv\.(.*)", r"encoder.body.stem.0.\1"),
    (r"inbn\.(.*)", r"encoder.body.stem.1.\1"),
    *((rf"encoder{i + 1}\.(.*)", rf"encoder.body.layers.{i}.\1") for i in range(4)),
    *(
        (rf"resb{stage + 5}_{block + 1}\.(.*)", rf"encoder.body.pooled.{stage}.{block}.\1")
        for stage in range(2)
        for block in range(3)
    ),
    *((rf"{name}bg_{step}\.(.*)", rf"bridge.{i}.{k}.\1") for name, k in _UNIT for step, i in _STEPS),
    *(
        (rf"{name}{stage + 1}d_{step}\.(.*)", rf"stages.{stage}.{i}.{k}.\1")
        for stage in range(6)
        for name, k in _UNIT
        for step, i in _STEPS
    ),
    *((rf"outconv{name}\.(.*)", rf"heads.{i}.\1") for i, name in enumerate("123456b")),
    (r"refunet\.conv0\.(.*)", r"refinement.enter.\1"),
    (r"refunet\.conv5\.(.*)", r"refinement.deepest.0.\1"),
    (r"refunet\.bn5\.(.*)", r"refinement.deepest.1.\1"),
    (r"refunet\.conv_d0\.(.*)", r"refinement.leave.\1"),
    *(
        (rf"refunet\.{name}{mark}{level + 1}\.(.*)", rf"refinement.{ours}.{level}.{k}.\1")
        for level in range(4)
        for name, k in _UNIT
        for mark, ours in (("", "down"), ("_d", "up"))
    ),
)

ITSD_ENCODER = {
    "encoder.name": "resnet50",
    "encoder.mean": "0.485,0.458,0.407",
    "encoder.std": "0.229,0.224,0.225",
    "encoder.supervision": UNKNOWN,
}
"""The mean is that of the published code, where ImageNet's is .485, .456, .406."""

ITSD_MARK = "decoder.slc_blocks.0.convs.0.weight"
ITSD_UNUSED = r"decoder\.slc_decode\..*"
ITSD_RULES: Rules = (
    (r"encoder\.encoder\.(.*)", r"encoder.body.\1"),
    (r"encoder\.adapters\.(\d)\.conv\.(.*)", r"adapters.\1.1.\2"),
    (r"decoder\.slc_blocks\.(\d)\.convs\.(.*)", r"saliency.\1.convolutions.\2"),
    (r"decoder\.slc_blocks\.(\d)\.conv4\.(.*)", r"saliency.\1.enter.\2"),
    (r"decoder\.slc_blocks\.(\d)\.conv2\.(.*)", r"saliency.\1.again.\2"),
    (r"decoder\.slc_blocks\.(\d)\.final\.(.*)", r"saliency.\1.last.\2"),
    (r"decoder\.ctr_blocks\.(\d)\.conv1\.(.*)", r"contour.\1.convolutions.\2"),
    (r"decoder\.ctr_blocks\.(\d)\.conv2\.(.*)", r"contour.\1.fuse.\2"),
    (r"decoder\.ctr_blocks\.(\d)\.final\.(.*)", r"contour.\1.last.\2"),
    (r"decoder\.slc_preds\.(\d)\.final_conv\.(.*)", r"saliency_heads.\1.features.0.\2"),
    (r"decoder\.slc_preds\.(\d)\.pr_conv\.(.*)", r"saliency_heads.\1.candidates.\2"),
    (r"decoder\.ctr_preds\.(\d)\.final_conv\.(.*)", r"contour_heads.\1.features.0.\2"),
    (r"decoder\.ctr_preds\.(\d)\.pr_conv\.(.*)", r"contour_heads.\1.candidates.\2"),
    *(
        (rf"decoder\.final\.slc_decode\.{level}\.{3 * step}\.(.*)", rf"joining.climbs.{level}.{step}.0.\1")
        for level in range(len(CONVOLUTIONS))
        for step in range(len(CONVOLUTIONS) - 1 - level)
    ),
    (r"decoder\.final\.slc_decode\.(\d)\.\d+\.(.*)", r"joining.narrow.\1.0.\2"),
    (r"decoder\.final\.conv\.(.*)", r"joining.join.\1"),
)

PICANET_ENCODER = {
    "encoder.name": "resnet50",
    "encoder.mean": "0.48107843137254897,0.4575254901960784,0.40787450980392155",
    "encoder.std": "0.00392156862745098,0.00392156862745098,0.00392156862745098",
    "encoder.supervision": UNKNOWN,
}
"""Photos of 0 to 255 less a mean, as Caffe has them."""
PICANET_VGG_ENCODER = {**PICANET_ENCODER, "encoder.name": "vgg16", "encoder.output_stride": "16"}
PICANET_MARK = "level4.att.renet.vertical.weight_x_fwd"
PICANET_VGG_MARK = "level7.att.renet.vertical.weight_x_fwd"
THIRD_PARTY_PICANET_MARK = "decoder.0.picanet.renet.vertical.weight_ih_l0"
"""Of Ugness/PiCANet-Implementation, another network, which is known in order to be refused by name."""


def _picanet_rules(levels: Sequence[int]) -> Rules:
    """Rules of the decoder; `levels` are the numbers of the published levels, finest first."""
    rules: list[tuple[str, str]] = []
    for ours, theirs in enumerate(levels):
        level = rf"level{theirs}\."
        rules += [
            (rf"{level}enc_bn\.(.*)", rf"encoder.body.norms.{ours}.0.\1"),
            (rf"{level}start\.(.*)", rf"levels.{ours}.start.0.\1"),
            (rf"{level}att\.renet\.(.*)", rf"levels.{ours}.attention.\1"),
            (rf"{level}att\.conv\.(.*)", rf"levels.{ours}.attention.look.0.\1"),
            (rf"{level}att\.att\.(.*)", rf"levels.{ours}.attention.weigh.0.\1"),
            (rf"{level}att\.att_bn\.(.*)", rf"levels.{ours}.attention.weigh.1.\1"),
            (rf"{level}last\.(.*)", rf"levels.{ours}.last.0.\1"),
            (rf"{level}last_bn\.(.*)", rf"levels.{ours}.last.1.\1"),
            (rf"{level}pred\.(.*)", rf"levels.{ours}.classifier.\1"),
            (rf"{level}up\.(.*)", rf"levels.{ours}.enlarge.\1"),
        ]
    return tuple(rules)


PICANET_RULES: Rules = (
    (r"conv1\.(.*)", r"encoder.body.stem.0.\1"),
    (r"bn1\.(.*)", r"encoder.body.stem.1.\1"),
    *((rf"layer{i + 1}\.(.*)", rf"encoder.body.layers.{i}.\1") for i in range(4)),
    *_picanet_rules((1, 2, 3, 4, 5)),
)
PICANET_VGG_RULES: Rules = (
    *(
        (rf"conv{stage + 1}_{i + 1}\.(.*)", rf"encoder.body.stages.{stage}.{i}.\1")
        for stage, count in enumerate((2, 2, 3, 3, 3))
        for i in range(count)
    ),
    (r"fc6\.(.*)", r"encoder.body.added.0.\1"),
    (r"fc7\.(.*)", r"encoder.body.added.3.\1"),
    *_picanet_rules((1, 2, 3, 4, 5, 7)),
)


def minet_from_official(tensors: Mapping[str, Tensor]) -> MINet:
    """Build MINet with ResNet-50 out of a published state dict, in eval mode.

    Raises:
        CheckpointError: tensors are missing, unknown or of another shape.
    """
    return _filled(MINet(encoder_from_metadata(RESNET50)), renamed(tensors, MINET_RULES))


def cpd_from_official(tensors: Mapping[str, Tensor]) -> CPD:
    """Build CPD with ResNet-50 out of a published state dict, in eval mode.

    Raises:
        CheckpointError: tensors are missing, unknown or of another shape.
    """
    return _filled(CPD(encoder_from_metadata(RESNET50)), renamed(tensors, CPD_RULES))


def basnet_from_official(tensors: Mapping[str, Tensor]) -> BASNet:
    """Build BASNet out of a published state dict, in eval mode.

    Raises:
        CheckpointError: tensors are missing, unknown or of another shape.
    """
    return _filled(BASNet(encoder_from_metadata(RESNET34)), renamed(tensors, BASNET_RULES))


def itsd_from_official(tensors: Mapping[str, Tensor]) -> ITSD:
    """Build ITSD with ResNet-50 out of a published state dict, in eval mode.

    The branch that the published network never runs is dropped.

    Raises:
        CheckpointError: tensors are missing, unknown or of another shape.
    """
    network = ITSD(encoder_from_metadata(ITSD_ENCODER))
    return _filled(network, renamed(tensors, ITSD_RULES, unused=ITSD_UNUSED))


def picanet_from_official(tensors: Mapping[str, Tensor]) -> PiCANet:
    """Build PiCANet with ResNet-50 out of its blobs, in eval mode.

    The published weights are blobs of Caffe, which reads photos as BGR. Their names as tensors are those of
    `PICANET_RULES`; the gates of a recurrent layer are input, forget, candidate, output, as PyTorch has them.

    Raises:
        CheckpointError: tensors are missing, unknown or of another shape.
    """
    network = PiCANet(encoder_from_metadata(PICANET_ENCODER))
    return _filled(network, renamed(_picanet_tensors(tensors, "conv1.weight"), PICANET_RULES))


def picanet_vgg_from_official(tensors: Mapping[str, Tensor]) -> PiCANet:
    """Build PiCANet with VGG-16 out of its blobs, as `picanet_from_official`.

    Raises:
        CheckpointError: tensors are missing, unknown or of another shape.
    """
    network = PiCANet(encoder_from_metadata(PICANET_VGG_ENCODER))
    return _filled(network, renamed(_picanet_tensors(tensors, "conv1_1.weight"), PICANET_VGG_RULES))


def _picanet_tensors(tensors: Mapping[str, Tensor], first: str) -> dict[str, Tensor]:
    """Append the biases of recurrent layers to the weights of their input, and turn BGR into RGB.

    Args:
        tensors: see `picanet_from_official`.
        first: name of the weights that read the photo.
    """
    state = {}
    for name, tensor in tensors.items():
        stem, _, kind = name.rpartition(".")
        direction = "_reverse" if kind.endswith("_bwd") else ""
        if kind.startswith("weight_x_"):
            bias = tensors.get(f"{stem}.bias_{kind[-3:]}", tensor.new_zeros(len(tensor)))
            state[f"{stem}.weight_ih_l0{direction}"] = torch.cat([tensor, bias[:, None]], dim=1)
        elif kind.startswith("weight_h_"):
            state[f"{stem}.weight_hh_l0{direction}"] = tensor
        elif kind not in ("bias_fwd", "bias_bwd"):
            state[name] = tensor.flip(1) if name == first else tensor
    return state


@dataclass(frozen=True)
class OfficialRival:
    """A published network.

    Attributes:
        mark: name of a tensor that no other one has.
        build: makes our network of its tensors.
        size: side of the squares that it was tested with, in pixels.
    """

    mark: str
    build: Callable[[Mapping[str, Tensor]], Rival]
    size: int


OFFICIAL_RIVALS: dict[str, OfficialRival] = {
    "basnet": OfficialRival(BASNET_MARK, basnet_from_official, 256),
    "cpd": OfficialRival(CPD_MARK, cpd_from_official, 352),
    "itsd": OfficialRival(ITSD_MARK, itsd_from_official, 288),
    "minet": OfficialRival(MINET_MARK, minet_from_official, 320),
    "picanet with VGG-16": OfficialRival(PICANET_VGG_MARK, picanet_vgg_from_official, 224),
    "picanet": OfficialRival(PICANET_MARK, picanet_from_official, 224),
}


def renamed(tensors: Mapping[str, Tensor], rules: Rules, *, unused: str = "") -> dict[str, Tensor]:
    """Give tensors our names; those whose names match `unused` are left out.

    Args:
        tensors: a published state dict.
        rules: see `Rules`.
        unused: regular expression.

    Raises:
        CheckpointError: no rule matches a name.
    """
    state = {}
    for name, tensor in tensors.items():
        if not re.fullmatch(unused, name):
            state[_renamed(name, rules)] = tensor
    return state


def _renamed(name: str, rules: Rules) -> str:
    for pattern, ours in rules:
        if match := re.fullmatch(pattern, name):
            return match.expand(ours)
    raise CheckpointError(f"unknown tensor {name}")


def _filled(network: Network, state: Mapping[str, Tensor]) -> Network:
    """Load the weights and go to eval mode; counters of batches may be missing."""
    wanted = network.state_dict()
    counters = {name: tensor for name, tensor in wanted.items() if name.endswith("num_batches_tracked")}
    given = {**counters, **state}
    wrong = sorted(
        name
        for name in wanted.keys() | given.keys()
        if name not in given or name not in wanted or given[name].shape != wanted[name].shape
    )
    if wrong:
        raise CheckpointError(f"{len(wrong)} tensors are missing or of another shape, such as our {wrong[0]}")
    network.load_state_dict(given)
    return network.eval()
