"""What the steps of stage 1 share: photos, folders, options, and what they hand on."""

from dataclasses import dataclass
from pathlib import Path

from act2sal.a2s.activation import ActivationNetwork
from act2sal.config import TrainConfig
from act2sal.data.photo_bank import PhotoBank
from act2sal.data.photo_batches import PhotoSource
from act2sal.networks.encoders import Encoder
from act2sal.predict.detector import Detector
from act2sal.runtime.stopwatch import TimedPhotos
from act2sal.training.epochs import Trainer
from act2sal.training.stage1.features import Features


@dataclass(frozen=True)
class Fitted:
    """A fitted stage 1: the network, the encoder that it reads, and the features of the photos."""

    network: ActivationNetwork
    encoder: Encoder
    features: Features


Labeller = Fitted | Detector
"""What labels come from: a fitted stage 1, or the detector of the generation before."""


@dataclass(frozen=True)
class Stage1:
    """What the steps from photos to labels share.

    Attributes:
        bank: the photos of this process at the size of stage 1.
        features: folder of the frozen features.
        cache: folder for everything else that can be computed again.
        checkpoints: folder for what cannot.
        config: all options.
        trainer: device, seed, log and progress.
        teacher: detector whose predictions take the place of the cues of Eq. 1-5; None: there is none.
    """

    bank: PhotoBank
    features: Path
    cache: Path
    checkpoints: Path
    config: TrainConfig
    trainer: Trainer
    teacher: Detector | None = None

    def timed_bank(self) -> PhotoSource:
        """The photos, whose reading is timed."""
        return TimedPhotos(self.bank, self.trainer.stopwatch)
