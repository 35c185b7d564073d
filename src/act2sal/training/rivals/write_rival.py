"""The training of a learned rival in a run: hand-crafted maps, the rival's fits, its labels and its detector."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np

from act2sal.classical import METHODS
from act2sal.config import MethodName
from act2sal.data.images import gray_png, resize_map
from act2sal.data.origin import Origin, marked_png, write_result
from act2sal.networks.encoders import Encoder
from act2sal.networks.rivals import SaliencyNetwork
from act2sal.runs.samples import Samples
from act2sal.training.generation import Generation
from act2sal.training.generation_detector import bank_of_stage2, finish_detector
from act2sal.training.photos import workers_of
from act2sal.training.rivals.arrays import unit
from act2sal.training.rivals.hand_crafted import hand_crafted_maps
from act2sal.training.rivals.mnl import fit_mnl
from act2sal.training.rivals.rival_training import RivalTraining
from act2sal.training.rivals.sbf import LABELERS, fit_sbf
from act2sal.training.rivals.usps import fit_usps

FITS: dict[MethodName, Callable[[RivalTraining], SaliencyNetwork]] = {
    "sbf": fit_sbf,
    "mnl": fit_mnl,
    "usps": fit_usps,
}
"""A further rival needs its file, its name here and among `config.MethodName`."""


def write_rival(generation: Generation, samples: Samples) -> None:
    """Write the labels and the detector of `config.method`, going on where an earlier call was stopped.

    The labels are what the last network predicts for its own photos.

    Raises:
        ImageError: a photo can no longer be read.
        FloatingPointError: a loss or a weight is no longer finite.
        OSError: the disk is full.
    """
    config, method = generation.config, generation.config.method
    bank = bank_of_stage2(generation)
    folder = generation.folder.path / "maps" if config.rival.maps is None else Path(config.rival.maps)
    names = LABELERS if method == "sbf" else tuple(METHODS)
    cache = generation.folder.cache / "rival"
    maps = hand_crafted_maps(bank, folder, names, cache, generation.trainer, workers=workers_of(config))
    training = RivalTraining(generation, bank, maps, samples)
    detector = FITS[method](training)
    found = training.predictions(f"{method} at the end", detector)
    targets = bank.outputs(generation.folder.labels)
    origin = Origin("label", cast(Encoder, detector.encoder).supervision)
    for prob, size, target in zip(found, bank.original_sizes, targets, strict=True):
        enlarged = resize_map(unit(prob), size)
        pixels = gray_png(np.round(255 * enlarged).astype(np.uint8))
        write_result(target, marked_png(pixels, origin))
    samples.labels(targets)
    finish_detector(generation, detector, bank, samples)
