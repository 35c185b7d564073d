"""Stage 1 from its encoder to its last round: the first fit by Eq. 4, then self-training on its own labels."""

import logging
import shutil
from pathlib import Path

import numpy as np
import torch

from act2sal.a2s.activation import ActivationNetwork
from act2sal.config import ConfigError
from act2sal.data.array_files import ArrayFileError, check, create_array, open_array, seal
from act2sal.networks.encoders import Encoder, freeze
from act2sal.predict.detector import Detector
from act2sal.runs.training_state import TrainingState
from act2sal.training.assembly import initial_encoder
from act2sal.training.photos import read_label
from act2sal.training.stage1.feature_source import make_features, make_second_features
from act2sal.training.stage1.features import Features
from act2sal.training.stage1.fit import activation_network, fit
from act2sal.training.stage1.label_writing import write_all_labels
from act2sal.training.stage1.self_training import fit_on_labels
from act2sal.training.stage1.stage import Fitted, Labeller, Stage1

logger = logging.getLogger("act2sal")


def fit_stage1(stage: Stage1) -> Fitted:
    """Fit stage 1 with its rounds of self-training, going on where an earlier call was stopped.

    Raises:
        ConfigError: there is a teacher, but no round in which to learn from it.
        EncoderError: there is no such encoder.
        WeightsError: the weights of the encoder do not fit.
        FloatingPointError: a loss is no longer finite.
        OSError: the disk is full.
    """
    encoder = initial_encoder(stage.config.stage1, stage.config)
    stage.trainer.fabric.to_device(encoder)
    stage.trainer.stopwatch.watch(encoder, "encoder")
    features = make_features(encoder, stage.timed_bank(), stage.features, stage)
    if stage.teacher is not None:
        freeze(encoder)  # there is no first fit in which it could be trained, or its statistics drift
    before = stage.teacher or Fitted(_fit_first(encoder, features, stage), encoder, features)
    for number in range(1, stage.config.stage1.rounds + 1):
        before = Fitted(_fit_round(number, features, before, stage), encoder, features)
    if isinstance(before, Detector):
        raise ConfigError("stage1.rounds = 0: stage 1 learns from a detector in a round of self-training")
    return before


def _fit_first(encoder: Encoder, features: Features, stage: Stage1) -> ActivationNetwork:
    """Fit the blocks by Eq. 4."""
    options = stage.config.stage1
    network = _fresh_blocks(features, stage)
    return fit(
        network,
        features,
        options,
        stage.trainer,
        TrainingState(stage.checkpoints / "stage1.pt"),
        others=make_second_features(encoder, stage),
        photos=stage.bank,
    )


def _fit_round(number: int, features: Features, before: Labeller, stage: Stage1) -> ActivationNetwork:
    """Fit fresh blocks on the labels that the ones before, or the teacher, give."""
    options = stage.config.stage1
    network = _fresh_blocks(features, stage, number)
    file = stage.cache / f"round-{number}.npy"
    if not _is_whole(file):
        with torch.inference_mode():
            height, width = network(features.read([0])).theta.shape[-2:]
        _write_round_labels(file, before, (height, width), f"labels of round {number - 1}", stage)
    return fit_on_labels(
        network,
        features,
        open_array(file),
        options,
        stage.trainer,
        TrainingState(stage.checkpoints / f"{file.stem}.pt"),
        round_number=number,
    )


def _fresh_blocks(features: Features, stage: Stage1, number: int = 0) -> ActivationNetwork:
    """Make the blocks of the first fit (`number` 0) or of a round, on the device where the features come."""
    network = activation_network(
        features,
        stage.config.stage1,
        seed=stage.config.seed + number,
        boundary="affine" if number else None,
    )
    stage.trainer.fabric.to_device(network)
    return network


def _write_round_labels(
    file: Path, labeller: Labeller, size: tuple[int, int], phase: str, stage: Stage1
) -> None:
    """Write the labels of all photos on the grid of the fused map, `size` = (h, w): (N, h, w) uint8 0..255."""
    folder = file.with_suffix("")
    _, targets = write_all_labels(labeller, folder, stage, phase=phase, resume=True)
    partial = file.with_suffix(".partial")
    grid = create_array(partial, np.uint8, (len(targets), *size))
    for row, target in zip(grid, targets, strict=True):
        row[:] = read_label(target, size)
    seal(grid)
    partial.replace(file)
    if not stage.config.keep_cache:
        shutil.rmtree(folder)


def _is_whole(file: Path) -> bool:
    """Whether the labels of a round are there and undamaged; a damaged file is named in a warning."""
    try:
        check(file)
    except FileNotFoundError:
        return False
    except ArrayFileError as error:
        logger.warning("%s; its labels are made anew", error)
        return False
    return True
