"""The steps of stage 2 by hand: rates, optimiser, losses of detectors with several maps, trimming, the average."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from act2sal.a2s.losses import detector_loss
from act2sal.a2s.resampling import resize
from act2sal.config import LabelConfig, Stage2Config
from act2sal.networks.rival import Rival
from act2sal.training.epochs import Trainer
from act2sal.training.stage2.batches import Batch
from act2sal.training.stage2.fit import DetectorFit, Stage2
from act2sal.training.stage2.optimizer import make_optimizer, rates_at
from act2sal.training.trimming import FIRST_EPOCH, kept
from tiny import cpu, tiny_detector, tiny_encoder

SIDE = 16


class ThreeMaps(Rival):
    """Two saliency maps, one of them small, and a map that is none, each the photo's mean times a weight."""

    def __init__(self) -> None:
        super().__init__(tiny_encoder())
        self.weights = nn.Parameter(torch.tensor([2.0, -1.0, 0.5]))
        self.told: list[tuple[Sequence[Tensor], Tensor]] = []

    def outputs(self, photos: Tensor) -> list[Tensor]:
        mean = photos.mean(dim=1, keepdim=True)
        first, second, third = (weight * mean for weight in self.weights)
        return [first, second[..., ::2, ::2], third]

    def own_loss(self, outputs: Sequence[Tensor], target: Tensor) -> Tensor:
        self.told.append((outputs, target))
        return (outputs[0] - target).square().mean()

    def saliency_of(self, outputs: Sequence[Tensor]) -> Sequence[Tensor]:
        return outputs[:2]


def photos(count: int = 4) -> Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))


def targets(count: int = 4) -> Tensor:
    """Labels with values on both sides of one half, and one half itself."""
    found = torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(4))
    found[:, :, 0, 0] = 0.5
    return found


def fit_of(detector: nn.Module, **options: object) -> DetectorFit:
    config = replace(Stage2Config(), **options)  # type: ignore[arg-type]
    squares = [np.zeros((SIDE, SIDE, 3), np.uint8)] * 4
    trainer = Trainer(cpu(), 0, lambda row: None, quiet=True)
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.0)
    stage = Stage2(squares, Path("nowhere"), config, LabelConfig(), trainer)
    return stage.detector_fit(detector, *trainer.fabric.setup(detector, optimizer))


@pytest.mark.parametrize("others", [{}, {"loss_ssim": 0.3, "binarise": True}])
def test_the_loss_of_the_config_is_added_up_over_saliency_maps_alone(others: dict[str, object]) -> None:
    detector = ThreeMaps()
    fit = fit_of(detector, **others)
    maps, labels = detector.outputs(photos()), targets()
    config = fit.config
    weights = {"bce": config.loss_bce, "ssim": config.loss_ssim, "iou": config.loss_iou}
    wanted = sum(
        detector_loss(resize(logits, (SIDE, SIDE)), labels, **weights, binarise=config.binarise)
        for logits in maps[:2]
    )
    assert float(fit._loss(maps, labels).detach()) == pytest.approx(
        float(torch.as_tensor(wanted).detach()), rel=1e-6
    )
    assert not detector.told


@pytest.mark.parametrize("binarise", [False, True])
def test_the_published_loss_gets_all_maps_and_the_labels(binarise: bool) -> None:
    detector = ThreeMaps()
    fit = fit_of(detector, own_loss=True, binarise=binarise)
    maps, labels = detector.outputs(photos()), targets()
    loss = fit._loss(maps, labels)
    ((given, target),) = detector.told
    assert given is maps
    assert torch.equal(target, (labels > 0.5).float() if binarise else labels)
    assert float(loss.detach()) == pytest.approx(float((maps[0] - target).square().mean().detach()))


def test_idle_maps_take_part_with_nothing_where_processes_share_a_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    detector = ThreeMaps()
    fit = fit_of(detector)
    maps, labels = detector.outputs(photos()), targets()
    alone = fit._loss(maps, labels)
    assert torch.autograd.grad(alone, maps[2], allow_unused=True, retain_graph=True) == (None,)
    monkeypatch.setattr("act2sal.training.stage2.fit.parallel.world", lambda: 2)
    shared = fit._loss(maps, labels)
    assert float(shared.detach()) == float(alone.detach())
    (gradient,) = torch.autograd.grad(shared, maps[2], retain_graph=True)
    assert not gradient.any()
    (counted,) = torch.autograd.grad(shared, maps[0])
    assert counted.any()


