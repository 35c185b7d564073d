"""What A2S-v2 and v3 add to the first fit: another distance, a curriculum, a second size, texture."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from act2sal.a2s.activation import Activation
from act2sal.a2s.resampling import flip
from act2sal.a2s.separation_loss import distance_loss, falling_exponent, stage1_loss, undecided_margin
from act2sal.config import ConfigError, Stage1Config, TrainConfig
from act2sal.networks.encoders import freeze
from act2sal.runs.run_directory import RunDirectory
from act2sal.runs.training_state import TrainingState
from act2sal.training.epochs import Trainer
from act2sal.training.pipeline import train
from act2sal.training.stage1.features import Features, LiveFeatures
from act2sal.training.stage1.fit import activation_network, fit
from act2sal.training.stage1.views import ResizedPhotos, views
from tiny import SIZE, Rows, cpu, random_squares, tiny_config, tiny_encoder

CPU = torch.device("cpu")
PHOTOS = random_squares(6)
OPTIONS = tiny_config().stage1
LEVERS: dict[str, dict[str, Any]] = {
    "falling distance": {"distance": "falling"},
    "curriculum": {"curriculum": True},
    "second size": {"scale_consistency": 1.0, "second_sizes": (-32, 32)},
    "texture": {"texture": 0.05},
}


def logits(*probs: float) -> torch.Tensor:
    return torch.logit(torch.tensor(probs)).view(1, 1, 1, -1)


def test_the_distance_with_an_exponent_by_hand() -> None:
    theta = logits(0.5, 0.9, 0.1, 0.7)
    # |p - 1/2| = 0, .4, .4, .2
    assert float(distance_loss(theta, 2)) == pytest.approx(0.25 - (0.16 + 0.16 + 0.04) / 4)
    assert float(distance_loss(theta, 1)) == pytest.approx(0.5 - 1.0 / 4)
    keep = torch.tensor([True, False, False, True]).view(1, 1, 1, 4)
    assert float(distance_loss(theta, 1, keep)) == pytest.approx(0.5 - 0.2 / 2)
    assert float(distance_loss(theta, 2, torch.zeros_like(keep))) == 0.25


def test_the_exponent_falls_from_2_and_the_margin_is_gone_after_a_third() -> None:
    assert [falling_exponent(e, 4) for e in range(4)] == pytest.approx([2, 2**0.75, 2**0.5, 2**0.25])
    assert [undecided_margin(e, 6) for e in range(3)] == pytest.approx([0.2, 0.1, 0.0])


def test_undecided_pixels_do_not_count() -> None:
    def loss(*probs: float, margin: float) -> float:
        theta = logits(*probs)
        maps = Activation(theta, (theta, theta, theta))
        return float(stage1_loss(maps, drop=0, auxiliary=False, margin=margin, generator=torch.Generator()))

    # 1 - (D^2 + .1 D) with D = .4
    assert loss(0.9, 0.6, margin=0.2) == pytest.approx(1 - (0.16 + 0.04))
    assert loss(0.9, 0.6, margin=0.0) == pytest.approx(1 - (0.2 + 0.01 + 0.01) / 2)


def features_at(side: int) -> Features:
    return LiveFeatures(freeze(tiny_encoder()), ResizedPhotos(PHOTOS, side), CPU)


def fitted(config: Stage1Config, state: Path, log: Rows) -> dict[str, torch.Tensor]:
    features = features_at(SIZE)
    others = [features_at(SIZE + c) for c in config.second_sizes] if config.scale_consistency else []
    network = fit(
        activation_network(features, config, seed=0),
        features,
        config,
        Trainer(cpu(), 0, log, quiet=True),
        TrainingState(state),
        others=others,
        photos=PHOTOS,
    )
    return network.state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("lever", LEVERS.values(), ids=LEVERS)
def test_each_changes_the_fit_and_a_resumed_fit_ends_with_the_same_bits(
    lever: dict[str, Any], tmp_path: Path
) -> None:
    config, rows = replace(OPTIONS, epochs=3, milestones=(), **lever), Rows()
    whole = fitted(config, tmp_path / "whole.pt", rows)
    assert not same(whole, fitted(replace(OPTIONS, epochs=3, milestones=()), tmp_path / "plain.pt", Rows()))
    assert all(np.isfinite(float(row["loss"])) for row in rows)

    # The exponent and the curriculum depend on the number of epochs, so that a shorter fit is no part of it.
    class StopError(Exception):
        pass

    class Stopping(Rows):
        def __call__(self, row: object) -> None:
            super().__call__(row)  # type: ignore[arg-type]
            if len(self) == 2:
                raise StopError

    with pytest.raises(StopError):
        fitted(config, tmp_path / "parts.pt", Stopping())
    assert same(whole, fitted(config, tmp_path / "parts.pt", Rows()))


def test_two_sizes_come_to_agree(tmp_path: Path) -> None:
    def disagreement(weight: float) -> float:
        options = replace(OPTIONS, epochs=8, lr=0.05, milestones=(), scale_consistency=weight)
        options = replace(options, second_sizes=(-32,))
        network = activation_network(features_at(SIZE), options, seed=0)
        network.load_state_dict(fitted(options, tmp_path / f"{weight}.pt", Rows()))
        with torch.no_grad():
            first, second = (
                torch.sigmoid(network.eval()(features_at(side).read(range(6))).theta)
                for side in (SIZE, SIZE - 32)
            )
        return float((first - torch.nn.functional.interpolate(second, first.shape[-2:])).square().mean())

    assert disagreement(3.0) < 0.8 * disagreement(0.001)


def test_views_show_the_same_photos_mirrored_alike() -> None:
    features, other = features_at(SIZE), features_at(SIZE + 32)
    quarters = [photo[::4, ::4] for photo in PHOTOS]
    flags = torch.tensor([True, False])
    (seen,) = views(features, [other], quarters, [[4, 1]], [flags], torch.Generator().manual_seed(0), CPU)
    assert seen.sources == [features, other]
    assert seen.colours is not None
    np.testing.assert_array_equal(seen.colours[0].numpy(), quarters[4][:, ::-1])
    np.testing.assert_array_equal(seen.colours[1].numpy(), quarters[1])
    for source, fetched in zip(seen.sources, seen.fetched, strict=True):
        plain = source.read([4, 1])
        for ours, theirs in zip(source.levels(fetched), plain, strict=True):
            torch.testing.assert_close(ours, flip(theirs, flags))


def test_all_second_sizes_are_drawn() -> None:
    others = [features_at(SIZE + change) for change in (-32, 32)]
    cut = [[0, 1]] * 20
    seen = views(features_at(SIZE), others, None, cut, [None] * 20, torch.Generator().manual_seed(0), CPU)
    assert {others.index(view.sources[1]) for view in seen} == {0, 1}


def test_a_second_size_has_to_be_large_enough() -> None:
    stage = Stage1Config(scale_consistency=1.0, second_sizes=(-64,))
    with pytest.raises(ConfigError, match=r"stage1\.second_sizes .* not 16"):
        TrainConfig(size=80, stage1=stage)
    TrainConfig(size=80, stage1=replace(stage, scale_consistency=0.0))


def test_train_gives_the_first_fit_what_the_levers_need(scenes: Path, tmp_path: Path) -> None:
    levers = {name: value for lever in LEVERS.values() for name, value in lever.items()}
    train(scenes / "photos", tmp_path, tiny_config(stage1=levers, stage2={"epochs": 1}), quiet=True)
    assert (tmp_path / "detector.safetensors").is_file()
    first = [row for row in RunDirectory(tmp_path, writes=False).rows() if row["stage"] == "stage1"]
    assert len(first) == 2
    assert all(np.isfinite(float(row["loss"])) for row in first)


@pytest.mark.parametrize("weight", [0.1, 0.3])
def test_texture_is_added_to_the_loss_by_its_weight(weight: float, tmp_path: Path) -> None:
    """At a rate of next to nothing, on photos that stay as they are: the loss grows by weight x texture."""
    still = replace(OPTIONS, epochs=1, milestones=(), lr=1e-12, drop_pixels=0.0, flip=False, texture=0.0)

    def loss(texture: float) -> float:
        rows = Rows()
        fitted(replace(still, texture=texture), tmp_path / f"{texture}.pt", rows)
        return float(rows[0]["loss"])

    plain, unit, weighted = loss(0.0), loss(1.0), loss(weight)
    assert unit - plain > 1e-4
    assert weighted - plain == pytest.approx(weight * (unit - plain), rel=0.01)


def test_texture_needs_the_photos(tmp_path: Path) -> None:
    features = features_at(SIZE)
    options = replace(OPTIONS, texture=0.1)
    network = activation_network(features, options, seed=0)
    with pytest.raises(ValueError, match=r"^texture matching needs the photos$"):
        fit(network, features, options, Trainer(cpu(), 0, Rows()), TrainingState(tmp_path / "state.pt"))
