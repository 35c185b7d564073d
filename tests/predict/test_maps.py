"""Photos in, maps out: names, sizes, values, and the inputs that fail."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from act2sal.a2s.detector import DetectorNetwork
from act2sal.data.images import read_photo
from act2sal.data.photo_files import DatasetError
from act2sal.errors import CheckpointError
from act2sal.networks import model_files
from act2sal.networks.checkpoint import save_detector
from act2sal.networks.model_files import model_file
from act2sal.predict.detector import Detector
from act2sal.predict.maps import predict
from act2sal.predict.torch_network import TorchNetwork
from tiny import cpu, files_of, tiny_encoder


@pytest.fixture(scope="module")
def detector() -> Detector:
    """With a detector that nobody trained."""
    torch.manual_seed(0)
    return Detector(
        TorchNetwork(DetectorNetwork(tiny_encoder(), channels=8, finest_stride=2), size=64, fabric=cpu())
    )


def write_photo(path: Path, size: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    """A photo of (height, width) with coarse blobs, lossless."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    photo = np.array(Image.fromarray(coarse).resize((size[1], size[0])))
    Image.fromarray(photo).save(path)
    return photo


def test_maps_lie_in_a_mirrored_tree_at_the_photos_size(detector: Detector, tmp_path: Path) -> None:
    sizes = {"a/b.jpg": (30, 40), "a/c/d.webp": (90, 20), "e.png": (64, 64)}
    for number, (name, size) in enumerate(sizes.items()):
        write_photo(tmp_path / "in" / name, size, number)
    outcome = predict([tmp_path / "in"], tmp_path / "out", detector, quiet=True)
    assert (outcome.written, outcome.failures) == (3, [])
    assert set(files_of(tmp_path / "out")) == {"a/b.png", "a/c/d.png", "e.png"}
    for name, (height, width) in sizes.items():
        with Image.open((tmp_path / "out" / name).with_suffix(".png")) as written:
            assert (written.mode, written.format) == ("L", "PNG")
            assert written.size == (width, height)


@pytest.mark.parametrize("workers", [1, 3])
def test_every_map_is_that_of_its_own_photo(workers: int, detector: Detector, tmp_path: Path) -> None:
    # More than are decoded ahead, with damaged ones at the edges of batches and at the end
    damaged = {0, 7, 8, 22}
    photos = {}
    for number in range(23):
        path = tmp_path / "in" / f"{number:02d}.png"
        photos[number] = write_photo(path, (20 + number, 50 - number), number)
        if number in damaged:
            path.write_bytes(b"not a photo")
    outcome = predict([tmp_path / "in"], tmp_path / "out", detector, workers=workers, quiet=True)
    assert outcome.written == 19
    assert [Path(line.partition(":")[0]).stem for line in outcome.failures] == ["00", "07", "08", "22"]
    assert len(files_of(tmp_path / "out")) == 19
    for number in set(photos) - damaged:
        written = read_photo(tmp_path / "out" / f"{number:02d}.png")[..., 0]
        wanted = np.round(detector(photos[number]) * 255)
        assert written.shape == wanted.shape
        assert np.abs(written - wanted).max() <= 1


def test_a_predictor_gives_probabilities_at_the_size_of_each_photo(
    detector: Detector, tmp_path: Path
) -> None:
    photos = [write_photo(tmp_path / "a.png", (33, 70)), write_photo(tmp_path / "b.png", (128, 5), 1)]
    probs = detector.batch(photos)
    assert [prob.shape for prob in probs] == [(33, 70), (128, 5)]
    for prob in probs:
        assert prob.dtype == np.float32
        assert 0 <= prob.min() <= prob.max() <= 1
    assert np.abs(detector(photos[0]) - probs[0]).max() < 1e-5


