"""Fig. 1: activation maps, saliency cues, and the cues with the wrong sign."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from act2sal.config import TrainConfig
from act2sal.reproduce.bench import Bench, Target
from act2sal.reproduce.drawing import Picture, write_grid
from act2sal.reproduce.examples import Example, cue_logits_of, example_names, examples, grey
from act2sal.reproduce.results import Figure
from act2sal.reproduce.training import Training, baseline
from act2sal.runs.samples import colour_activation

SHOWN = 4


def trainings(config: TrainConfig) -> list[Training]:
    """A2S."""
    return [baseline(config)]


def make(bench: Bench, stem: Path) -> Figure:
    """Draw some photos with the map theta in colour, sigmoid(sign theta) and sigmoid(-sign theta)."""
    config = bench.configs[0]
    names = example_names(bench.material.training, SHOWN)
    found = examples(bench.material.training, names)
    logits = cue_logits_of(bench.store.detector(baseline(config)), [example.photo for example in found])
    rows = [_row(example, one) for example, one in zip(found, logits, strict=True)]
    files = write_grid(stem, ("photo", "activation", "cue", "inverted", "mask"), rows)
    caption = (
        "Fitted stage 1: theta (red: on the side of the object), the cue sigmoid(sign theta) (Eq. 5) and the map of "
        f"the other sign. Photos {', '.join(names)}."
    )
    return Figure(TARGET.title, files, caption, {})


def _row(example: Example, logits: NDArray[np.float32]) -> list[Picture]:
    cue = expit(logits)
    return [example.photo, colour_activation(logits), grey(cue), grey(1 - cue), example.mask]


TARGET = Target("Fig. 1: activation, cue, inverted map", trainings, make)
