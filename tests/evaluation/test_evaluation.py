"""Scores: against plain py-sod-metrics loops, cases worked out by hand, and folders with gaps."""

import json
from pathlib import Path

import cv2
import numpy as np
import py_sod_metrics
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from act2sal.data.images import write_gray_png
from act2sal.data.photo_files import DatasetError
from act2sal.evaluation import (
    STANDARD,
    Accumulator,
    Tally,
    difference,
    evaluate,
    evaluate_pairs,
    score_map,
    score_prob,
)

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


class FiniteSmeasure(py_sod_metrics.Smeasure):
    """Its S-measure is NaN where a quadrant is empty; there it has no weight."""

    def ssim(self, pred: NDArray[np.float64], gt: NDArray[np.bool_]) -> float:
        return float(super().ssim(pred, gt)) if pred.size else 0.0


def reference(pairs: list[Pair]) -> dict[str, float]:
    """Streaming py-sod-metrics over the whole set, as its own examples do."""
    f = py_sod_metrics.FmeasureV2(
        {
            "f": py_sod_metrics.FmeasureHandler(with_dynamic=True, with_adaptive=True, beta=0.3),
            "iou": py_sod_metrics.IOUHandler(with_dynamic=False, with_adaptive=True, with_binary=True),
        }
    )
    mae, weighted = py_sod_metrics.MAE(), py_sod_metrics.WeightedFmeasure()
    s, e = FiniteSmeasure(), py_sod_metrics.Emeasure()
    for pixels, mask in pairs:
        for measure in (f, mae, weighted, s, e):
            measure.step(pred=pixels, gt=mask.astype(np.uint8) * 255)
    fm, iou, em = f.get_results()["f"], f.get_results()["iou"], e.get_results()["em"]
    return {
        "mae": mae.get_results()["mae"],
        "f_adaptive": fm["adaptive"],
        "f_mean": fm["dynamic"].mean(),
        "f_max": fm["dynamic"].max(),
        "iou": iou["binary"],
        "iou_adaptive": iou["adaptive"],
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
    assert scores.counts.images == 6


def odd_maps(mask: NDArray[np.bool_], rng: np.random.Generator) -> dict[str, NDArray[np.uint8]]:
    one_pixel = np.zeros(mask.shape, np.uint8)
    one_pixel[rng.integers(mask.shape[0]), rng.integers(mask.shape[1])] = 77
    return {
        "random": rng.integers(0, 256, mask.shape, dtype=np.uint8),
        "constant": np.full(mask.shape, rng.integers(1, 255), np.uint8),
        "black": np.zeros(mask.shape, np.uint8),
        "white": np.full(mask.shape, 255, np.uint8),
        "one pixel": one_pixel,
        "few levels": (rng.integers(0, 3, mask.shape) * 100).astype(np.uint8),
        "the mask": mask.astype(np.uint8) * 255,
        "its inverse": (~mask).astype(np.uint8) * 255,
    }


@settings(deadline=None, max_examples=80)
@given(height=st.integers(1, 50), width=st.integers(1, 50), seed=st.integers(0, 2**32 - 1))
def test_equals_py_sod_metrics_on_odd_maps_and_masks(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = cv2.GaussianBlur(rng.random((height, width), dtype=np.float32), (0, 0), 2) > rng.uniform(0.3, 0.7)
    if height * width < 2:
        return  # py-sod-metrics divides E by no pixel at all
    for name, pixels in odd_maps(mask, rng).items():
        found = evaluate_pairs([(pixels / np.float32(255), mask)]).metrics()
        assert found == pytest.approx(reference([(pixels, mask)]), abs=1e-9), name


def test_folders_equal_arrays_with_one_thread_and_with_three(tmp_path: Path) -> None:
    pairs = random_pairs(5)
    maps, masks = save(tmp_path, pairs)
    alone, together = (evaluate(maps, masks, workers=n, quiet=True) for n in (1, 3))
    assert alone.metrics() == pytest.approx(reference(pairs), rel=1e-12)
    assert together.to_json() == alone.to_json()


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
    stretched, full = (evaluate_pairs([(prob, mask)]) for prob in (faint, mask.astype(np.float32)))
    assert stretched.metrics() == full.metrics()


def test_foreground_in_the_last_row_has_a_finite_s_measure() -> None:
    mask = np.zeros((6, 6), bool)
    mask[-1, -1] = True
    scores = score_map(mask.astype(np.uint8) * 255, mask)
    assert scores.measures.s_measure == pytest.approx(1)


def test_map_of_another_size_is_resized(tmp_path: Path) -> None:
    small, mask = left_half(4, 4), left_half(8, 8)
    write_gray_png(tmp_path / "maps/a.png", small.astype(np.uint8) * 255)
    write_gray_png(tmp_path / "masks/a.png", mask.astype(np.uint8) * 255)
    scores = evaluate(tmp_path / "maps", tmp_path / "masks", quiet=True)
    assert scores.counts.resized == scores.counts.images == 1
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
    counts = scores.counts
    assert (counts.images, counts.missing, counts.extra) == (2, ("lonely.bmp",), ("more.png",))
    assert len(counts.unreadable) == 1
    assert counts.unreadable[0].startswith(f"{maps / 'broken.png'}: ")
    assert "masks without a map, left out: lonely.bmp" in repr(scores)


def test_nothing_to_score_is_an_error(tmp_path: Path) -> None:
    write_gray_png(tmp_path / "maps/a.png", np.zeros((3, 3), np.uint8))
    write_gray_png(tmp_path / "masks/b.png", np.zeros((3, 3), np.uint8))
    with pytest.raises(DatasetError, match="same name"):
        evaluate(tmp_path / "maps", tmp_path / "masks", quiet=True)
    with pytest.raises(DatasetError, match="no maps"):
        evaluate_pairs([])


def test_json_holds_scores_intervals_and_counts() -> None:
    scores = evaluate_pairs([(pixels / np.float32(255), mask) for pixels, mask in random_pairs(4)])
    read = json.loads(scores.to_json())
    assert read["scores"]["f_adaptive"] == scores.f_adaptive
    assert read["intervals_95"]["f_max"] == list(scores.interval("f_max"))
    assert read["counts"]["images"] == 4
    assert tuple(scores.metrics()) == STANDARD


def test_unknown_scores_are_named() -> None:
    scores = evaluate_pairs([(left_half().astype(np.float32), left_half())])
    with pytest.raises(AttributeError, match=r"no 'f_beta'; scores: mae, f_adaptive"):
        _ = scores.f_beta


def test_constant_maps_empty_and_graded_masks_are_counted(tmp_path: Path) -> None:
    maps, masks = save(tmp_path, random_pairs(3))
    write_gray_png(maps / "set/flat.png", np.full((4, 4), 9, np.uint8))
    write_gray_png(masks / "set/flat.png", np.zeros((4, 4), np.uint8))
    write_gray_png(maps / "set/soft.png", np.arange(16, dtype=np.uint8).reshape(4, 4))
    write_gray_png(masks / "set/soft.png", (16 * np.arange(16)).astype(np.uint8).reshape(4, 4))
    scores = evaluate(maps, masks, quiet=True)
    counts = scores.counts
    assert (counts.images, counts.constant, counts.empty, counts.graded) == (5, 1, 1, 1)
    assert scores.without_empty is not None
    assert scores.without_empty.counts.images == 4
    # The empty mask scores 0
    assert scores.f_adaptive == pytest.approx(scores.without_empty.f_adaptive * 4 / 5)


def test_endings_of_map_names_are_taken_off(tmp_path: Path) -> None:
    maps, masks = save(tmp_path, random_pairs(3))
    for path in sorted((maps / "set").iterdir())[:2]:
        path.rename(path.with_stem(path.stem + "_HS"))
    assert evaluate(maps, masks, ending="_HS", quiet=True).counts.images == 3
    assert evaluate(maps, masks, quiet=True).counts.images == 1


def code_reference(pairs: list[Pair]) -> tuple[float, float]:
    """Max F and S of the published A2S code, after its description: 255 bins, the last of which holds two levels;
    precision and recall averaged first; S with population deviations."""
    precisions, recalls, scores = [], [], []
    for pixels, mask in pairs:
        prob = (pixels / 255 - pixels.min() / 255) / (pixels.max() / 255 - pixels.min() / 255)
        whole = (prob * 255).astype(np.uint8)
        right = np.array([(whole[mask] >= t).sum() for t in range(254, -1, -1)])
        taken = np.array([(whole >= t).sum() for t in range(254, -1, -1)])
        precisions.append(right / np.maximum(taken, 1))
        recalls.append(right / mask.sum())
        scores.append(code_s_measure(prob, mask))
    p, r = np.mean(precisions, axis=0), np.mean(recalls, axis=0)
    return float((1.3 * p * r / (0.3 * p + r + 1e-8)).max()), float(np.mean(scores))


def code_s_measure(prob: NDArray[np.float64], mask: NDArray[np.bool_]) -> float:
    def likeness(values: NDArray[np.float64]) -> float:
        return float(2 * values.mean() / (values.mean() ** 2 + 1 + values.std() + 1e-8))

    rows, columns = np.nonzero(mask)
    row, column = round(rows.mean()) + 1, round(columns.mean()) + 1
    share, region = mask.mean(), 0.0
    for place in np.s_[:row, :column], np.s_[:row, column:], np.s_[row:, :column], np.s_[row:, column:]:
        a, b = prob[place], mask[place].astype(float)
        if a.size < 2:
            continue
        x, y = a.mean(), b.mean()
        alpha = 4 * x * y * ((a - x) * (b - y)).sum() / (a.size - 1)
        beta = (x**2 + y**2) * (a.var() + b.var())
        score = alpha / (beta + 1e-8) if alpha != 0 else float(beta == 0)
        region += a.size / mask.size * score
    return 0.5 * (share * likeness(prob[mask]) + (1 - share) * likeness(1 - prob[~mask])) + 0.5 * region


def test_the_conventions_of_the_published_code() -> None:
    rng = np.random.default_rng(3)
    pairs = [
        (np.clip(pixels + rng.integers(-90, 90, mask.shape), 0, 255).astype(np.uint8), mask)
        for pixels, mask in random_pairs(5)
    ]
    scores = evaluate_pairs((pixels / np.float32(255), mask) for pixels, mask in pairs)
    f_max, s = code_reference(pairs)
    assert scores.code_f_max == pytest.approx(f_max, abs=1e-7)
    assert scores.code_s_measure == pytest.approx(s, abs=1e-9)
    assert abs(scores.code_f_max - scores.f_max) > 1e-4


def test_intervals_are_as_wide_as_theory_has_them() -> None:
    """The MAE of n images has a standard error of sd / sqrt(n); 95 % of a normal lie within 1.96 of them."""
    rng = np.random.default_rng(5)
    mask = left_half()
    errors = rng.random(400)
    scores = evaluate_pairs(
        (np.where(np.arange(16).reshape(4, 4) == 0, 1 - e, mask).astype(np.float32), mask) for e in errors
    )
    spread = np.std([row.measures.mae for row in scores.rows])
    low, high = scores.interval("mae")
    assert low < scores.mae < high
    assert high - low == pytest.approx(2 * 1.96 * spread / 20, rel=0.1)


def test_without_a_bootstrap_there_are_no_intervals(tmp_path: Path) -> None:
    maps, masks = save(tmp_path, random_pairs(2))
    scores = evaluate(maps, masks, replicates=0, quiet=True)
    assert np.isnan(scores.interval("mae")).all()
    assert "[" not in repr(scores)


def test_memory_of_an_accumulator_does_not_grow() -> None:
    accumulator = Accumulator(replicates=10)
    image = score_prob(left_half().astype(np.float32), left_half())
    for number in range(130):
        accumulator.add(image, str(number))
    arrays = [v for v in vars(accumulator).values() if isinstance(v, np.ndarray)]
    before = sum(array.nbytes for array in arrays)
    for number in range(130, 300):
        accumulator.add(image, str(number))
    assert sum(v.nbytes for v in vars(accumulator).values() if isinstance(v, np.ndarray)) == before
    assert len(accumulator._rows) < 64
    assert accumulator.totals().scores["mae"] == 0


def test_a_difference_is_paired(tmp_path: Path) -> None:
    pairs = random_pairs(12)
    worse = [
        (np.clip(pixels.astype(int) + 40 * ~mask, 0, 255).astype(np.uint8), mask) for pixels, mask in pairs
    ]
    good, bad = (evaluate_pairs((p / np.float32(255), m) for p, m in kind) for kind in (pairs, worse))
    gap = difference(good, bad, "f_adaptive")
    assert gap.value == pytest.approx(good.f_adaptive - bad.f_adaptive)
    assert (gap.ours_better or 0) + (gap.theirs_better or 0) <= 12
    lower = difference(good, bad, "mae")
    assert lower.value < 0
    assert lower.interval[1] < 0
    assert (lower.ours_better, lower.theirs_better) == (12, 0)
    # Paired, the interval is far narrower than that of either method alone
    low, high = good.interval("mae")
    assert lower.interval[1] - lower.interval[0] < 0.7 * (high - low)
    assert difference(good, bad, "f_max").ours_better is None
    with pytest.raises(ValueError, match="the same images"):
        difference(good, evaluate_pairs([(p / np.float32(255), m) for p, m in pairs[:3]]), "mae")


def test_probabilities_outside_their_range_are_refused() -> None:
    for value in (1.5, -0.1, np.nan):
        with pytest.raises(ValueError, match=r"\[0, 1\]"):
            score_prob(np.full((2, 2), value), left_half(2, 2))
    with pytest.raises(ValueError, match=r"need \(H, W\), not \(1, 2, 2\)"):
        score_prob(np.zeros((1, 2, 2)), left_half(2, 2))


def test_a_tally_in_a_loop_equals_the_whole_set() -> None:
    pairs = [(pixels / np.float32(255), mask) for pixels, mask in random_pairs(4)]
    tally = Tally()
    for prob, mask in pairs:
        tally.add(torch.from_numpy(prob), torch.from_numpy(mask))
    assert tally.scores().to_json() == evaluate_pairs(pairs).to_json()


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
    assert scores.counts.images == 100
    assert scores.f_adaptive == pytest.approx(0.623, abs=0.05)  # Table II, over all 1,000 photos
    assert scores.mae == pytest.approx(0.228, abs=0.02)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("method", "name"), [("HS", "ecssd_dev"), ("RBD", "sod_dev"), ("RBD", "pascal_s_dev")]
)
def test_equals_py_sod_metrics_on_real_maps(method: str, name: str, data_dir: Path) -> None:
    """17 of each set, 51 in all; the masks of PASCAL-S are graded."""
    maps = sorted((data_dir / name / "published_maps" / method).iterdir())[::8][:17]
    masks = {path.stem: path for path in (data_dir / name / "masks").iterdir()}
    pairs = []
    for path in maps:
        mask = np.asarray(Image.open(masks[path.stem]).convert("L")) > 127
        pixels = np.asarray(Image.open(path).convert("L"))
        if pixels.shape != mask.shape:
            pixels = np.asarray(cv2.resize(pixels, mask.shape[::-1]))
        pairs.append((pixels, mask))
    assert len(pairs) == 17
    found = evaluate_pairs((pixels / np.float32(255), mask) for pixels, mask in pairs)
    assert found.metrics() == pytest.approx(reference(pairs), abs=1e-9)
