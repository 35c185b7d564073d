"""Checkpoints of the published code of rivals (see `itsd`, `picanet`), by their own tensor names.

Rules turn these names into ours. Every tensor has to follow one of them: a checkpoint with other tensors is refused.
"""

import re
from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor, nn

from act2sal.errors import CheckpointError
from act2sal.networks.encoders import UNKNOWN, encoder_from_metadata
from act2sal.networks.itsd import CONVOLUTIONS, ITSD

Rules = tuple[tuple[str, str], ...]
"""Regular expressions that match whole names, and what takes their place; the first that matches counts."""

Network = TypeVar("Network", bound=nn.Module)

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


def itsd_from_official(tensors: Mapping[str, Tensor]) -> ITSD:
    """Build ITSD with ResNet-50 out of a published state dict, in eval mode.

    The branch that the published network never runs is dropped.

    Raises:
        CheckpointError: tensors are missing, unknown or of another shape.
    """
    network = ITSD(encoder_from_metadata(ITSD_ENCODER))
    return _filled(network, renamed(tensors, ITSD_RULES, unused=ITSD_UNUSED))


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
