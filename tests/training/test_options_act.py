"""Options and terms of the two stages that a training would not miss: each by a value computed by hand."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from test_stage1 import fixed_features
from torch import Tensor
from torch.nn import functional

from act2sal.a2s.activation import Activation, ActivationNetwork
from act2sal.a2s.boundary import SignRule
from act2sal.a2s.detector import Deepening
from act2sal.a2s.losses import detector_loss
from act2sal.a2s.pseudo_labels import label_from_logits, refine_prob
from act2sal.a2s.separation_loss import stage1_loss
from act2sal.config import LabelConfig, Stage1Config, TrainConfig
from act2sal.data.label_bank import LabelBank
from act2sal.runs.training_state import TrainingState
from act2sal.training import labelling
from act2sal.training.assembly import initial_detector
from act2sal.training.epochs import Trainer
from act2sal.training.stage1 import label_writing
from act2sal.training.stage1.cues import PhotoSizeCues, signed_logits
from act2sal.training.stage1.fit import _loss, activation_network, fit
from act2sal.training.stage2 import rectifying
from act2sal.training.stage2.fit import Stage2
from tiny import SIZE, Rows, cpu, random_squares, tiny_config, tiny_detector


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def maps(*sizes: int) -> list[Tensor]:
    return [torch.randn(2, 1, size, size, generator=generator(size)) for size in sizes]


def activation() -> Activation:
    theta, f3, f4, f5 = maps(16, 8, 4, 2)
    return Activation(theta, (f3, f4, f5))


def gain(theta: Tensor, keep: Tensor) -> Tensor:
    """Eq. 4 of one map without the constant: the mean of D^2 + D / 10 over the pixels kept."""
    distance = (torch.sigmoid(theta) - 0.5).abs()
    return (distance**2 + 0.1 * distance)[keep].mean()


def test_pixels_are_dropped_from_every_map() -> None:
    """With one pixel in two dropped, F and each side map lose pixels of their own (Eq. 4)."""
    given, drawn = activation(), generator(5)
    keeps = [torch.rand(theta.shape, generator=drawn) >= 0.5 for theta in (given.theta, *given.sides)]
    parts = [1 - gain(theta, keep) for theta, keep in zip((given.theta, *given.sides), keeps, strict=True)]
    wanted = sum(weight * part for weight, part in zip((1.0, 0.1, 0.3, 0.5), parts, strict=True))
    torch.testing.assert_close(stage1_loss(given, generator=generator(5)), wanted)


@pytest.mark.parametrize("at_photo_size", [False, True])
def test_the_loss_is_taken_at_the_size_that_was_asked_for(at_photo_size: bool) -> None:
    given = activation()
    config = Stage1Config(loss_at_photo_size=at_photo_size, drop_pixels=0.0, auxiliary=False)
    theta = given.theta
    if at_photo_size:
        theta = functional.interpolate(theta, (64, 64), mode="bilinear", align_corners=False)
    wanted = 1 - gain(theta, torch.ones_like(theta, dtype=torch.bool))
    torch.testing.assert_close(_loss([given], None, config, 0, generator()), wanted)


@pytest.mark.parametrize("at_photo_size", [False, True])
def test_the_labels_come_from_the_cues_that_were_asked_for(
    at_photo_size: bool, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: list[bool] = []

    def note(*arguments: object, **options: object) -> list[str]:
        kinds.append(isinstance(arguments[2], PhotoSizeCues))
        raise KeyboardInterrupt

    monkeypatch.setattr(label_writing, "write_labels", note)
    config = tiny_config(stage1={"epochs": 1, "rounds": 0, "cues_at_photo_size": at_photo_size})
    with pytest.raises(KeyboardInterrupt):
        labelling.label(scenes / "photos", tmp_path / "labels", config, quiet=True)
    assert kinds == [at_photo_size]


@pytest.mark.parametrize(("rule", "sign"), [("area", 1), ("area_zero", 1), ("corners", -1), ("border", -1)])
def test_the_sign_is_that_of_the_rule(rule: SignRule, sign: int) -> None:
    """Positive on the corners and the rim, which are fewer than half of the pixels."""
    theta = torch.full((1, 1, 8, 8), -1.0)
    theta[:, :, 0], theta[:, :, -1], theta[:, :, :, 0] = 1.0, 1.0, 1.0
    assert int((theta > 0).sum()) < 32
    network = ActivationNetwork(in_channels=(1, 1, 1), channels=2)
    assert np.array_equal(signed_logits(theta, network, Stage1Config(sign=rule)), sign * theta[:, 0].numpy())


@pytest.mark.parametrize("attention", [False, True])
def test_a_training_builds_the_detector_with_or_without_attention(attention: bool) -> None:
    detector = initial_detector(tiny_config(stage2={"attention": attention}))
    assert [len(module.attention) for module in (detector.local, detector.regional)] == [2 * attention] * 2
    assert all(parameter.requires_grad for parameter in detector.parameters())


def test_hma_refines_with_the_options_of_the_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos, labels, seen = random_squares(2), LabelConfig(iterations=3, bilateral_srgb=17.0), []

    def note(photo: np.ndarray, prob: np.ndarray, config: LabelConfig) -> np.ndarray:
        seen.append(config)
        return refine_prob(photo, prob, config)

    monkeypatch.setattr(rectifying, "refine_prob", note)
    LabelBank.create(tmp_path / "bank", np.zeros((2, SIZE, SIZE), np.uint8), count=2, size=SIZE)
    config = replace(tiny_config().stage2, epochs=1, rectify_warmup=0, rectifier="hma")
    stage = Stage2(photos, tmp_path / "bank", config, labels, Trainer(cpu(), 0, Rows(), quiet=True))
    state = TrainingState(tmp_path / "state.pt")
    stage.fit(tiny_detector(), state, on_epoch=lambda bank: None)
    assert seen == [labels, labels]


CRF_OPTIONS: dict[str, float] = {
    "iterations": 1,
    "gaussian_sxy": 1.0,
    "gaussian_compat": 9.0,
    "bilateral_sxy": 8.0,
    "bilateral_srgb": 60.0,
    "bilateral_compat": 2.0,
}


@pytest.mark.parametrize("name", CRF_OPTIONS)
def test_every_option_of_the_crf_reaches_it(name: str) -> None:
    photo = random_squares(1, size=48)[0]
    prob = np.random.default_rng(1).uniform(0.3, 0.7, (48, 48)).astype(np.float32)
    plain = LabelConfig()
    other = replace(plain, **{name: CRF_OPTIONS[name]})
    assert abs(refine_prob(photo, prob, plain) - refine_prob(photo, prob, other)).max() > 1e-3


class Steps:
    """The rates of SGD, noted whenever it takes a step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rates: list[list[float]] = []
        plain = torch.optim.SGD.step

        def step(optimizer: torch.optim.SGD, *arguments: object, **options: object) -> object:
            self.rates.append([group["lr"] for group in optimizer.param_groups])
            return plain(optimizer, *arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(torch.optim.SGD, "step", step)


def test_stage_1_lowers_its_rate_at_the_milestones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, features = Steps(monkeypatch), fixed_features()
    config = replace(tiny_config().stage1, epochs=5, batch_size=8, lr=0.5, milestones=(2, 4))
    network = activation_network(features, config, seed=0)
    state = TrainingState(tmp_path / "state.pt")
    fit(network, features, config, Trainer(cpu(), 0, Rows(), quiet=True), state)
    assert steps.rates == [pytest.approx([rate]) for rate in (0.5, 0.5, 0.05, 0.05, 0.005)]


def test_stage_2_lowers_its_rates_at_the_milestones_and_trains_the_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, detector = Steps(monkeypatch), tiny_detector()
    before = {name: p.clone() for name, p in detector.encoder.named_parameters()}
    LabelBank.create(tmp_path / "bank", np.zeros((2, SIZE, SIZE), np.uint8), count=2, size=SIZE)
    options = {"optimizer": "sgd", "lr": 0.02, "milestones": (2, 4), "encoder_lr_factor": 0.5, "epochs": 5}
    config = replace(tiny_config().stage2, rectifier="none", frozen_epochs=0, **options)
    stage = Stage2(
        random_squares(2), tmp_path / "bank", config, LabelConfig(), Trainer(cpu(), 0, Rows(), quiet=True)
    )
    state = TrainingState(tmp_path / "state.pt")
    stage.fit(detector, state, on_epoch=lambda bank: None)
    rates = [0.02, 0.02, 0.002, 0.002, 0.0002]
    assert steps.rates == [pytest.approx([rate / 2, rate]) for rate in rates]
    moved = [not torch.equal(p, before[name]) for name, p in detector.encoder.named_parameters()]
    assert sum(moved) > len(moved) / 2


def test_binarised_targets_are_those_above_a_half() -> None:
    logits = torch.zeros(1, 1, 1, 4)
    logits[..., :2] = 2.0
    target = torch.tensor([0.9, 0.6, 0.5, 0.2]).view(1, 1, 1, 4)
    hard = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 1, 1, 4)
    one = partial(detector_loss, logits, ssim=0.0, iou=0.0)
    wanted = (2 * np.log1p(np.exp(-2.0)) + 2 * np.log(2)) / 4
    assert float(one(target, binarise=True)) == pytest.approx(wanted, rel=1e-6)
    assert float(one(hard, binarise=False)) == pytest.approx(wanted, rel=1e-6)
    assert abs(float(one(target, binarise=False)) - wanted) > 0.1


