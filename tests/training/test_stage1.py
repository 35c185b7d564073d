"""The fit of stage 1: what is trained and what is not, the switches of Tables IV and V, resuming, the cues."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from act2sal.a2s.activation import Activation, ActivationNetwork
from act2sal.a2s.boundary import BoundaryKind
from act2sal.a2s.resampling import flip
from act2sal.a2s.separation_loss import stage1_loss
from act2sal.config import Stage1Config
from act2sal.data.images import read_photo
from act2sal.data.photo_batches import to_batch
from act2sal.data.photo_files import find_photos
from act2sal.networks.encoders import Encoder, freeze
from act2sal.runs.training_state import TrainingState
from act2sal.runtime import progress
from act2sal.training.epochs import Trainer
from act2sal.training.sampling import batches, epoch_generator, flip_flags
from act2sal.training.stage1.cues import PhotoSizeCues, cue_logits
from act2sal.training.stage1.features import Features, Fetched, LiveFeatures, channel_deviation
from act2sal.training.stage1.fit import activation_network, enlarged, fit
from tiny import SIZE, Rows, cpu, random_squares, tiny_config, tiny_encoder

CPU = torch.device("cpu")
OPTIONS = tiny_config().stage1
UNFROZEN = replace(OPTIONS, freeze_encoder=False)
DRIFTING = replace(OPTIONS, batchnorm_drift=True)


class FixedFeatures(Features):
    """Features that are simply there."""

    def __init__(self, levels: Sequence[Tensor]) -> None:
        self.whole = levels
        self.channels = (levels[0].shape[1], levels[1].shape[1], levels[2].shape[1])

    def __len__(self) -> int:
        return len(self.whole[0])

    def fetch(self, indices: Sequence[int], mirrored: Tensor | None = None) -> Fetched:
        return Fetched(indices, mirrored, {})

    def levels(self, fetched: Fetched) -> list[Tensor]:
        levels = [level[list(fetched.indices)] for level in self.whole]
        return levels if fetched.mirrored is None else [flip(level, fetched.mirrored) for level in levels]


def fixed_features(count: int = 6) -> FixedFeatures:
    """Of a frozen tiny encoder for `count` squares."""
    with torch.no_grad():
        levels = LiveFeatures(tiny_encoder().eval(), random_squares(count), CPU).read(range(count))
    return FixedFeatures(levels)


def fitted(
    features: FixedFeatures | LiveFeatures, config: Stage1Config, state: Path, log: Rows | None = None
) -> ActivationNetwork:
    network = activation_network(features, config, seed=0)
    rows = Rows() if log is None else log
    return fit(
        network,
        features,
        config,
        Trainer(cpu(), 0, rows, quiet=True),
        TrainingState(state),
    )


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def changed(before: dict[str, Tensor], encoder: Encoder) -> set[str]:
    """Names of what differs, without the module path: weight, bias, running_mean, ..."""
    now = encoder.state_dict()
    return {name.rpartition(".")[2] for name in now if not torch.equal(now[name], before[name])}


def copied(encoder: Encoder) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in encoder.state_dict().items()}


def test_a_fresh_network_depends_on_the_seed_alone() -> None:
    features = fixed_features()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    network = activation_network(features, OPTIONS, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert same_weights(network, activation_network(features, OPTIONS, seed=3))
    assert not same_weights(network, activation_network(features, OPTIONS, seed=4))


def test_scales_are_one_over_the_deviation() -> None:
    features = fixed_features()
    options = replace(OPTIONS, use_e3=True)
    scales = activation_network(features, options, seed=0).scales
    for scale, deviation in zip(scales, channel_deviation(features, range(6)), strict=True):
        torch.testing.assert_close(scale, 1 / deviation)
    plain = activation_network(features, replace(options, scale_features=False), seed=0)
    assert all(bool((scale == 1).all()) for scale in plain.scales)


def test_without_e3_the_first_fit_does_not_see_it_but_self_training_does() -> None:
    features = fixed_features()
    options = replace(OPTIONS, use_e3=False)
    encoded = features.read([0, 1])
    other = [encoded[0] + 1, *encoded[1:]]
    first = activation_network(features, options, seed=0)
    torch.testing.assert_close(first(encoded).theta, first(other).theta)
    again = activation_network(features, options, seed=0, boundary="affine")
    assert not torch.allclose(again(encoded).theta, again(other).theta)


@pytest.mark.parametrize("scale_features", [False, True])
def test_the_random_gain_is_the_scale_of_e5(scale_features: bool) -> None:
    features = fixed_features()
    config = replace(OPTIONS, random_gain=True, scale_features=scale_features)
    _, _, gain = activation_network(features, config, seed=0).scales
    # Column sums of a classifier with 1000 rows, uniform in +-1/sqrt(C): variance 1000 / (3 C)
    assert float(gain.std()) == pytest.approx((1000 / (3 * len(gain))) ** 0.5, rel=0.3)
    assert (gain < 0).any()
    assert len(set(gain.tolist())) == len(gain)


def test_a_boundary_can_be_named() -> None:
    assert activation_network(fixed_features(), OPTIONS, seed=0, boundary="affine").boundary == "affine"


def first_loss(features: FixedFeatures, config: Stage1Config) -> float:
    """The loss of the only step of the first epoch, by the steps of the paper."""
    network = activation_network(features, config, seed=0)
    generator = epoch_generator(0, 0)
    (indices,) = batches(len(features), 8, generator)
    levels = features.read(indices)
    if config.flip:
        flags = flip_flags(len(indices), generator)
        levels = [flip(level, flags) for level in levels]
    loss = stage1_loss(
        network(levels),
        alpha=config.alpha,
        weights=(1.0, *config.side_weights),
        drop=config.drop_pixels,
        auxiliary=config.auxiliary,
        generator=generator,
    )
    return float(loss.detach())


SWITCHES = {
    "A3": OPTIONS,
    "A1": replace(OPTIONS, auxiliary=False),
    "A2": replace(OPTIONS, drop_pixels=0.0),
    "no flip": replace(OPTIONS, flip=False),
    "alpha 0": replace(OPTIONS, alpha=0.0),
    "alpha .3": replace(OPTIONS, alpha=0.3),
    "side weights": replace(OPTIONS, side_weights=(0.0, 0.0, 2.0)),
}


def test_the_switches_of_tables_iv_and_v_change_the_loss(tmp_path: Path) -> None:
    features = fixed_features()
    losses = {}
    for name, options in SWITCHES.items():
        rows, config = Rows(), replace(options, epochs=1, batch_size=8)
        fitted(features, config, tmp_path / f"{name}.pt", rows)
        losses[name] = float(rows[0]["loss"])
        assert losses[name] == pytest.approx(first_loss(features, config), rel=1e-5)
    assert len(set(losses.values())) == len(losses)
    # Eq. 4 subtracts alpha |D|; every map of the four counts at most its weight (1, 0.1, 0.3, 0.5)
    assert losses["alpha .3"] < losses["A3"] < losses["alpha 0"] <= 1.9
    assert 0.7 <= losses["A1"] <= 1 < losses["A3"]


@pytest.mark.parametrize("boundary", ["db1", "db2", "db3", "db4", "db5"])
def test_every_boundary_trains(boundary: BoundaryKind, tmp_path: Path) -> None:
    features = fixed_features()
    config = replace(OPTIONS, boundary=boundary)
    rows = Rows()
    network = fitted(features, config, tmp_path / "state.pt", rows)
    assert network.boundary == boundary
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(np.isfinite(float(row["loss"])) for row in rows)
    with torch.no_grad():
        assert network(features.read(range(6))).theta.isfinite().all()
    assert not same_weights(network, activation_network(features, config, seed=0))


def test_the_loss_falls_and_the_maps_leave_the_boundary(tmp_path: Path) -> None:
    features, rows = fixed_features(8), Rows()
    config = replace(OPTIONS, epochs=8, milestones=(), channels=16)
    network = fitted(features, config, tmp_path / "state.pt", rows)
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"]) - 0.05
    before = activation_network(features, config, seed=0).eval()
    with torch.no_grad():
        far = [
            float(n(features.read(range(8))).theta.sigmoid().sub(0.5).abs().mean()) for n in (before, network)
        ]
    assert far[1] > far[0]
    assert not network.training


def test_sgd_is_nesterov_with_the_rate_of_the_epoch(tmp_path: Path) -> None:
    config = replace(OPTIONS, lr=0.2, momentum=0.8, weight_decay=1e-3, milestones=(1,), epochs=2)
    fitted(fixed_features(), config, tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    (group,) = saved["optimizer"]["param_groups"]
    assert saved["epoch"] == 2
    assert group["lr"] == pytest.approx(0.02)
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.8, True, 1e-3)
    assert group["fused"] is True


@pytest.mark.parametrize("auxiliary", [True, False])
def test_boundaries_of_side_maps_learn_only_where_these_are_in_the_loss(
    auxiliary: bool, tmp_path: Path
) -> None:
    features = fixed_features()
    options = replace(OPTIONS, boundary="db4", auxiliary=auxiliary)
    before = [
        boundary.weight.detach().clone()
        for boundary in activation_network(features, options, seed=0).boundaries
    ]
    after = fitted(features, options, tmp_path / "state.pt").boundaries
    learnt = [not torch.equal(old, new.weight) for old, new in zip(before, after, strict=True)]
    assert learnt == [auxiliary, auxiliary, auxiliary, True]
    assert [boundary.weight.requires_grad for boundary in after] == learnt


def test_a_fit_without_momentum(tmp_path: Path) -> None:
    fitted(fixed_features(), replace(OPTIONS, momentum=0.0), tmp_path / "state.pt")


def test_a_frozen_encoder_that_drifts_changes_in_its_statistics_alone(tmp_path: Path) -> None:
    encoder = tiny_encoder()
    features = LiveFeatures(encoder, random_squares(6), CPU)
    network = activation_network(features, DRIFTING, seed=0)
    before = copied(encoder)  # measuring the scales moved the statistics already
    fit(
        network,
        features,
        DRIFTING,
        Trainer(cpu(), 0, Rows(), quiet=True),
        TrainingState(tmp_path / "state.pt"),
    )
    assert changed(before, encoder) == {"running_mean", "running_var", "num_batches_tracked"}
    assert all(parameter.grad is None for parameter in encoder.parameters())


def test_an_encoder_that_is_not_frozen_is_trained(tmp_path: Path) -> None:
    encoder = tiny_encoder()
    before = copied(encoder)
    fitted(LiveFeatures(encoder, random_squares(6), CPU), UNFROZEN, tmp_path / "state.pt")
    assert {"weight", "bias", "running_mean"} <= changed(before, encoder)


@pytest.mark.parametrize("config", [DRIFTING, UNFROZEN], ids=["drifting", "unfrozen"])
def test_nothing_drifts_any_more_after_the_fit(config: Stage1Config, tmp_path: Path) -> None:
    encoder = tiny_encoder()
    features = LiveFeatures(encoder, random_squares(6), CPU)
    network = fitted(features, config, tmp_path / "state.pt")
    before = copied(encoder)
    cues = cue_logits(network, features, config, tmp_path / "cues.npy", fabric=cpu(), quiet=True)
    assert changed(before, encoder) == set()
    # A batch does not see the other photos in it: eval mode
    small = replace(config, batch_size=2)
    other = cue_logits(network, features, small, tmp_path / "others.npy", fabric=cpu(), quiet=True)
    np.testing.assert_allclose(cues, other, atol=1e-4)


class StopError(Exception):
    """Stands for a kill."""


class StoppingRows(Rows):
    """A log at which the run stops: before the state of that epoch is saved."""

    def __init__(self, stop_at: int) -> None:
        super().__init__()
        self.stop_at = stop_at

    def __call__(self, row: object) -> None:
        super().__call__(row)  # type: ignore[arg-type]
        if len(self) == self.stop_at:
            raise StopError


@pytest.mark.parametrize("config", [OPTIONS, DRIFTING, UNFROZEN], ids=["frozen", "drifting", "unfrozen"])
@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_resumed_at_any_epoch_it_gives_the_same_bits(
    config: Stage1Config, stop_at: int, tmp_path: Path
) -> None:
    config = replace(config, epochs=3)

    def features() -> FixedFeatures | LiveFeatures:
        if config is not None and config.freeze_encoder and not config.batchnorm_drift:
            return fixed_features()
        return LiveFeatures(tiny_encoder(), random_squares(6), CPU)

    source = features()
    whole = fitted(source, config, tmp_path / "whole.pt")
    with pytest.raises(StopError):
        fitted(features(), config, tmp_path / "parts.pt", StoppingRows(stop_at))
    again, rows = features(), Rows()
    resumed = fitted(again, config, tmp_path / "parts.pt", rows)
    assert [row["epoch"] for row in rows] == list(range(stop_at, 4))
    assert same_weights(whole, resumed)
    if isinstance(source, LiveFeatures) and isinstance(again, LiveFeatures):
        assert same_weights(source.encoder, again.encoder)


def test_a_finished_fit_is_restored_and_not_repeated(tmp_path: Path) -> None:
    features, rows = fixed_features(), Rows()
    whole = fitted(features, OPTIONS, tmp_path / "state.pt")
    assert same_weights(whole, fitted(features, OPTIONS, tmp_path / "state.pt", rows))
    assert rows == []


def test_a_loss_that_is_not_finite_stops_the_fit(tmp_path: Path) -> None:
    features = fixed_features()
    features.whole[1][2] = float("nan")
    config = replace(OPTIONS, scale_features=False)
    with pytest.raises(FloatingPointError, match=r"stage 1 is nan in epoch 1; a lower stage1\.lr"):
        fitted(features, config, tmp_path / "state.pt")
    assert not (tmp_path / "state.pt").exists()


def test_cues_have_their_smaller_side_in_front_and_lie_in_the_file(tmp_path: Path) -> None:
    features, file = fixed_features(7), tmp_path / "cues.npy"
    network = activation_network(features, OPTIONS, seed=0)
    cues = cue_logits(network, features, OPTIONS, file, fabric=cpu(), quiet=True)
    with torch.no_grad():
        theta = network(features.read(range(7))).theta[:, 0].numpy()
    assert cues.shape == (7, SIZE // OPTIONS.fusion_stride, SIZE // OPTIONS.fusion_stride)
    assert cues.dtype == np.float32
    assert ((cues > 0).mean(axis=(1, 2)) <= 0.5).all()
    np.testing.assert_allclose(np.abs(cues), np.abs(theta), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(np.load(file), cues)


def test_the_bar_of_cues_counts_every_photo_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars, advanced = [], []

    @contextmanager
    def bar(title: str, *, total: int, quiet: bool) -> Iterator[Callable[[int], None]]:
        bars.append((title, total, quiet))
        yield advanced.append

    monkeypatch.setattr(progress, "bar", bar)
    features, options = fixed_features(7), replace(OPTIONS, batch_size=4)
    network = activation_network(features, options, seed=0)
    cue_logits(network, features, options, tmp_path / "cues.npy", fabric=cpu())
    cue_logits(network, features, options, tmp_path / "cues.npy", fabric=cpu(), quiet=True)
    assert bars == [("activation maps", 7, False), ("activation maps", 7, True)]
    assert advanced == [4, 3, 4, 3]


def test_a_boundary_fitted_on_labels_keeps_its_sign(tmp_path: Path) -> None:
    features = fixed_features(3)
    network = activation_network(features, OPTIONS, seed=0, boundary="affine")
    with torch.no_grad():
        network.boundaries[3].affine.bias.fill_(100.0)
    cues = cue_logits(network, features, OPTIONS, tmp_path / "cues.npy", fabric=cpu(), quiet=True)
    assert (cues > 0).all()


def test_cues_at_photo_size_have_the_photos_own_grid(scenes: Path) -> None:
    encoder = freeze(tiny_encoder())
    paths = [photo.path for photo in find_photos(scenes / "photos")][:3]
    config = replace(OPTIONS, fusion_stride=2)
    network = activation_network(LiveFeatures(encoder, random_squares(4), CPU), config, seed=0).eval()
    cues = PhotoSizeCues(network, encoder, paths, config)
    photo = read_photo(paths[1])
    with torch.no_grad():
        theta = network(encoder(to_batch(photo[None], CPU))[2:], (72, 96)).theta[0, 0].numpy()
    assert len(cues) == 3
    assert cues[1].shape == (36, 48)
    assert (cues[1] > 0).mean() <= 0.5
    np.testing.assert_allclose(np.abs(cues[1]), np.abs(theta), rtol=1e-4, atol=1e-4)


def test_cues_of_photos_whose_sides_are_no_multiples_of_8(tmp_path: Path) -> None:
    encoder = freeze(tiny_encoder())
    Image.fromarray(random_squares(1)[0][:57, :41]).save(tmp_path / "odd.png")
    network = activation_network(LiveFeatures(encoder, random_squares(4), CPU), OPTIONS, seed=0).eval()
    (cue,) = PhotoSizeCues(network, encoder, [tmp_path / "odd.png"], replace(OPTIONS, fusion_stride=4))
    stride = OPTIONS.fusion_stride
    assert cue.shape == (-(-57 // stride), -(-41 // stride))


@pytest.mark.parametrize("stride", [2, 8])
def test_only_the_fused_map_is_enlarged_to_the_photo(stride: int) -> None:
    side = SIZE // stride
    theta = torch.arange(float(side * side)).view(1, 1, side, side)
    sides = (torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 2, 2))
    large = enlarged(Activation(theta, sides))
    assert large.theta.shape == (1, 1, SIZE, SIZE)
    assert large.sides is sides
    assert float(large.theta.mean()) == pytest.approx(float(theta.mean()))
