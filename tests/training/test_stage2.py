"""The fit of stage 2: rates, losses, flips, what OLR and HMA make of the labels, resuming."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from act2sal.a2s.detector import DetectorNetwork
from act2sal.a2s.losses import detector_loss
from act2sal.a2s.pseudo_labels import refine_prob
from act2sal.a2s.rectify import historical_average
from act2sal.a2s.resampling import flip
from act2sal.config import LabelConfig, Optimizer, Stage2Config
from act2sal.data.label_bank import LabelBank
from act2sal.data.photo_batches import stack, to_batch
from act2sal.runs.training_state import TrainingState
from act2sal.training.epochs import Trainer
from act2sal.training.sampling import batches, epoch_generator, flip_flags
from act2sal.training.schedules import one_cycle
from act2sal.training.stage2 import fit as stage2
from act2sal.training.stage2.fit import Stage2
from act2sal.training.stage2.optimizer import make_optimizer, rates_at
from tiny import SIZE, Rows, cpu, random_squares, tiny_config, tiny_encoder

COUNT = 4
PHOTOS = random_squares(COUNT)
# One batch holds all photos, so that a single step can be done by hand
OPTIONS = replace(tiny_config().stage2, epochs=1, batch_size=8, rectify_warmup=0)


def tiny_detector() -> DetectorNetwork:
    encoder = tiny_encoder()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return DetectorNetwork(encoder, channels=8, finest_stride=4)


def first_labels() -> np.ndarray:
    """(COUNT, SIZE, SIZE) uint8: a bar that lies left of the middle, so that mirroring shows."""
    labels = np.zeros((COUNT, SIZE, SIZE), np.uint8)
    for number, label in enumerate(labels):
        label[8 * number : 8 * number + 30, 4:24] = 255
    return labels


@dataclass
class Fit:
    """One call of `Stage2.fit` and what it left."""

    folder: Path
    config: Stage2Config
    seed: int = 0
    rows: Rows = field(default_factory=Rows)
    labels: list[Tensor] = field(default_factory=list)
    detector: DetectorNetwork = field(default_factory=tiny_detector)

    def run(self, *, fresh: bool = True) -> "Fit":
        bank = self.folder / "bank"
        if fresh:
            LabelBank.create(bank, first_labels(), count=COUNT, size=SIZE)
        stage = Stage2(
            PHOTOS, bank, self.config, LabelConfig(), Trainer(cpu(), self.seed, self.rows, quiet=True)
        )
        state = TrainingState(self.folder / "stage2.pt")
        keep: Callable[[LabelBank], None] = lambda b: self.labels.append(b.read(range(COUNT)).clone())  # noqa: E731
        stage.fit(self.detector, state, on_epoch=keep)
        return self


@dataclass(frozen=True)
class Step:
    """The first step of stage 2, by hand."""

    loss: float
    prob: Tensor
    flags: Tensor


def step_by_hand(config: Stage2Config, seed: int = 0) -> Step:
    """Loss and un-mirrored predictions (COUNT, 1, S, S), in the order of the photos, before the first step."""
    generator = epoch_generator(seed, 0)
    (indices,) = batches(COUNT, config.batch_size, generator)
    drawn = flip_flags(COUNT, generator)
    flags = torch.zeros(COUNT, dtype=torch.bool)
    flags[indices] = drawn
    photos = flip(to_batch(stack(PHOTOS, range(COUNT)), torch.device("cpu")), flags)
    labels = flip(torch.from_numpy(first_labels())[:, None].float() / 255, flags)
    with torch.no_grad():
        logits = tiny_detector().train()(photos)
    loss = detector_loss(logits, labels, bce=config.loss_bce, ssim=config.loss_ssim, iou=config.loss_iou)
    return Step(float(loss), flip(torch.sigmoid(logits), flags), flags)


def seed_with_both_flags() -> int:
    return next(seed for seed in range(20) if 0 < int(step_by_hand(OPTIONS, seed).flags.sum()) < COUNT)


def assert_nearly_equal(labels: Tensor, wanted: Tensor) -> None:
    """uint8 maps that may differ by one level where a value lies between two."""
    difference = (labels.int() - wanted.int()).abs()
    assert int(difference.max()) <= 1
    assert float((difference > 0).float().mean()) < 0.01


def test_olr_mixes_the_old_label_and_the_unmirrored_prediction(tmp_path: Path) -> None:
    seed = seed_with_both_flags()
    config = replace(OPTIONS, rectify_lambda=0.3)
    done, step = Fit(tmp_path, config, seed).run(), step_by_hand(config, seed)
    old = torch.from_numpy(first_labels())[:, None].float()
    wanted = (0.3 * old + 0.7 * 255 * step.prob).round().to(torch.uint8)
    assert_nearly_equal(done.labels[0], wanted)
    # A prediction that is not turned back would be far off
    mirrored = (0.3 * old + 0.7 * 255 * flip(step.prob, step.flags)).round()
    assert float((done.labels[0].float() - mirrored).abs().max()) > 20
    change = (wanted.float() - old).abs().mean() / 255
    assert done.rows[0]["label_change"] == pytest.approx(float(change), abs=1e-3)


def test_olr_changes_a_label_where_its_window_was_and_nowhere_else(tmp_path: Path) -> None:
    config = replace(OPTIONS, crop=0.5, view=32, jitter=0.2, rectify_lambda=0.5)
    done = Fit(tmp_path, config).run()
    changed = done.labels[0][:, 0] != torch.from_numpy(first_labels())
    shares = [float(one.float().mean()) for one in changed]
    assert max(shares) > 0.2
    assert min(shares) < 0.9
    for one in changed:
        rows, columns = one.nonzero(as_tuple=True)
        inside = one[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert float(inside.float().mean()) > 0.95


def test_a_second_epoch_starts_from_the_rectified_labels(tmp_path: Path) -> None:
    done = Fit(tmp_path, replace(OPTIONS, epochs=2, rectify_lambda=1.0, rectify_warmup=0)).run()
    assert_nearly_equal(done.labels[1], torch.from_numpy(first_labels())[:, None])
    mixed = Fit(tmp_path, replace(OPTIONS, epochs=2, lr=1e-9, rectify_lambda=0.5), 0)
    for checkpoint in tmp_path.glob("stage2*"):
        checkpoint.unlink()
    mixed.run()
    old = torch.from_numpy(first_labels())[:, None].float()
    far = (mixed.labels[1].float() - old).abs().mean() / (mixed.labels[0].float() - old).abs().mean()
    # The network hardly moves, so half of the way to it is followed by half of the rest
    assert float(far) == pytest.approx(1.5, abs=0.1)


def test_labels_stay_as_they_are_in_the_warm_up(tmp_path: Path) -> None:
    done = Fit(tmp_path, replace(OPTIONS, epochs=3, rectify_warmup=2)).run()
    for labels in done.labels[:2]:
        assert torch.equal(labels[:, 0], torch.from_numpy(first_labels()))
    assert not torch.equal(done.labels[2], done.labels[1])
    assert [row["label_change"] == 0 for row in done.rows] == [True, True, False]


def test_without_a_rectifier_labels_never_change(tmp_path: Path) -> None:
    done = Fit(tmp_path, replace(OPTIONS, epochs=2, rectifier="none")).run()
    assert torch.equal(done.labels[1][:, 0], torch.from_numpy(first_labels()))
    assert [row["label_change"] for row in done.rows] == [0, 0]


def test_hma_refines_the_prediction_before_it_averages(tmp_path: Path) -> None:
    # lambda is of OLR, and nothing to HMA
    config = replace(OPTIONS, rectifier="hma", hma_momentum=0.6, rectify_lambda=1.0)
    done, step = Fit(tmp_path, config).run(), step_by_hand(config)
    averaged = historical_average(
        stack(PHOTOS, range(COUNT)),
        step.prob[:, 0].numpy(),
        first_labels().astype(np.float32) / 255,
        momentum=0.6,
        refine=partial(refine_prob, config=LabelConfig()),
    )
    assert_nearly_equal(done.labels[0][:, 0], torch.from_numpy((averaged * 255).round().astype(np.uint8)))


@pytest.mark.parametrize(
    ("bce", "ssim", "iou"), [(1.0, 1.0, 1.0), (0.0, 0.0, 1.0), (0.0, 2.0, 0.0), (1.0, 0.0, 0.5)]
)
def test_the_loss_is_that_of_eq_12_with_its_weights(
    bce: float, ssim: float, iou: float, tmp_path: Path
) -> None:
    config = replace(OPTIONS, loss_bce=bce, loss_ssim=ssim, loss_iou=iou)
    done = Fit(tmp_path, config).run()
    assert done.rows[0]["loss"] == pytest.approx(step_by_hand(config).loss, rel=1e-4)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_encoder_and_decoder_have_their_own_rates(optimizer: Optimizer) -> None:
    detector = tiny_detector()
    config = replace(OPTIONS, optimizer=optimizer, encoder_lr_factor=0.1, momentum=0.8, weight_decay=3e-4)
    built = make_optimizer(detector, config)
    encoder, decoder = built.param_groups
    assert {id(p) for p in encoder["params"]} == {id(p) for p in detector.encoder.parameters()}
    everything = [id(p) for group in built.param_groups for p in group["params"]]
    assert sorted(everything) == sorted(id(p) for p in detector.parameters())
    assert all(g["weight_decay"] == 3e-4 for g in (encoder, decoder))
    if optimizer == "sgd":
        assert all(g["momentum"] == 0.8 and g["nesterov"] for g in (encoder, decoder))
    of_encoder, of_decoder = rates_at(config, 0, 0.5)
    assert of_encoder == pytest.approx(0.1 * of_decoder)


def test_the_rate_of_sgd_falls_at_the_milestones() -> None:
    config = replace(OPTIONS, optimizer="sgd", epochs=6, lr=0.02, milestones=(3, 5))
    rates = [rates_at(config, epoch, 0.7)[1] for epoch in range(6)]
    assert rates == pytest.approx([0.02, 0.02, 0.02, 0.002, 0.002, 0.0002])


def test_the_rate_of_adamw_is_one_cycle_over_all_epochs() -> None:
    config = replace(OPTIONS, optimizer="adamw", epochs=4, lr=0.02)
    assert rates_at(config, 0, 0.2)[1] == pytest.approx(0.01)
    assert rates_at(config, 2, 0.2)[1] == pytest.approx(0.01)
    assert rates_at(config, 3, 0.999)[1] < 1e-6


def test_every_step_has_its_rate(tmp_path: Path) -> None:
    done = Fit(tmp_path, replace(OPTIONS, optimizer="adamw", epochs=2, batch_size=2, lr=0.02)).run()
    state = torch.load(done.folder / "stage2.pt", weights_only=True)
    last = [group["lr"] for group in state["optimizer"]["param_groups"]]
    assert last == pytest.approx([0.3 * one_cycle(3.5 / 4, 0.02), one_cycle(3.5 / 4, 0.02)])


def test_a_rate_of_zero_leaves_the_encoder(tmp_path: Path) -> None:
    detector = tiny_detector()
    before = copy.deepcopy(detector)
    Fit(tmp_path, replace(OPTIONS, encoder_lr_factor=0.0), detector=detector).run()
    pairs = dict(before.named_parameters())
    moved = {name for name, p in detector.named_parameters() if not torch.equal(p, pairs[name])}
    assert moved
    assert not any(name.startswith("encoder.") for name in moved)


class Mirrors(DetectorNetwork):
    """A detector that notes, for every photo by its number, whether it came mirrored."""

    seen: list[dict[int, bool]]

    def forward(self, photos: Tensor) -> Tensor:
        if self.training:
            upright = to_batch(stack(PHOTOS, range(COUNT)), photos.device)
            epoch = {}
            for photo in photos:
                for number, known in enumerate(upright):
                    if torch.equal(photo, known) or torch.equal(photo, known.flip(-1)):
                        epoch[number] = not torch.equal(photo, known)
            self.seen.append(epoch)
        return super().forward(photos)


def mirrored(config: Stage2Config, folder: Path) -> list[dict[int, bool]]:
    detector = Mirrors(tiny_encoder(), channels=8, finest_stride=4)
    detector.seen = []
    Fit(folder, replace(config, epochs=6), detector=detector).run()
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in detector.seen)
    return detector.seen


def test_photos_are_mirrored_afresh_every_epoch(tmp_path: Path) -> None:
    seen = mirrored(OPTIONS, tmp_path)
    for number in range(COUNT):
        assert {epoch[number] for epoch in seen} == {False, True}


def test_the_published_code_mirrors_once_for_all_epochs(tmp_path: Path) -> None:
    seen = mirrored(replace(OPTIONS, flip_once=True), tmp_path)
    assert all(epoch == seen[0] for epoch in seen)
    assert set(seen[0].values()) == {False, True}


@pytest.mark.parametrize("flip_once", [False, True])
def test_mirroring_can_be_switched_off(flip_once: bool, tmp_path: Path) -> None:
    seen = mirrored(replace(OPTIONS, flip=False, flip_once=flip_once), tmp_path)
    assert not any(any(epoch.values()) for epoch in seen)


class StopError(Exception):
    """Stands for a kill."""


@dataclass
class StoppingLog(Rows):
    """Stops before the state of an epoch is saved."""

    stop_at: int

    def __call__(self, row: object) -> None:
        super().__call__(row)  # type: ignore[arg-type]
        if len(self) == self.stop_at:
            raise StopError


@pytest.mark.parametrize("rectifier", ["olr", "hma"])
@pytest.mark.parametrize("stop_at", [1, 2, 4])
def test_resumed_at_any_epoch_it_gives_the_same_bits(rectifier: str, stop_at: int, tmp_path: Path) -> None:
    config = Stage2Config(
        epochs=4,
        batch_size=2,
        milestones=(3,),
        channels=8,
        rectify_warmup=1,
        rectifier=rectifier,  # type: ignore[arg-type]
        crop=0.6,
        view=32,
        jitter=0.2,
    )
    whole = Fit(tmp_path / "whole", config).run()
    with pytest.raises(StopError):
        Fit(tmp_path / "parts", config, rows=StoppingLog(stop_at)).run()
    resumed = Fit(tmp_path / "parts", config).run(fresh=False)
    assert [row["epoch"] for row in resumed.rows] == list(range(stop_at, 5))
    assert torch.equal(whole.labels[-1], resumed.labels[-1])
    ours, theirs = whole.detector.state_dict(), resumed.detector.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not resumed.detector.training


def test_a_run_stopped_between_state_and_labels_is_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(OPTIONS, epochs=3, batch_size=2)
    whole = Fit(tmp_path / "whole", config).run()

    def stop(self: LabelBank) -> None:
        raise StopError

    with monkeypatch.context() as patched:
        patched.setattr(LabelBank, "commit", stop)
        with pytest.raises(StopError):
            Fit(tmp_path / "parts", config).run()
    resumed = Fit(tmp_path / "parts", config).run(fresh=False)
    assert [row["epoch"] for row in resumed.rows] == [2, 3]
    assert torch.equal(whole.labels[-1], resumed.labels[-1])


@pytest.mark.parametrize("rectifier", ["olr", "hma"])
def test_a_loss_that_is_not_finite_stops_before_anything_is_saved(rectifier: str, tmp_path: Path) -> None:
    detector = tiny_detector()
    with torch.no_grad():
        detector.regional.fuse.bias.fill_(float("nan"))
    config = replace(OPTIONS, rectifier=rectifier)  # type: ignore[arg-type]
    fit = Fit(tmp_path, config, detector=detector)
    with pytest.raises(
        FloatingPointError, match=r"of stage 2 (is nan|are no longer finite).*; a lower stage2\.lr"
    ):
        fit.run()
    assert fit.rows == []
    assert not (tmp_path / "stage2.pt").exists()
    labels = LabelBank(tmp_path / "bank").read(range(COUNT))
    assert torch.equal(labels[:, 0], torch.from_numpy(first_labels()))


def test_compiled_it_takes_the_same_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a backend that runs the traced operations as they are, and needs no compiler of C++."""
    monkeypatch.setattr(stage2, "COMPILER", "eager")
    plain = Fit(tmp_path / "plain", replace(OPTIONS, epochs=2)).run()
    compiled = Fit(tmp_path / "compiled", replace(OPTIONS, epochs=2, compile=True)).run()
    assert compiled.detector.state_dict().keys() == plain.detector.state_dict().keys()
    for name, tensor in plain.detector.state_dict().items():
        torch.testing.assert_close(compiled.detector.state_dict()[name], tensor, msg=name)
    state = torch.load(tmp_path / "compiled" / "stage2.pt", weights_only=True)
    assert state["network"].keys() == plain.detector.state_dict().keys()
