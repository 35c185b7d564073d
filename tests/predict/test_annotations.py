"""Annotations: what they say, that they give the masks back, and what becomes of files that are there already."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from act2sal.cli import main
from act2sal.config import Annotations
from act2sal.errors import InputError
from act2sal.predict.job import Job, rendering_of
from act2sal.predict.maps import Decoded, Found
from act2sal.predict.output_kinds import OBJECT
from act2sal.predict.selection import Selection
from polygons import filled
from tiny import files_of


@dataclass(frozen=True)
class Red:
    """A map maker: what is red is salient."""

    side: None = None
    seen: str = "ImageNet labels"

    def __call__(self, batch: Sequence[Decoded], pool: ThreadPoolExecutor) -> list[Found]:
        return [Found(one.photo[..., 0].astype(np.float32) / 255) for one in batch]


def photo(path: Path, *boxes: tuple[int, int, int, int], red: int = 204) -> Path:
    """Red boxes (left, top, width, height) on black, 60 x 80."""
    pixels = np.zeros((60, 80, 3), np.uint8)
    for left, top, width, height in boxes:
        pixels[top : top + height, left : left + width, 0] = red
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def blobs(path: Path, seed: int) -> Path:
    """Smooth red noise, in which regions have holes and touch the border."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    red = Image.fromarray(coarse).resize((160, 120), Image.Resampling.BICUBIC)
    black = Image.new("L", red.size)
    Image.merge("RGB", (red, black, black)).save(path)
    return path


def job(out: Path, kind: Annotations, *kinds: str, selection: Selection = OBJECT) -> Job:
    rendering = rendering_of(kinds or ("mask",), out, annotations=kind, selection=selection)
    return Job(Red(), rendering, out, quiet=True)


def coco_of(out: Path) -> dict[str, Any]:
    content = json.loads((out / "annotations.json").read_text())
    assert isinstance(content, dict)
    return content


def mask_of(path: Path) -> NDArray[np.bool_]:
    with Image.open(path) as image:
        return np.array(image) > 127


def test_a_data_set_by_hand(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "b" / "two.png", (10, 20, 30, 10), (60, 5, 4, 4))
    photo(tmp_path / "in" / "a.png")
    one = job(tmp_path / "out", "coco")
    one.run([str(tmp_path / "in")])
    one.save()
    content = coco_of(tmp_path / "out")
    assert content["info"]["description"].endswith(" annotations; encoders saw: ImageNet labels")
    assert content["categories"] == [{"id": 1, "name": "object", "supercategory": "object"}]
    assert content["images"] == [
        {"id": 1, "file_name": "a.png", "width": 80, "height": 60},
        {"id": 2, "file_name": "b/two.png", "width": 80, "height": 60},
    ]
    first, second = content["annotations"]
    assert [first[key] for key in ("id", "image_id", "category_id", "iscrowd")] == [1, 2, 1, 0]
    assert (first["bbox"], first["area"], first["score"]) == ([10, 20, 30, 10], 300, 0.8)
    assert (second["id"], second["bbox"], second["area"]) == (2, [60, 5, 4, 4], 16)
    (polygon,) = second["segmentation"]
    corners = {(60.25, 5.25), (60.25, 8.75), (63.75, 8.75), (63.75, 5.25)}
    assert set(zip(polygon[::2], polygon[1::2], strict=True)) == corners


def test_text_files_by_hand(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "b" / "two.png", (10, 20, 30, 10))
    photo(tmp_path / "in" / "a.png")
    one = job(tmp_path / "out", "yolo")
    outcome = one.run([str(tmp_path / "in")])
    one.save()
    assert outcome.written == 2
    files = files_of(tmp_path / "out")
    assert set(files) == {"a.png", "a.txt", "b/two.png", "b/two.txt", "data.yaml"}
    assert files["a.txt"] == b""
    number, *shares = files["b/two.txt"].decode().split()
    assert number == "0"
    points = {(float(x), float(y)) for x, y in zip(shares[::2], shares[1::2], strict=True)}
    expected = {(x / 80, y / 60) for x in (10.25, 39.75) for y in (20.25, 29.75)}
    assert np.allclose(sorted(points), sorted(expected), atol=1e-6)
    assert files["data.yaml"].decode().endswith("names:\n  0: object\n")


