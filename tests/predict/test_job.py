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
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from act2sal.cli import main
from act2sal.data.origin import Origin, origin_of
from act2sal.data.photo_files import DatasetError
from act2sal.errors import InputError
from act2sal.predict import job as prediction
from act2sal.predict.job import Job, maker_of, rendering_of
from act2sal.predict.maps import Decoded, Found, Interrupted, Outcome, done
from act2sal.predict.plan import planned
from act2sal.predict.rendering import MAPS
from act2sal.predict.selection import Selection
from act2sal.predict.watch import arrivals
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
        one = replace(job(out, confidence=confidence, min_confidence=0.5), json=tmp_path / "r.json")
        one.run([str(tmp_path / "in")])
        assert opened(out / "a.png").any() == salient
        one.save()
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
    monkeypatch.setattr("act2sal.predict.maps.MOST_PIXELS", 1300)
    for number in range(7):
        photo(tmp_path / "in" / f"{number}.png")
    sizes: list[int] = []
    done(planned([tmp_path / "in"], tmp_path / "out"), Red(calls=(sizes,)), MAPS, quiet=True)
    assert max(sizes) == 2
    assert sum(sizes) == 7


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
        "--quiet",
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


def test_a_pipe_ends_in_a_file_and_has_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo(tmp_path / "a.png")

    def piped(*words: str) -> int:
        with (tmp_path / "a.png").open(encoding="latin-1") as content, monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", content)
            return main(["predict", "-", "--method", "mc", *words])

    out, records = str(tmp_path / "x.webp"), tmp_path / "r.json"
    assert piped("--out", out, "--json", str(records)) == 0
    assert opened(Path(out)).shape[:2] == (20, 30)
    (record,) = json.loads(records.read_text())
    assert (record["photo"], record["files"]) == ("-", [out])
    assert piped("--out", out) == 2
    assert piped("--out", out, "--overwrite") == 0


