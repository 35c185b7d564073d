"""Scores: against plain py-sod-metrics loops, cases worked out by hand, and folders with gaps."""

import json
import warnings
from pathlib import Path

import cv2
import numpy as np
import py_sod_metrics
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from act2sal.datasets import DatasetError
from act2sal.evaluate import Scores, evaluate, evaluate_pairs, score_map
from act2sal.images import write_gray_png

Pair = tuple[NDArray[np.uint8], NDArray[np.bool_]]


def left_half(height: int = 4, width: int = 4) -> NDArray[np.bool_]:
    mask = np.zeros((height, width), bool)
    mask[:, : width // 2] = True
    return mask


def random_pairs(count: int, seed: int = 0) -> list[Pair]:
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        shape = tuple(rng.integers(12, 40, size=2))
        mask = cv2.GaussianBlur(rng.random(shape, dtype=np.float32), (0, 0), 4) > 0.5
        noisy = 0.6 * mask + 0.5 * rng.random(shape)
        made.append((np.clip(noisy * 255, 0, 255).astype(np.uint8), mask))
    return made


def reference(pairs: list[Pair]) -> dict[str, float]:
    """Streaming py-sod-metrics over the whole set, as its own examples do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its Fmeasure announces that it will go
        f = py_sod_metrics.Fmeasure()
    mae, weighted = py_sod_metrics.MAE(), py_sod_metrics.WeightedFmeasure()
    s, e = py_sod_metrics.Smeasure(), py_sod_metrics.Emeasure()
    for pixels, mask in pairs:
        for measure in (f, mae, weighted, s, e):
            measure.step(pred=pixels, gt=mask.astype(np.uint8) * 255)
    fm, em = f.get_results()["fm"], e.get_results()["em"]
    return {
        "mae": mae.get_results()["mae"],
        "f_adaptive": fm["adp"],
        "f_mean": fm["curve"].mean(),
        "f_max": fm["curve"].max(),
        "f_weighted": weighted.get_results()["wfm"],
        "s_measure": s.get_results()["sm"],
        "e_adaptive": em["adp"],
        "e_mean": em["curve"].mean(),
        "e_max": em["curve"].max(),
    }


def save(folder: Path, pairs: list[Pair]) -> tuple[Path, Path]:
    for number, (pixels, mask) in enumerate(pairs):
        write_gray_png(folder / "maps" / f"set/{number}.png", pixels)
        write_gray_png(folder / "masks" / f"set/{number}.png", mask.astype(np.uint8) * 255)
    return folder / "maps", folder / "masks"


def test_equals_py_sod_metrics() -> None:
    pairs = random_pairs(6)
    scores = evaluate_pairs((pixels / np.float32(255), mask) for pixels, mask in pairs)
    assert scores.metrics() == pytest.approx(reference(pairs), rel=1e-12)
    assert scores.images == 6


def test_folders_equal_arrays_with_one_process_and_with_two(tmp_path: Path) -> None:
    pairs = random_pairs(5)
    maps, masks = save(tmp_path, pairs)
    alone = evaluate(maps, masks, workers=1, quiet=True)
    assert alone.metrics() == pytest.approx(reference(pairs), rel=1e-12)
    assert evaluate(maps, masks, workers=2, quiet=True) == alone


def test_perfect_map() -> None:
    mask = left_half()
    scores = evaluate_pairs([(mask.astype(np.float32), mask)])
    assert scores.mae == 0
    assert scores.f_adaptive == scores.f_max == 1
    # Threshold 0 takes all 16 pixels: precision 1/2, recall 1; the 255 others are perfect.
    everything = 1.3 * 0.5 / (0.3 * 0.5 + 1)
    assert scores.f_mean == pytest.approx((255 + everything) / 256)
    assert scores.s_measure == pytest.approx(1)
    assert scores.f_weighted == pytest.approx(1)
    # py-sod-metrics divides by one pixel less than there are.
    assert scores.e_max == pytest.approx(16 / 15)


def test_inverted_map() -> None:
    mask = left_half()
    scores = evaluate_pairs([((~mask).astype(np.float32), mask)])
    assert scores.mae == 1
    assert scores.f_adaptive == 0
    assert scores.f_max == pytest.approx(1.3 * 0.5 / (0.3 * 0.5 + 1))  # at threshold 0
    assert scores.e_adaptive == pytest.approx(0, abs=1e-12)


def test_black_map_counts_as_all_foreground_at_its_own_threshold() -> None:
    scores = evaluate_pairs([(np.zeros((4, 4), np.float32), left_half())])
    assert scores.mae == 0.5
    assert scores.f_adaptive == pytest.approx(1.3 * 0.5 / (0.3 * 0.5 + 1))  # 0 >= 2 * mean = 0


def test_black_map_on_an_empty_mask() -> None:
    scores = evaluate_pairs([(np.zeros((4, 4), np.float32), np.zeros((4, 4), bool))])
    assert (scores.mae, scores.f_adaptive, scores.f_weighted, scores.s_measure) == (0, 0, 0, 1)


def test_maps_are_stretched_to_their_full_range() -> None:
    mask = left_half()
    faint = np.where(mask, np.float32(0.6), np.float32(0.4))
    assert evaluate_pairs([(faint, mask)]) == evaluate_pairs([(mask.astype(np.float32), mask)])


def test_foreground_in_the_last_row_has_a_finite_s_measure() -> None:
    mask = np.zeros((6, 6), bool)
    mask[-1, -1] = True
    scores = score_map(mask.astype(np.uint8) * 255, mask)
    assert scores.s_measure == pytest.approx(1)


def test_map_of_another_size_is_resized(tmp_path: Path) -> None:
    small, mask = left_half(4, 4), left_half(8, 8)
    write_gray_png(tmp_path / "maps/a.png", small.astype(np.uint8) * 255)
    write_gray_png(tmp_path / "masks/a.png", mask.astype(np.uint8) * 255)
    scores = evaluate(tmp_path / "maps", tmp_path / "masks", quiet=True)
    assert scores.resized == scores.images == 1
    # Bilinear from 4 to 8 columns: 255 255 255 191 64 0 0 0, so two columns of eight are a quarter off.
    assert scores.mae == pytest.approx(2 * (64 / 255) / 8)


def test_mask_is_foreground_above_127(tmp_path: Path) -> None:
    write_gray_png(tmp_path / "maps/a.png", np.array([[0, 255], [0, 255]], np.uint8))
    write_gray_png(tmp_path / "masks/a.png", np.array([[127, 128], [0, 255]], np.uint8))
    assert evaluate(tmp_path / "maps", tmp_path / "masks", quiet=True).mae == 0


def test_names_what_is_missing_extra_and_unreadable(tmp_path: Path) -> None:
    maps, masks = save(tmp_path, random_pairs(2))
    write_gray_png(maps / "more.png", np.zeros((3, 3), np.uint8))
    Image.new("L", (3, 3)).save(masks / "lonely.bmp")
    (maps / "broken.png").write_bytes(b"no picture")
    write_gray_png(masks / "broken.png", np.zeros((3, 3), np.uint8))
    scores = evaluate(maps, masks, quiet=True)
    assert (scores.images, scores.missing, scores.extra) == (2, ("lonely.bmp",), ("more.png",))
    assert len(scores.unreadable) == 1
    assert scores.unreadable[0].startswith(f"{maps / 'broken.png'}: ")


def test_nothing_to_score_is_an_error(tmp_path: Path) -> None:
    write_gray_png(tmp_path / "maps/a.png", np.zeros((3, 3), np.uint8))
    write_gray_png(tmp_path / "masks/b.png", np.zeros((3, 3), np.uint8))
    with pytest.raises(DatasetError, match="same name"):
        evaluate(tmp_path / "maps", tmp_path / "masks", quiet=True)
    with pytest.raises(DatasetError, match="no maps"):
        evaluate_pairs([])


def test_json_holds_every_field() -> None:
    scores = evaluate_pairs([(left_half().astype(np.float32), left_half())])
    read = json.loads(scores.to_json())
    assert Scores(**{k: tuple(v) if isinstance(v, list) else v for k, v in read.items()}) == scores
    assert len(scores.metrics()) == 9


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 9), st.integers(2, 9), st.integers(0, 2**32 - 1))
def test_measures_are_finite_whatever_the_shape(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((height, width)) < rng.random()
    scores = evaluate_pairs([(rng.random((height, width), dtype=np.float32), mask)])
    bound = max(1.0, height * width / (height * width - 1))  # of E, see the perfect map
    assert all(np.isfinite(value) and 0 <= value <= bound + 1e-9 for value in scores.metrics().values())


@pytest.mark.real_data
def test_published_maps_reach_the_published_scores(data_dir: Path, tmp_path: Path) -> None:
    maps = sorted((data_dir / "ecssd_dev/published_maps/HS").iterdir())[::5]
    for kind, folder in (("maps", maps[0].parent), ("masks", data_dir / "ecssd_dev/masks")):
        (tmp_path / kind).mkdir()
        for path in folder.iterdir():
            if path.stem in {m.stem for m in maps}:
                (tmp_path / kind / path.name).symlink_to(path)
    scores = evaluate(tmp_path / "maps", tmp_path / "masks", workers=1, quiet=True)
    assert scores.images == 100
    assert scores.f_adaptive == pytest.approx(0.623, abs=0.05)  # Table II, over all 1,000 photos
    assert scores.mae == pytest.approx(0.228, abs=0.02)
