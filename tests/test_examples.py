"""The page that shows the method runs, and stays one page."""

from pathlib import Path

import numpy as np

from act2sal.data.images import read_photo
from act2sal.predict.detector import Detector
from test_readme import ROOT, recipe_module
from tiny import ENCODER


def test_the_minimal_example_trains_a_detector(scenes: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    example = recipe_module("minimal", "examples")
    example.main(scenes / "photos", model, encoder=ENCODER, weights="random", epochs=3)
    photo = read_photo(next(iter(sorted((scenes / "photos").iterdir()))))
    prob = Detector.load(model)(photo)
    assert prob.shape == photo.shape[:2]
    assert 0 <= prob.min() < prob.max() <= 1
    assert np.isfinite(prob).all()


def test_the_minimal_example_is_one_page() -> None:
    assert len((ROOT / "examples" / "minimal.py").read_text(encoding="utf-8").splitlines()) < 80
