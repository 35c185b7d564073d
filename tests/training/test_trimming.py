"""Which photos of a batch stay: those whose labels the network agrees with."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from act2sal.networks.encoders import freeze
from act2sal.runs.training_state import TrainingState
from act2sal.training.epochs import Trainer
from act2sal.training.stage1 import self_training
from act2sal.training.stage1.features import LiveFeatures
from act2sal.training.stage1.fit import activation_network
from act2sal.training.stage1.self_training import fit_on_labels
from act2sal.training.trimming import kept
from tiny import Rows, cpu, random_squares, tiny_config, tiny_encoder


def maps(*shares: float) -> torch.Tensor:
    """(B, 1, 1, 10): the left share of the pixels is 1."""
    return torch.tensor([[float(i < 10 * share) for i in range(10)] for share in shares])[:, None, None]


def test_the_least_overlapping_ones_go() -> None:
    labels = maps(0.5, 0.5, 0.5, 0.5)
    predictions = maps(0.4, 0.0, 0.5, 1.0)  # IoU .8, 0, 1, .5
    assert kept(predictions, labels, 0.25).tolist() == [0, 2, 3]
    assert kept(predictions, labels, 0.5).tolist() == [0, 2]
    assert kept(predictions, labels, 0.9).tolist() == [2]
    assert kept(predictions, labels, 0.2).tolist() == [0, 1, 2, 3]


def test_the_soft_iou_counts_and_not_the_size() -> None:
    labels, predictions = maps(0.1, 0.9), maps(0.1, 0.9)
    predictions[1] *= 0.5
    assert kept(predictions, labels, 0.5).tolist() == [0]


@pytest.mark.parametrize(("trim", "counted"), [(0.0, [5, 5, 5]), (0.4, [5, 3, 3])])
def test_rounds_leave_photos_out_from_the_second_pass_on(
    trim: float, counted: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = LiveFeatures(freeze(tiny_encoder()), random_squares(5), torch.device("cpu"))
    options = replace(tiny_config().stage1, batch_size=8, round_epochs=3, round_trim=trim)
    network = activation_network(features, options, seed=0, boundary="affine")
    side = network(features.read([0])).theta.shape[-1]
    seen, original = [], self_training.label_loss

    def label_loss(theta: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        seen.append(len(theta))
        assert len(theta) == len(target)
        return original(theta, target)

    monkeypatch.setattr(self_training, "label_loss", label_loss)
    fit_on_labels(
        network,
        features,
        np.zeros((5, side, side), np.uint8),
        options,
        Trainer(cpu(), 0, Rows(), quiet=True),
        TrainingState(tmp_path / "round.pt"),
        round_number=1,
    )
    assert seen == counted
