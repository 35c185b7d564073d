"""The steps of stage 2 by hand: rates, optimiser, losses of detectors with several maps, trimming, the average."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from act2sal.a2s.detector import ObjectPresence
from act2sal.a2s.losses import detector_loss
from act2sal.a2s.resampling import resize
from act2sal.config import LabelConfig, Stage2Config
from act2sal.data.label_bank import LabelBank
from act2sal.networks.rival import Rival
from act2sal.networks.rivals import SaliencyNetwork
from act2sal.runs.training_state import TrainingState
from act2sal.runtime.cpu_gradients import ChannelsLastGroupNorm
from act2sal.runtime.prefetch import LateWrites
from act2sal.runtime.stopwatch import Stopwatch
from act2sal.training.epochs import Trainer
from act2sal.training.stage2.batches import Batch
from act2sal.training.stage2.fit import DetectorFit, Stage2
from act2sal.training.stage2.optimizer import make_optimizer, rates_at
from act2sal.training.stage2.rectifying import Rectifier
from act2sal.training.trimming import FIRST_EPOCH, kept
from tiny import Rows, cpu, random_squares, tiny_detector, tiny_encoder

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


@pytest.mark.parametrize("others", [{"binarise": False}, {"loss_ssim": 0.3, "binarise": True}])
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
        assert optimizer.defaults["fused"] is True
        assert [group["lr"] for group in optimizer.param_groups] == [0.03] * 2
        assert [group["weight_decay"] for group in optimizer.param_groups] == [0.007] * 2
        assert [{id(one) in encoder for one in group["params"]} for group in optimizer.param_groups] == [
            {True},
            {False},
        ]


def labels_of(folder: Path, count: int = 4) -> Path:
    labels = (targets(count)[:, 0] * 255).round().to(torch.uint8).numpy()
    LabelBank.create(folder, iter(labels), count=count, size=SIDE)
    return folder


def fitted(detector: SaliencyNetwork, folder: Path, **options: object) -> Rows:
    """One epoch of one step on four photos."""
    config = replace(Stage2Config(), epochs=1, batch_size=4, rectify_warmup=0, lr=0.1, **options)  # type: ignore[arg-type]
    squares = list(random_squares(4, size=SIDE))
    rows = Rows()
    trainer = Trainer(cpu(), 0, rows, quiet=True)
    stage = Stage2(squares, labels_of(folder / "bank"), config, LabelConfig(), trainer)
    stage.fit(detector, TrainingState(folder / "stage2.pt"), on_epoch=lambda bank: None)
    return rows


def test_a_detector_with_several_maps_is_fitted_on_all_of_them(tmp_path: Path) -> None:
    detector = ThreeMaps()
    fitted(detector, tmp_path, own_loss=True)
    ((given, _),) = detector.told
    assert len(given) == 3
    assert float(detector.weights[0].detach()) != 2.0


def test_a_teachers_presence_takes_no_part(tmp_path: Path) -> None:
    detector = tiny_detector()
    detector.presence = ObjectPresence(channels=detector.encoder.channels[-1])
    before = {name: tensor.clone() for name, tensor in detector.presence.state_dict().items()}
    fitted(detector, tmp_path)
    assert not any(weight.requires_grad for weight in detector.presence.parameters())
    assert all(torch.equal(detector.presence.state_dict()[name], tensor) for name, tensor in before.items())


def test_on_a_cpu_the_layers_are_the_fast_ones_and_lie_channels_last(tmp_path: Path) -> None:
    detector = tiny_detector()
    fitted(detector, tmp_path)
    kinds = {type(layer) for layer in detector.modules()}
    assert nn.GroupNorm not in kinds
    assert ChannelsLastGroupNorm in kinds
    wide = [w for w in detector.parameters() if w.dim() == 4 and min(w.shape) > 1]
    assert wide
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in wide)


@pytest.mark.parametrize("compiles", [False, True])
def test_what_is_compiled_is_the_detector(
    compiles: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[nn.Module, str]] = []

    def compile_(module: nn.Module, *, backend: str) -> nn.Module:
        told.append((module, backend))
        return module

    monkeypatch.setattr(torch, "compile", compile_)
    detector = tiny_detector()
    fitted(detector, tmp_path, compile=compiles)
    assert told == ([(detector, "inductor")] if compiles else [])


def rectified(late: LateWrites, **options: object) -> tuple[Tensor, Stopwatch]:
    """The change of the labels of a batch in the first epoch, and where the time went."""
    config = replace(Stage2Config(), **options)  # type: ignore[arg-type]
    squares = list(random_squares(4, size=SIDE))
    watch = Stopwatch()
    batch = Batch([0, 1, 2, 3], photos(), targets(), torch.zeros(4, dtype=torch.bool), None, None)
    logits = torch.logit(targets().flip(-1).clamp(0.01, 0.99))
    return Rectifier(squares, config, LabelConfig(), watch).rectify(late, batch, logits, 0), watch


@pytest.mark.parametrize("rectifier", ["olr", "hma"])
def test_labels_are_not_written_again_in_the_warm_up(rectifier: str) -> None:
    def write(indices: Sequence[int], labels: Tensor) -> None:
        raise AssertionError(f"labels {indices} were written")

    late = LateWrites(write)
    change, _ = rectified(late, rectifier=rectifier, rectify_warmup=1)
    late.flush()
    assert float(change) == 0


@pytest.mark.parametrize(("rectifier", "timed"), [("olr", False), ("hma", True)])
def test_the_time_of_the_crf_is_told(rectifier: str, timed: bool) -> None:
    written: list[Sequence[int]] = []
    late = LateWrites(lambda indices, labels: written.append(indices))
    change, watch = rectified(late, rectifier=rectifier, rectify_warmup=0)
    late.flush()
    assert written == [[0, 1, 2, 3]]
    assert float(change) > 0
    assert (watch.seconds["CRF"] > 0) is timed


def test_maps_that_are_not_finite_are_told_with_what_may_help() -> None:
    batch = Batch([0], photos(1), targets(1), torch.zeros(1, dtype=torch.bool), None, None)
    config = replace(Stage2Config(), rectifier="hma", rectify_warmup=0)
    rectifier = Rectifier(random_squares(1, size=SIDE), config, LabelConfig(), Stopwatch())
    late = LateWrites(lambda indices, labels: None)
    with pytest.raises(
        FloatingPointError, match=r"^the maps of stage 2 are no longer finite; a lower stage2\.lr may help$"
    ):
        rectifier.rectify(late, batch, torch.full((1, 1, SIDE, SIDE), float("nan")), 0)
