"""Presets: the default, the paper, the published code, and the recipes of the detectors that are compared."""

from dataclasses import replace

from act2sal.config import (
    DetectorName,
    LabelConfig,
    PresetName,
    RivalConfig,
    Stage1Config,
    Stage2Config,
    TrainConfig,
)

PRESETS: dict[PresetName, TrainConfig] = {
    "default": TrainConfig(),
    "paper": TrainConfig(
        encoder="resnet50",
        encoder_weights="moco_v2",
        stage1=Stage1Config(
            epochs=20,
            lr=1.0,
            milestones=(10, 16),
            fusion_stride=2,
            scale_features=False,
            mirror="photos",
            side_weights=(1.0, 1.0, 1.0),
            texture=0.0,
            rounds=0,
        ),
        labels=LabelConfig(threshold="zero", soft="all"),
        stage2=Stage2Config(
            epochs=25,
            optimizer="sgd",
            lr=0.005,
            encoder_lr_factor=1.0,
            milestones=(15, 20),
            weight_decay=5e-4,
            loss_bce=1.0,
            loss_ssim=1.0,
            channels=64,
            finest_stride=2,
            binarise=False,
        ),
    ),
    "official": TrainConfig(
        encoder="resnet50",
        encoder_weights="moco_v2",
        stage1=Stage1Config(
            epochs=20,
            lr=1.0,
            milestones=(11, 15),
            fusion_stride=2,
            scale_features=False,
            mirror="photos",
            sign="area_zero",
            batchnorm_drift=True,
            random_gain=True,
            loss_at_photo_size=True,
            cues_at_photo_size=True,
            texture=0.0,
            rounds=0,
        ),
        labels=LabelConfig(soft="none"),
        stage2=Stage2Config(
            epochs=25,
            optimizer="sgd",
            lr=0.005,
            encoder_lr_factor=0.1,
            milestones=(14, 19),
            weight_decay=5e-4,
            loss_bce=1.0,
            loss_ssim=1.0,
            channels=64,
            finest_stride=2,
            flip_once=True,
        ),
    ),
    "salod": TrainConfig(
        stage2=Stage2Config(
            epochs=40,
            batch_size=32,
            optimizer="sgd",
            schedule="triangle",
            lr=0.05,
            encoder_lr_factor=0.1,
            weight_decay=5e-4,
            loss_bce=1.0,
            crop=0.875,
            view_sides=(192, 256, 320, 384, 448),
        ),
    ),
    "basnet": TrainConfig(
        detector="basnet",
        stage2=Stage2Config(
            encoder="resnet34",
            encoder_weights="timm",
            size=256,
            view=224,
            crop=0.875,
            epochs=100,
            schedule="steps",
            milestones=(),
            encoder_lr_factor=1.0,
            weight_decay=0.0,
            own_loss=True,
        ),
    ),
    "cpd": TrainConfig(
        detector="cpd",
        stage2=Stage2Config(
            encoder="resnet50",
            encoder_weights="moco_v2",
            size=352,
            epochs=53,
            batch_size=10,
            schedule="steps",
            lr=1e-4,
            milestones=(49, 50, 51, 52),
            encoder_lr_factor=1.0,
            weight_decay=0.0,
            own_loss=True,
            flip=False,
        ),
    ),
    "itsd": TrainConfig(
        detector="itsd",
        stage2=Stage2Config(
            encoder="resnet50",
            encoder_weights="moco_v2",
            size=288,
            view_sides=(256, 288, 320),
            epochs=25,
            optimizer="sgd",
            lr=0.01,
            milestones=(19,),
            encoder_lr_factor=0.1,
            weight_decay=5e-4,
            own_loss=True,
        ),
    ),
    "minet": TrainConfig(
        detector="minet",
        stage2=Stage2Config(
            encoder="resnet50",
            encoder_weights="moco_v2",
            size=320,
            epochs=50,
            batch_size=4,
            optimizer="sgd",
            schedule="poly",
            encoder_lr_factor=1.0,
            weight_decay=5e-4,
            own_loss=True,
            jitter=0.1,
        ),
    ),
    "sbf": TrainConfig(
        method="sbf",
        rival=RivalConfig(epochs=20, last_epochs=20),
        stage2=Stage2Config(size=224, batch_size=12, optimizer="sgd", milestones=(10, 15), weight_decay=5e-4),
    ),
    "mnl": TrainConfig(
        method="mnl",
        rival=RivalConfig(epochs=20, last_epochs=20),
        stage2=Stage2Config(size=256, lr=3e-4, encoder_lr_factor=1.0, weight_decay=0.0, schedule="cycle"),
    ),
    "usps": TrainConfig(
        method="usps",
        rival=RivalConfig(epochs=25, last_epochs=200, published_rates=True),
        stage2=Stage2Config(
            size=432,
            batch_size=10,
            schedule="poly",
            lr=1e-4,
            encoder_lr_factor=1.0,
            weight_decay=0.0,
            flip=False,
        ),
    ),
    "picanet": TrainConfig(
        detector="picanet",
        stage2=Stage2Config(
            encoder="resnet50",
            encoder_weights="moco_v2",
            size=256,
            view=224,
            crop=0.875,
            epochs=15,
            optimizer="sgd",
            lr=0.01,
            milestones=(5, 10),
            encoder_lr_factor=0.1,
            weight_decay=5e-4,
            own_loss=True,
        ),
    ),
}
"""`default`: ours, with passes for some hundred photos; `paper`: its text; `official`: the published code; `salod`:
one recipe for all detectors that are compared; the name of a detector: what its authors did, as far as options go.
CPD ends where its rate is a ten-thousandth of the first; the code of BASNet never ends, and the end is ours;
PiCANet's 20,000 steps are given as passes over the 10,553 photos of DUTS-TR."""


def begun_from(preset: PresetName | None, detector: DetectorName, *, masks: bool) -> TrainConfig:
    """Choose the options with which a training begins, before any is named.

    Args:
        preset: None: the default one, with BCE + IoU (SALOD) for masks and for detectors other than ours.
        detector: what it trains, unless the preset names another one than ours.
        masks: whether it is trained on masks, which are then not rectified.
    """
    base = PRESETS[preset or "default"]
    stage2 = base.stage2
    if preset is None and (detector != "a2s" or masks):
        stage2 = replace(stage2, loss_bce=1.0)
    if masks:
        stage2 = replace(stage2, rectifier="none")
    return replace(base, stage2=stage2)
