"""Builds the networks that a training starts from."""

from pathlib import Path

import torch

from act2sal.a2s.detector import DetectorNetwork
from act2sal.config import Stage1Config, Stage2Config, TrainConfig
from act2sal.networks.checkpoint import load_detector
from act2sal.networks.encoders import Encoder, build_encoder
from act2sal.networks.rivals import RIVALS, SaliencyNetwork


def initial_encoder(stage: Stage1Config | Stage2Config, config: TrainConfig) -> Encoder:
    """Build the encoder that a stage starts from; weights that are `random` are drawn from the seed.

    Raises:
        EncoderError: there is no such encoder.
        WeightsError: the weights do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return build_encoder(stage.encoder or config.encoder, stage.encoder_weights or config.encoder_weights)


def initial_detector(config: TrainConfig, teacher: Path | None = None) -> SaliencyNetwork:
    """Build the detector that stage 2 starts from: the teacher, or one whose decoder is drawn from the seed.

    Args:
        config: all options.
        teacher: file of a detector; None: there is no teacher.

    Raises:
        CheckpointError: the teacher's file holds no detector.
        EncoderError: there is no such encoder.
        WeightsError: the weights of the encoder do not fit.
    """
    if teacher is not None:
        return load_detector(teacher)
    encoder = initial_encoder(config.stage2, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if config.detector in RIVALS:
            return RIVALS[config.detector](encoder)
        return DetectorNetwork(
            encoder,
            channels=config.stage2.channels,
            attention=config.stage2.attention,
            finest_stride=config.stage2.finest_stride,
        )
