"""The detector of a generation: fitted on its labels by stage 2, then saved."""

import logging
from collections.abc import Iterator
from functools import partial
from typing import cast

import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray

from act2sal.data.images import ImageError
from act2sal.data.label_bank import LabelBank
from act2sal.data.origin import MASKS
from act2sal.data.photo_bank import PhotoBank
from act2sal.networks.checkpoint import load_stage1, read_metadata, save_detector
from act2sal.networks.encoders import UNKNOWN, Encoder
from act2sal.networks.rival import Rival
from act2sal.networks.rivals import SaliencyNetwork, name_of
from act2sal.predict.detector import Detector
from act2sal.predict.torch_network import TorchNetwork
from act2sal.runs.samples import Samples
from act2sal.runs.training_state import TrainingState
from act2sal.runtime import parallel
from act2sal.runtime.fabric import lone_fabric
from act2sal.runtime.stopwatch import TimedPhotos
from act2sal.training.about import about
from act2sal.training.assembly import initial_detector
from act2sal.training.generation import Generation
from act2sal.training.photos import decode, read_label, refuse_changed
from act2sal.training.presence import fit_presence
from act2sal.training.stage2.fit import Stage2

logger = logging.getLogger("act2sal")


def write_generation_detector(generation: Generation, samples: Samples) -> None:
    """Fit the detector on the labels and write detector.safetensors.

    Raises:
        ImageError: a label is damaged; it is deleted, so that a resumed run writes it again.
        FloatingPointError: a loss or a weight is no longer finite.
        OSError: the disk is full.
    """
    config, trainer = generation.config, generation.trainer
    bank = bank_of_stage2(generation)
    label_folder = parallel.own_folder(generation.folder.checkpoints / "labels")
    state = TrainingState(generation.folder.checkpoints / "stage2.pt", partial(LabelBank.check, label_folder))
    if not state.usable():
        labels = _read_labels(generation, bank)
        LabelBank.create(label_folder, labels, count=len(bank), size=bank.size)
    detector = initial_detector(config, generation.teacher)
    _tell_side(detector, config.stage2.view or bank.size)
    photos = TimedPhotos(bank, trainer.stopwatch)
    stage = Stage2(photos, label_folder, config.stage2, config.labels, trainer)
    stage.fit(detector, state, on_epoch=lambda labels: samples.rectified(labels.epoch, labels))
    finish_detector(generation, detector, bank, samples)


def finish_detector(
    generation: Generation, detector: SaliencyNetwork, bank: PhotoBank, samples: Samples
) -> None:
    """Fit what says whether there is an object, and write detector.safetensors and the predictions of the samples.

    Args:
        generation: options, folders, log.
        detector: fitted; gets its `presence`.
        bank: the photos of this process, at the size of stage 2.
        samples: pictures for the report.
    """
    config, trainer = generation.config, generation.trainer
    fabric = lone_fabric(config)
    detector.presence = fit_presence(detector, bank, seed=config.seed, fabric=fabric, quiet=trainer.quiet)
    if parallel.leads():
        size = (detector.side if isinstance(detector, Rival) else None) or bank.size
        _save(generation, detector, size, fabric, samples)


def _tell_side(detector: SaliencyNetwork, shown: int) -> None:
    """Warn if the detector computes at another size than it is shown."""
    if isinstance(detector, Rival) and detector.side not in (None, shown) and parallel.leads():
        logger.warning(
            "%s computes on squares of %d pixels alone, to which it resizes those of %d pixels",
            name_of(detector),
            detector.side,
            shown,
        )


def bank_of_stage2(generation: Generation) -> PhotoBank:
    """The photos of this process at the size of stage 2, decoded anew if that of stage 1 differs."""
    config, own = generation.config, generation.photos.own
    size = config.stage2.size or config.size
    if size == own.size:
        return own
    cache = parallel.own_folder(generation.cache)
    bank = decode(own.photos, cache, config, size, generation.trainer)
    refuse_changed(own.whole)
    return bank


def _read_labels(generation: Generation, bank: PhotoBank) -> Iterator[NDArray[np.uint8]]:
    """The square labels of the photos; deletes a file that is damaged, so that a resumed run writes it again."""
    if generation.photos.labels is not None:
        yield from generation.photos.labels
        return
    for target in bank.outputs(generation.folder.labels):
        try:
            yield read_label(target, (bank.size, bank.size))
        except ImageError:
            target.unlink(missing_ok=True)
            generation.labels_done.unlink(missing_ok=True)  # another process may have found one, too
            raise


def _save(
    generation: Generation, detector: SaliencyNetwork, size: int, fabric: Fabric, samples: Samples
) -> None:
    """Write detector.safetensors, for squares of `size` pixels, and the predictions of the samples."""
    trained = Detector(TorchNetwork(detector, size=size, fabric=fabric))
    samples.predictions(lambda squares: np.stack(trained.batch(list(squares))))
    supervision = {
        "stage 1 supervision": _label_supervision(generation, detector),
        "stage 2 supervision": cast(Encoder, detector.encoder).supervision,
    }
    metadata = about(generation.config, generation.photos.total) | {"size": str(size)} | supervision
    if generation.config.masks is not None:
        metadata["trained on"] = MASKS
    save_detector(generation.folder.detector, detector, half=True, metadata=metadata)


def _label_supervision(generation: Generation, detector: SaliencyNetwork) -> str:
    """What the labels go back to: masks, or what the encoder that made them was trained with.

    Unknown if given labels have no stage 1 beside them. A rival makes labels with the encoder of its detector.
    """
    if generation.config.method != "a2s":
        return cast(Encoder, detector.encoder).supervision
    teacher = {} if generation.teacher is None else read_metadata(generation.teacher)
    if generation.config.masks is not None or teacher.get("stage 1 supervision") == MASKS:
        return MASKS
    if not generation.folder.stage1.is_file():
        return UNKNOWN
    return load_stage1(generation.folder.stage1)[1].supervision
