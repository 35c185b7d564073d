"""What holds for every detector: it is trained, goes on, is saved, predicts, is exported; and its recipe."""

import json
import typing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from act2sal.config import DetectorName, TrainConfig
from act2sal.networks.checkpoint import load_detector, read_metadata
from act2sal.networks.rival import Rival
from act2sal.networks.rivals import OURS, RIVALS, name_of
from act2sal.predict.detector import Detector
from act2sal.predict.export import ExportError, export
from act2sal.presets import PRESETS, begun_from
from act2sal.training.assembly import initial_detector
from act2sal.training.pipeline import train
from act2sal.training.schedules import polynomial, triangle
from act2sal.training.stage2.optimizer import make_optimizer, rates_at
from tiny import SIZE, stop_after, tiny_config

DETECTORS: tuple[DetectorName, ...] = typing.get_args(DetectorName)
COMPARED = tuple(name for name in DETECTORS if name != OURS)
ENCODER = "mobilenetv2_050"


def config_of(detector: DetectorName, **stage2: Any) -> TrainConfig:
    """Two passes over the scenes on labels that are given."""
    config = tiny_config(stage2={"epochs": 2, "loss_bce": 1.0, "encoder": ENCODER, **stage2})
    return replace(config, detector=detector)


def side_of(detector: DetectorName) -> int:
    """Side of the squares that it is given when it predicts."""
    return (None if detector == OURS else RIVALS[detector].side) or SIZE


@pytest.fixture(scope="module", params=DETECTORS)
def detector(request: pytest.FixtureRequest) -> DetectorName:
    name: DetectorName = request.param
    return name


