"""Results as bytes: the same as the files, for every kind, format and photo, and without a file in between."""

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms
from PIL.ExifTags import Base

from act2sal.config import Format
from act2sal.data.encoding import HOLDS_ALPHA
from act2sal.data.images import ImageError
from act2sal.predict.job import Job
from act2sal.predict.maps import Decoded, Found
from act2sal.predict.output_kinds import parse_kind
from act2sal.predict.photo_bytes import photo_bytes
from act2sal.predict.rendering import Rendering

KINDS = ("map", "mask", "cutout", "overlay", "blur", "color:#00ff00")


@dataclass(frozen=True)
class Red:
    """A map maker: what is red is salient."""

    side: None = None
    seen: str = "ImageNet labels"

    def __call__(self, batch: Sequence[Decoded], pool: ThreadPoolExecutor) -> list[Found]:
        return [Found(one.photo[..., 0].astype(np.float32) / 255, 0.75) for one in batch]


def written(path: Path) -> Path:
    """A photo with a red square, an EXIF orientation, a profile, and, where the format has it, transparency."""
    pixels = np.full((30, 40, 4), (20, 60, 40, 255), np.uint8)
    pixels[8:20, 10:30, 0] = 250
    pixels[25:, :, 3] = 90
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[Base.Orientation], exif[Base.Make] = 6, "camera"
    image = Image.fromarray(pixels)
    if path.suffix in (".jpg", ".heic", ".bmp"):
        image = image.convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".heic":
        pillow_heif.from_pillow(image).save(path)
    else:
        image.save(path, **({} if path.suffix == ".bmp" else {"exif": exif, "icc_profile": profile}))
    return path


@pytest.mark.parametrize("format", ["png", "jpg", "webp", "tiff", "gif"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp", ".heic"])
def test_bytes_are_those_of_the_files(suffix: str, format: Format, tmp_path: Path) -> None:
    photo = written(tmp_path / "in" / f"a{suffix}")
    texts = [text for text in KINDS if text != "cutout" or format in HOLDS_ALPHA]
    kinds = tuple(parse_kind(text) for text in texts)
    rendering = Rendering(kinds, format, rates=True)
    job = Job(Red(), rendering, tmp_path / "out", quiet=True)
    assert job.run([str(photo)]).written == 1
    rendered = photo_bytes(photo.read_bytes(), Red(), rendering)
    assert len(rendered.files) == len(kinds)
    for kind, content in zip(kinds, rendered.files, strict=True):
        assert content == (tmp_path / "out" / f"a.{kind.name}.{format}").read_bytes(), kind
    (record,) = job.records
    assert record.facts == rendered.facts
    assert rendered.facts.boxes
    assert rendered.facts.confidence == 0.75


@pytest.mark.parametrize("source", ["a.png", "a.gif"])
def test_a_pipe_gives_the_bytes_of_the_file(source: str, tmp_path: Path) -> None:
    """Of a photo, and of an animation."""
    photo = tmp_path / source
    frames = [Image.fromarray(np.full((20, 30, 3), (200 - 50 * n, 9, 9), np.uint8)) for n in range(3)]
    frames[0].save(photo, **({} if source == "a.png" else {"save_all": True, "append_images": frames[1:]}))
    rendering = Rendering((parse_kind("overlay"),))
    Job(Red(), rendering, tmp_path / "o.png", quiet=True).run([str(photo)])
    piping = Job(Red(), rendering, Path("maps"), quiet=True)
    content = piping.piped(photo.read_bytes(), tmp_path / "again.png")
    assert content == (tmp_path / "o.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    assert piping.records[0].as_json()["files"] == [str(tmp_path / "again.png")]


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "the file is empty"), (b"no photo", "not an image"), (b"cut", "damaged")]
)
def test_what_is_no_photo_has_a_reason(content: bytes, reason: str, tmp_path: Path) -> None:
    if content == b"cut":
        whole = written(tmp_path / "a.png").read_bytes()
        content = whole[: len(whole) // 2]
    with pytest.raises(ImageError) as raised:
        photo_bytes(content, Red(), Rendering())
    assert reason in raised.value.reason


def test_no_file_is_opened_on_the_way(tmp_path: Path) -> None:
    """An audit hook of Python sees every file that is opened, and cannot be taken away again."""
    photo = written(tmp_path / "a.png")
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_photo_bytes import KINDS, Red, parse_kind, photo_bytes, Rendering
content = open({str(photo)!r}, "rb").read()
rendering = Rendering(tuple(map(parse_kind, KINDS)))
before = photo_bytes(content, Red(), rendering)
opened = []
sys.addaudithook(lambda event, arguments: opened.append(arguments) if event == "open" else None)
after = photo_bytes(content, Red(), rendering)
assert not opened, opened
assert after == before
open({str(photo)!r}, "rb").close()
assert len(opened) == 1
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
