"""Activation to Saliency: salient-object detectors from unlabelled photos.

    from pathlib import Path
    import act2sal

    act2sal.train(Path("photos"), Path("run"), act2sal.TrainConfig())
    detector = act2sal.Detector.load("run")
    prob = detector("photo.jpg")   # (H, W) float32 in [0, 1]

Everything is loaded when it is first used, so that `import act2sal` takes no time.
"""

from typing import TYPE_CHECKING

from act2sal.runtime.telemetry import switch_off
from act2sal.version import __version__

switch_off()

if TYPE_CHECKING:
    from act2sal.config import TrainConfig
    from act2sal.data.images import read_photo
    from act2sal.evaluation import Tally, evaluate
    from act2sal.predict.detector import Detector
    from act2sal.presets import PRESETS
    from act2sal.training.labelling import label
    from act2sal.training.pipeline import train

__all__ = [
    "PRESETS",
    "Detector",
    "Tally",
    "TrainConfig",
    "__version__",
    "evaluate",
    "label",
    "read_photo",
    "train",
]


def __getattr__(name: str) -> object:
    if name == "PRESETS":
        from act2sal.presets import PRESETS

        return PRESETS
    if name == "TrainConfig":
        from act2sal.config import TrainConfig

        return TrainConfig
    if name == "Detector":
        from act2sal.predict.detector import Detector

        return Detector
    if name in ("Tally", "evaluate"):
        from act2sal import evaluation

        return getattr(evaluation, name)
    if name == "label":
        from act2sal.training.labelling import label

        return label
    if name == "read_photo":
        from act2sal.data.images import read_photo

        return read_photo
    if name == "train":
        from act2sal.training.pipeline import train

        return train
    raise AttributeError(f"module 'act2sal' has no attribute {name!r}")
