"""Where the features of stage 1 come from: a GPU's memory, the disk, or the encoder at every step."""

from pathlib import Path

import torch

from act2sal.config import Stage1Config
from act2sal.data.photo_batches import PhotoSource
from act2sal.networks.encoders import Encoder, freeze
from act2sal.runtime import parallel
from act2sal.training.stage1.feature_cache import budget_in_bytes
from act2sal.training.stage1.features import Features, FrozenFeatures, LiveFeatures
from act2sal.training.stage1.resident_features import ResidentFeatures, fit_in_memory
from act2sal.training.stage1.stage import Stage1
from act2sal.training.stage1.views import ResizedPhotos


def is_constant(options: Stage1Config) -> bool:
    """Whether the encoder gives the same features in every epoch."""
    return options.freeze_encoder and not options.batchnorm_drift


def frozen_features(encoder: Encoder, photos: PhotoSource, stage: Stage1) -> FrozenFeatures:
    """Features of a frozen encoder, which are computed when they are read."""
    options = stage.config.stage1
    return FrozenFeatures(
        encoder, photos, fabric=stage.trainer.fabric, precision=options.precision, mirror=options.mirror
    )


def make_features(encoder: Encoder, photos: PhotoSource, folder: Path, stage: Stage1) -> Features:
    """Compute and keep the features of photos if the encoder is frozen, on a GPU if they fit, else on disk.

    Args:
        encoder: on the device of the trainer.
        photos: square photos of one size.
        folder: folder of the features.
        stage: options and trainer.

    Raises:
        OSError: the disk is full.
    """
    options, trainer = stage.config.stage1, stage.trainer
    if not is_constant(options):
        return LiveFeatures(encoder, photos, trainer.fabric.device, mirror=options.mirror)
    lap = trainer.stopwatch.lap()
    frozen = frozen_features(freeze(encoder), photos, stage)
    mirrored = options.flip or options.rounds > 0
    features: Features = frozen
    if _fit_on_gpu(frozen, mirrored=mirrored, device=trainer.fabric.device):
        features = ResidentFeatures(frozen, mirrored=mirrored, quiet=trainer.quiet)
    else:
        budget = budget_in_bytes(stage.config.cache_size, folder) // parallel.world()
        frozen.keep(folder, budget, mirrored=mirrored, quiet=trainer.quiet)
    trainer.log({"stage": "features", "epoch": 0, **lap.row(), "device": str(trainer.fabric.device)})
    return features


def make_second_features(encoder: Encoder, stage: Stage1) -> list[Features]:
    """Compute the features of the photos at the other sizes of `scale_consistency`; none if it is off."""
    options = stage.config.stage1
    if options.scale_consistency == 0:
        return []
    found = []
    for change in options.second_sizes:
        side = stage.bank.size + change
        folder = stage.features.with_name(f"{stage.features.name}-{side}")
        found.append(make_features(encoder, ResizedPhotos(stage.timed_bank(), side), folder, stage))
    return found


def _fit_on_gpu(features: FrozenFeatures, *, mirrored: bool, device: torch.device) -> bool:
    """Whether the device is a GPU with enough free memory for the features."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return fit_in_memory(features, mirrored=mirrored, free=free)
