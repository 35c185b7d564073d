"""What A2S-v3 and others add to stage 2: a second size, several sizes, an average of the weights, a frozen epoch."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from act2sal.a2s.detector import DetectorNetwork
from act2sal.a2s.losses import detector_loss
from act2sal.a2s.resampling import resize
from act2sal.config import ConfigError, LabelConfig, Stage2Config, TrainConfig
from act2sal.data.label_bank import LabelBank
from act2sal.data.photo_batches import stack, to_batch
from act2sal.runs.training_state import TrainingState
from act2sal.training.epochs import Trainer
from act2sal.training.stage2.fit import Stage2
from act2sal.training.stage2.optimizer import moving_average, rates_at
from tiny import SIZE, Rows, cpu, random_squares, tiny_config, tiny_encoder

COUNT = 4
PHOTOS = random_squares(COUNT)
OPTIONS = replace(tiny_config().stage2, epochs=3, batch_size=2, flip=False, rectifier="none")
LEVERS: dict[str, dict[str, Any]] = {
    "second size": {"scale_consistency": 1.0, "second_sizes": (-32, 32)},
    "several sizes": {"view_sides": (32, 64)},
    "average": {"average": 0.5},
    "frozen epoch": {"frozen_epochs": 1},
    "trimmed": {"trim": 0.5},
}


def labels() -> np.ndarray:
    found = np.zeros((COUNT, SIZE, SIZE), np.uint8)
    found[:, 8:40, 4:30] = 255
    return found


def fresh_detector() -> DetectorNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return DetectorNetwork(tiny_encoder(), channels=8, finest_stride=4)


def fitted(
    folder: Path, config: Stage2Config, rows: Rows | None = None, *, fresh: bool = True
) -> DetectorNetwork:
    bank = folder / "bank"
    if fresh:
        LabelBank.create(bank, labels(), count=COUNT, size=SIZE)
    stage = Stage2(
        PHOTOS, bank, config, LabelConfig(), Trainer(cpu(), 0, Rows() if rows is None else rows, quiet=True)
    )
    state = TrainingState(folder / "stage2.pt")
    return stage.fit(fresh_detector(), state, on_epoch=lambda _: None)


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


class StopError(Exception):
    """Stands for a kill."""


class Stopping(Rows):
    """A log at which the run stops, in its second epoch, before its state is saved."""

    def __call__(self, row: object) -> None:
        super().__call__(row)  # type: ignore[arg-type]
        if len(self) == 2:
            raise StopError


@pytest.mark.parametrize("lever", LEVERS.values(), ids=LEVERS)
def test_each_changes_the_fit_and_a_resumed_fit_ends_with_the_same_bits(
    lever: dict[str, Any], tmp_path: Path
) -> None:
    config = replace(OPTIONS, **lever)
    whole = fitted(tmp_path / "whole", config)
    assert not same(whole, fitted(tmp_path / "plain", OPTIONS))
    with pytest.raises(StopError):
        fitted(tmp_path / "parts", config, Stopping())
    assert same(whole, fitted(tmp_path / "parts", config, fresh=False))


def test_the_second_size_adds_the_squared_difference_of_the_maps(tmp_path: Path) -> None:
    config = replace(OPTIONS, epochs=1, batch_size=4, scale_consistency=0.7, second_sizes=(32,))
    rows = Rows()
    fitted(tmp_path, config, rows)
    network = fresh_detector().train()
    photos = to_batch(stack(PHOTOS, range(COUNT)), torch.device("cpu"))
    with torch.no_grad():
        logits, larger = network(photos), network(resize(photos, (SIZE + 32, SIZE + 32)))
    targets = torch.from_numpy(labels())[:, None] / 255
    wanted = detector_loss(logits, targets, bce=0, ssim=0) + 0.7 * (
        (logits.sigmoid() - resize(larger.sigmoid(), (SIZE, SIZE))).square().mean()
    )
    assert float(rows[0]["loss"]) == pytest.approx(float(wanted), rel=1e-4)


def test_the_average_follows_the_statistics_too() -> None:
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(1))
    average = moving_average(network, 0.75)
    for mean in (0.0, 4.0):
        network[0].running_mean.fill_(mean)
        average.update_parameters(network)
    assert float(average.module[0].running_mean) == pytest.approx(0.75 * 0 + 0.25 * 4)


def test_the_average_lies_between_the_weights_of_the_steps() -> None:
    detector = fresh_detector()
    average = moving_average(detector, 0.75)
    weight = next(detector.parameters())
    with torch.no_grad():
        first = weight.clone()
        average.update_parameters(detector)
        weight += 1
        average.update_parameters(detector)
    followed = next(average.module.parameters())
    torch.testing.assert_close(followed, first + 0.25)


def test_the_fit_ends_with_the_average(tmp_path: Path) -> None:
    plain = fitted(tmp_path / "plain", OPTIONS)
    followed = fitted(tmp_path / "followed", replace(OPTIONS, average=1e-9))
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(followed.state_dict()[name], value, msg=name)


def test_the_encoder_rests_in_its_frozen_epochs_and_moves_then(tmp_path: Path) -> None:
    config = replace(OPTIONS, frozen_epochs=1)
    of_encoder, of_decoder = rates_at(config, 0, 0.5)
    assert of_encoder == 0 < of_decoder
    of_encoder, of_decoder = rates_at(config, 1, 0.5)
    assert of_encoder == pytest.approx(of_decoder * config.encoder_lr_factor) != 0
    before = [p.clone() for p in fresh_detector().encoder.parameters()]
    rested = fitted(tmp_path / "rested", replace(config, epochs=1, optimizer="sgd"))
    assert all(torch.equal(a, b) for a, b in zip(before, rested.encoder.parameters(), strict=True))
    assert not same(rested, fresh_detector())


@pytest.mark.parametrize(
    "lever",
    [
        {"view_sides": (64, 16)},
        {"average": 1.0},
        {"scale_consistency": 1.0, "second_sizes": ()},
        {"scale_consistency": 1.0, "view_sides": (64, 96), "second_sizes": (-64,)},
    ],
)
def test_what_cannot_be_is_refused(lever: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"stage2\.{list(lever)[-1]}"):
        TrainConfig(stage2=Stage2Config(**lever))
