"""A whole training: what it leaves, that masks never matter, and that seeds, kills and threads do not either."""

import logging
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from act2sal.config import TrainConfig
from act2sal.config_files import to_toml
from act2sal.data.images import read_photo, write_atomic, write_gray_png
from act2sal.data.origin import Origin, origin_of
from act2sal.data.photo_files import DatasetError
from act2sal.errors import InputError
from act2sal.networks.checkpoint import CheckpointError, load_detector, read_metadata
from act2sal.networks.encoders import build_encoder
from act2sal.networks.model_files import BUILTIN_ONNX_PATH
from act2sal.predict.detector import Detector
from act2sal.runs.run_directory import RunDirectory, RunError
from act2sal.training.pipeline import train
from act2sal.training.stage1.features import FrozenFeatures
from tiny import ENCODER, files_of, tiny_config

RESULTS = ("detector.safetensors", "stage1.safetensors")


def results(run: Path) -> dict[str, bytes]:
    """Both models and all labels."""
    labels = files_of(run / "labels")
    assert len(labels) == 6
    return {**labels, **{name: (run / name).read_bytes() for name in RESULTS}}


def rows(run: Path) -> list[tuple[object, object]]:
    with RunDirectory(run) as directory:
        return [(row["stage"], row["epoch"]) for row in directory.rows()]


def test_a_run_holds_what_it_promises(trained: Path) -> None:
    assert (trained / "config.toml").read_text() == to_toml(tiny_config())
    assert rows(trained) == [
        ("photos at 64 pixels", 0),
        ("features", 0),
        ("stage1", 1),
        ("stage1", 2),
        ("labels of round 0", 0),
        ("stage1 round 1", 1),
        ("stage1 round 1", 2),
        ("labels", 0),
        ("stage2", 1),
        ("stage2", 2),
        ("stage2", 3),
        ("memory", 0),
    ]
    assert list((trained / "tensorboard").glob("events.out.tfevents.*"))
    assert {path.name for path in (trained / "labels").iterdir()} == {f"scene000{n}.png" for n in range(6)}
    report = (trained / "report.html").read_text()
    assert "scene0000.jpg" in report
    assert (trained / "checkpoints" / "stage2.pt").is_file()
    assert not (trained / "cache").exists()


def test_every_picture_of_a_run_says_where_it_comes_from(trained: Path) -> None:
    pictures = [path for path in trained.rglob("*") if path.suffix in (".png", ".jpg")]
    origins = {path.relative_to(trained).parts[0]: origin_of(path) for path in pictures}
    assert origins == {"labels": Origin("label", "none"), "samples": Origin("sample")}
    assert all(origin_of(path) is not None for path in pictures)
    assert Detector.load(trained).seen == "none"


def test_the_detector_needs_nothing_but_its_file(trained: Path, tmp_path: Path) -> None:
    shutil.copy(trained / "detector.safetensors", tmp_path / "model.safetensors")
    detector = load_detector(tmp_path / "model.safetensors")
    with torch.inference_mode():
        logits = detector(torch.rand(1, 3, 64, 64))
    assert logits.shape == (1, 1, 64, 64)
    about = read_metadata(tmp_path / "model.safetensors")
    assert (about["size"], about["photos"]) == ("64", "6")
    assert about["config"] == to_toml(tiny_config())
    assert about["stage 2 supervision"] == "none"


def test_a_model_file_does_not_tell_where_its_weights_lay(scenes: Path, tmp_path: Path) -> None:
    weights = tmp_path / "private" / "mine.safetensors"
    weights.parent.mkdir()
    save_file(build_encoder(ENCODER, "random").body.state_dict(), weights)
    config = brief(tiny_config(stage1={"encoder_weights": str(weights)}))
    train(scenes / "photos", tmp_path / "run", replace(config, encoder_weights=str(weights)), quiet=True)
    for name in RESULTS:
        about = read_metadata(tmp_path / "run" / name)
        assert 'encoder_weights = "mine.safetensors"' in about["config"]
        assert b"private" not in (tmp_path / "run" / name).read_bytes()


