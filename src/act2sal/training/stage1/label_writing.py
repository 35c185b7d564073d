"""Writes the labels that a fitted stage 1, or a detector, gives all photos (Eq. 5-6)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from act2sal.a2s.pseudo_labels import write_labels
from act2sal.data.origin import all_seen
from act2sal.data.photo_files import DatasetError
from act2sal.predict.detector import Detector
from act2sal.training.photos import refuse_changed, workers_of
from act2sal.training.stage1.cues import PhotoSizeCues, cue_logits
from act2sal.training.stage1.stage import Fitted, Labeller, Stage1
from act2sal.training.teacher import predicted_logits


def write_all_labels(
    labeller: Labeller, out: Path, stage: Stage1, *, phase: str, resume: bool
) -> tuple[Sequence[NDArray[np.float32]], list[Path]]:
    """Write the labels of all photos of this process, and log it.

    Args:
        labeller: what the labels come from.
        out: folder of the labels.
        stage: photos, options and trainer.
        phase: name of the row in the log.
        resume: keep labels that are there already.

    Returns:
        Signed cues, (h, w) float32 of every photo, and the paths of the labels.

    Raises:
        ImageError: a photo vanished or changed after it was decoded; its label is not kept.
        DatasetError: a photo can no longer be read.
        OSError: the disk is full.
    """
    bank, config, trainer = stage.bank, stage.config, stage.trainer
    lap = trainer.stopwatch.lap()
    cues = _compute_cues(labeller, stage)
    targets = bank.outputs(out)
    kept = {target for target in targets if resume and target.is_file()}
    failures = write_labels(
        [photo.path for photo in bank.photos],
        targets,
        cues,
        config.labels,
        fitted=isinstance(labeller, Detector) or labeller.network.boundary == "affine",
        workers=workers_of(config),
        resume=resume,
        quiet=trainer.quiet,
        stopwatch=trainer.stopwatch,
        seen=_seen(labeller, stage),
    )
    for index in bank.changed():
        if targets[index] not in kept:
            targets[index].unlink(missing_ok=True)
    refuse_changed(bank)
    if failures:
        raise DatasetError(f"{failures[0]} (it could be read when the features were computed)")
    trainer.log({"stage": phase, "epoch": 0, **lap.row()})
    return cues, targets


def _compute_cues(labeller: Labeller, stage: Stage1) -> Sequence[NDArray[np.float32]]:
    """Signed cues (h, w) float32 of every photo, kept in a file that is mapped."""
    options, file, trainer = stage.config.stage1, stage.cache / "cues.npy", stage.trainer
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(labeller, Detector):
        with trainer.stopwatch.part("heads"):
            return list(predicted_logits(labeller, stage.timed_bank(), file, quiet=trainer.quiet))
    if options.cues_at_photo_size:
        paths = [photo.path for photo in stage.bank.photos]
        return PhotoSizeCues(labeller.network, labeller.encoder, paths, options)
    cues = cue_logits(
        labeller.network,
        labeller.features,
        options,
        file,
        fabric=trainer.fabric,
        quiet=trainer.quiet,
        stopwatch=trainer.stopwatch,
    )
    return list(cues)


def _seen(labeller: Labeller, stage: Stage1) -> str:
    """The labels that the encoders behind the labels were trained with; "" if a teacher does not say."""
    encoder = [labeller.encoder.supervision] if isinstance(labeller, Fitted) else []
    told = [*encoder, *([stage.teacher.seen] if stage.teacher is not None else [])]
    return all_seen(told) if all(told) else ""
