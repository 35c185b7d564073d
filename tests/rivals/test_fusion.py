"""Supervision by fusion: votes, shares and labels by hand, and labels that beat the mean of their inputs."""

import numpy as np
import pytest
from numpy.typing import NDArray

from act2sal.rivals import fusion
from act2sal.rivals.fusion import (
    easiest,
    fused_label,
    grabcut_label,
    image_distances,
    labeler_shares,
    local_votes,
    pixel_weights,
    superpixel_distances,
    superpixels_of,
    votes_by_distance,
)
from act2sal.rivals.glad import Glad, glad
from act2sal.scenes import render_scene


def test_distances_by_hand() -> None:
    maps = np.array([[[1, 0]], [[1, 0]], [[0.4, 0.6]]], np.float32)  # mean .8, .2
    np.testing.assert_allclose(image_distances(maps), [0.4, 0.4, 0.8], rtol=1e-6)
    segments = np.array([[0, 1]])
    np.testing.assert_allclose(superpixel_distances(maps, segments), [[0.2, 0.2, 0.4]] * 2, atol=1e-6)


def test_votes_and_prior_by_hand() -> None:
    found = votes_by_distance(np.array([[0.1, 0.2, 0.9], [0.3, 0.8, 0.9], [0.2, 0.2, 0.3]]))
    # The mean of all is .4333. Photo 1: two votes, the majority of .1 and .2; photo 2: the majority does not vote.
    assert found.votes.tolist() == [[True, True, False], [True, False, False], [True, True, True]]
    np.testing.assert_allclose(found.prior, [1 - 0.15 / 0.95, 1 - 0.85 / 0.95, 1 - (0.7 / 3) / 0.95])


def test_a_tie_counts_all_labelers() -> None:
    found = votes_by_distance(np.array([[0.1, 0.5], [0.1, 0.5]]))
    np.testing.assert_allclose(found.prior, 1 - 0.3 / 0.4)


def test_shares_by_hand() -> None:
    np.testing.assert_allclose(labeler_shares(np.array([3.0, 1.0, -2.0])), [0.75, 0.25, 0])
    np.testing.assert_allclose(labeler_shares(np.array([-1.0, -3.0])), [0.75, 0.25])


def test_the_easiest_share_in_order() -> None:
    assert easiest(np.array([1.0, 5.0, 3.0, 4.0]), 0.5).tolist() == [1, 3]
    assert easiest(np.array([1.0, 5.0]), 0.01).tolist() == [1]


@pytest.mark.parametrize(("number", "share"), [(1, 0.9), (3, 0.9), (4, 0.1), (9, 0.1)])
def test_a_label_mixes_global_and_local(number: int, share: float) -> None:
    maps = np.array([[[0.0, 1.0, 0.5]], [[1.0, 0.0, 0.5]]], np.float32)
    local = Glad(np.ones(1), np.array([0.0, 1.0]), np.ones(1))  # trusts the second alone
    label = fused_label(maps, np.array([1.0, 0.0]), local, number)
    mixed = share * maps[0] + (1 - share) * maps[1]
    np.testing.assert_allclose(label, (mixed - mixed.min()) / np.ptp(mixed), atol=1e-6)


def test_weights_follow_the_easiness_of_superpixels() -> None:
    segments = np.array([[0, 1], [2, 2]])
    weights = pixel_weights(segments, Glad(np.ones(3), np.ones(3), np.array([1.0, 3.0, 2.0])), 5.0)
    np.testing.assert_allclose(weights, [[0.01, 1.01], [0.51, 0.51]], atol=1e-6)


def test_grabcut_finds_the_edge_of_a_rough_label() -> None:
    photo = np.zeros((60, 80, 3), np.uint8)
    photo[20:40, 30:60] = (220, 60, 40)
    rough = np.full((60, 80), 0.1, np.float32)
    rough[15:42, 26:57] = 0.9
    label = grabcut_label(photo, rough)
    assert set(np.unique(label)) == {0, 1}
    assert ((label > 0) == (photo[..., 0] > 0)).mean() > 0.99
    assert grabcut_label(photo, np.zeros((60, 80), np.float32)).max() == 0


def noisy_maps(mask: NDArray[np.bool_], difficulty: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Three maps: a good one, a middling one, and a bad one; the noise grows with the difficulty."""
    maps = []
    cell = np.ones((mask.shape[0] // 8, mask.shape[1] // 8))
    for rate in (0.06, 0.12, 0.3):
        wrong = np.kron(rng.random((8, 8)) < rate * difficulty, cell).astype(bool)
        levels = 0.1 + 0.8 * np.where(wrong, ~mask, mask) + 0.05 * rng.standard_normal(mask.shape)
        maps.append(np.clip(levels, 0, 1))
    return np.stack(maps).astype(np.float32)


def test_planted_truth_labels_are_better_than_the_mean_of_the_maps() -> None:
    rng = np.random.default_rng(0)
    scenes = [render_scene(seed, (96, 128)) for seed in range(16)]
    maps = [noisy_maps(mask, number / 8, rng) for number, (_, mask) in enumerate(scenes)]
    votes = votes_by_distance(np.stack([image_distances(one) for one in maps]))
    found = glad(votes.votes, votes.prior)
    shares = labeler_shares(found.ability)
    errors, fused_errors, plain = [], [], []
    for index in easiest(found.easiness, fusion.KEPT_SHARES[4]):
        photo, mask = scenes[index]
        local = local_votes(maps[index], superpixels_of(photo))
        fused = fused_label(maps[index], shares, local, 5)
        fused_errors.append(np.abs(fused - mask).mean())
        errors.append(np.abs(grabcut_label(photo, fused) - mask).mean())
        plain.append(np.abs(maps[index].mean(axis=0) - mask).mean())
    assert np.mean(fused_errors) < np.mean(plain)
    assert np.mean(errors) < 0.6 * np.mean(plain)
