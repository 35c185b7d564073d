"""The parts of PiCANet against an implementation that is not ours: the PyTorch one with VGG-16 by Ugness.

Its network is another one: pools of 2 x 2, no BatchNorm on weights of attention, bilinear enlargement, a first pass
of the recurrent layers along rows; and its local attention adds up along the wrong axis: 49 pixels of one place of
the window in place of the 49 places of one pixel. It is put together here from our parts, these differences apart,
and not offered to users.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from act2sal.errors import CheckpointError
from act2sal.networks.contextual_attention import GRID_SAMPLES, WINDOW, GlobalAttention, LocalAttention
from act2sal.networks.official import convert_official
from act2sal.networks.picanet import AttendedLevel
from parity_rule import deviations, normalised_input, state_dict

CONVOLUTIONS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
WIDTHS = (64, 128, 256, 512, 512, 1024)
"""Of the levels, finest first."""


class TransposedGlobalAttention(GlobalAttention):
    """Reads rows first and columns then."""

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps.transpose(2, 3)).transpose(2, 3)


class MisaddedLocalAttention(LocalAttention):
    """Adds up 49 neighbours in a row of one place of the window."""

    def forward(self, maps: Tensor) -> Tensor:
        batch, channels, height, width = maps.shape
        windows = functional.unfold(maps, WINDOW, dilation=2, padding=6).view(batch, channels, -1)
        weighted = windows * self.weigh(self.look(maps)).view(batch, 1, -1)
        return weighted.view(batch, channels, height * width, WINDOW**2).sum(dim=-1).view_as(maps)


def encoded(tensors: dict[str, Tensor], photos: Tensor) -> list[Tensor]:
    """The six levels of the encoder, finest first."""
    levels = []
    maps = photos
    for stage, numbers in enumerate(CONVOLUTIONS):
        maps = functional.max_pool2d(maps, 2) if stage in (1, 2, 3) else maps
        for number in numbers:
            spread = 2 if stage == 4 else 1
            name = f"encoder.seq.{number}"
            maps = functional.conv2d(
                maps, tensors[f"{name}.weight"], tensors[f"{name}.bias"], padding=spread, dilation=spread
            )
            maps = functional.relu(maps)
        levels.append(maps)
    sixth = functional.conv2d(
        maps, tensors["encoder.conv6.weight"], tensors["encoder.conv6.bias"], padding=12, dilation=12
    )
    seventh = functional.conv2d(
        sixth, tensors["encoder.conv7.weight"], tensors["encoder.conv7.bias"], padding=1
    )
    return [*levels, seventh]


def recurrent(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Weights of one of our recurrent layers: their two biases, which are added, become one more column."""
    state = {}
    for direction in ("", "_reverse"):
        bias = tensors[f"{name}.bias_ih_l0{direction}"] + tensors[f"{name}.bias_hh_l0{direction}"]
        inputs = tensors[f"{name}.weight_ih_l0{direction}"]
        state[f"weight_ih_l0{direction}"] = torch.cat([inputs, bias[:, None]], dim=1)
        state[f"weight_hh_l0{direction}"] = tensors[f"{name}.weight_hh_l0{direction}"]
    return state


def global_attention(tensors: dict[str, Tensor], name: str, channels: int) -> GlobalAttention:
    attention = TransposedGlobalAttention(channels)
    attention.vertical.load_state_dict(recurrent(tensors, f"{name}.renet.vertical"))
    attention.horizontal.load_state_dict(recurrent(tensors, f"{name}.renet.horizontal"))
    for kind, ours in (("weight", attention.weigh[0].weight), ("bias", attention.weigh[0].bias)):
        theirs = tensors[f"{name}.renet.conv.{kind}"]
        grid = theirs.unflatten(0, (GRID_SAMPLES, GRID_SAMPLES)).transpose(0, 1).flatten(0, 1)
        ours.copy_(grid)
    attention.weigh[1] = nn.Identity()
    return attention


def local_attention(tensors: dict[str, Tensor], name: str, channels: int) -> LocalAttention:
    attention = MisaddedLocalAttention(channels)
    fill(attention.look[0], tensors, f"{name}.conv1")
    fill(attention.weigh[0], tensors, f"{name}.conv2")
    attention.look[1] = nn.Identity()
    attention.weigh[1] = nn.Identity()
    return attention


def fill(layer: nn.Module, tensors: dict[str, Tensor], name: str) -> None:
    """Give a layer the tensors under a name."""
    layer.load_state_dict({kind: tensors[f"{name}.{kind}"] for kind in layer.state_dict()})


def level(tensors: dict[str, Tensor], number: int) -> AttendedLevel:
    """Level `number`, 0 being the coarsest."""
    name = f"decoder.{number}"
    width = WIDTHS[5 - number]
    attention = None
    if number < 5:
        build = global_attention if number < 2 else local_attention
        attention = build(tensors, f"{name}.picanet", width)
    channels = WIDTHS[4 - number] if number < 5 else width
    ours = AttendedLevel(width, channels, attention=attention, first=False, enlarged=False)
    start, classifier = (ours.start[0], "conv3") if number < 5 else (ours.last[0], "conv2")
    fill(start, tensors, f"{name}.conv1")
    start.weight.copy_(start.weight.roll(width, dims=1))  # ours has the coarser level first
    if number < 5:
        fill(ours.last[0], tensors, f"{name}.conv2")
        fill(ours.last[1], tensors, f"{name}.bn_feature")
    else:
        ours.last[1] = nn.Identity()
    fill(ours.classifier, tensors, f"{name}.{classifier}")
    return ours.eval()


@torch.no_grad()
def test_every_map_of_the_third_party_network(parity_dir: Path) -> None:
    fixture = np.load(parity_dir / "rivals" / "picanet_vgg_ugness.npz")
    tensors = state_dict(parity_dir / "rivals" / "picanet_vgg_ugness_state_dict.json")
    encoder = encoded(tensors, normalised_input(fixture))
    maps = encoder[-1]
    for number in range(6):
        finer = encoder[5 - number]
        norm = nn.BatchNorm2d(finer.shape[1]).eval()
        fill(norm, tensors, f"decoder.{number}.bn_en")
        if maps.shape != finer.shape:
            maps = functional.interpolate(maps, finer.shape[-2:], mode="bilinear", align_corners=True)
        maps, logits = level(tensors, number)(maps, functional.relu(norm(finer)))
        assert deviations(logits, fixture[f"logit{number}"]) < 1e-4


def test_its_weights_are_refused_by_name(parity_dir: Path, tmp_path: Path) -> None:
    torch.save(
        state_dict(parity_dir / "rivals" / "picanet_vgg_ugness_state_dict.json"), tmp_path / "theirs.pt"
    )
    with pytest.raises(CheckpointError, match=r"third party's PiCANet.*wrong axis"):
        convert_official(tmp_path / "theirs.pt", tmp_path / "ours.safetensors")
