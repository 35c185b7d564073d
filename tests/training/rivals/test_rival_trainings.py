"""Trainings of SBF, MNL and USPS: they run, go on where they were stopped, open no mask, and clean planted noise."""

import json
import shutil
import typing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from act2sal.cli import main
from act2sal.config import ConfigError, MethodName, RivalConfig, Stage2Config, TrainConfig
from act2sal.data.images import read_photo, write_gray_png
from act2sal.data.origin import Origin, origin_of
from act2sal.data.photo_files import DatasetError
from act2sal.evaluation import evaluate_pairs
from act2sal.networks.checkpoint import load_detector, read_metadata
from act2sal.presets import PRESETS
from act2sal.scenes import write_scenes
from act2sal.training.pipeline import train
from tiny import stop_after, tiny_arguments, tiny_config

METHODS: tuple[MethodName, ...] = tuple(name for name in typing.get_args(MethodName) if name != "a2s")
FILES = {"sbf": ("rbd", "dsr", "mc"), "mnl": ("dsr", "mc", "rbd", "hs"), "usps": ("dsr", "mc", "rbd", "hs")}
SMALL = RivalConfig(epochs=1, last_epochs=2, rounds=2)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight scenes, without their masks."""
    folder = tmp_path_factory.mktemp("rivals")
    write_scenes(folder, 8, seed=5, size=(48, 64))
    return folder / "photos"


@pytest.fixture(scope="module")
def maps(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands for the maps of the hand-crafted methods, other ones for each."""
    folder = tmp_path_factory.mktemp("maps")
    generator = np.random.default_rng(0)
    for name in FILES["usps"]:
        for photo in sorted(photos.iterdir()):
            small = generator.integers(0, 256, (6, 8), dtype=np.uint8)
            write_gray_png(folder / name / f"{photo.stem}.png", np.kron(small, np.ones((8, 8), np.uint8)))
    return folder