def test_a_damaged_photo_is_named_and_the_others_are_done(
    detector: Detector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.png", "b.png"):
        write_photo(tmp_path / name, (20, 20))
    (tmp_path / "c.jpg").write_bytes(b"")
    with caplog.at_level(logging.WARNING, logger="act2sal"):
        outcome = predict([tmp_path], tmp_path / "out", detector, quiet=True)
    assert outcome.written == 2
    assert outcome.failures == [f"{tmp_path / 'c.jpg'}: the file is empty"]
    assert [record.getMessage() for record in caplog.records] == outcome.failures


def test_single_files_and_folders_can_be_mixed(detector: Detector, tmp_path: Path) -> None:
    write_photo(tmp_path / "one.png", (20, 20))
    write_photo(tmp_path / "more" / "two.png", (20, 20))
    predict([tmp_path / "one.png", tmp_path / "more"], tmp_path / "out", detector, quiet=True)
    assert set(files_of(tmp_path / "out")) == {"one.png", "two.png"}


def test_maps_that_are_there_are_refused_unless_overwritten(detector: Detector, tmp_path: Path) -> None:
    write_photo(tmp_path / "in" / "a.png", (20, 20))
    write_photo(tmp_path / "in" / "b.png", (20, 20))
    predict([tmp_path / "in"], tmp_path / "out", detector, quiet=True)
    done = files_of(tmp_path / "out")
    (tmp_path / "out" / "a.png").unlink()
    (tmp_path / "out" / "b.png").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"b\.png exists already; --overwrite"):
        predict([tmp_path / "in"], tmp_path / "out", detector, quiet=True)
    assert files_of(tmp_path / "out") == {"b.png": b"mine"}
    predict([tmp_path / "in"], tmp_path / "out", detector, overwrite=True, quiet=True)
    assert files_of(tmp_path / "out") == done


def test_two_photos_never_share_a_map(detector: Detector, tmp_path: Path) -> None:
    write_photo(tmp_path / "x" / "a.png", (20, 20))
    write_photo(tmp_path / "y" / "a.png", (30, 30))
    with pytest.raises(DatasetError, match=r"x/a\.png and .*y/a\.png would both be written to"):
        predict([tmp_path / "x", tmp_path / "y"], tmp_path / "out", detector, quiet=True)
    assert not (tmp_path / "out").exists()


def test_maps_never_replace_photos(detector: Detector, tmp_path: Path) -> None:
    write_photo(tmp_path / "a.png", (20, 20))
    before = files_of(tmp_path)
    with pytest.raises(DatasetError, match=r"a\.png is an input and would be replaced"):
        predict([tmp_path], tmp_path, detector, overwrite=True, quiet=True)
    assert files_of(tmp_path) == before


def test_maps_among_the_photos_are_no_photos(detector: Detector, tmp_path: Path) -> None:
    write_photo(tmp_path / "a.png", (20, 20))
    for _ in range(2):
        outcome = predict([tmp_path], tmp_path / "maps", detector, overwrite=True, quiet=True)
        assert outcome.written == 1
    assert set(files_of(tmp_path)) == {"a.png", "maps/a.png"}


def test_an_input_without_photos_is_refused(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no photos in"):
        predict([tmp_path], tmp_path / "out", detector, quiet=True)


def test_a_run_and_its_file_are_the_same_model(trained: Path, scenes: Path, tmp_path: Path) -> None:
    shutil.copy(trained / "detector.safetensors", tmp_path / "model.safetensors")
    photo = read_photo(scenes / "photos" / "scene0001.jpg")
    by_run = Detector.load(trained, device="cpu")
    by_file = Detector.load(tmp_path / "model.safetensors", device="cpu")
    assert by_run.size == by_file.size == 64
    assert np.array_equal(by_run(photo), by_file(photo))


def test_a_model_without_a_size_is_used_at_320(tmp_path: Path) -> None:
    save_detector(
        tmp_path / "model.safetensors", DetectorNetwork(tiny_encoder(), channels=8, finest_stride=2)
    )
    assert Detector.load(tmp_path / "model.safetensors", device="cpu").size == 320


def test_what_is_no_model_is_refused(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="holds no detector yet"):
        model_file(tmp_path)
    with pytest.raises(CheckpointError, match="there is no model file"):
        Detector.load(tmp_path / "none.safetensors", device="cpu")
    with pytest.raises(CheckpointError, match="holds no act2sal detector"):
        Detector.load(trained / "stage1.safetensors", device="cpu")
    monkeypatch.setattr(model_files, "BUILTIN_PATH", tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="ships no detector; name one with --model"):
        model_file(None)