def test_deepening_enlarges_after_each_of_its_units() -> None:
    torch.manual_seed(0)
    deepening, deepest = Deepening(channels=4), torch.rand(1, 4, 3, 5)
    seen: list[tuple[int, ...]] = []
    deepening.narrow.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape)))
    assert deepening(deepest).shape == (1, 4, 12, 20)
    assert seen == [(1, 8, 6, 10)]


def test_the_levels_join_bilinearly() -> None:
    """Eq. 1: F_3 to F_5 are enlarged bilinearly before they are joined."""
    torch.manual_seed(0)
    network = ActivationNetwork(in_channels=(3, 4, 5), channels=2, fusion_stride=4)
    encoded = [torch.rand(1, c, s, s) for c, s in ((3, 8), (4, 4), (5, 2))]
    joined: list[Tensor] = []
    network.fusion.register_forward_pre_hook(lambda module, inputs: joined.append(inputs[0]))
    _, sides = network.features(encoded)
    up = [functional.interpolate(f, (16, 16), mode="bilinear", align_corners=False) for f in sides]
    torch.testing.assert_close(joined[0], torch.cat(up, dim=1))


@pytest.mark.parametrize("threshold", ["half", "mean"])
def test_the_threshold_of_the_labels_acts(threshold: str) -> None:
    """Stretched the map is 0, .4 and 1: by half the .4 is background, by the mean (.28) it is foreground."""
    photo = np.zeros((9, 30, 3), np.uint8)
    prob = np.repeat(np.repeat(np.array([[0.2, 0.2, 0.36, 0.6, 0.2]], np.float32), 6, axis=1), 9, axis=0)
    logits = np.log(prob / (1 - prob))
    config = TrainConfig().labels
    plain = replace(config, threshold=threshold, gaussian_compat=0.0, bilateral_compat=0.0, median=1)
    label = label_from_logits(photo, logits, plain)
    assert [int(label[4, x]) for x in (3, 9, 15, 21, 27)] == [0, 0, 255 * (threshold == "mean"), 255, 0]
