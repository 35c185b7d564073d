"""Fig. 4: the cues of stage 1 beside the maps of DSR, MC, RBD and HS."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from act2sal.classical import METHODS
from act2sal.config import TrainConfig
from act2sal.data.images import read_photo
from act2sal.data.photo_files import by_stem
from act2sal.evaluation.image_scores import score_prob
from act2sal.reproduce.bench import Bench, Target
from act2sal.reproduce.drawing import Picture, write_grid
from act2sal.reproduce.examples import cue_logits_of, example_names, examples, grey
from act2sal.reproduce.results import Figure
from act2sal.reproduce.training import Training, baseline

SHOWN = 5


def trainings(config: TrainConfig) -> list[Training]:
    """A2S."""
    return [baseline(config)]


def make(bench: Bench, stem: Path) -> Figure:
    """Draw some training photos with the maps of each method and the label that stage 1 made."""
    run = bench.store.detector(baseline(bench.configs[0]))
    found = examples(bench.material.training, example_names(bench.material.training, SHOWN))
    labels = by_stem(run / "labels", [])
    cues = cue_logits_of(run, [example.photo for example in found])
    rows: list[list[Picture]] = []
    scores: dict[str, list[float]] = {}
    for example, cue in zip(found, cues, strict=True):
        maps: dict[str, NDArray[np.floating]] = {
            name.upper(): method(example.photo) for name, method in METHODS.items()
        }
        maps |= {"cue": expit(cue)}
        maps |= {"label": read_photo(labels[example.name])[..., 0].astype(np.float32) / 255}
        for name, prob in maps.items():
            scores.setdefault(name, []).append(
                score_prob(np.clip(prob, 0, 1), example.mask > 127).measures.mae
            )
        rows.append([example.photo, example.mask, *(grey(prob) for prob in maps.values())])
    heads = ("photo", "mask", *scores)
    caption = f"Training photos {', '.join(example.name for example in found)}; label: the cue after CRF and median."
    return Figure(TARGET.title, write_grid(stem, heads, rows), caption, {"MAE of the photos shown": scores})


TARGET = Target("Fig. 4: cues beside hand-crafted maps", trainings, make)
