"""Guesses how long a training takes, for the plan that a reproduction shows before it starts."""

from dataclasses import dataclass

from act2sal.config import TrainConfig
from act2sal.reproduce.training import Training

SIZE = 320
"""Pixels at which the seconds below hold; work goes with the square of the size."""
HEAVINESS = {"mobilenetv2": 1.0, "resnet34": 5.0, "resnet50": 8.0, "vgg16": 20.0, "densenet169": 7.0}
"""Work of an encoder in MobileNetV2s."""
OTHER = 8.0
DETECTORS = {"a2s": 1.0, "cpd": 3.0, "itsd": 2.0, "basnet": 10.0, "minet": 8.0, "picanet": 10.0}
"""Work of a decoder in that of ours with MobileNetV2."""
STARTUP = 5.0
RIVAL_FITS = {"sbf": 4, "mnl": 2, "usps": 11}
"""Fits of a rival before the last one, with the published rounds."""


@dataclass(frozen=True)
class Rates:
    """Seconds a photo and pass, measured: on 2 cores with MobileNetV2, and on an H200 with 16 cores and ResNet-50.

    Attributes:
        features: of the encoder, once.
        stage1: of a pass over them.
        label: of CRF and median filter.
        stage2: of a pass of the detector.
        crf: of a CRF pass of HMA.
        maps: of DSR, MC, RBD and HS together.
    """

    features: float
    stage1: float
    label: float
    stage2: float
    crf: float
    maps: float


CPU = Rates(features=0.015, stage1=0.03, label=0.024, stage2=0.11, crf=0.012, maps=2.4)
GPU = Rates(features=0.013, stage1=0.0022, label=0.016, stage2=0.0033, crf=0.003, maps=0.3)


def seconds_of(training: Training, photos: int, *, gpu: bool) -> float:
    """Seconds that a training takes, to within a factor of three or so.

    Args:
        training: what is done.
        photos: number of its photos.
        gpu: whether there is one.
    """
    config, rates = training.config, GPU if gpu else CPU
    total = STARTUP
    if config.method != "a2s":
        passes = RIVAL_FITS[config.method] * config.rival.epochs + config.rival.last_epochs
        return total + photos * (rates.maps + passes * _detector_pass(config, rates, gpu=gpu))
    if training.labels_of is None and not training.masks:
        total += photos * _stage1(config, rates, gpu=gpu)
    if not training.labels_only:
        crf = config.stage2.epochs * rates.crf if config.stage2.rectifier == "hma" else 0.0
        total += photos * (config.stage2.epochs * _detector_pass(config, rates, gpu=gpu) + crf)
    return total


def _stage1(config: TrainConfig, rates: Rates, *, gpu: bool) -> float:
    """Seconds a photo from its pixels to its label."""
    share = _share(config.stage1.size or config.size)
    encoder = 1.0 if gpu else HEAVINESS.get(config.stage1.encoder or config.encoder, OTHER)
    fusion = 16 / config.stage1.fusion_stride**2  # pixels of the fused map, in those of stride 4
    fit = rates.stage1 * config.stage1.epochs * (1.0 if gpu else fusion)
    if not config.stage1.freeze_encoder:
        fit += 3 * rates.features * encoder * config.stage1.epochs
    return share * (2 * rates.features * encoder + fit) + rates.label


def _detector_pass(config: TrainConfig, rates: Rates, *, gpu: bool) -> float:
    """Seconds a photo and pass of the detector."""
    share = _share(config.stage2.size or config.size)
    if gpu:
        return share * rates.stage2
    encoder = HEAVINESS.get(config.stage2.encoder or config.encoder, OTHER)
    finest = 16 / config.stage2.finest_stride**2 if config.detector == "a2s" else 1.0
    return share * rates.stage2 * (encoder + DETECTORS[config.detector] * finest) / 2


def _share(size: int) -> float:
    return (size / SIZE) ** 2
