"""Make method.jpg beside this file: the steps of the method on photographs of scikit-image.

    python docs/make_method.py

A short training on the bundled photographs and rendered scenes; its samples are the pictures. Takes about a minute
on two cores.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from make_pictures import write
from numpy.typing import NDArray

from act2sal import TrainConfig, train
from act2sal.data.images import read_photo
from act2sal.runs.samples import Sample, read_samples
from act2sal.scenes import write_demo_photos, write_scenes

FOLDER = Path(__file__).parent
SHOWN = ("chelsea.png", "coffee.png", "rocket.jpg")
SIZE, SCENES = 224, 5


def main() -> None:
    """Train, and write the picture."""
    default = TrainConfig()
    config = replace(
        default,
        size=SIZE,
        device="cpu",
        stage1=replace(default.stage1, rounds=0),
        stage2=replace(default.stage2, epochs=30),
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scenes(folder, SCENES, seed=0)
        write_demo_photos(folder / "photos")
        train(folder / "photos", folder / "run", config)
        shown = [one for one in read_samples(folder / "run" / "samples") if one.name in SHOWN]
        write(FOLDER / "method.jpg", [row(one) for one in shown])


def row(sample: Sample) -> list[NDArray[np.uint8]]:
    """Photo, activation map, cue, label, the label as it was rectified last, prediction."""
    rectified = list(sample.rectified.values())[-1] if sample.rectified else None
    pictures = (
        sample.photo,
        sample.activation,
        sample.cue,
        sample.label,
        rectified,
        sample.prediction,
    )
    return [read_photo(path) for path in pictures if path is not None]


if __name__ == "__main__":
    main()
