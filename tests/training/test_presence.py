"""Whether there is a salient object: the examples it is learned from, the fit, and how well the shipped one tells."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from act2sal.a2s.detector import ObjectPresence
from act2sal.data.images import read_photo, resize_photo
from act2sal.errors import InputError
from act2sal.networks.checkpoint import load_detector, save_detector
from act2sal.networks.model_files import BUILTIN_PATH
from act2sal.predict.detector import Detector
from act2sal.predict.torch_network import TorchNetwork
from act2sal.scenes.backgrounds import SKIMAGE_PHOTOS, TEXTURE_PHOTOS
from act2sal.training.presence import Described, balance, fit_presence, logistic
from act2sal.training.presence_examples import WITH, examples, shuffled, window_with, window_without
from test_readme import ROOT, recipe_module
from tiny import SIZE, cpu, random_squares, tiny_detector

RESULTS = json.loads((ROOT / "recipes" / "results" / "confidence.json").read_text(encoding="utf-8"))
roc_auc = recipe_module("confidence").roc_auc


def test_the_results_are_of_the_shipped_detector_and_good() -> None:
    assert RESULTS["detector_sha256"] == hashlib.sha256(BUILTIN_PATH.read_bytes()).hexdigest(), (
        "the shipped detector has changed: run recipes/confidence.py again"
    )
    for name, check in RESULTS["checks"].items():
        assert check["roc_auc"]["all"] >= 0.85, name
        assert check["roc_auc"]["crops of equal size"] >= 0.85, name


def test_the_photographs_of_scikit_image_are_told_apart() -> None:
    detector = Detector.load(device="cpu")

    def confidences(names: tuple[str, ...]) -> NDArray[np.float64]:
        return np.array([detector.confidence(SKIMAGE_PHOTOS / name) for name in names])

    objects = confidences(("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "horse.png"))
    assert roc_auc(objects, confidences(TEXTURE_PHOTOS)) >= 0.85


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_blank_photo_holds_no_object(level: int) -> None:
    assert Detector.load(device="cpu").confidence(np.full((90, 120, 3), level, np.uint8)) < 0.5


def test_both_backends_say_the_same() -> None:
    photo = read_photo(SKIMAGE_PHOTOS / "chelsea.png")
    one, other = (Detector.load(backend=backend).confidence(photo) for backend in ("torch", "onnx"))
    assert one == pytest.approx(other, abs=1e-3)


def test_confidences_are_those_of_one_photo_at_a_time() -> None:
    network = Detector.load(device="cpu").network
    squares = np.stack(random_squares(3, size=network.size))
    probs, together = network.rated(squares)
    assert np.allclose(probs, network(squares), atol=1e-5)
    alone = np.concatenate([network.rated(square[None])[1] for square in squares])
    assert np.allclose(together, alone, atol=1e-5)


def test_a_detector_without_that_part_says_so() -> None:
    detector = Detector(TorchNetwork(tiny_detector(), size=SIZE, fabric=cpu()))
    assert not detector.network.rates
    with pytest.raises(InputError, match="does not say how sure it is"):
        detector.confidence(random_squares(1)[0])
    with pytest.raises(ValueError, match="whether there is an object"):
        tiny_detector().rated(torch.zeros(1, 3, SIZE, SIZE))


def test_the_confidence_is_at_most_the_largest_probability() -> None:
    network = tiny_detector()
    network.presence = ObjectPresence(channels=network.encoder.channels[-1])
    network.presence.linear.bias.data.fill_(1e3)
    photos = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits, confidences = network.rated(photos)
        assert torch.equal(logits, network(photos))
    assert torch.allclose(confidences, torch.sigmoid(logits).amax(dim=(1, 2, 3)))


def test_it_is_saved_and_read_with_the_detector(tmp_path: Path) -> None:
    network = tiny_detector()
    plain, rating = tmp_path / "plain.safetensors", tmp_path / "rating.safetensors"
    save_detector(plain, network)
    network.presence = fit_presence(network, random_squares(3), seed=0, fabric=cpu(), quiet=True)
    save_detector(rating, network)
    assert load_detector(plain).presence is None
    again = load_detector(rating).presence
    assert again is not None
    assert torch.equal(again.linear.weight, network.presence.linear.weight)


def test_the_fit_depends_on_the_seed_alone_and_leaves_the_detector() -> None:
    network = tiny_detector()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    one, same, other = (
        fit_presence(network, random_squares(4), seed=seed, fabric=cpu(), quiet=True).linear.weight
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_the_fit_separates_what_can_be_separated() -> None:
    rng = np.random.default_rng(0)
    positive = np.arange(200) % 2 == 0
    features = rng.normal(0, 1, (200, 5)) * [1, 10, 100, 1, 1] + [0, 5, -30, 0, 2]
    features[:, 1] += 60 * positive
    intercept, weights = logistic(features, positive, np.full(200, 1 / 200))
    score = intercept + features @ weights
    assert np.array_equal(score > 0, positive)
    assert roc_auc(score[positive], score[~positive]) == 1


def test_a_feature_that_never_changes_has_no_weight() -> None:
    features = np.column_stack([np.full(20, 7.0), np.arange(20.0)])
    _, weights = logistic(features, np.arange(20) >= 10, np.full(20, 1 / 20))
    assert abs(weights[0]) < 1e-6 < weights[1]


def test_with_and_without_an_object_count_the_same_and_so_do_their_kinds() -> None:
    kinds = np.array(["photo"] * 3 + ["crop with the object"] + ["tiles shuffled"] * 2)
    weight = balance(Described(np.zeros((6, 1)), np.isin(kinds, WITH), kinds))
    assert weight == pytest.approx([1 / 12] * 3 + [1 / 4] + [1 / 4] * 2)


def test_examples_of_a_photo() -> None:
    photo = resize_photo(read_photo(SKIMAGE_PHOTOS / "chelsea.png"), (120, 160))
    found = np.zeros((120, 160), bool)
    found[30:60, 20:50] = True
    made = list(examples(photo, found, np.random.default_rng(0)))
    assert [example.kind for example in made] == [
        "photo",
        "crop without the object",
        "crop with the object",
        "object painted over",
        "tiles shuffled",
        "rendered background",
    ]
    assert [example.holds_object for example in made] == [True, False, True, False, False, False]
    assert all(example.picture.dtype == np.uint8 and example.picture.ndim == 3 for example in made)
    assert made[1].picture.shape == made[2].picture.shape
    away = np.ones_like(found)
    away[10:80, :70] = False
    assert np.array_equal(made[3].picture[away], photo[away])
    assert not np.array_equal(made[3].picture[found], photo[found])


def test_a_photo_in_which_nothing_was_found_still_gives_examples() -> None:
    photo = random_squares(1)[0]
    made = list(examples(photo, np.zeros((SIZE, SIZE), bool), np.random.default_rng(0)))
    assert [example.kind for example in made] == ["photo", "tiles shuffled", "rendered background"]


def test_roc_auc_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    positive, negative = rng.integers(0, 6, 30) / 5 + 0.2, rng.integers(0, 6, 20) / 5
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert roc_auc(positive, negative) == pytest.approx(np.mean(pairs), abs=1e-4)


@pytest.mark.parametrize("seed", range(30))
def test_windows_with_and_without_the_object(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros(rng.integers(20, 60, 2), bool)
    top, left = rng.integers(0, mask.shape[0] - 5), rng.integers(0, mask.shape[1] - 5)
    mask[top : top + rng.integers(3, 20), left : left + rng.integers(3, 20)] = True
    without = window_without(mask, rng)
    if without is None:
        return
    top, left, height, width = without
    assert mask[top : top + height, left : left + width].shape == (height, width)
    assert not mask[top : top + height, left : left + width].any()
    top, left, tall, wide = window_with(mask, (height, width), rng)
    assert tall >= height
    assert wide >= width
    held = mask[top : top + tall, left : left + wide]
    assert held.shape == (tall, wide)
    assert held.sum() == mask.sum()


def test_nothing_is_cut_from_a_photo_full_of_object() -> None:
    assert window_without(np.ones((20, 30), bool), np.random.default_rng(0)) is None


def test_shuffling_keeps_the_tiles() -> None:
    photo = np.arange(16, dtype=np.uint8).reshape(4, 4, 1).repeat(3, axis=2).repeat(8, 0).repeat(8, 1)
    mixed = shuffled(photo, np.random.default_rng(0))
    assert mixed.shape == photo.shape
    assert not np.array_equal(mixed, photo)
    assert sorted(mixed[::8, ::8, 0].ravel().tolist()) == list(range(16))
