"""Fig. 8: the maps of label-free methods side by side."""

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from act2sal.classical import METHODS
from act2sal.config import TrainConfig
from act2sal.data.images import SaliencyMethod
from act2sal.predict.detector import Detector
from act2sal.reproduce.bench import Bench, Target
from act2sal.reproduce.drawing import Picture, write_grid
from act2sal.reproduce.examples import example_names, examples, grey
from act2sal.reproduce.results import Figure
from act2sal.reproduce.targets.table2 import LEARNED, learned
from act2sal.reproduce.training import Training, baseline

SHOWN = 5


def trainings(config: TrainConfig) -> list[Training]:
    """The learned methods."""
    return [baseline(config), *(learned(method, config) for method in LEARNED)]


def make(bench: Bench, stem: Path) -> Figure:
    """Draw photos of the first test set with the map of each method."""
    config, test = bench.configs[0], bench.material.tests[0]
    methods: dict[str, SaliencyMethod] = {name.upper(): method for name, method in METHODS.items()}
    for name in LEARNED:
        methods[name.upper()] = partial(_map_of, Detector.load(bench.store.detector(learned(name, config))))
    methods["A2S"] = partial(_map_of, Detector.load(bench.store.detector(baseline(config))))
    rows: list[list[Picture]] = []
    found = examples(test, example_names(test, SHOWN))
    for example in found:
        maps = [grey(method(example.photo)) for method in methods.values()]
        rows.append([example.photo, example.mask, *maps])
    files = write_grid(stem, ("photo", "mask", *methods), rows)
    caption = f"Photos {', '.join(example.name for example in found)} of {test.name}."
    return Figure(TARGET.title, files, caption, {})


def _map_of(detector: Detector, photo: Picture) -> NDArray[np.float32]:
    return detector(photo)


TARGET = Target("Fig. 8: label-free methods side by side", trainings, make)
