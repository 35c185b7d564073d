"""Memory: how much is held at once, and what happens to a photo for which there is too little."""

import os
import resource
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from act2sal.cli import main
from act2sal.data import images
from act2sal.data.images import ImageError, limit_pixels, read_photo
from act2sal.data.photo_bank import build_photo_bank
from act2sal.data.photo_files import find_photos
from act2sal.data.photo_search import Remarks
from act2sal.data.pixel_budget import PixelBudget, held
from act2sal.evaluation.comparison import compare
from act2sal.predict import export, maps
from act2sal.predict.animation import Animation
from act2sal.predict.maps import predict_by
from act2sal.predict.video import rewrite_video


def flat(photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ones(photo.shape[:2], np.float32)


def claim(path: Path, width: int, height: int) -> None:
    """A PNG of a few bytes that claims so many pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four photos of 20 x 10."""
    for number in range(4):
        Image.new("RGB", (20, 10), (number, 90, 200)).save(tmp_path / f"{number}.png")
    return tmp_path


def test_a_larger_photo_waits_until_the_others_are_done() -> None:
    budget, order = PixelBudget(10), []

    def hold(pixels: int) -> None:
        with budget.hold(pixels):
            order.append(pixels)

    with budget.hold(4):
        large = threading.Thread(target=hold, args=(50,))
        large.start()
        hold(6)
        time.sleep(0.05)
        assert order == [6]
    large.join(5)
    assert order == [6, 50]


def test_predict_holds_no_more_than_the_budget(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "MOST_PIXELS", 450)
    most: list[int] = []
    take = maps._Ahead.take

    def counted(self: maps._Ahead) -> object:
        taken = take(self)
        most.append(sum(self._held.values()))
        return taken

    monkeypatch.setattr(maps._Ahead, "take", counted)
    outcome = predict_by([folder], folder / "maps", flat, workers=2, quiet=True)
    assert (outcome.written, outcome.failures, max(most)) == (4, [], 400)
    monkeypatch.setattr(maps, "MOST_PIXELS", 1)
    assert predict_by([folder], folder / "again", flat, workers=2, quiet=True).written == 4
    assert max(most[-4:]) == 200


@pytest.mark.parametrize("lacking", ["reading", "method", "writing"])
def test_too_little_memory_for_one_photo_does_not_end_the_others(
    lacking: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(photo: NDArray[np.uint8]) -> NDArray[np.float32]:
        if photo[0, 0, 0] == 2:
            raise MemoryError
        return flat(photo)

    def read(path: Path) -> tuple[NDArray[np.uint8], None]:
        photo = read_photo(path)
        short(photo)
        return photo, None

    if lacking == "reading":
        monkeypatch.setattr(maps, "read_with_opacity", read)
    elif lacking == "writing":
        monkeypatch.setattr("act2sal.predict.rendering.full_size", lambda prob, photo, refine: short(photo))
    method = short if lacking == "method" else flat
    outcome = predict_by([folder], folder / "maps", method, workers=2, quiet=True)
    assert outcome.written == 3
    assert outcome.failures == [f"{folder / '2.png'}: too little memory for this photo"]


def test_training_and_comparing_go_on_without_a_photo_for_which_there_is_too_little_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(photo: NDArray[np.uint8]) -> NDArray[np.float32]:
        if photo[0, 0, 0] == 2:
            raise MemoryError
        return flat(photo)

    compared = compare([folder], folder / "out" / "sheet.png", {"flat": short}, quiet=True)
    assert compared.written == 3
    assert "2.png: too little memory" in compared.failures[0]

    def resized(photo: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
        short(photo)
        return np.zeros((*size, 3), np.uint8)

    monkeypatch.setattr("act2sal.data.photo_bank.resize_photo", resized)
    bank = build_photo_bank(find_photos(folder)[:4], folder / "bank", size=8, quiet=True)
    assert [failure.reason for failure in bank.failures] == ["too little memory for this photo"]


def test_other_errors_are_not_taken_for_lack_of_memory(folder: Path) -> None:
    with pytest.raises(RuntimeError, match="a fault"), held(folder / "0.png"):
        raise RuntimeError("a fault")


def test_the_largest_photo_is_an_option_that_the_message_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_largest", images.MAX_PIXELS)
    limit_pixels(199)
    with pytest.raises(
        ImageError, match=r"0\.png: 20x10 are more than 199 pixels.*--max-pixels 200 reads it"
    ):
        read_photo(folder / "0.png")
    limit_pixels(200)
    assert read_photo(folder / "0.png").shape == (10, 20, 3)


@pytest.mark.parametrize(
    "words",
    [
        ["train", "x", "--out", "y"],
        ["label", "x", "--out", "y"],
        ["predict", "x"],
        ["evaluate", "x", "y"],
        ["compare", "x", "--out", "y.png"],
    ],
)
def test_less_than_one_pixel_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--max-pixels", "0"]) == 2
    assert "max_pixels must be at least 1, not 0" in capsys.readouterr().err


def test_videos_and_animations_keep_to_the_largest_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_largest", 199)
    square = Image.new("RGB", (20, 10))
    square.save(tmp_path / "a.gif", save_all=True, append_images=[Image.new("RGB", (20, 10), "red")])
    with pytest.raises(ImageError, match=r"a\.gif: 20x10 are more than 199 pixels"):
        Animation.open(tmp_path / "a.gif")
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.mp4"), "w") as writer:
        stream = writer.add_stream("mpeg4", rate=5)
        stream.width, stream.height = 20, 10
        for packet in (*stream.encode(av.VideoFrame.from_image(square)), *stream.encode(None)):
            writer.mux(packet)
    with pytest.raises(ImageError, match=r"a\.mp4: 20x10 are more than 199 pixels"):
        rewrite_video(
            tmp_path / "a.mp4", tmp_path / "b.mp4", lambda frames: (f.pixels for f in frames), quiet=True
        )
    monkeypatch.setattr(images, "_largest", 200)
    assert len(Animation.open(tmp_path / "a.gif").durations) == 2


def test_photos_that_an_export_is_compared_on_are_shrunk_and_held(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "LONGEST", 10)
    assert {photo.shape for photo in export._real_photos(folder, Remarks(), None)} == {(5, 10, 3)}
    monkeypatch.setattr(export, "LONGEST", 100)
    assert {photo.shape for photo in export._real_photos(folder, Remarks(), None)} == {(10, 20, 3)}


def test_photos_of_200_megapixels_are_read_by_default(tmp_path: Path) -> None:
    claim(tmp_path / "a.png", 16384, 12288)
    with pytest.raises(ImageError, match=r"a\.png: damaged image"):
        read_photo(tmp_path / "a.png")


def test_a_photo_that_does_not_fit_does_not_end_a_folder_in_a_small_container(folder: Path) -> None:
    """240 megapixels take 1.6 GiB in RGB and once more in between; the container has 2."""
    Image.new("1", (16000, 15000)).save(folder / "huge.png")
    limit = 2 * 2**30
    words = [
        "predict",
        str(folder),
        "--out",
        str(folder / "maps"),
        "--method",
        "rbd",
        "--quiet",
        "--workers",
        "2",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "act2sal.cli", *words],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "huge.png: too little memory for this photo" in done.stderr
    assert len(list((folder / "maps").glob("*.png"))) == 4
