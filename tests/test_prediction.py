"""`act2sal predict`: kinds, files, pipes, watched folders, videos, and what happens when something is wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from act2sal.cli import main
from act2sal.errors import InputError
from act2sal.origin import Origin, origin_of
from act2sal.planning import planned
from act2sal.predict import Decoded, Found, Interrupted, done
from act2sal.prediction import Job, maker_of, rendering_of
from act2sal.rendering import MAPS
from tiny import files_of


@dataclass(frozen=True)
class Red:
    """A map maker: what is red is salient; the confidence is given. Stops like Ctrl-C at a batch."""

    confidence: float | None = None
    stop_at: int = 1000
    side: None = None
    seen: str = "ImageNet labels"
    calls: tuple[list[int], ...] = ()

    def __call__(self, batch: Sequence[Decoded], pool: ThreadPoolExecutor) -> list[Found]:
        for calls in self.calls:
            calls.append(len(batch))
            if len(calls) == self.stop_at:
                raise KeyboardInterrupt
        return [Found(decoded.photo[..., 0].astype(np.float32) / 255, self.confidence) for decoded in batch]


def photo(path: Path, size: tuple[int, int] = (20, 30)) -> NDArray[np.uint8]:
    """A red square on black, lossless."""
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[5:15, 5:15, 0] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def job(out: Path, *kinds: str, confidence: float | None = None, min_confidence: float = 0.0) -> Job:
    rendering = rendering_of(kinds or ("map",), out, min_confidence=min_confidence)
    return Job(Red(confidence), rendering, out, quiet=True)


def opened(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.array(image)


def test_every_kind_is_written(tmp_path: Path) -> None:
    pixels = photo(tmp_path / "in" / "a.png")
    assert (
        job(tmp_path / "out", "map", "mask", "cutout", "color:#0000ff").run([str(tmp_path / "in")]).written
        == 1
    )
    assert set(files_of(tmp_path / "out")) == {"a.map.png", "a.mask.png", "a.cutout.png", "a.color.png"}
    for kind in ("map", "mask", "cutout", "color"):
        assert origin_of(tmp_path / "out" / f"a.{kind}.png") == Origin(kind, "ImageNet labels")
    assert np.array_equal(opened(tmp_path / "out" / "a.map.png"), pixels[..., 0])
    assert opened(tmp_path / "out" / "a.cutout.png")[10, 10].tolist() == [255, 0, 0, 255]
    assert opened(tmp_path / "out" / "a.color.png")[0, 0].tolist() == [0, 0, 255]


def test_a_file_name_says_the_format(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    job(tmp_path / "b.webp").run([str(tmp_path / "a.png")])
    with Image.open(tmp_path / "b.webp") as image:
        assert image.format == "WEBP"
    with pytest.raises(InputError, match="jpg holds no transparency"):
        rendering_of(["cutout"], tmp_path / "b.jpeg")


def test_without_confidence_the_map_is_empty(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.png")
    for confidence, salient in ((0.4, False), (0.6, True)):
        out = tmp_path / f"out{confidence}"
        one = job(out, confidence=confidence, min_confidence=0.5)
        one.run([str(tmp_path / "in")])
        assert opened(out / "a.png").any() == salient
        one.write_json(tmp_path / "r.json")
        (record,) = json.loads((tmp_path / "r.json").read_text())
        assert record["confidence"] == confidence
        assert record["files"] == [str(out / "a.png")]
        assert record["area"] == pytest.approx(100 / 600 if salient else 0, abs=0.001)
        assert record["boxes"] == ([[5, 5, 10, 10]] if salient else [])


def test_a_classical_method_says_no_confidence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--method rbd says none"):
        maker_of("rbd", None, rendering_of(["map"], tmp_path, min_confidence=0.5))
    with pytest.raises(InputError, match=r"in \[0, 1\], not 2"):
        rendering_of(["map"], tmp_path, min_confidence=2)


def test_three_damaged_photos_among_fifty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = {3, 20, 49}
    for number in range(50):
        path = tmp_path / "in" / f"{number:02d}.png"
        photo(path)
        if number in damaged:
            path.write_bytes(path.read_bytes()[:60])
    command = ["predict", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--method", "mc", "--quiet"]
    assert main(command) == 1
    assert len(files_of(tmp_path / "out")) == 47
    assert "3 files could not be done; they are named above" in capsys.readouterr().err


def test_a_result_that_cannot_be_written_is_named_and_the_others_are_done(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photo(tmp_path / "in" / "a.png")
    photo(tmp_path / "in" / "b" / "c.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b").write_bytes(b"a file where a folder has to be")
    outcome = job(tmp_path / "out").run([str(tmp_path / "in")])
    assert outcome.written == 1
    assert len(outcome.failures) == 1
    assert outcome.failures[0].startswith(str(tmp_path / "out" / "b" / "c.png"))
    assert [record.getMessage() for record in caplog.records] == outcome.failures


def test_ctrl_c_says_how_far_it_was_and_leaves_whole_files(tmp_path: Path) -> None:
    for number in range(30):
        photo(tmp_path / "in" / f"{number:02d}.png")
    tasks = planned([tmp_path / "in"], tmp_path / "out")
    with pytest.raises(Interrupted, match=r"stopped after \d+ of 30 photos"):
        done(tasks, Red(stop_at=3, calls=([],)), MAPS, quiet=True)
    written = files_of(tmp_path / "out")
    assert len(written) <= 16
    for name in written:
        assert opened(tmp_path / "out" / name).shape == (20, 30)
    rest = planned([tmp_path / "in"], tmp_path / "out", skip_existing=True)
    assert len(rest) == 30 - len(written)


def test_a_batch_never_holds_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("act2sal.predict.MOST_PIXELS", 1000)
    for number in range(7):
        photo(tmp_path / "in" / f"{number}.png")
    sizes: list[int] = []
    done(planned([tmp_path / "in"], tmp_path / "out"), Red(calls=(sizes,)), MAPS, quiet=True)
    assert sizes == [2, 2, 2, 1]


def test_a_photo_through_a_pipe(tmp_path: Path, trained: Path) -> None:
    photo(tmp_path / "a.png")
    command = [
        sys.executable,
        "-m",
        "act2sal.cli",
        "predict",
        "-",
        "--model",
        str(trained),
        "--device",
        "cpu",
    ]
    content = (tmp_path / "a.png").read_bytes()
    piped = subprocess.run([*command, "--kind", "cutout"], input=content, capture_output=True, check=False)
    assert piped.returncode == 0, piped.stderr
    (tmp_path / "piped.png").write_bytes(piped.stdout)
    assert opened(tmp_path / "piped.png").shape == (20, 30, 4)
    cut = subprocess.run(command, input=content[:50], capture_output=True, check=False)
    assert (cut.returncode, cut.stdout) == (2, b"")
    assert cut.stderr.startswith(b"act2sal: standard input: ")
    assert cut.stderr.count(b"\n") == 1


def test_a_watched_folder(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.png")
    photo(tmp_path / "late.png")
    out = tmp_path / "out"
    command = ["predict", str(tmp_path / "in"), "--out", str(out), "--method", "mc", "--watch", "--quiet"]
    watching = subprocess.Popen(
        [sys.executable, "-m", "act2sal.cli", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(out / "a.png")
        shutil.copy(tmp_path / "late.png", tmp_path / "in" / "b.png")
        wait_for(out / "b.png")
    finally:
        os.kill(watching.pid, signal.SIGINT)
    said, errors = watching.communicate(timeout=60)
    assert watching.returncode == 0, errors
    assert "stopped watching; 2 done" in said


def wait_for(path: Path) -> None:
    end = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.1)


def film(path: Path) -> Path:
    """Three frames with a red square."""
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as writer:
        stream = writer.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        pixels = np.zeros((48, 64, 3), np.uint8)
        pixels[10:30, 10:40, 0] = 255
        for _ in range(3):
            writer.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        writer.mux(stream.encode())
    return path


def test_a_video_in_every_kind(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    clip = film(tmp_path / "clip.mp4")
    assert job(tmp_path / "out", "mask", "color:#00ff00").run([str(clip)]).written == 1
    assert set(files_of(tmp_path / "out")) == {"clip.mask.mp4", "clip.color.mp4"}
    with av.open(str(tmp_path / "out" / "clip.mask.mp4")) as reader:
        frames = [frame.to_ndarray(format="gray") for frame in reader.decode(video=0)]
    assert len(frames) == 3
    assert frames[0][20, 25] > 200 > 50 > frames[0][40, 55]
    job(tmp_path / "one.webm", "overlay").run([str(clip)])
    assert (tmp_path / "one.webm").stat().st_size > 0


def test_videos_in_folders(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    photo(tmp_path / "in" / "a.png")
    for name in ("b/clip.mp4", "b/c/clip.mp4", "taken/clip.mp4"):
        film(tmp_path / "in" / name)
    (tmp_path / "in" / "b" / "broken.mp4").write_bytes(b"no video")
    out = tmp_path / "out"
    out.mkdir()
    (out / "taken").write_bytes(b"a file where a folder has to be")
    outcome = job(out).run([str(tmp_path / "in")])
    assert outcome.written == 3
    assert set(files_of(out)) == {"a.png", "b/clip.mp4", "b/c/clip.mp4", "taken"}
    assert [line.partition(":")[0] for line in outcome.failures] == [
        str(tmp_path / "in" / "b" / "broken.mp4"),
        str(out / "taken" / "clip.mp4"),
    ]
    assert [record.getMessage() for record in caplog.records] == outcome.failures
    (out / "b" / "clip.mp4").unlink()
    before = files_of(out)
    again = job(out)
    again.skip_existing = True
    assert again.run([str(tmp_path / "in")]).written == 1
    after = files_of(out)
    assert set(after) - set(before) == {"b/clip.mp4"}
    assert all(after[name] == content for name, content in before.items())


def test_a_kind_that_no_video_holds_costs_the_videos_alone(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.png")
    film(tmp_path / "in" / "clip.mp4")
    outcome = job(tmp_path / "out", "mask", "cutout").run([str(tmp_path / "in")])
    assert outcome.failures == [
        f"{tmp_path / 'in' / 'clip.mp4'}: a video has no transparency, which cutout needs; "
        "color:#rrggbb has none"
    ]
    assert set(files_of(tmp_path / "out")) == {"a.mask.png", "a.cutout.png"}


def test_without_the_extra_one_line_names_it_and_photos_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    photo(tmp_path / "in" / "a.png")
    for name in ("b.mp4", "c.mp4"):
        (tmp_path / "in" / name).touch()
    monkeypatch.setitem(sys.modules, "av", None)
    command = ["predict", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--method", "mc", "--quiet"]
    assert main(command) == 1
    assert set(files_of(tmp_path / "out")) == {"a.png"}
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        f"{tmp_path / 'in' / 'b.mp4'}, {tmp_path / 'in' / 'c.mp4'}: "
        'videos need the extra "video": pip install "act2sal[video]"'
    )