def grey(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.mode == "L"
        return np.asarray(picture, dtype=np.float64)


def config_of(method: MethodName, maps: Path | None = None, rival: RivalConfig = SMALL) -> TrainConfig:
    rival = replace(rival, maps=None if maps is None else str(maps))
    return replace(tiny_config(), method=method, rival=rival)


@pytest.fixture(scope="module", params=METHODS)
def method(request: pytest.FixtureRequest) -> MethodName:
    name: MethodName = request.param
    return name


@pytest.fixture(scope="module")
def run(method: MethodName, photos: Path, maps: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(method) / "run"
    train(photos, folder, config_of(method, maps), quiet=True)
    return folder


# --- what a run leaves -------------------------------------------------------------------------------


def test_a_run_leaves_labels_a_detector_and_a_report(run: Path, method: MethodName, photos: Path) -> None:
    for photo in photos.iterdir():
        assert grey(run / "labels" / f"{photo.stem}.png").shape == read_photo(photo).shape[:2]
    load_detector(run / "detector.safetensors")
    assert f'method = "{method}"' in read_metadata(run / "detector.safetensors")["config"]
    report = (run / "report.html").read_text()
    assert "Label after round 2" in report
    assert "hand-crafted maps of the photos alone: no mask was opened" in report
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    fits = {row["stage"]: row for row in rows if row["stage"].startswith(method)}
    assert len(fits) == {"sbf": 2, "mnl": 2, "usps": 9}[method]
    assert all(np.isfinite(row["loss"]) for row in fits.values())


@pytest.mark.parametrize("stopped_after", [1, 2, 3])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    method: MethodName,
    run: Path,
    photos: Path,
    maps: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stopped_after: int,
) -> None:
    with monkeypatch.context() as patch:
        stop_after(stopped_after, patch)
        with pytest.raises(KeyboardInterrupt):
            train(photos, tmp_path / "run", config_of(method, maps), quiet=True)
    train(photos, tmp_path / "run", config_of(method, maps), quiet=True, resume=True)
    whole, resumed = (
        load_detector(folder / "detector.safetensors").state_dict() for folder in (run, tmp_path / "run")
    )
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    for label in (run / "labels").iterdir():
        assert label.read_bytes() == (tmp_path / "run" / "labels" / label.name).read_bytes()


def test_maps_are_computed_once_for_a_folder(photos: Path, tmp_path: Path) -> None:
    """Those of an earlier training are taken as they are; of those that are missing, only these are computed."""
    config = config_of("sbf", tmp_path / "maps", replace(SMALL, rounds=1))
    train(photos, tmp_path / "first", config, quiet=True)
    for name in FILES["sbf"]:
        found = sorted((tmp_path / "maps" / name).iterdir())
        assert [path.stem for path in found] == sorted(photo.stem for photo in photos.iterdir())
    assert origin_of(found[0]) == Origin("map")
    kept = tmp_path / "maps" / "rbd" / f"{min(photos.iterdir()).stem}.png"
    (tmp_path / "maps" / "dsr" / kept.name).unlink()
    before = kept.stat().st_mtime_ns
    train(photos, tmp_path / "second", config, quiet=True)
    assert kept.stat().st_mtime_ns == before
    assert (tmp_path / "maps" / "dsr" / kept.name).is_file()
    rows = [json.loads(line) for line in (tmp_path / "second" / "log.jsonl").read_text().splitlines()]
    assert [row["stage"] for row in rows if row["stage"].startswith("maps")] == ["maps of dsr"]


def test_labels_are_known_as_results(run: Path) -> None:
    """A later training on a folder that holds them does not take them for photos."""
    assert origin_of(next((run / "labels").iterdir())) == Origin("label", "none")


def test_maps_of_other_photos_are_refused(photos: Path, maps: Path, tmp_path: Path) -> None:
    others = tmp_path / "maps"
    shutil.copytree(maps, others)
    wrong = min((others / "mc").iterdir())
    write_gray_png(wrong, np.zeros((5, 9), np.uint8))
    with pytest.raises(DatasetError, match=rf"{wrong} is no map of .*{wrong.stem}.* name another folder"):
        train(photos, tmp_path / "run", config_of("mnl", others), quiet=True)


def test_masks_beside_the_photos_are_never_opened(method: MethodName, maps: Path, tmp_path: Path) -> None:
    """Made unreadable, they change nothing."""
    write_scenes(tmp_path, 8, seed=5, size=(48, 64))
    for mask in (tmp_path / "masks").iterdir():
        mask.write_bytes(b"no picture")
    for name in FILES[method]:
        shutil.copytree(maps / name, tmp_path / "maps" / name / "photos")
    config = config_of(method, tmp_path / "maps", replace(SMALL, rounds=1, last_epochs=1))
    train(tmp_path, tmp_path / "run", config, quiet=True)
    assert len(list((tmp_path / "run" / "labels").rglob("*.png"))) == 8


# --- the command line --------------------------------------------------------------------------------


def test_the_command_trains_by_a_rival(photos: Path, maps: Path, tmp_path: Path) -> None:
    words = ["--method", "mnl", "--rival.rounds", "1", "--rival.last-epochs", "1", "--rival.maps", str(maps)]
    only = tiny_arguments()
    kept = [w for o, v in zip(only[::2], only[1::2], strict=True) if "stage1" not in o for w in (o, v)]
    kept = kept[: kept.index("--stage2.rectify-warmup")]
    assert main(["train", str(photos), "--out", str(tmp_path / "run"), *kept, *words, "--quiet"]) == 0
    assert (tmp_path / "run" / "detector.safetensors").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rival.epochs", "2"], "--rival.epochs has no effect beside --method a2s"),
        (
            ["--method", "mnl", "--stage2.crop", ".5"],
            "--stage2.crop has no effect beside --method other than",
        ),
        (["--method", "mnl", "--rival.published-rates"], "has no effect beside --method other than usps"),
        (
            ["--method", "sbf", "--generations", "2"],
            "sbf makes its own labels, in one process; leave out gen",
        ),
        (["--method", "sbf", "--teacher", "RUN"], "leave out teacher"),
        (["--method", "usps", "--masks", "DIR"], "leave out masks"),
        (["--method", "usps", "--devices", "2"], "leave out devices"),
    ],
)
def test_what_a_rival_cannot_do_is_refused(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["train", str(photos), "--out", str(tmp_path / "run"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_file_of_options_cannot_do_it_either() -> None:
    with pytest.raises(ConfigError, match="leave out given_labels"):
        TrainConfig(method="mnl", given_labels="labels")


@pytest.mark.parametrize("name", METHODS)
def test_the_preset_of_a_rival_is_its_own(name: MethodName) -> None:
    preset = PRESETS[name]  # type: ignore[index]
    assert preset.method == name
    assert preset.rival.last_epochs == {"sbf": 20, "mnl": 20, "usps": 200}[name]


# --- planted noise -----------------------------------------------------------------------------------

PLANTED = 40
NOISE = 0.2
"""Share of the blocks of a map that say the opposite."""


ENOUGH = {
    "sbf": (96, RivalConfig(rounds=3, epochs=10, last_epochs=12)),
    "mnl": (64, RivalConfig(rounds=2, epochs=4, last_epochs=8)),
    "usps": (64, RivalConfig(rounds=1, epochs=7, last_epochs=12)),
}
"""Pixels and passes with which each rival learns enough from so few photos."""


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes, and maps made of their masks with noise of its own for each method."""
    folder = tmp_path_factory.mktemp("planted")
    write_scenes(folder, PLANTED, seed=7, size=(96, 96))
    generator = np.random.default_rng(0)
    for name in FILES["usps"]:
        for mask in sorted((folder / "masks").iterdir()):
            truth = read_photo(mask)[..., 0] > 127
            wrong = np.kron(generator.random((8, 8)) < NOISE, np.ones((12, 12))) > 0
            soft = np.where(truth ^ wrong, 0.85, 0.1) + generator.normal(0, 0.03, truth.shape)
            pixels = np.round(255 * soft.clip(0, 1)).astype(np.uint8)
            write_gray_png(folder / "maps" / name / mask.name, pixels)
    return folder


@pytest.mark.parametrize("name", METHODS)
def test_labels_at_the_end_are_better_than_the_maps(name: MethodName, planted: Path, tmp_path: Path) -> None:
    size, rival = ENOUGH[name]
    config = TrainConfig(
        method=name,
        size=size,
        device="cpu",
        rival=replace(rival, maps=str(planted / "maps")),
        stage2=Stage2Config(batch_size=4),
    )
    train(planted / "photos", tmp_path / "run", config, quiet=True)

    def scores(read: Callable[[str], np.ndarray]) -> tuple[float, float]:
        masks = sorted((planted / "masks").iterdir())
        found = evaluate_pairs((read(m.name) / 255, read_photo(m)[..., 0] > 127) for m in masks)
        return found.f_adaptive, found.mae

    maps = {m: (lambda file, m=m: grey(planted / "maps" / m / file)) for m in FILES[name]}
    if name == "sbf":  # whose F is about that of the mean map, .70, and lies below it with some seeds
        single = [scores(read) for read in maps.values()]
        at_first = max(f for f, _ in single), min(mae for _, mae in single)
    else:
        at_first = scores(lambda file: np.mean([read(file) for read in maps.values()], axis=0))
    at_last = scores(lambda file: grey(tmp_path / "run" / "labels" / file))
    assert at_last[0] > at_first[0]
    assert at_last[1] < at_first[1]
