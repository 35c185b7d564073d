"""Pseudo labels of one photo (Eq. 6) and of a folder: parallel, resumable, never half a file."""

import logging
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from act2sal.a2s import pseudo_labels
from act2sal.a2s.pseudo_labels import (
    cue_mask,
    label_from_logits,
    log_odds,
    normalised_cue,
    refine_prob,
    write_labels,
)
from act2sal.config import LabelConfig, LabelThreshold, Soft
from act2sal.presets import PRESETS
from act2sal.runtime.stopwatch import Stopwatch
from act2sal.version import __version__

DEFAULTS = LabelConfig()
SIZE = (48, 64)


def red_square() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A red square on green, slightly noisy, and where it is."""
    inside = np.zeros(SIZE, bool)
    inside[12:36, 20:44] = True
    photo = np.where(inside[..., None], (200, 40, 40), (40, 140, 60))
    noise = np.random.default_rng(0).integers(-3, 4, photo.shape)
    return (photo + noise).astype(np.uint8), inside


def blob() -> NDArray[np.float32]:
    """Logits (12, 16) of a network that has seen where the square is, and not its corners."""
    y, x = np.mgrid[:12, :16]
    return (4.0 - 1.6 * np.hypot(y - 5.5, x - 7.5)).astype(np.float32)


def overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return (a & b).sum() / (a | b).sum()


# One photo


def test_cue_by_hand():
    """sigmoid(-ln 3) = 1/4, sigmoid(0) = 1/2, sigmoid(ln 3) = 3/4: stretched to 0, 1/2, 1."""
    logits = np.array([[-np.log(3), 0.0, np.log(3)]], np.float32)
    np.testing.assert_allclose(normalised_cue(logits, (1, 3)), [[0.0, 0.5, 1.0]], atol=1e-6)


def test_cue_is_enlarged_before_the_sigmoid():
    """Halfway between -8 and 8 the logits are -4 and 4 at double size; the mean of the sigmoids would be 1/4, 3/4."""
    cue = normalised_cue(np.array([[-8.0, 8.0]], np.float32), (1, 4))
    low, high = 1 / (1 + np.exp(8.0)), 1 / (1 + np.exp(-8.0))
    expected = (1 / (1 + np.exp([8.0, 4.0, -4.0, -8.0])) - low) / (high - low)
    np.testing.assert_allclose(cue, [expected], atol=1e-5)


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 30), st.integers(1, 30), st.integers(0, 99))
def test_cue_fills_the_unit_interval(h, w, height, width, seed):
    logits = np.random.default_rng(seed).normal(0, 3, (h, w)).astype(np.float32)
    cue = normalised_cue(logits, (height, width))
    assert cue.shape == (height, width)
    assert cue.dtype == np.float32
    assert cue.min() == 0.0
    assert cue.max() == 1.0 or cue.max() == 0.0  # a single pixel is constant


def test_cue_refuses_what_is_not_finite():
    with pytest.raises(ValueError, match="not finite"):
        normalised_cue(np.array([[0.0, np.nan]], np.float32), (2, 2))


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        ("half", [0, 0, 0, 0, 1, 1]),  # sigmoids .5 to .731, half of the range at .616
        ("zero", [1, 1, 1, 1, 1, 1]),
        ("mean", [0, 0, 0, 1, 1, 1]),  # mean 0.35
        ("median", [0, 0, 0, 1, 1, 1]),  # median 0.25
        ("otsu", [0, 0, 0, 0, 1, 1]),  # the wide gap lies between 0.4 and 0.5 .. 1.0
    ],
)
def test_thresholds_by_hand(threshold, expected):
    logits = np.array([[0.0, 0.0, 0.1, 0.4, 0.6, 1.0]], np.float32)
    assert cue_mask(logits, (1, 6), threshold).astype(int).tolist() == [expected]


def test_the_paper_cuts_at_the_boundary_and_the_published_code_at_half_of_the_range():
    theta = np.array([[-0.2, -0.1, 0.05, 0.3, 4.0]], np.float32)
    assert cue_mask(theta, (1, 5), PRESETS["paper"].labels.threshold).astype(int).tolist() == [
        [0, 0, 1, 1, 1]
    ]
    assert cue_mask(theta, (1, 5), PRESETS["official"].labels.threshold).astype(int).tolist() == [
        [0, 0, 0, 0, 1]
    ]
    np.testing.assert_allclose(log_odds(theta, (1, 5), "zero"), theta)
    np.testing.assert_allclose(log_odds(theta, (1, 5), "mean"), theta - theta.mean(), rtol=1e-5)
    np.testing.assert_allclose(log_odds(theta, (1, 5), "median"), theta - np.float32(0.05), rtol=1e-5)


@pytest.mark.parametrize("threshold", ["mean", "median", "otsu"])
def test_thresholds_of_table_i_are_those_of_the_activation_map(threshold: LabelThreshold):
    """Adding to M or doubling it, which the sigmoid would bend, changes no pixel."""
    rng = np.random.default_rng(3)
    activation = rng.gamma(2, 2, (9, 12)).astype(np.float32)
    masks = [cue_mask(k * (activation - c), (27, 36), threshold) for k, c in ((1, 0), (2, 0), (1, 4))]
    assert 0 < masks[0].mean() < 1
    assert np.array_equal(masks[0], masks[1])
    assert (masks[0] == masks[2]).mean() > 0.995  # rounding of float32


@pytest.mark.parametrize(
    ("soft", "hard"), [("none", (True, True)), ("fitted", (True, False)), ("all", (False, False))]
)
def test_soft_says_which_maps_are_thresholded(soft: Soft, hard: tuple[bool, bool]):
    """On a grey photo all pixels agree: the sure ones win where the CRF starts from probabilities."""
    photo = np.full((*SIZE, 3), 128, np.uint8)
    logits = np.full(SIZE, -0.2, np.float32)
    logits[:, :20] = 8.0
    logits[:, 60:] = -8.0
    options = replace(DEFAULTS, soft=soft, threshold="zero")
    labels = [label_from_logits(photo, logits, options, fitted=fitted) for fitted in (False, True)]
    assert tuple(not label.any() for label in labels) == hard


@pytest.mark.parametrize("threshold", ["half", "otsu", "mean", "median"])
def test_a_constant_map_has_no_foreground(threshold: LabelThreshold):
    photo, _ = red_square()
    label = label_from_logits(photo, np.full((6, 8), 2.5, np.float32), replace(DEFAULTS, threshold=threshold))
    assert not label.any()


def test_label_finds_the_edges_that_the_cue_misses():
    photo, inside = red_square()
    before = cue_mask(blob(), SIZE)
    label = label_from_logits(photo, blob(), DEFAULTS)
    assert label.shape == SIZE
    assert label.dtype == np.uint8
    assert set(np.unique(label)) == {0, 255}
    assert overlap(before, inside) < 0.85
    assert overlap(label > 0, inside) > 0.95


def test_log_odds_by_hand():
    """Where the network is sure both ways its logits stay; where it says .1 to .3, .2 is the border."""
    np.testing.assert_allclose(
        log_odds(np.array([[-9.0, 1.5, 9.0]], np.float32), (1, 3)), [[-9, 1.5, 9]], atol=1e-4
    )
    low, middle, high = np.log(1 / 9), np.log(1 / 4), np.log(3 / 7)
    doubtful = log_odds(np.array([[low, high]], np.float32), (1, 2))
    np.testing.assert_allclose(doubtful, [[low - middle, high - middle]], atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.floats(-5, 5, width=32), st.floats(0.125, 6, width=32), st.integers(0, 9))
def test_log_odds_are_positive_where_the_cue_exceeds_a_half(shift, spread, seed):
    logits = (shift + spread * np.random.default_rng(seed).uniform(-1, 1, (5, 7))).astype(np.float32)
    odds, cue = log_odds(logits, (9, 8)), normalised_cue(logits, (9, 8))
    clear = abs(cue - 0.5) > 1e-3
    assert odds.dtype == np.float32
    assert np.array_equal(odds[clear] > 0, cue[clear] > 0.5)


@pytest.mark.parametrize("logits", [[-300.0, -200.0], [200.0, 300.0], [-300.0, 300.0]])
def test_log_odds_of_certainties_are_finite(logits: list[float]):
    assert np.isfinite(log_odds(np.array([logits], np.float32), (2, 6))).all()


def test_a_network_fitted_on_labels_is_believed_where_it_is_sure():
    """On a grey photo all pixels agree: the fewer that are sure outvote the many that doubt, but not by Eq. 6."""
    photo = np.full((*SIZE, 3), 128, np.uint8)
    logits = np.full(SIZE, -0.2, np.float32)
    logits[:, :20] = 8.0
    logits[:, 60:] = -8.0
    assert label_from_logits(photo, logits, DEFAULTS, fitted=True).all()
    for config, fitted in ((DEFAULTS, False), (replace(DEFAULTS, soft="none"), True)):
        assert not label_from_logits(photo, logits, config, fitted=fitted).any()


def test_label_does_not_depend_on_scale_and_shift_of_a_two_valued_map():
    """Stretching makes the label of a map with two values the same whatever they are."""
    photo, inside = red_square()
    labels = [
        label_from_logits(photo, np.where(inside, high, low).astype(np.float32), DEFAULTS)
        for low, high in ((-1.0, 1.0), (-6.0, -5.0), (0.1, 9.0))
    ]
    assert np.array_equal(labels[0], labels[1])
    assert np.array_equal(labels[0], labels[2])


@settings(max_examples=10, deadline=None)
@given(st.sampled_from([(1, 1), (1, 40), (40, 1), (7, 9)]), st.integers(0, 9))
def test_any_photo_size(size, seed):
    rng = np.random.default_rng(seed)
    photo = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    assert label_from_logits(photo, rng.normal(0, 1, (5, 6)).astype(np.float32), DEFAULTS).shape == size


def test_median_removes_a_speck():
    """Without CRF weights the thresholded map stays as it is, but for the median filter."""
    photo, _ = red_square()
    logits = np.full(SIZE, -1.0, np.float32)
    logits[10:30, 10:30] = 1.0
    logits[40, 50] = 1.0
    plain = replace(DEFAULTS, gaussian_compat=0.0, bilateral_compat=0.0)
    assert label_from_logits(photo, logits, replace(plain, median=1))[40, 50] == 255
    filtered = label_from_logits(photo, logits, plain)
    assert filtered[40, 50] == 0
    assert filtered[20, 20] == 255


def test_refine_prob_keeps_a_sure_map_and_sharpens_a_soft_one():
    photo, inside = red_square()
    soft = np.where(inside, 0.6, 0.4).astype(np.float32)
    assert overlap(refine_prob(photo, soft, DEFAULTS) > 0.9, inside) > 0.97


@pytest.mark.parametrize(
    "changed",
    [
        {"iterations": 1},
        {"gaussian_sxy": 9.0},
        {"gaussian_compat": 9.0},
        {"bilateral_sxy": 4.0},
        {"bilateral_srgb": 60.0},
        {"bilateral_compat": 2.0},
    ],
)
def test_every_option_of_the_crf_is_one(changed):
    """Other numbers than the defaults give another map of a soft probability."""
    photo, _ = red_square()
    rough = np.random.default_rng(0).random(SIZE).astype(np.float32)
    assert not np.array_equal(
        refine_prob(photo, rough, DEFAULTS), refine_prob(photo, rough, replace(DEFAULTS, **changed))
    )


def test_the_first_mask_is_trusted_by_the_given_probability():
    """A mask of certainty stays whatever the colours say; one of doubt gives way."""
    photo, _ = red_square()
    wrong = np.where(np.arange(16) < 8, 5.0, -5.0) * np.ones((12, 1))
    labels = [
        label_from_logits(photo, wrong.astype(np.float32), replace(DEFAULTS, soft="none", gt_prob=trust))
        for trust in (0.51, 0.999999)
    ]
    assert (labels[1] > 0).mean() == pytest.approx(0.5, abs=0.02)
    assert not np.array_equal(*labels)


@pytest.mark.parametrize("soft", ["none", "all"])
def test_the_threshold_of_the_labels_is_that_of_the_options(soft: Soft):
    """Half of the range lies far above zero, where most of the photo is a little positive."""
    photo, _ = red_square()
    logits = blob() / 4 + 3
    areas = [
        (
            label_from_logits(photo, logits, replace(DEFAULTS, soft=soft, threshold=threshold, iterations=0))
            > 0
        )
        for threshold in ("zero", "half")
    ]
    assert areas[0].mean() > areas[1].mean() + 0.1


# A folder


def make_photos(folder: Path, count: int = 5) -> list[Path]:
    photo, _ = red_square()
    paths = [folder / f"{i % 2}" / f"{i}.png" for i in range(count)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(path)
    return paths


def targets_of(photos: list[Path], out: Path) -> list[Path]:
    return [out / path.parent.name / path.name for path in photos]


def pixels(path: Path) -> NDArray[np.uint8]:
    return np.array(Image.open(path))


def maps(count: int = 5) -> NDArray[np.float32]:
    return np.stack([blob() * (1 + i) for i in range(count)])


@pytest.mark.parametrize("workers", [1, 3])
def test_writes_the_label_of_every_photo(tmp_path, workers):
    photos = make_photos(tmp_path / "in")
    targets = targets_of(photos, tmp_path / "out")
    assert write_labels(photos, targets, maps(), DEFAULTS, workers=workers, quiet=True) == []
    for i, target in enumerate(targets):
        expected = label_from_logits(pixels(photos[i]), maps()[i], DEFAULTS)
        assert np.array_equal(pixels(target), expected)
    assert {path for path in (tmp_path / "out").rglob("*") if path.is_file()} == set(targets)


def test_reads_a_memory_mapped_array(tmp_path):
    photos = make_photos(tmp_path / "in", 2)
    np.save(tmp_path / "maps.npy", maps(2))
    targets = targets_of(photos, tmp_path / "out")
    write_labels(photos, targets, np.load(tmp_path / "maps.npy", mmap_mode="r"), DEFAULTS, quiet=True)
    assert np.array_equal(pixels(targets[1]), label_from_logits(pixels(photos[1]), maps(2)[1], DEFAULTS))


def test_names_and_skips_a_damaged_photo(tmp_path, caplog):
    photos = make_photos(tmp_path / "in")
    photos[2].write_bytes(photos[2].read_bytes()[:60])
    targets = targets_of(photos, tmp_path / "out")
    with caplog.at_level(logging.WARNING, logger="act2sal"):
        failures = write_labels(photos, targets, maps(), DEFAULTS, workers=2, quiet=True)
    assert len(failures) == 1
    assert str(photos[2]) in failures[0]
    assert str(photos[2]) in caplog.text
    assert [target.is_file() for target in targets] == [True, True, False, True, True]


def test_resume_makes_only_what_is_missing(tmp_path, monkeypatch):
    photos = make_photos(tmp_path / "in")
    targets = targets_of(photos, tmp_path / "out")
    write_labels(photos[:3], targets[:3], maps(3), DEFAULTS, quiet=True)
    written = [target.stat().st_mtime_ns for target in targets[:3]]
    made = []

    def count(photo, logits, config, *, fitted):
        made.append(float(logits.max()))
        return label_from_logits(photo, logits, config, fitted=fitted)

    monkeypatch.setattr(pseudo_labels, "label_from_logits", count)
    write_labels(photos, targets, maps(), DEFAULTS, resume=True, quiet=True)
    assert sorted(made) == [float(maps()[i].max()) for i in (3, 4)]
    assert [target.stat().st_mtime_ns for target in targets[:3]] == written
    assert all(target.is_file() for target in targets)


def test_without_resume_everything_is_made_anew(tmp_path):
    photos = make_photos(tmp_path / "in", 2)
    targets = targets_of(photos, tmp_path / "out")
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(SIZE, 7, np.uint8)).save(target)
    write_labels(photos, targets, maps(2), DEFAULTS, quiet=True)
    assert 7 not in pixels(targets[0])


def test_an_interrupted_run_leaves_whole_files_and_can_go_on(tmp_path, monkeypatch):
    photos = make_photos(tmp_path / "in")
    targets = targets_of(photos, tmp_path / "out")

    def stop_at_the_third(photo, logits, config, *, fitted):
        if logits.max() > 2.5 * blob().max():
            raise KeyboardInterrupt
        return label_from_logits(photo, logits, config, fitted=fitted)

    monkeypatch.setattr(pseudo_labels, "label_from_logits", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        write_labels(photos, targets, maps(), DEFAULTS, workers=1, quiet=True)
    monkeypatch.undo()
    left = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert set(left) == set(targets[:2])
    write_labels(photos, targets, maps(), DEFAULTS, resume=True, quiet=True)
    assert np.array_equal(pixels(targets[4]), label_from_logits(pixels(photos[4]), maps()[4], DEFAULTS))


def test_shows_progress_that_counts_what_was_done_before(tmp_path, capsys):
    photos = make_photos(tmp_path / "in", 4)
    targets = targets_of(photos, tmp_path / "out")
    write_labels(photos[:1], targets[:1], maps(1), DEFAULTS, quiet=True)
    assert capsys.readouterr().err == ""
    write_labels(photos, targets, maps(4), DEFAULTS, resume=True)
    assert "labels: 4/4 (100%)" in capsys.readouterr().err


def test_labels_say_what_they_are_and_what_their_encoders_saw(tmp_path):
    photos = make_photos(tmp_path / "in", 2)
    for seen, told in (("ImageNet labels", "; encoders saw: ImageNet labels"), (None, "")):
        targets = targets_of(photos, tmp_path / f"out{seen}")
        options = {} if seen is None else {"seen": seen}
        write_labels(photos, targets, maps(2), DEFAULTS, quiet=True, **options)
        with Image.open(targets[0]) as label:
            assert label.info["Software"] == f"act2sal {__version__} label{told}"


def test_maps_of_a_network_fitted_on_labels_are_not_thresholded(tmp_path):
    photos = make_photos(tmp_path / "in", 1)
    weak = {"iterations": 1, "gaussian_compat": 0.5, "bilateral_compat": 0.5, "median": 1}
    config = replace(DEFAULTS, soft="fitted", gt_prob=0.51, **weak)
    rough = np.random.default_rng(0).normal(0, 2, (1, 12, 16)).astype(np.float32)
    found = []
    for fitted in (False, True):
        targets = targets_of(photos, tmp_path / str(fitted))
        write_labels(photos, targets, rough, config, fitted=fitted, quiet=True)
        assert np.array_equal(
            pixels(targets[0]), label_from_logits(pixels(photos[0]), rough[0], config, fitted=fitted)
        )
        found.append(pixels(targets[0]))
    assert not np.array_equal(*found)


def test_the_time_of_each_part_is_told(tmp_path):
    photos = make_photos(tmp_path / "in", 2)
    stopwatch = Stopwatch(running=True)
    lap = stopwatch.lap()
    write_labels(
        photos, targets_of(photos, tmp_path / "out"), maps(2), DEFAULTS, quiet=True, stopwatch=stopwatch
    )
    assert {"seconds/decode", "seconds/encoder", "seconds/CRF"} <= lap.row().keys()


def test_as_many_threads_as_asked_for(tmp_path, monkeypatch):
    photos = make_photos(tmp_path / "in", 6)
    threads = set()

    def slow(*arguments, **options):
        threads.add(threading.get_ident())
        time.sleep(0.02)
        return np.zeros(SIZE, np.uint8)

    monkeypatch.setattr(pseudo_labels, "label_from_logits", slow)
    write_labels(photos, targets_of(photos, tmp_path / "out"), maps(6), DEFAULTS, workers=1, quiet=True)
    assert len(threads) == 1


def test_a_photo_that_cannot_be_read_is_told_as_it_is_returned(tmp_path, caplog):
    photos = make_photos(tmp_path / "in", 2)
    photos[1].write_bytes(b"no photo")
    with caplog.at_level(logging.WARNING):
        failures = write_labels(photos, targets_of(photos, tmp_path / "out"), maps(2), DEFAULTS, quiet=True)
    assert caplog.messages == failures
    assert [record.msg for record in caplog.records] == ["%s"]
