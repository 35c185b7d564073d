"""Animations in, animations out: frames, times, how often they play, transparency, and what is damaged."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageSequence
from PIL.ExifTags import Base

from act2sal.config import Format
from act2sal.data.encoding import ANIMATED, encoded, encoded_animation
from act2sal.data.images import ImageError
from act2sal.data.origin import LABEL_FREE, origin_of
from act2sal.predict import animation
from act2sal.predict.animation import Animation
from act2sal.predict.job import Job, rendering_of
from act2sal.predict.maps import Decoded, Found
from act2sal.predict.selection import Selection
from tiny import files_of

DURATIONS = (100, 40, 250, 100)


@dataclass(frozen=True)
class Red:
    """A map maker: what is red is salient."""

    side: None = None
    seen: str = LABEL_FREE

    def __call__(self, batch: Sequence[Decoded], pool: ThreadPoolExecutor) -> list[Found]:
        return [Found((one.photo[..., 0] > 128).astype(np.float32), 0.5) for one in batch]


def animated(path: Path, loop: int | None = 0) -> Path:
    """A red square on black that goes to the right; in WebP without loss."""
    frames = []
    for number in range(len(DURATIONS)):
        pixels = np.zeros((24, 40, 3), np.uint8)
        pixels[8:16, 4 + 8 * number : 12 + 8 * number, 0] = 255
        frames.append(Image.fromarray(pixels))
    repeated = {} if loop is None else {"loop": loop}
    lossless = {"lossless": True} if path.suffix == ".webp" else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=list(DURATIONS), **repeated, **lossless
    )
    return path


def job(out: Path, *kinds: str, format: Format | None = None) -> Job:
    return Job(Red(), rendering_of(kinds or ("map",), out, format=format), out, quiet=True)


def shown(path: Path) -> tuple[list[np.ndarray], list[int], int | None]:
    """RGBA frames, their milliseconds, and what the file says of the loop."""
    with Image.open(path) as image:
        frames, times = [], []
        for frame in ImageSequence.Iterator(image):
            frames.append(np.array(frame.convert("RGBA")))
            times.append(round(frame.info["duration"]))
        return frames, times, image.info.get("loop")


@pytest.mark.parametrize("format", ANIMATED)
@pytest.mark.parametrize("source", ["a.gif", "a.webp", "a.png"])
def test_every_animation_in_every_format(source: str, format: Format, tmp_path: Path) -> None:
    path = animated(tmp_path / "in" / source)
    outcome = job(tmp_path / "out", format=format).run([str(path)])
    assert (outcome.written, outcome.failures) == (1, [])
    out = tmp_path / "out" / f"a.{format}"
    frames, times, loop = shown(out)
    assert (times, loop) == (list(DURATIONS), 0)
    for number, frame in enumerate(frames):
        expected = np.zeros((24, 40), np.uint8)
        expected[8:16, 4 + 8 * number : 12 + 8 * number] = 255
        assert np.array_equal(frame[..., 0], expected)
    origin = origin_of(out)
    assert origin is not None
    assert (origin.what, origin.seen) == ("map", LABEL_FREE)


def test_every_frame_is_shaped_as_photos_are(tmp_path: Path) -> None:
    """The square grows by 2 pixels to each side, by a disk, and the ground is what is left."""
    path = animated(tmp_path / "a.png")
    out = tmp_path / "out.png"
    rendering = rendering_of(["mask"], out, selection=Selection(grow=2, ground=True))
    Job(Red(), rendering, out, quiet=True).run([str(path)])
    frames, _, _ = shown(out)
    assert len(frames) == len(DURATIONS)
    for number, frame in enumerate(frames):
        left = 4 + 8 * number
        expected = np.full((24, 40), 255, np.uint8)
        for down, across in ((2, 0), (1, 1), (0, 2)):  # the rims of a disk of radius 2
            expected[8 - down : 16 + down, left - across : left + 8 + across] = 0
        np.testing.assert_array_equal(frame[..., 0], expected)


@pytest.mark.parametrize("format", ANIMATED)
def test_transparent_animations(format: Format, tmp_path: Path) -> None:
    path = animated(tmp_path / "in" / "a.gif")
    job(tmp_path / "out", "cutout", format=format).run([str(path)])
    frames, _, _ = shown(tmp_path / "out" / f"a.{format}")
    assert len(frames) == 4
    for number, frame in enumerate(frames):
        square = frame[9:15, 5 + 8 * number : 11 + 8 * number].astype(int)
        assert np.abs(square - (255, 0, 0, 255)).max() <= 12
        left = frame[:, : 3 + 8 * number, 3]  # where the square has been, too
        assert not left.any()
        assert not frame[:, 13 + 8 * number :, 3].any()


@pytest.mark.parametrize(("source", "loop", "plays"), [("a.gif", None, 1), ("a.gif", 2, 3), ("a.png", 2, 2)])
def test_it_plays_as_often_as_before(source: str, loop: int | None, plays: int, tmp_path: Path) -> None:
    path = animated(tmp_path / source, loop)
    for format, expected in (("gif", None if plays == 1 else plays - 1), ("webp", plays), ("png", plays)):
        out = tmp_path / f"out.{format}"
        job(out).run([str(path)])
        assert shown(out)[2] == expected


@pytest.mark.parametrize("source", ["a.gif", "a.webp", "a.png"])
def test_what_is_transparent_stays_so(source: str, tmp_path: Path) -> None:
    frames = []
    for number in range(3):
        pixels = np.zeros((24, 40, 4), np.uint8)
        pixels[8:16, 4:36] = (250, 0, 0, 255)
        pixels[8:16, 4 + 8 * number : 12 + 8 * number] = 0
        frames.append(Image.fromarray(pixels))
    more = (
        {"lossless": True, "kmax": 1} if source == "a.webp" else {"disposal": 2 if source == "a.gif" else 0}
    )
    frames[0].save(tmp_path / source, save_all=True, append_images=frames[1:], duration=100, loop=0, **more)
    job(tmp_path / "out", "cutout").run([str(tmp_path / source)])
    made, _, _ = shown(tmp_path / "out" / "a.png")
    for frame, given in zip(made, frames, strict=True):
        assert np.array_equal(frame[..., 3], np.array(given)[..., 3])


def test_profile_and_author_come_along(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[Base.Artist] = "A. Nonymous"
    with Image.open(animated(tmp_path / "b.png")) as image:
        image.save(
            tmp_path / "a.webp", save_all=True, icc_profile=profile, exif=exif.tobytes(), lossless=True
        )
    job(tmp_path / "out", "cutout", "mask").run([str(tmp_path / "a.webp")])
    with Image.open(tmp_path / "out" / "a.cutout.png") as image:
        assert image.n_frames == 4
        assert image.info["icc_profile"] == profile
        assert image.getexif()[Base.Artist] == "A. Nonymous"
    with Image.open(tmp_path / "out" / "a.mask.png") as image:
        assert "icc_profile" not in image.info


def test_a_folder_of_everything_keeps_its_names_and_records(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    animated(tmp_path / "in" / "a.gif")
    animated(tmp_path / "in" / "b" / "c.webp")
    Image.new("RGB", (20, 20), (255, 0, 0)).save(tmp_path / "in" / "d.gif")
    one = replace(job(tmp_path / "out", "mask", "overlay"), json=tmp_path / "r.json", smooth=1)
    assert one.run([str(tmp_path / "in")]).written == 3
    one.save()
    names = {f"{stem}.{kind}.png" for stem in ("a", "b/c", "d") for kind in ("mask", "overlay")}
    assert set(files_of(tmp_path / "out")) == names
    assert not caplog.records
    records = {Path(r["photo"]).name: r for r in json.loads((tmp_path / "r.json").read_text())}
    assert [frame["time"] for frame in records["a.gif"]["frames"]] == pytest.approx([0, 0.1, 0.14, 0.39])
    assert records["a.gif"]["confidence"] == 0.5
    assert "frames" not in records["d.gif"]


def test_a_format_without_animations_takes_the_first_frame_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = animated(tmp_path / "a.gif")
    with caplog.at_level("INFO", logger="act2sal"):
        job(tmp_path / "out", format="jpg").run([str(path)])
    assert "of which the first is taken" in caplog.text
    with Image.open(tmp_path / "out" / "a.jpg") as image:
        assert image.size == (40, 24)


def test_a_damaged_animation_costs_no_other(tmp_path: Path) -> None:
    content = animated(tmp_path / "in" / "a.gif").read_bytes()
    animated(tmp_path / "in" / "b.png")
    (tmp_path / "in" / "c.png").write_bytes((tmp_path / "in" / "b.png").read_bytes()[:-60])
    (tmp_path / "in" / "a.gif").write_bytes(content[: len(content) * 2 // 3])
    outcome = job(tmp_path / "out").run([str(tmp_path / "in")])
    assert (tmp_path / "out" / "b.png").is_file()
    assert outcome.written + len(outcome.failures) == 3
    assert all(line.startswith(str(tmp_path / "in")) for line in outcome.failures)


def test_too_many_pixels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(animation, "MOST_PIXELS", 24 * 40 * 3)
    path = animated(tmp_path / "a.gif")
    with pytest.raises(ImageError, match=r"a\.gif: more than .* megapixels over all frames"):
        Animation.open(path)


def test_what_is_no_animation_is_refused() -> None:
    pixels = np.zeros((4, 4), np.uint8)
    with pytest.raises(ValueError, match="an animation has frames"):
        encoded_animation([], "gif", durations=[], plays=0)
    with pytest.raises(ValueError, match="an animation has frames"):
        encoded_animation([pixels], "jpg", durations=[100], plays=0)
    assert encoded(pixels, "gif").startswith(b"GIF8")
