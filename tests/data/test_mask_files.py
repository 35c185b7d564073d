"""Masks, maps and labels as people keep them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from act2sal.data.images import read_photo
from act2sal.data.mask_files import MaskReader, UnclearError, read_map
from act2sal.data.photo_bank import build_photo_bank
from act2sal.data.photo_files import find_photos
from act2sal.errors import InputError
from act2sal.evaluation import evaluate
from act2sal.evaluation.comparison import compare
from act2sal.runs.run_directory import GenerationFolder
from act2sal.training.given_labels import copy_labels

Shape = NDArray[np.bool_]
Keep = Callable[[Shape], Image.Image]


def shape(number: int = 0) -> Shape:
    """An object of (48, 64)."""
    inside = np.zeros((48, 64), bool)
    inside[10:40, 15 + number : 45] = True
    return inside


def levels(inside: Shape, dtype: type = np.uint8, value: float = 255) -> NDArray[np.generic]:
    return (inside * value).astype(dtype)


def indexed(inside: Shape, colours: list[int]) -> Image.Image:
    image = Image.fromarray(inside.astype(np.uint8), "L").copy()
    image.putpalette(colours + [0] * (768 - len(colours)))
    return image


def coloured(inside: Shape, colour: tuple[int, ...]) -> Image.Image:
    return Image.fromarray((inside[..., None] * np.array(colour)).astype(np.uint8))


def cut_out(inside: Shape) -> Image.Image:
    colours = np.random.default_rng(0).integers(0, 256, (*inside.shape, 3), np.uint8)
    return Image.fromarray(np.dstack([colours, levels(inside).astype(np.uint8)]))


def turned_by_exif(inside: Shape) -> Image.Image:
    image = Image.fromarray(levels(inside).astype(np.uint8)).transpose(Image.Transpose.ROTATE_90)
    image.getexif()[0x0112] = 6
    return image


KEPT: dict[str, Keep] = {
    "0 and 255": lambda inside: Image.fromarray(levels(inside)),
    "0 and 1": lambda inside: Image.fromarray(levels(inside, value=1)),
    "bit": lambda inside: Image.fromarray(inside),
    "palette": lambda inside: indexed(inside, [0, 0, 0, 128, 0, 0]),
    "palette without colours": lambda inside: indexed(inside, []),
    "palette of greys": lambda inside: indexed(~inside, [255, 255, 255, 0, 0, 0]),
    "red": lambda inside: coloured(inside, (255, 0, 0)),
    "green, dark": lambda inside: coloured(inside, (0, 64, 0)),
    "yellow": lambda inside: coloured(inside, (255, 255, 0)),
    "cut-out": cut_out,
    "white with alpha": lambda inside: Image.fromarray(
        np.dstack([np.full((*inside.shape, 3), 255, np.uint8), levels(inside).astype(np.uint8)])
    ),
    "grey with alpha": lambda inside: Image.fromarray(
        np.dstack([np.zeros_like(inside, np.uint8), levels(inside).astype(np.uint8)]), "LA"
    ),
    "opaque": lambda inside: Image.fromarray(levels(inside)).convert("RGBA"),
    "16 bits": lambda inside: Image.fromarray(levels(inside, np.uint16, 65535)),
    "0 and 255 in 16 bits": lambda inside: Image.fromarray(levels(inside, np.uint16, 255)),
    "0 and 1 in 16 bits": lambda inside: Image.fromarray(levels(inside, np.uint16, 1)),
    "EXIF": turned_by_exif,
}


def keep(folder: Path, how: Keep, suffix: str = "png") -> list[Path]:
    folder.mkdir()
    files = [folder / f"{number}.{suffix}" for number in range(2)]
    for number, file in enumerate(files):
        image = how(shape(number))
        exif = image.getexif()
        image.save(file, **({"exif": exif} if exif else {}))
    return files


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning")
@pytest.mark.parametrize("how", KEPT)
def test_a_mask_is_its_shape_however_it_is_kept(how: str, tmp_path: Path) -> None:
    files = keep(tmp_path / "masks", KEPT[how])
    reader = MaskReader.of(files)
    for number, file in enumerate(files):
        assert np.array_equal(reader.read(file), levels(shape(number)))


@pytest.mark.parametrize("how", ["red", "0 and 1", "0 and 1 in 16 bits"])
def test_maps_and_masks_of_any_kind_have_the_scores_of_0_and_255(how: str, tmp_path: Path) -> None:
    for name, kept in (("maps", "0 and 255"), ("masks", how)):
        keep(tmp_path / name, KEPT[kept])
    for one, other in (("maps", "masks"), ("masks", "maps")):
        scores = evaluate(tmp_path / one, tmp_path / other, replicates=0, workers=1, quiet=True)
        assert scores.values["f_adaptive"] > 0.999


def test_floats_of_a_tiff_are_read_by_their_range(tmp_path: Path) -> None:
    for largest in (1.0, 255.0):
        Image.fromarray(shape().astype(np.float32) * np.float32(largest)).save(tmp_path / "a.tif")
        assert np.array_equal(read_map(tmp_path / "a.tif"), levels(shape()))


def test_a_jpeg_in_red_is_a_mask(tmp_path: Path) -> None:
    (file, _) = keep(tmp_path / "masks", KEPT["red"], "jpg")
    assert ((MaskReader.of([file]).read(file) > 127) != shape()).mean() < 0.02


UNCLEAR: dict[str, Keep] = {
    "38": lambda inside: Image.fromarray(levels(inside, value=38)),
    "photo": lambda inside: cut_out(inside).convert("RGB"),
    "classes": lambda inside: indexed(inside, [10, 10, 90, 128, 0, 0]),
    "red on white": lambda inside: Image.fromarray(
        np.where(inside[..., None], [255, 0, 0], [255, 255, 255]).astype(np.uint8)
    ),
    "glass": lambda inside: Image.fromarray(
        np.dstack([np.repeat(levels(inside)[..., None], 3, 2), np.full(inside.shape, 128, np.uint8)]).astype(
            np.uint8
        )
    ),
}


@pytest.mark.parametrize("how", UNCLEAR)
def test_what_could_mean_two_things_is_named_with_its_largest_value(how: str, tmp_path: Path) -> None:
    keep(tmp_path / "maps", KEPT["0 and 255"])
    keep(tmp_path / "masks", UNCLEAR[how])
    with pytest.raises(UnclearError, match=r"masks/[01]\.png: .*; its largest value is \d+$"):
        evaluate(tmp_path / "maps", tmp_path / "masks", replicates=0, workers=1, quiet=True)


def test_one_mask_of_0_and_1_among_others_is_unclear_but_an_empty_or_graded_one_is_not(
    tmp_path: Path,
) -> None:
    files = [tmp_path / f"{value}.png" for value in (255, 0, 85, 1)]
    for file in files:
        Image.fromarray(levels(shape(), value=int(file.stem))).save(file)
    reader = MaskReader.of(reversed(files))
    assert [int(reader.read(file).max()) for file in files[:3]] == [255, 0, 85]
    with pytest.raises(UnclearError, match=r"1\.png.*largest value is 1$"):
        reader.read(files[3])
    assert MaskReader.of([files[1]]).read(files[1]).max() == 0


def test_a_map_in_which_nothing_was_found_stays_dark(tmp_path: Path) -> None:
    Image.fromarray(levels(shape(), value=3)).save(tmp_path / "a.png")
    assert read_map(tmp_path / "a.png").max() == 3


def test_what_lies_on_its_side_is_refused(tmp_path: Path) -> None:
    keep(tmp_path / "maps", KEPT["0 and 255"])
    keep(tmp_path / "masks", lambda inside: Image.fromarray(levels(inside.T)))
    with pytest.raises(InputError, match=r"maps/0\.png is 64x48 and .*masks/0\.png is 48x64.*turned"):
        evaluate(tmp_path / "maps", tmp_path / "masks", replicates=0, workers=1, quiet=True)


def test_compare_reads_masks_as_evaluate_does(tmp_path: Path) -> None:
    keep(tmp_path / "photos", lambda inside: cut_out(inside).convert("RGB"))
    keep(tmp_path / "masks", UNCLEAR["38"])
    with pytest.raises(UnclearError, match="largest value is 38"):
        compare(
            [tmp_path / "photos"],
            tmp_path / "sheet.png",
            {"flat": lambda photo: np.zeros(photo.shape[:2], np.float32)},
            masks=tmp_path / "masks",
            quiet=True,
        )


def test_compare_leaves_out_a_photo_whose_mask_is_unclear(tmp_path: Path) -> None:
    keep(tmp_path / "photos", lambda inside: cut_out(inside).convert("RGB"))
    keep(tmp_path / "masks", KEPT["0 and 255"])
    turned = levels(shape().T)
    Image.fromarray(turned).save(tmp_path / "masks" / "1.png")
    outcome = compare(
        [tmp_path / "photos"],
        tmp_path / "sheet.png",
        {"flat": lambda photo: np.zeros(photo.shape[:2], np.float32)},
        masks=tmp_path / "masks",
        quiet=True,
    )
    assert outcome.written == 1
    (failure,) = outcome.failures
    assert "1.png" in failure
    assert "turned" in failure
    assert (tmp_path / "sheet.png").is_file()


def test_given_labels_become_0_and_255(tmp_path: Path) -> None:
    keep(tmp_path / "photos", lambda inside: cut_out(inside).convert("RGB"))
    keep(tmp_path / "labels", KEPT["0 and 1"])
    bank = build_photo_bank(find_photos(tmp_path / "photos"), tmp_path / "bank", size=32, quiet=True)
    copies = copy_labels(bank, tmp_path / "labels", GenerationFolder(tmp_path / "run"))
    for number, copy in enumerate(copies):
        assert np.array_equal(read_photo(copy)[..., 0], levels(shape(number)))