@pytest.mark.parametrize("selection", [OBJECT, Selection(0.3), Selection("otsu", 3), Selection(grow=-2)])
def test_filled_polygons_are_the_mask(selection: Selection, tmp_path: Path) -> None:
    """Of both formats, with holes and at the border."""
    for seed in range(4):
        blobs(tmp_path / "in" / f"{seed}.png", seed)
    one = job(tmp_path / "coco", "coco", selection=selection)
    one.run([str(tmp_path / "in")])
    one.save()
    job(tmp_path / "yolo", "yolo", selection=selection).run([str(tmp_path / "in")])
    content = coco_of(tmp_path / "coco")
    for image in content["images"]:
        mask = mask_of(tmp_path / "coco" / image["file_name"])
        own = [one for one in content["annotations"] if one["image_id"] == image["id"]]
        polygons = [np.array(one["segmentation"][0]).reshape(-1, 2) for one in own]
        parts = [filled(polygon, mask.shape) for polygon in polygons]
        np.testing.assert_array_equal(np.sum(parts, axis=0), mask)
        for annotation, part in zip(own, parts, strict=True):
            left, top, width, height = annotation["bbox"]
            rows, columns = np.nonzero(part)
            assert annotation["area"] == part.sum()
            assert (left, top, width, height) == (
                columns.min(),
                rows.min(),
                np.ptp(columns) + 1,
                np.ptp(rows) + 1,
            )
        lines = (tmp_path / "yolo" / image["file_name"]).with_suffix(".txt").read_text().splitlines()
        shares = [np.array(line.split()[1:], float).reshape(-1, 2) for line in lines]
        again = np.sum([filled(share * (160, 120), mask.shape) for share in shares], axis=0)
        np.testing.assert_array_equal(again, mask)


def test_by_default_the_boxes_are_those_of_the_records(tmp_path: Path) -> None:
    blobs(tmp_path / "a.png", 1)
    one = replace(job(tmp_path / "out", "coco", "map"), json=tmp_path / "r.json")
    one.run([str(tmp_path / "a.png")])
    one.save()
    (record,) = json.loads((tmp_path / "r.json").read_text())
    boxes = [annotation["bbox"] for annotation in coco_of(tmp_path / "out")["annotations"]]
    assert boxes == record["boxes"] != []


@pytest.mark.parametrize("selection", [Selection(ground=True), Selection(feather=3.0)])
def test_what_is_shown_of_the_object_does_not_change_it(selection: Selection, tmp_path: Path) -> None:
    photo(tmp_path / "a.png", (10, 20, 30, 10))
    job(tmp_path / "plain", "yolo").run([str(tmp_path / "a.png")])
    job(tmp_path / "other", "yolo", selection=selection).run([str(tmp_path / "a.png")])
    assert (tmp_path / "plain" / "a.txt").read_bytes() == (tmp_path / "other" / "a.txt").read_bytes()


def test_a_photo_on_its_side_is_annotated_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[0:10, 0:20, 0] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    one = job(tmp_path / "out", "coco")
    one.run([str(tmp_path / "a.png")])
    one.save()
    content = coco_of(tmp_path / "out")
    assert content["images"] == [{"id": 1, "file_name": "a.png", "width": 60, "height": 80}]
    assert content["annotations"][0]["bbox"] == [50, 0, 10, 20]  # top left becomes top right