@pytest.fixture(scope="module")
def run(
    detector: DetectorName, scenes: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The run directory of the detector, on the labels of another run."""
    folder = tmp_path_factory.mktemp(detector) / "run"
    config = replace(config_of(detector), given_labels=str(trained / "labels"))
    train(scenes / "photos", folder, config, quiet=True)
    return folder


# --- every detector ----------------------------------------------------------------------------------


def test_every_name_has_a_network_and_every_network_a_name() -> None:
    assert {OURS, *RIVALS} == set(DETECTORS)


def test_the_file_says_which_network_it_holds(detector: DetectorName, run: Path) -> None:
    network = load_detector(run / "detector.safetensors")
    assert name_of(network) == detector
    assert isinstance(network, Rival) == (detector != OURS)
    assert not network.training
    with safe_open(run / "detector.safetensors", "pt") as file:
        assert file.metadata().get("network", OURS) == detector
    assert "trained on" not in read_metadata(run / "detector.safetensors")


def test_training_lowers_the_loss_and_rectifies_labels(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    own = [row for row in rows if row["stage"] == "stage2"]
    assert len(own) == 2
    assert all(np.isfinite(row["loss"]) for row in own)
    assert own[-1]["label_change"] > 0


def test_it_finds_something_in_photos_of_any_size(run: Path, detector: DetectorName) -> None:
    found = Detector.load(run, device="cpu")
    assert found.size == side_of(detector)
    prob = found(np.random.default_rng(0).integers(0, 256, (51, 97, 3), dtype=np.uint8))
    assert (prob.shape, prob.dtype) == ((51, 97), np.float32)
    assert 0 <= prob.min() <= prob.max() <= 1
    assert found.network.rates


def test_an_interrupted_training_ends_as_one_that_was_not(
    detector: DetectorName,
    run: Path,
    scenes: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = replace(config_of(detector), given_labels=str(trained / "labels"))
    with monkeypatch.context() as patch:
        stop_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            train(scenes / "photos", tmp_path / "run", config, quiet=True)
    train(scenes / "photos", tmp_path / "run", config, quiet=True, resume=True)
    whole, resumed = (
        load_detector(path / "detector.safetensors").state_dict() for path in (run, tmp_path / "run")
    )
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_it_is_exported_with_the_same_maps(run: Path, detector: DetectorName, tmp_path: Path) -> None:
    done = export(run, tmp_path / "m.onnx")
    assert done.largest_difference < 1e-3
    squares = np.random.default_rng(0).integers(
        0, 256, (2, side_of(detector), side_of(detector), 3), dtype=np.uint8
    )
    theirs, ours = Detector.load(tmp_path / "m.onnx"), Detector.load(run, device="cpu")
    np.testing.assert_allclose(theirs.network(squares), ours.network(squares), atol=1e-3)


def test_a_free_size_is_exported_where_the_operators_allow(
    run: Path, detector: DetectorName, tmp_path: Path
) -> None:
    if detector in ("itsd", "minet", "picanet"):
        with pytest.raises(ExportError, match=rf"{detector} has operators .* leave out --size dynamic"):
            export(run, tmp_path / "m.onnx", size="dynamic")
        assert not (tmp_path / "m.onnx").exists()
    else:
        assert export(run, tmp_path / "m.onnx", size="dynamic").largest_difference < 1e-3


def test_it_is_a_teacher_of_its_own_kind(run: Path, detector: DetectorName) -> None:
    taught = initial_detector(tiny_config(), run / "detector.safetensors")
    assert name_of(taught) == detector


@pytest.mark.parametrize("name", COMPARED)
def test_the_own_loss_trains_other_weights(
    name: DetectorName, scenes: Path, trained: Path, tmp_path: Path
) -> None:
    config = replace(
        config_of(name, own_loss=True, epochs=1, trim=0.25), given_labels=str(trained / "labels")
    )
    train(scenes / "photos", tmp_path / "own", config, quiet=True)
    common = replace(config, stage2=replace(config.stage2, own_loss=False))
    train(scenes / "photos", tmp_path / "common", common, quiet=True)
    files = [(tmp_path / kind / "detector.safetensors").read_bytes() for kind in ("own", "common")]
    assert files[0] != files[1]


def test_all_parameters_learn_and_the_copy_of_an_encoder_at_its_rate(detector: DetectorName) -> None:
    network = initial_detector(config_of(detector))
    groups = make_optimizer(network, config_of(detector).stage2).param_groups
    listed = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(listed) == sorted(id(parameter) for parameter in network.parameters())
    encoder = {id(parameter) for parameter in groups[0]["params"]}
    assert {id(parameter) for parameter in network.encoder.parameters()} <= encoder
    assert (len(encoder) > len(list(network.encoder.parameters()))) == (detector == "cpd")


def test_what_computes_at_one_size_alone_says_so(
    scenes: Path, trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = replace(config_of("picanet", epochs=1), given_labels=str(trained / "labels"))
    train(scenes / "photos", tmp_path / "run", config, quiet=True)
    assert (
        f"picanet computes on squares of 224 pixels alone, to which it resizes those of {SIZE}" in caplog.text
    )


def test_it_is_trained_in_several_processes(
    detector: DetectorName, scenes: Path, trained: Path, tmp_path: Path
) -> None:
    """All processes hold the same weights: those that are written are not told from which."""
    config = replace(config_of(detector, epochs=1), given_labels=str(trained / "labels"), devices=2)
    train(scenes / "photos", tmp_path / "run", config, quiet=True)
    network = load_detector(tmp_path / "run" / "detector.safetensors")
    assert name_of(network) == detector
    assert all(weight.isfinite().all() for weight in network.parameters())


# --- their recipes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMPARED)
def test_the_preset_of_a_detector_trains_it_by_its_own_loss(name: DetectorName) -> None:
    preset = PRESETS[name]  # type: ignore[index]
    assert preset.detector == name
    assert preset.stage2.own_loss
    assert (preset.stage2.encoder == "resnet34") == (name == "basnet")


def test_other_detectors_and_masks_begin_with_the_losses_of_salod() -> None:
    assert begun_from(None, "a2s", masks=False) == TrainConfig()
    losses = begun_from(None, "minet", masks=False).stage2
    assert (losses.loss_bce, losses.loss_ssim, losses.loss_iou, losses.rectifier) == (1, 0, 1, "olr")
    supervised = begun_from(None, "a2s", masks=True).stage2
    assert (supervised.loss_bce, supervised.loss_iou, supervised.rectifier) == (1, 1, "none")
    assert begun_from("paper", "a2s", masks=True).stage2 == replace(PRESETS["paper"].stage2, rectifier="none")


def test_schedules_by_hand() -> None:
    assert [triangle(share) for share in (0, 0.25, 0.5, 0.75, 1)] == [0, 0.5, 1, 0.5, 0]
    assert polynomial(0) == 1
    assert polynomial(0.5) == pytest.approx(0.5**0.9)
    salod = PRESETS["salod"].stage2
    assert rates_at(salod, 20, 0.0) == pytest.approx([0.005, 0.05])
    assert rates_at(salod, 10, 0.5) == pytest.approx([0.1 * 0.05 * 0.525, 0.05 * 0.525])
    minet = PRESETS["minet"].stage2
    assert rates_at(minet, 25, 0.7) == pytest.approx([1e-3 * 0.5**0.9] * 2), "the same in all of an epoch"
    cpd = PRESETS["cpd"].stage2
    assert [rates_at(cpd, epoch, 0.5)[1] for epoch in (0, 48, 49, 52)] == pytest.approx(
        [1e-4, 1e-4, 1e-5, 1e-8]
    )
    assert {rates_at(PRESETS["basnet"].stage2, epoch, 0.5)[1] for epoch in (0, 50, 99)} == {1e-3}
