"""How large a reproduction is: photos, sizes and passes, from a smoke test to the paper's own setting."""

from dataclasses import dataclass, replace

from act2sal.config import RivalConfig, ScaleName, TrainConfig
from act2sal.presets import PRESETS

_PAPER = PRESETS["paper"]


@dataclass(frozen=True)
class Scale:
    """A scale.

    Attributes:
        about: what it is for, in one line.
        config: options of its baseline, the A2S that all ablations change.
        photos: training photos, spread evenly over the set; None: all.
        tests: photos of each test set, likewise.
        watched: photos of the training set, and of the first test set, that are scored after each epoch.
        differs: how the baseline departs from the text of the paper; empty: it does not.
    """

    about: str
    config: TrainConfig
    photos: int | None
    tests: int | None
    watched: int
    differs: str


def _of_small_machine(config: TrainConfig) -> TrainConfig:
    """Take the text of the paper with what small encoders, and a tenth of its passes, need."""
    stage1 = replace(
        config.stage1,
        lr=0.1,
        scale_features=True,
        mirror="features",
        fusion_stride=4,
        epochs=8,
        milestones=(4, 6),
    )
    stage2 = replace(
        config.stage2,
        epochs=10,
        optimizer="adamw",
        lr=1e-3,
        encoder_lr_factor=0.3,
        weight_decay=1e-4,
        channels=32,
        finest_stride=4,
    )
    rival = RivalConfig(epochs=4, last_epochs=10)
    return replace(
        config,
        encoder="mobilenetv2",
        encoder_weights="timm",
        size=224,
        stage1=stage1,
        stage2=stage2,
        rival=rival,
    )


def _of_one_gpu(config: TrainConfig) -> TrainConfig:
    """Take half of the passes of the paper's text, and features that are computed once."""
    stage1 = replace(config.stage1, mirror="features", epochs=10, milestones=(5, 8))
    stage2 = replace(config.stage2, epochs=12, milestones=(7, 10))
    return replace(config, stage1=stage1, stage2=stage2, rival=RivalConfig(epochs=4, last_epochs=12))


def _of_smoke(config: TrainConfig) -> TrainConfig:
    small = _of_small_machine(config)
    stage1 = replace(small.stage1, epochs=2, milestones=(1,), batch_size=4)
    stage2 = replace(small.stage2, epochs=2, rectify_warmup=1, batch_size=4)
    rival = RivalConfig(rounds=1, epochs=1, last_epochs=1)
    return replace(small, encoder_weights="builtin", size=64, stage1=stage1, stage2=stage2, rival=rival)


SCALES: dict[ScaleName, Scale] = {
    "smoke": Scale(
        about="bundled scenes and a few steps: does everything run? Its numbers mean nothing",
        config=_of_smoke(_PAPER),
        photos=6,
        tests=2,
        watched=2,
        differs="rendered scenes of 64 pixels, two passes, and an encoder that was fine-tuned on photos",
    ),
    "cpu": Scale(
        about="hundreds of photos at 224 pixels with MobileNetV2: a night on two cores",
        config=_of_small_machine(_PAPER),
        photos=600,
        tests=200,
        watched=48,
        differs=(
            "MobileNetV2 in place of ResNet-50, 224 pixels, 8 passes of stage 1 (rate .1, channels of the encoder "
            "divided by their deviation, features mirrored in place of photos, stride 4) and 10 of stage 2 (AdamW, "
            "32 channels, stride 4)"
        ),
    ),
    "gpu": Scale(
        about="1,000 photos at 320 pixels and half of the paper's passes: ten minutes on an H100 for most targets",
        config=_of_one_gpu(_PAPER),
        photos=1000,
        tests=500,
        watched=64,
        differs=(
            "1,000 photos, 10 passes of stage 1 (features mirrored in place of photos) and 12 of stage 2; rates fall "
            "at the same shares of them"
        ),
    ),
    "full": Scale(
        about="the paper's own setting: MSRA-B training and validation photos, ResNet-50 by MoCo v2, six test sets",
        config=_PAPER,
        photos=None,
        tests=None,
        watched=100,
        differs="",
    ),
}