def test_a_step_asks_a_detector_with_several_maps_for_all_of_them() -> None:
    detector = ThreeMaps()
    fit = fit_of(detector, own_loss=True, binarise=False)
    fit.network.mark_forward_method("outputs")  # type: ignore[operator]
    shown = photos()
    batch = Batch([0, 1, 2, 3], shown, targets(), torch.zeros(4, dtype=torch.bool), None, None)
    loss, logits = fit.descend(batch, 0)
    ((given, _),) = detector.told
    assert [tuple(one.shape[-2:]) for one in given] == [(SIDE, SIDE), (SIDE // 2, SIDE // 2), (SIDE, SIDE)]
    wanted = detector.outputs(shown)[0].detach()
    torch.testing.assert_close(logits, wanted)
    assert float(loss) == pytest.approx(float((wanted - targets()).square().mean()), rel=1e-5)


@pytest.mark.parametrize("epoch", [FIRST_EPOCH - 1, FIRST_EPOCH])
def test_a_trimmed_step_counts_the_photos_that_are_kept(epoch: int) -> None:
    detector = ThreeMaps()
    fit = fit_of(detector, own_loss=True, trim=0.5, binarise=False)
    fit.network.mark_forward_method("outputs")  # type: ignore[operator]
    shown, labels = photos(), targets()
    batch = Batch([0, 1, 2, 3], shown, labels, torch.zeros(4, dtype=torch.bool), None, None)
    loss, logits = fit.descend(batch, epoch)
    chosen = kept(torch.sigmoid(logits), labels, 0.5) if epoch else torch.arange(4)
    assert float(loss) == pytest.approx(float((logits[chosen] - labels[chosen]).square().mean()), rel=1e-5)
    assert len(logits) == 4


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"schedule": "triangle"}, {(0, 0.0): 0.0, (0, 0.5): 0.25, (2, 0.0): 1.0, (3, 0.5): 0.25}),
        ({"schedule": "poly"}, {(0, 0.0): 1.0, (0, 0.7): 1.0, (2, 0.0): 0.5**0.9, (3, 0.5): 0.25**0.9}),
        ({"schedule": "cycle", "optimizer": "sgd"}, {(0, 0.2): 0.5, (0, 0.4): 1.0, (2, 0.2): 0.5}),
        ({"schedule": "auto", "optimizer": "adamw"}, {(0, 0.2): 0.5, (0, 0.4): 1.0, (2, 0.2): 0.5}),
        (
            {"schedule": "auto", "optimizer": "sgd", "milestones": (2, 3)},
            {(1, 0.9): 1.0, (2, 0.0): 0.1, (3, 0.0): 0.01},
        ),
    ],
)
def test_rates_of_each_schedule(options: dict[str, object], wanted: dict[tuple[int, float], float]) -> None:
    config = replace(Stage2Config(), epochs=4, lr=0.02, encoder_lr_factor=0.5, frozen_epochs=0, **options)  # type: ignore[arg-type]
    for (epoch, share), factor in wanted.items():
        rates = rates_at(config, epoch, share)
        assert rates == pytest.approx([0.01 * factor, 0.02 * factor], abs=1e-12)
    assert rates_at(replace(config, frozen_epochs=3), 2, 0.1)[0] == 0
    assert rates_at(replace(config, frozen_epochs=2), 2, 0.1)[0] > 0


def test_the_optimiser_is_that_of_the_config() -> None:
    detector = tiny_detector()
    common = {"lr": 0.03, "weight_decay": 0.007}
    adam = make_optimizer(detector, replace(Stage2Config(), optimizer="adamw", **common))  # type: ignore[arg-type]
    assert isinstance(adam, torch.optim.AdamW)
    for momentum in (0.0, 0.8):
        config = replace(Stage2Config(), optimizer="sgd", momentum=momentum, **common)  # type: ignore[arg-type]
        sgd = make_optimizer(detector, config)
        assert isinstance(sgd, torch.optim.SGD)
        assert [group["momentum"] for group in sgd.param_groups] == [momentum] * 2
        assert [group["nesterov"] for group in sgd.param_groups] == [momentum > 0] * 2
    encoder = {id(one) for one in detector.encoder_parameters()}
    for optimizer in (adam, sgd):
        assert [group["lr"] for group in optimizer.param_groups] == [0.03] * 2
        assert [group["weight_decay"] for group in optimizer.param_groups] == [0.007] * 2
        assert [{id(one) in encoder for one in group["params"]} for group in optimizer.param_groups] == [
            {True},
            {False},
        ]
