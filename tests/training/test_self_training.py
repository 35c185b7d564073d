"""Rounds of self-training: the schedule, the loss, resuming, and that agreement is learnt."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from act2sal.a2s.activation import ActivationNetwork
from act2sal.a2s.resampling import flip
from act2sal.config import Stage1Config
from act2sal.runs.training_state import TrainingState
from act2sal.training.epochs import Trainer
from act2sal.training.sampling import epoch_generator, flip_flags
from act2sal.training.schedules import one_cycle
from act2sal.training.stage1.features import LiveFeatures
from act2sal.training.stage1.fit import activation_network
from act2sal.training.stage1.self_training import LabelFit, fit_on_labels, label_loss
from tiny import Rows, cpu, random_squares, tiny_config, tiny_encoder

CPU = torch.device("cpu")
OPTIONS = replace(tiny_config().stage1, round_epochs=3)


def test_labels_are_read_in_the_order_asked_for_and_mirrored_with_their_photos() -> None:
    labels = np.array([[[0, 255]], [[51, 102]], [[1, 2]], [[3, 4]]], dtype=np.uint8)
    generator, same = epoch_generator(0, 0), epoch_generator(0, 0)
    cut = [[1, 0, 3], [2]]
    module = torch.nn.Conv2d(1, 1, 1)
    optimizer = torch.optim.SGD(module.parameters())
    trainer = Trainer(cpu(), 0, Rows(), quiet=True)
    fit = LabelFit(module, optimizer, Marked(4), labels, OPTIONS, trainer, round_number=1)
    for indices, (fetched, target) in zip(cut, fit.batches(cut, 0, generator), strict=True):
        flags = flip_flags(len(indices), same)
        assert fetched.indices == indices
        assert fetched.mirrored is not None
        assert torch.equal(fetched.mirrored, flags)
        assert torch.equal(target, flip(torch.from_numpy(labels[indices])[:, None], flags))


def test_the_loss_by_hand() -> None:
    # Probabilities 1/2 and 3/4 against labels 1 and 0
    theta = torch.tensor([[[[0.0, math.log(3.0)]]]])
    target = torch.tensor([[[[1.0, 0.0]]]])
    bce = (math.log(2) + math.log(4)) / 2
    iou = 1 - 0.5 / (1 + 0.75)
    assert float(label_loss(theta, target)) == pytest.approx(bce + iou, rel=1e-5)


class Marked(LiveFeatures):
    """Frozen features of squares."""

    def __init__(self, count: int) -> None:
        super().__init__(tiny_encoder().eval().requires_grad_(False), random_squares(count), CPU)


def bright(count: int) -> NDArray[np.uint8]:
    """Labels (count, 16, 16) that the photos decide: where a square is brighter than its mean."""
    grey = np.stack(random_squares(count)).mean(axis=3)[:, 2::4, 2::4]
    return ((grey > grey.mean(axis=(1, 2), keepdims=True)) * 255).astype(np.uint8)


def fitted(
    features: LiveFeatures,
    labels: NDArray[np.uint8],
    config: Stage1Config,
    state: Path,
    log: Rows,
    *,
    number: int = 1,
) -> ActivationNetwork:
    network = activation_network(features, config, seed=number, boundary="affine")
    return fit_on_labels(
        network,
        features,
        labels,
        config,
        Trainer(cpu(), 0, log, quiet=True),
        TrainingState(state),
        round_number=number,
    )


def weights(network: ActivationNetwork) -> Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def test_the_optimiser_is_the_fused_one_with_the_options_of_the_rounds(tmp_path: Path) -> None:
    config = replace(OPTIONS, round_weight_decay=0.003)
    fitted(Marked(4), bright(4), config, tmp_path / "state.pt", Rows())
    (group,) = torch.load(tmp_path / "state.pt", weights_only=True)["optimizer"]["param_groups"]
    assert (group["fused"], group["weight_decay"]) == (True, 0.003)


def test_it_learns_what_the_labels_agree_on(tmp_path: Path) -> None:
    features, labels, rows = Marked(8), bright(8), Rows()
    config = replace(OPTIONS, round_epochs=40, round_lr=0.01, channels=16)
    network = fitted(features, labels, config, tmp_path / "state.pt", rows)
    with torch.no_grad():
        positive = network(features.read(range(8))).theta[:, 0].numpy() > 0
    assert (positive == (labels > 127)).mean() > 0.9
    assert float(rows[-1]["loss"]) < 0.5 * float(rows[0]["loss"])
    assert not network.training


def test_every_epoch_is_logged_under_its_round(tmp_path: Path) -> None:
    rows = Rows()
    fitted(Marked(5), bright(5), OPTIONS, tmp_path / "state.pt", rows, number=2)
    assert [(row["stage"], row["epoch"]) for row in rows] == [("stage1 round 2", n) for n in (1, 2, 3)]


def test_adamw_ends_with_the_last_rate_of_the_cycle(tmp_path: Path) -> None:
    config = replace(OPTIONS, round_lr=0.02, round_weight_decay=0.03)
    fitted(Marked(8), bright(8), config, tmp_path / "state.pt", Rows())
    (group,) = torch.load(tmp_path / "state.pt", weights_only=True)["optimizer"]["param_groups"]
    # 2 batches in each of 3 epochs: the middle of the last step is at 5.5 / 6
    assert group["lr"] == pytest.approx(one_cycle(5.5 / 6, 0.02))
    assert group["weight_decay"] == 0.03


@pytest.mark.parametrize("stop_after", [1, 2])
def test_resumed_it_gives_the_same_bits(stop_after: int, tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    class Stopping(Rows):
        def __call__(self, row: object) -> None:
            super().__call__(row)  # type: ignore[arg-type]
            if len(self) > stop_after:
                raise StopError

    labels, rows = bright(6), Rows()
    whole = fitted(Marked(6), labels, OPTIONS, tmp_path / "whole.pt", Rows())
    with pytest.raises(StopError):
        fitted(Marked(6), labels, OPTIONS, tmp_path / "parts.pt", Stopping())
    resumed = fitted(Marked(6), labels, OPTIONS, tmp_path / "parts.pt", rows)
    assert [row["epoch"] for row in rows] == list(range(stop_after + 1, 4))
    assert torch.equal(weights(whole), weights(resumed))


def test_rounds_see_the_photos_in_another_order(tmp_path: Path) -> None:
    first = fitted(Marked(6), bright(6), OPTIONS, tmp_path / "a.pt", Rows(), number=1)
    second = fitted(Marked(6), bright(6), OPTIONS, tmp_path / "b.pt", Rows(), number=2)
    assert not torch.equal(weights(first), weights(second))


def test_side_maps_have_no_part_in_a_round(tmp_path: Path) -> None:
    after = fitted(Marked(4), bright(4), OPTIONS, tmp_path / "state.pt", Rows())
    learning = [boundary.affine.weight.requires_grad for boundary in after.boundaries]
    assert learning == [False, False, False, True]


def test_a_loss_that_is_not_finite_stops_the_round(tmp_path: Path) -> None:
    features = Marked(4)
    network = activation_network(features, OPTIONS, seed=0, boundary="affine")
    with torch.no_grad():
        network.boundaries[3].affine.bias.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"nan in epoch 1; .*stage1\.round_lr"):
        fit_on_labels(
            network,
            features,
            bright(4),
            OPTIONS,
            Trainer(cpu(), 0, Rows(), quiet=True),
            TrainingState(tmp_path / "state.pt"),
            round_number=1,
        )
    assert not (tmp_path / "state.pt").exists()
