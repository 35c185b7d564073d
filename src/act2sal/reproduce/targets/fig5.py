"""Fig. 5: what thresholds make of the activation map before training."""

from pathlib import Path

import numpy as np
import torch

from act2sal.a2s.boundary import threshold_of
from act2sal.a2s.resampling import bilinear
from act2sal.reproduce.bench import Bench, Target, no_trainings
from act2sal.reproduce.drawing import Picture, write_grid
from act2sal.reproduce.examples import example_names, examples
from act2sal.reproduce.results import Figure
from act2sal.reproduce.targets.table1 import PAPER
from act2sal.reproduce.untrained import raw_activations

SHOWN = 5


def make(bench: Bench, stem: Path) -> Figure:
    """Draw some photos with M and the pixels that exceed each threshold of Table I."""
    names = example_names(bench.material.training, SHOWN)
    found = examples(bench.material.training, names)
    maps = torch.cat(list(raw_activations(bench.material.training, bench.configs[0], names)))
    thresholds = {rule: threshold_of(maps, rule) for rule in PAPER}
    rows: list[list[Picture]] = []
    for index, example in enumerate(found):
        own = maps[index : index + 1]
        masks = [own >= values[index] for values in thresholds.values()]
        size = example.photo.shape[:2]
        rows.append([example.photo, *(_grey(one.float(), size) for one in (own, *masks)), example.mask])
    files = write_grid(stem, ("photo", "M", *PAPER, "mask"), rows)
    found_levels = {str(rule): values.flatten().tolist() for rule, values in thresholds.items()}
    caption = f"M of blocks that were never fitted, stretched to [0, 1]. Photos {', '.join(names)}."
    return Figure(TARGET.title, files, caption, {"threshold of the photos shown": found_levels})


def _grey(maps: torch.Tensor, size: tuple[int, int]) -> Picture:
    """A map (1, 1, h, w) in [0, 1] at the size of the photo."""
    return np.round(bilinear(maps, size)[0, 0].numpy() * 255).astype(np.uint8)


TARGET = Target("Fig. 5: thresholds before training", no_trainings, make)