@pytest.fixture(scope="module")
def forked(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which `forked_runs.py` worked, beside masks that are no masks and that it may not read."""
    folder = tmp_path_factory.mktemp("forked")
    shutil.copytree(scenes / "photos", folder / "photos")
    masks = folder / "masks"
    masks.mkdir()
    for photo in (scenes / "photos").iterdir():
        for name in (photo.name, photo.with_suffix(".png").name):
            (masks / name).write_bytes(b"no mask at all")
            (masks / name).chmod(0)
    masks.chmod(0)
    script = Path(__file__).parent.with_name("forked_runs.py")
    command = [sys.executable, str(script), str(folder / "photos"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    masks.chmod(0o700)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # nothing was found damaged
    return folder


def test_masks_never_matter(forked: Path, trained: Path) -> None:
    assert results(forked / "watched") == results(trained)


def test_no_mask_is_opened(forked: Path) -> None:
    opened = (forked / "opened.txt").read_text().splitlines()
    below = [Path(path) for path in opened if Path(path).is_relative_to(forked)]
    assert {path.name for path in below if path.parent == forked / "photos"} == {
        f"scene000{n}.jpg" for n in range(6)
    }
    assert not [path for path in below if path.is_relative_to(forked / "masks") or path == forked]


def test_killed_ten_times_and_resumed_it_ends_with_the_same_bits(forked: Path) -> None:
    """Two generations; also the checkpoints, the label banks and the pictures are the same, byte for byte."""
    assert len((forked / "kills.txt").read_text().splitlines()) == 10
    ours, theirs = (files_of(forked / run) for run in ("killed", "whole"))
    timed = {name for name in theirs if name.startswith("tensorboard/")} | {"log.jsonl", "report.html"}
    assert {
        "detector.safetensors",
        "generation-1/stage1.safetensors",
        "labels/scene0005.png",
    } <= theirs.keys()
    assert {"checkpoints/labels/labels_0003.npy", "generation-1/checkpoints/stage2.pt"} <= theirs.keys()
    assert [name for name in theirs.keys() - timed if ours[name] != theirs[name]] == []
    assert rows(forked / "killed") == rows(forked / "whole")


def test_another_seed_gives_another_result(scenes: Path, trained: Path, tmp_path: Path) -> None:
    train(scenes / "photos", tmp_path / "run", replace(tiny_config(), seed=1), quiet=True)
    ours, theirs = results(tmp_path / "run"), results(trained)
    assert all(ours[name] != theirs[name] for name in RESULTS)


def test_the_number_of_workers_does_not_matter(scenes: Path, trained: Path, tmp_path: Path) -> None:
    train(scenes / "photos", tmp_path / "run", replace(tiny_config(), workers=3, keep_cache=True), quiet=True)
    for name in RESULTS:
        ours, theirs = load_file(tmp_path / "run" / name), load_file(trained / name)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert len(list((tmp_path / "run" / "cache" / "features").rglob("*.safetensors"))) == 6


@pytest.mark.parametrize(
    "stage1", [{}, {"mirror": "photos", "precision": "int8"}], ids=["as tiny", "photos, int8"]
)
def test_features_that_do_not_fit_in_the_cache_give_the_same_bits(
    stage1: dict[str, str], scenes: Path, tmp_path: Path
) -> None:
    config = brief(tiny_config(stage1=stage1))
    for name, size in (("without", 0.0), ("partly", 2e-5), ("whole", None)):
        train(
            scenes / "photos", tmp_path / name, replace(config, cache_size=size, keep_cache=True), quiet=True
        )
    stored = {n: len(list((tmp_path / n).rglob("features/*/*"))) for n in ("without", "partly", "whole")}
    assert stored["without"] == 0 < stored["partly"] < stored["whole"]
    wanted = files_of(tmp_path / "whole" / "labels")
    assert files_of(tmp_path / "without" / "labels") == files_of(tmp_path / "partly" / "labels") == wanted
    weights = [load_file(tmp_path / name / "stage1.safetensors") for name in stored]
    assert all(torch.equal(weights[0][key], w[key]) for w in weights[1:] for key in weights[0])


def test_a_run_that_replaces_another_uses_its_features(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a photo less, one more and one that changed, the encoder of stage 1 is asked for two."""
    asked: list[int] = []

    def counting(self: FrozenFeatures, keys: list[tuple[int, bool]]) -> list[dict[str, torch.Tensor]]:
        asked.append(len(keys))
        return computed(self, keys)

    computed = FrozenFeatures._computed
    monkeypatch.setattr(FrozenFeatures, "_computed", counting)
    photos, config = shutil.copytree(scenes / "photos", tmp_path / "photos"), brief(tiny_config())
    train(photos, tmp_path / "run", replace(config, keep_cache=True), quiet=True)
    assert sum(asked) == 6
    (photos / "scene0000.jpg").unlink()
    (photos / "scene0001.jpg").rename(photos / "z.jpg")
    for name, other in (("new.jpg", 0), ("scene0003.jpg", 1)):
        write_gray_png(photos / name, read_photo(scenes / "photos" / f"scene000{other}.jpg")[..., other])
    train(photos, tmp_path / "run", config, overwrite=True, quiet=True)
    assert sum(asked) == 8
    assert not (tmp_path / "run" / "cache").exists()


def test_resuming_a_finished_run_changes_nothing(trained: Path, scenes: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    train(scenes / "photos", run, tiny_config(), resume=True, quiet=True)
    assert results(run) == results(trained)
    assert rows(run) == rows(trained)


def test_a_run_is_not_resumed_with_other_photos(trained: Path, scenes: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    photos = shutil.copytree(scenes / "photos", tmp_path / "photos")
    (photos / "scene0000.jpg").unlink()
    with pytest.raises(
        RunError, match=r"no longer those that .*/run was started with: scene0000\.jpg is new, miss"
    ):
        train(photos, run, tiny_config(), resume=True, quiet=True)
    assert results(run) == results(trained)


def test_a_damaged_list_of_photos_is_named(trained: Path, scenes: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "checkpoints" / "photos.json").write_bytes(b'[["scene0000.jpg", 12\xff')
    with pytest.raises(RunError, match=r"photos\.json is damaged; start anew with --overwrite"):
        train(scenes / "photos", run, tiny_config(), resume=True, quiet=True)
    assert results(run) == results(trained)


def test_a_detector_can_be_trained_on_given_labels(trained: Path, scenes: Path, tmp_path: Path) -> None:
    """On those of an earlier run: the same detector, without its stage 1."""
    config = replace(tiny_config(), given_labels=str(trained / "labels"))
    train(scenes / "photos", tmp_path / "run", config, quiet=True)
    assert rows(tmp_path / "run") == [
        ("photos at 64 pixels", 0),
        ("stage2", 1),
        ("stage2", 2),
        ("stage2", 3),
        ("memory", 0),
    ]
    assert results(tmp_path / "run").keys() == results(trained).keys()
    ours, theirs = (
        load_detector(run / "detector.safetensors").state_dict() for run in (tmp_path / "run", trained)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    about = read_metadata(tmp_path / "run" / "detector.safetensors")
    assert about["stage 1 supervision"] == "none"
    assert 'given_labels = "labels"' in about["config"]


def test_a_teacher_stands_where_a_generation_before_would(
    trained: Path, scenes: Path, tmp_path: Path
) -> None:
    """A generation of its own behind a run: what two generations in one run give."""
    config = tiny_config()
    train(scenes / "photos", tmp_path / "two", replace(config, generations=2), quiet=True)
    train(scenes / "photos", tmp_path / "one", replace(config, teacher=str(trained)), quiet=True)
    assert files_of(tmp_path / "one" / "labels") == files_of(tmp_path / "two" / "labels")
    ours, theirs = (
        load_detector(tmp_path / run / "detector.safetensors").state_dict() for run in ("one", "two")
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    about = read_metadata(tmp_path / "one" / "detector.safetensors")
    assert f'teacher = "{trained.name}"' in about["config"]


def test_a_teacher_can_start_on_given_labels(trained: Path, scenes: Path, tmp_path: Path) -> None:
    config = replace(
        tiny_config(stage2={"epochs": 0}), teacher=str(trained), given_labels=str(trained / "labels")
    )
    train(scenes / "photos", tmp_path / "run", config, quiet=True)
    ours, theirs = (
        load_detector(run / "detector.safetensors").state_dict() for run in (tmp_path / "run", trained)
    )
    network = [name for name in theirs if not name.startswith("presence")]
    assert all(torch.equal(ours[name], theirs[name]) for name in network)


def test_a_teacher_that_is_no_detector_is_refused_at_the_start(scenes: Path, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher.safetensors"
    write_atomic(teacher, b"no weights")
    with pytest.raises(CheckpointError, match=r"teacher\.safetensors"):
        train(scenes / "photos", tmp_path / "run", replace(tiny_config(), teacher=str(teacher)), quiet=True)
    assert not (tmp_path / "run").exists()


def test_an_onnx_file_is_no_teacher(scenes: Path, tmp_path: Path) -> None:
    config = replace(tiny_config(), teacher=str(BUILTIN_ONNX_PATH))
    with pytest.raises(CheckpointError, match=r"detector\.onnx is an ONNX file, which cannot be trained"):
        train(scenes / "photos", tmp_path / "run", config, quiet=True)


def test_given_labels_without_a_run_are_of_unknown_supervision(
    trained: Path, scenes: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained / "labels", tmp_path / "labels")
    config = replace(tiny_config(stage2={"epochs": 1}), given_labels=str(tmp_path / "labels"))
    train(scenes / "photos", tmp_path / "run", config, quiet=True)
    assert read_metadata(tmp_path / "run" / "detector.safetensors")["stage 1 supervision"] == "unknown"
    assert (
        "It is not known whether the weights of the stage 1 encoder"
        in (tmp_path / "run" / "report.html").read_text()
    )


def test_a_photo_without_a_given_label_is_named(trained: Path, scenes: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "labels", tmp_path / "labels")
    (tmp_path / "labels" / "scene0002.png").unlink()
    config = replace(tiny_config(), given_labels=str(tmp_path / "labels"))
    with pytest.raises(DatasetError, match=r"1 of 6 photos have no label; the first one is .*scene0002\.png"):
        train(scenes / "photos", tmp_path / "run", config, quiet=True)
    assert not (tmp_path / "run").exists()
    write_atomic(tmp_path / "labels" / "scene0002.png", b"no picture")
    with pytest.raises(DatasetError, match=r"scene0002\.png: not an image"):
        train(scenes / "photos", tmp_path / "run", config, resume=True, quiet=True)


def test_an_unreadable_photo_needs_no_given_label(trained: Path, scenes: Path, tmp_path: Path) -> None:
    shutil.copytree(scenes / "photos", tmp_path / "photos")
    (tmp_path / "photos" / "z.jpg").write_bytes(b"no photo")
    config = replace(tiny_config(stage2={"epochs": 0}), given_labels=str(trained / "labels"))
    assert train(tmp_path / "photos", tmp_path / "run", config, quiet=True).photos == 6


@pytest.mark.parametrize(
    "wrong",
    [
        {"encoder": "mobilenetw2"},
        {"stage1": {"encoder": "resnet5"}},
        {"stage2": {"encoder": "resnet5"}},
        {"encoder_weights": "no/such.safetensors"},
        {"stage1": {"encoder_weights": "builtin"}},
        {"stage2": {"encoder_weights": "builtin"}},
        {"given_labels": "no/such/folder"},
        {"teacher": "no/such/run"},
        {"stage2": {"compile": True}},
    ],
)
def test_a_refused_start_leaves_no_run(
    wrong: dict[str, Any], scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("act2sal.training.pipeline.COMPILERS", ())
    monkeypatch.delenv("CXX", raising=False)
    stages = {name: wrong[name] for name in ("stage1", "stage2") if name in wrong}
    others = {name: value for name, value in wrong.items() if name not in stages}
    config = replace(tiny_config(**stages), **others)
    with pytest.raises(InputError):
        train(scenes / "photos", tmp_path / "run", config, quiet=True)
    assert not (tmp_path / "run").exists()


def test_photos_that_are_not_there_leave_no_run(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file or folder"):
        train(tmp_path / "photos", tmp_path / "run", tiny_config(), quiet=True)
    assert not (tmp_path / "run").exists()


def brief(config: TrainConfig) -> TrainConfig:
    """Without self-training and with a single epoch of each stage."""
    return replace(
        config,
        stage1=replace(config.stage1, epochs=1, rounds=0),
        stage2=replace(config.stage2, epochs=1),
    )


def test_a_damaged_photo_is_named_once_and_counted(
    scenes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos = shutil.copytree(scenes / "photos", tmp_path / "photos")
    (photos / "scene0001.jpg").write_bytes((photos / "scene0001.jpg").read_bytes()[:700])
    config = brief(tiny_config(stage1={"size": 96}))  # so that stage 2 has to decode the photos again
    with caplog.at_level(logging.WARNING, logger="act2sal"):
        outcome = train(photos, tmp_path / "run", config, quiet=True)
    assert outcome.photos == 5
    assert len(outcome.failures) == 1
    assert outcome.failures[0].startswith(f"{photos / 'scene0001.jpg'}: damaged image (")
    assert [record.getMessage().count("scene0001.jpg") for record in caplog.records] == [1]
    labels = {path.stem for path in (tmp_path / "run" / "labels").glob("*.png")}
    assert labels == {f"scene000{n}" for n in (0, 2, 3, 4, 5)}
    assert "scene0001.jpg" in (tmp_path / "run" / "report.html").read_text()


def test_a_run_inside_the_photos_is_not_taken_for_photos(scenes: Path, tmp_path: Path) -> None:
    photos = shutil.copytree(scenes / "photos", tmp_path / "photos")
    run, config = photos / "results" / "run", brief(tiny_config())
    assert train(photos, run, config, quiet=True).photos == 6
    before = results(run)
    assert train(photos, run, config, resume=True, quiet=True).photos == 6
    assert results(run) == before


def test_labels_lie_in_a_mirrored_tree(scenes: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for number, folder in enumerate(("a", "a/b", "c")):
        (photos / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(scenes / "photos" / f"scene000{number}.jpg", photos / folder / "x.jpg")
    train(photos, tmp_path / "run", brief(tiny_config()), quiet=True)
    assert set(files_of(tmp_path / "run" / "labels")) == {"a/x.png", "a/b/x.png", "c/x.png"}


def test_the_published_detector_trains(scenes: Path, tmp_path: Path) -> None:
    config = brief(tiny_config(stage2={"finest_stride": 2, "channels": 64, "flip_once": True}))
    train(scenes / "photos", tmp_path / "run", config, quiet=True)
    detector = load_detector(tmp_path / "run" / "detector.safetensors")
    assert (detector.channels, detector.finest_stride) == (64, 2)
