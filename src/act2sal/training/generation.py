"""One generation of a training: from photos to labels, and from labels to a detector."""

from dataclasses import dataclass
from pathlib import Path

from act2sal.config import TrainConfig
from act2sal.runs.run_directory import GenerationFolder
from act2sal.training.epochs import Trainer
from act2sal.training.photos import TrainingPhotos


@dataclass(frozen=True)
class Generation:
    """What the steps of one generation share.

    Attributes:
        folder: gets the results.
        cache: folder of the run for photos and features.
        photos: what it learns from.
        config: all options.
        trainer: device, seed, log and progress.
        teacher: file of the detector of the generation before; None: there is none.
        given: folder of labels to train on; None: stage 1 makes them.
    """

    folder: GenerationFolder
    cache: Path
    photos: TrainingPhotos
    config: TrainConfig
    trainer: Trainer
    teacher: Path | None
    given: str | None

    @property
    def labels_done(self) -> Path:
        """Empty file that says that all labels are written."""
        return self.folder.checkpoints / "labels.done"
