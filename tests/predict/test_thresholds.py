"""Cutting saliency maps into object and ground."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from act2sal.errors import InputError
from act2sal.evaluation.image_scores import score_prob
from act2sal.predict.thresholds import Threshold, mask_of, parse_threshold

MAPS = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(0, 1, width=32)
)
THRESHOLDS = st.one_of(st.floats(0, 1), st.sampled_from(["otsu", "adaptive"]))


@pytest.mark.parametrize(
    ("text", "threshold"), [("otsu", "otsu"), ("adaptive", "adaptive"), ("0.3", 0.3), ("0", 0.0), ("1", 1.0)]
)
def test_words_and_numbers(text: str, threshold: Threshold) -> None:
    assert parse_threshold(text) == threshold


@pytest.mark.parametrize("text", ["", "Otsu", "-0.1", "1.5", "nan", "inf", "128", "0,3", "30%"])
def test_anything_else_is_named(text: str) -> None:
    with pytest.raises(InputError, match=f"otsu, adaptive or a number in .0, 1., not {text!r}"):
        parse_threshold(text)


def test_above_a_number() -> None:
    prob = np.array([[0.0, 0.5, 0.51, 1.0]], np.float32)
    assert mask_of(prob, 0.5).tolist() == [[False, False, True, True]]
    assert mask_of(prob, 0.0).tolist() == [[False, True, True, True]]
    assert not mask_of(prob, 1.0).any()


def test_adaptive_is_twice_the_mean_and_holds_the_level_itself() -> None:
    prob = np.array([[0.0, 0.0, 0.25, 0.25, 0.75]], np.float32)  # mean 0.25
    assert mask_of(prob, "adaptive").tolist() == [[False, False, False, False, True]]
    assert mask_of(np.array([[0.0, 0.0, 0.25, 0.25]], np.float32), "adaptive").tolist() == [[0, 0, 1, 1]]


def test_adaptive_is_at_most_one() -> None:
    assert mask_of(np.array([[0.5, 1.0, 1.0]], np.float32), "adaptive").tolist() == [[False, True, True]]


def test_adaptive_is_that_of_the_adaptive_f() -> None:
    generator = np.random.default_rng(0)
    prob = (generator.permutation(600) % 256 / 255).reshape(20, 30).astype(np.float32) ** 3
    prob = np.round(prob * 255).astype(np.float32) / 255  # levels of a file, from 0 to 1
    truth = generator.random((20, 30)) > 0.6
    mask = mask_of(prob, "adaptive")
    overlap = (mask & truth).sum()
    expected = 1.3 * overlap / (mask.sum() + 0.3 * truth.sum())
    assert score_prob(prob, truth).measures.f_adaptive == pytest.approx(expected)


def test_otsu_separates_two_levels() -> None:
    prob = np.full((6, 8), 0.1, np.float32)
    prob[2:4, 3:6] = 0.4
    np.testing.assert_array_equal(mask_of(prob, "otsu"), prob > 0.2)


def brute_force_otsu(prob: NDArray[np.float32]) -> float:
    """The largest variance between the classes, over every cut between two levels."""

    def between(cut: np.float32) -> float:
        low, high = prob[prob <= cut], prob[prob > cut]
        return low.size * high.size * (low.mean() - high.mean()) ** 2

    return max(between(level) for level in np.unique(prob)[:-1])


def test_otsu_finds_the_best_of_all_cuts() -> None:
    generator = np.random.default_rng(1)
    prob = np.concatenate([generator.normal(0.2, 0.05, 300), generator.normal(0.7, 0.1, 100)])
    prob = np.clip(prob, 0, 1).astype(np.float32).reshape(20, 20)
    mask = mask_of(prob, "otsu")
    reached = mask.sum() * (~mask).sum() * (prob[mask].mean() - prob[~mask].mean()) ** 2
    assert reached == pytest.approx(brute_force_otsu(prob), rel=0.01)


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("threshold", ["otsu", "adaptive"])
@pytest.mark.parametrize("shape", [(1, 1), (5, 7)])
def test_a_map_of_one_level_has_no_object(level: float, threshold: Threshold, shape: tuple[int, int]) -> None:
    assert not mask_of(np.full(shape, level, np.float32), threshold).any()


@settings(deadline=None, max_examples=60)
@given(MAPS, THRESHOLDS)
def test_object_is_brighter_than_ground(prob: NDArray[np.float32], threshold: Threshold) -> None:
    mask = mask_of(prob, threshold)
    assert (mask.shape, mask.dtype) == (prob.shape, np.bool_)
    if mask.any() and not mask.all():
        assert prob[mask].min() > prob[~mask].max()


@settings(deadline=None, max_examples=60)
@given(MAPS, st.floats(0, 1), st.floats(0, 1))
def test_a_higher_number_gives_a_smaller_object(
    prob: NDArray[np.float32], first: float, second: float
) -> None:
    low, high = sorted((first, second))
    assert not (mask_of(prob, high) & ~mask_of(prob, low)).any()