def test_a_pipe_without_end_is_not_read_into_memory(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prediction, "MOST_PIPED", 2**20)
    with Path("/dev/zero").open(encoding="latin-1") as endless:
        monkeypatch.setattr(sys, "stdin", endless)
        assert main(["predict", "-", "--method", "mc"]) == 2
    assert capsys.readouterr().err == "act2sal: standard input: more than 1 MiB; name the file instead\n"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_watched_folder(tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "in").mkdir()  # empty, as it usually is
    photo(tmp_path / "late.png")
    out, records = tmp_path / "out", tmp_path / "r.json"
    command = ["predict", str(tmp_path / "in"), "--out", str(out), "--method", "mc", "--watch", "--quiet"]
    watching = subprocess.Popen(
        [sys.executable, "-m", "act2sal.cli", *command, "--json", str(records)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for name in ("a.png", "b.png"):
            shutil.copy(tmp_path / "late.png", tmp_path / "in" / name)
            wait_for(out / name)
        wait_for(records)
    finally:
        os.kill(watching.pid, how)
    said, errors = watching.communicate(timeout=60)
    assert (watching.returncode, errors) == (0, "")
    assert "stopped watching; 2 done" in said
    assert len(json.loads(records.read_text())) == 2


def watched(one: Job, inputs: Sequence[Path], looks: int, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """What a job does that looks so often."""
    seconds: list[float] = []

    def sleep(interval: float) -> None:
        seconds.append(interval)
        if len(seconds) == looks:
            raise KeyboardInterrupt

    one.skip_existing = True
    monkeypatch.setattr(prediction, "arrivals", partial(arrivals, sleep=sleep))
    return one.watch([str(path) for path in inputs])


def test_a_collision_in_a_watched_folder_is_named_once_and_the_rest_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("x/a.png", "y/a.png", "y/b.png"):
        photo(tmp_path / name)
    one = job(tmp_path / "out")
    outcome = watched(one, [tmp_path / "x", tmp_path / "y"], 4, monkeypatch)
    assert outcome.written == 2
    assert set(files_of(tmp_path / "out")) == {"a.png", "b.png"}
    first, second = tmp_path / "x" / "a.png", tmp_path / "y" / "a.png"
    line = f"{second}: left out, as its result would lie where that of {first} lies"
    assert outcome.failures == [record.getMessage() for record in caplog.records] == [line]


def test_who_came_first_to_a_watched_folder_keeps_its_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(tmp_path / "y" / "a.png")
    (tmp_path / "x").mkdir()
    one = job(tmp_path / "out")
    one.skip_existing = True
    looks: list[float] = []

    def sleep(interval: float) -> None:
        looks.append(interval)
        if len(looks) == 3:
            photo(tmp_path / "x" / "a.png")
        if len(looks) == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(prediction, "arrivals", partial(arrivals, sleep=sleep))
    outcome = one.watch([str(tmp_path / "x"), str(tmp_path / "y")])
    assert outcome.written == 1
    assert [line.partition(":")[0] for line in outcome.failures] == [str(tmp_path / "x" / "a.png")]


def test_a_result_in_a_watched_folder_replaces_no_photo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(tmp_path / "a.png")
    photo(tmp_path / "b.webp")
    before = files_of(tmp_path)
    outcome = watched(job(tmp_path), [tmp_path], 4, monkeypatch)
    assert outcome.written == 1
    assert {name: files_of(tmp_path)[name] for name in before} == before
    assert len(outcome.failures) == 1
    assert f"{tmp_path / 'a.png'} is an input and would be replaced" in outcome.failures[0]


def test_a_damaged_photo_in_a_watched_folder_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"no photo")
    outcome = watched(job(tmp_path / "out"), [tmp_path / "in"], 5, monkeypatch)
    assert outcome.written == 0
    assert len(outcome.failures) == 1


def test_what_cannot_be_watched_is_refused(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    with pytest.raises(DatasetError, match="no such file or folder"):
        job(tmp_path / "out").watch([str(tmp_path / "none")])
    with pytest.raises(DatasetError, match="--watch needs a folder or a pattern"):
        job(tmp_path / "out").watch([str(tmp_path / "a.png")])


def test_a_terminated_run_writes_the_records_it_promised(tmp_path: Path) -> None:
    for number in range(400):
        photo(tmp_path / "in" / f"{number:03d}.png", (150, 200))
    out, records = tmp_path / "out", tmp_path / "r.json"
    command = ["predict", str(tmp_path / "in"), "--out", str(out), "--method", "mc", "--quiet"]
    working = subprocess.Popen(
        [sys.executable, "-m", "act2sal.cli", *command, "--json", str(records)],
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(out / "003.png")
    working.terminate()
    errors = working.communicate(timeout=60)[1]
    assert working.returncode == 1
    assert errors.startswith("act2sal: stopped after ")
    written = {record["files"][0] for record in json.loads(records.read_text())}
    assert written == {str(path) for path in out.iterdir()}
    assert 4 <= len(written) < 400


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


def test_a_video_is_shaped_as_photos_are(tmp_path: Path) -> None:
    """A grown and feathered mask of the ground, in every frame."""
    av = pytest.importorskip("av")
    clip, out = film(tmp_path / "clip.mp4"), tmp_path / "out.mp4"
    rendering = rendering_of(["mask"], out, selection=Selection(grow=4, feather=2.0, ground=True))
    assert Job(Red(), rendering, out, quiet=True).run([str(clip)]).written == 1
    with av.open(str(out)) as reader:
        frames = [frame.to_ndarray(format="gray").astype(int) for frame in reader.decode(video=0)]
    assert len(frames) == 3
    for frame in frames:  # the square ends at column 40, grown at 44
        assert frame[20, 41] < 100 < frame[20, 44] < 200 < frame[20, 50]
        assert frame[20, 25] < 20 < 230 < frame[40, 60]


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


def test_a_transparent_kind_gets_a_container_that_holds_it(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    for name in ("clip.mp4", "other.mov", "third.mkv"):
        film(tmp_path / "in" / name)
    outcome = job(tmp_path / "out", "mask", "cutout").run([str(tmp_path / "in")])
    assert (outcome.written, outcome.failures) == (3, [])
    names = {"clip.mask.mp4", "clip.cutout.webm", "other.mask.mov", "other.cutout.mov"}
    assert set(files_of(tmp_path / "out")) == {*names, "third.mask.mkv", "third.cutout.mkv"}
    with av.open(str(tmp_path / "out" / "other.cutout.mov")) as reader:
        shown = next(reader.decode(video=0)).to_ndarray(format="rgba")
    assert shown[20, 25, 3] > 230 > 20 > shown[40, 55, 3]
    with pytest.raises(DatasetError, match=r"x\.mp4: such a video holds no transparency; possible: \.webm"):
        job(tmp_path / "x.mp4", "cutout").run([str(tmp_path / "in" / "clip.mp4")])


def test_records_of_videos(tmp_path: Path) -> None:
    clip = film(tmp_path / "clip.mp4")
    one = replace(job(tmp_path / "out", "mask", "map", confidence=0.75), json=tmp_path / "r.json")
    one.run([str(clip)])
    one.save()
    (record,) = json.loads((tmp_path / "r.json").read_text())
    assert record["video"] == str(clip)
    assert record["files"] == [str(tmp_path / "out" / f"clip.{kind}.mp4") for kind in ("mask", "map")]
    assert record["confidence"] == 0.75
    assert record["area"] == pytest.approx(600 / 3072, abs=0.03)
    assert [frame["time"] for frame in record["frames"]] == pytest.approx([0, 0.2, 0.4])
    for frame in record["frames"]:
        assert frame["confidence"] == 0.75
        ((left, top, width, height),) = frame["boxes"]
        assert np.abs(np.array([left, top, width, height]) - [10, 10, 30, 20]).max() <= 2


def test_records_of_earlier_runs_are_kept_with_skip_existing(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    file.touch()  # as mktemp leaves it
    for name in ("a.png", "b.png"):
        photo(tmp_path / "in" / name)
        one = replace(job(tmp_path / "out", confidence=0.5), json=file, skip_existing=True)
        one.run([str(tmp_path / "in")])
        one.save()
    records = json.loads(file.read_text())
    assert [Path(record["photo"]).name for record in records] == ["a.png", "b.png"]
    (tmp_path / "out" / "a.png").unlink()
    again = replace(job(tmp_path / "out", confidence=0.25), json=file, skip_existing=True)
    again.run([str(tmp_path / "in")])
    again.save()
    assert [record["confidence"] for record in json.loads(file.read_text())] == [0.25, 0.5]
    anew = replace(job(tmp_path / "new"), json=file)
    anew.run([str(tmp_path / "in" / "a.png")])
    anew.save()
    assert len(json.loads(file.read_text())) == 1


def test_records_are_saved_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "SAVE_EVERY", 0.0)
    for number in range(40):
        photo(tmp_path / "in" / f"{number:02d}.png")
    file = tmp_path / "r.json"
    one = Job(Red(stop_at=4, calls=([],)), MAPS, tmp_path / "out", json=file, quiet=True)
    with pytest.raises(Interrupted):
        one.run([str(tmp_path / "in")])
    saved = [record["files"][0] for record in json.loads(file.read_text())]  # nobody called save()
    assert sorted(saved) == sorted(map(str, (tmp_path / "out").iterdir()))


@pytest.mark.parametrize("content", [b"no json", b"{}", b'[{"name": 1}]', b"[1]"])
def test_a_file_of_something_else_is_not_replaced_by_records(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(InputError, match=r"r\.json: holds something else"):
        replace(job(tmp_path / "out"), json=tmp_path / "r.json")


def test_smoothing_is_for_what_moves(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    with pytest.raises(InputError, match="--smooth is for videos and animations, and there are none"):
        replace(job(tmp_path / "out"), smooth=2).run([str(tmp_path / "a.png")])
    with pytest.raises(InputError, match=r"--smooth is in 0\.\.15, not -1"):
        replace(job(tmp_path / "out"), smooth=-1)
    clip = film(tmp_path / "clip.mp4")
    assert replace(job(tmp_path / "out"), smooth=2).run([str(clip)]).written == 1


def test_a_format_is_for_pictures(tmp_path: Path) -> None:
    clip = film(tmp_path / "clip.mp4")
    with pytest.raises(InputError, match="--format is for pictures, and there are only videos"):
        replace(job(tmp_path / "out"), format_named=True).run([str(clip)])
    photo(tmp_path / "a.png")
    both = [str(clip), str(tmp_path / "a.png")]
    assert replace(job(tmp_path / "out"), format_named=True).run(both).written == 2


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
