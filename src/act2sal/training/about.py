"""What a model file says about how it was made."""

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from act2sal.config import Stage1Config, Stage2Config, TrainConfig
from act2sal.config_files import to_toml
from act2sal.data.origin import MASKS
from act2sal.networks.checkpoint import read_metadata
from act2sal.version import __version__

Stage = TypeVar("Stage", Stage1Config, Stage2Config)


def read_supervision(detector: Path) -> dict[str, str]:
    """What the encoders behind a model file were trained with: {"stage 1 encoder": "ImageNet labels", ...}.

    A detector that was trained on masks has no stage 1.
    """
    metadata = read_metadata(detector)
    seen = {f"{stage} encoder": metadata[f"{stage} supervision"] for stage in ("stage 1", "stage 2")}
    return {encoder: labels for encoder, labels in seen.items() if labels != MASKS}


def about(config: TrainConfig, photos: int) -> dict[str, str]:
    """What a model file says of its training: package, photos, options; files by their names, without folders."""
    told = replace(
        config,
        encoder_weights=Path(config.encoder_weights).name,
        masks=None if config.masks is None else Path(config.masks).name,
        given_labels=None if config.given_labels is None else Path(config.given_labels).name,
        teacher=None if config.teacher is None else Path(config.teacher).name,
        rival=replace(config.rival, maps=None if config.rival.maps is None else Path(config.rival.maps).name),
        stage1=_without_folder(config.stage1),
        stage2=_without_folder(config.stage2),
    )
    return {"package": f"act2sal {__version__}", "photos": str(photos), "config": to_toml(told)}


def _without_folder(stage: Stage) -> Stage:
    weights = stage.encoder_weights
    return stage if weights is None else replace(stage, encoder_weights=Path(weights).name)