def test_earlier_annotations_are_kept_replaced_or_refused(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        photo(tmp_path / "in" / name, (10, 20, 30, 10))
        one = Job(
            Red(),
            rendering_of(("mask",), tmp_path / "out", annotations="coco"),
            tmp_path / "out",
            skip_existing=True,
            quiet=True,
        )
        one.run([str(tmp_path / "in")])
        one.save()
    content = coco_of(tmp_path / "out")
    assert [image["file_name"] for image in content["images"]] == ["a.png", "b.png"]
    assert [(one["id"], one["image_id"]) for one in content["annotations"]] == [(1, 1), (2, 2)]

    photo(tmp_path / "in" / "a.png", (0, 0, 5, 5), (20, 20, 4, 4))
    (tmp_path / "out" / "a.png").unlink()
    again = replace(one, records=[])
    again.run([str(tmp_path / "in")])
    again.save()
    content = coco_of(tmp_path / "out")
    assert [one["bbox"][0] for one in content["annotations"]] == [0, 20, 10]
    assert [(one["id"], one["image_id"]) for one in content["annotations"]] == [(1, 1), (2, 1), (3, 2)]

    with pytest.raises(FileExistsError, match=r"annotations\.json exists already; --overwrite replaces it"):
        job(tmp_path / "out", "coco")
    anew = replace(one, skip_existing=False, overwrite=True, records=[])
    anew.run([str(tmp_path / "in" / "b.png")])
    anew.save()
    assert [image["file_name"] for image in coco_of(tmp_path / "out")["images"]] == ["b.png"]


@pytest.mark.parametrize("content", [b"no json", b"{}", b"[]", b'{"info": {"description": "COCO 2017"}}'])
def test_a_data_set_of_somebody_else_is_not_replaced(content: bytes, tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "annotations.json").write_bytes(content)
    for flags in ({"overwrite": True}, {"skip_existing": True}):
        rendering = rendering_of(("mask",), tmp_path / "out", annotations="coco")
        with pytest.raises(InputError, match="holds something else than annotations"):
            Job(Red(), rendering, tmp_path / "out", **flags)
    assert (tmp_path / "out" / "annotations.json").read_bytes() == content


def test_paths_that_were_added_to_the_classes_stay(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "data.yaml").write_text("train: images\nnames: [object]\n")
    one = job(tmp_path / "out", "yolo")
    one.run([str(tmp_path / "a.png")])
    one.save()
    assert (tmp_path / "out" / "data.yaml").read_text() == "train: images\nnames: [object]\n"


def test_an_animation_is_annotated_by_its_first_frame(tmp_path: Path) -> None:
    frames = []
    for left in (10, 40):
        pixels = np.zeros((60, 80, 3), np.uint8)
        pixels[20:30, left : left + 10, 0] = 250
        frames.append(Image.fromarray(pixels))
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    one = job(tmp_path / "out", "coco")
    one.run([str(tmp_path / "a.gif")])
    one.save()
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert getattr(image, "n_frames", 1) == 1
    assert [annotation["bbox"] for annotation in coco_of(tmp_path / "out")["annotations"]] == [
        [10, 20, 10, 10]
    ]


def test_through_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo(tmp_path / "in" / "a.png", (10, 20, 30, 10))
    out = tmp_path / "out"
    command = ["predict", str(tmp_path / "in"), "--out", str(out), "--method", "mc", "--quiet"]
    assert main([*command, "--annotations", "coco", "--threshold", "0.3"]) == 0
    assert coco_of(out)["images"][0]["file_name"] == "a.png"
    capsys.readouterr()
    assert main([*command, "--annotations", "coco"]) == 2
    assert capsys.readouterr().err.startswith(f"act2sal: {out / 'annotations.json'} exists already; ")
    (tmp_path / "in" / "clip.mp4").write_bytes(b"not opened")
    assert main([*command, "--annotations", "yolo", "--overwrite"]) == 2
    clip = tmp_path / "in" / "clip.mp4"
    assert capsys.readouterr().err == f"act2sal: --annotations is for photos, and {clip} is a video\n"
    records = str(out / "annotations.json")
    assert main([*command, "--annotations", "coco", "--json", records, "--overwrite"]) == 2
    assert "--json and --annotations name the same file" in capsys.readouterr().err
