"""The whole of A2S in one run directory: photos -> pseudo labels -> detector and report."""

import shutil
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric

from act2sal.checkpoint import load_stage1, read_metadata, save_detector, save_stage1
from act2sal.config import TrainConfig, to_toml
from act2sal.datasets import PhotoBank, find_photos, mirror
from act2sal.detector import Detector
from act2sal.encoders import Encoder
from act2sal.images import write_atomic
from act2sal.labelling import (
    Labelling,
    Outcome,
    initial_encoder,
    make_fabric,
    photo_bank,
    read_label,
)
from act2sal.predict import Predictor
from act2sal.rectify import LabelBank
from act2sal.report import write_report
from act2sal.run_directory import RunDirectory, RunError
from act2sal.samples import Samples
from act2sal.stage2 import Stage2
from act2sal.training_state import TrainingState
from act2sal.version import __version__


def train(
    photos: Path,
    out: Path,
    config: TrainConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> Outcome:
    """Train a detector on the photos in a folder, into the run directory `out` (A2S, both stages).

    Args:
        photos: folder of photos, searched to any depth; no mask is ever opened.
        out: run directory; where it lies among the photos, what it holds are no photos.
        config: all options.
        resume: go on with the run in `out`; starts one where there is none.
        overwrite: replace the run in `out`.
        quiet: no progress bars.

    Raises:
        RunError: `out` cannot be used so, or the run in it was started with other photos.
        DatasetError: fewer than two readable photos.
        EncoderError, WeightsError: no such encoder, or weights that do not fit it.
        FloatingPointError: a loss is no longer finite.
    """
    found = find_photos(photos, config.limit, outside=out)
    with RunDirectory.open(out, config, resume=resume, overwrite=overwrite) as run:
        fabric = make_fabric(config)
        bank = photo_bank(found, run.cache, config, config.stage1.size, quiet=quiet)
        _check_photos(run, bank)
        failures = [str(failure) for failure in bank.failures]
        if not run.detector.is_file():
            samples = Samples(run.samples, bank)
            samples.photos()
            _write_labels(
                run, Labelling(bank, run.cache, run.checkpoints, config, fabric, run.log, quiet), samples
            )
            _write_detector(run, bank, samples, config, fabric, quiet)
        supervision = read_supervision(run.detector)
        write_report(run, config, photos=len(bank), failures=failures, supervision=supervision)
        if not config.keep_cache:
            shutil.rmtree(run.cache)
        return Outcome(len(bank), failures)


def read_supervision(detector: Path) -> dict[str, str]:
    """What the encoders behind a detector's file had seen: {"stage 1 encoder": "ImageNet labels", ...}."""
    about = read_metadata(detector)
    return {f"{stage} encoder": about[f"{stage} supervision"] for stage in ("stage 1", "stage 2")}


def _check_photos(run: RunDirectory, bank: PhotoBank) -> None:
    """Refuse to go on with other photos than those that the labels and checkpoints of the run belong to."""
    file = run.checkpoints / "photos.key"
    if file.is_file() and file.read_text(encoding="ascii") != bank.key:
        raise RunError(
            f"the photos are no longer those that {run.path} was started with; --overwrite starts anew"
        )
    write_atomic(file, bank.key.encode("ascii"))


def _write_labels(run: RunDirectory, labelling: Labelling, samples: Samples) -> None:
    """Write RUN/stage1.safetensors and RUN/labels, unless an earlier call did."""
    finished = run.checkpoints / "labels.done"
    if finished.is_file():
        return
    fitted = labelling.fit()
    about = _about(labelling.config, len(labelling.bank))
    save_stage1(run.stage1, fitted.network, fitted.encoder, metadata=about)
    cues, targets = labelling.write(fitted, run.labels, phase="labels", resume=True)
    samples.activations(cues, threshold=labelling.config.labels.threshold)
    samples.labels(targets)
    write_atomic(finished, b"")


def _write_detector(
    run: RunDirectory, bank: PhotoBank, samples: Samples, config: TrainConfig, fabric: Fabric, quiet: bool
) -> None:
    """Fit the detector on RUN/labels and write RUN/detector.safetensors."""
    options = config.stage2
    size = options.size or config.size
    if size != (config.stage1.size or config.size):
        bank = photo_bank(bank.photos, run.cache, config, size, quiet=quiet)
    state = TrainingState(run.checkpoints / "stage2.pt")
    folder = run.checkpoints / "labels"
    if not state.path.is_file():
        labels = (read_label(target, (size, size)) for target in mirror(bank.photos, run.labels))
        LabelBank.create(folder, labels, count=len(bank), size=size)
    encoder = initial_encoder(options, config)
    detector = _fresh_detector(encoder, config)
    stage = Stage2(bank, folder, options, config.labels, fabric, config.seed)
    stage.fit(detector, state, run.log, on_epoch=lambda b: samples.rectified(b.epoch, b), quiet=quiet)
    predictor = Predictor(detector, size=size, fabric=fabric)
    samples.predictions(lambda squares: np.stack(predictor.batch(list(squares))))
    supervision = {
        "stage 1 supervision": load_stage1(run.stage1)[1].supervision,
        "stage 2 supervision": encoder.supervision,
    }
    about = _about(config, len(bank)) | {"size": str(size)} | supervision
    save_detector(run.detector, detector, half=True, metadata=about)


def _fresh_detector(encoder: Encoder, config: TrainConfig) -> Detector:
    """A detector with a decoder drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Detector(
            encoder,
            channels=config.stage2.channels,
            attention=config.stage2.attention,
            finest_stride=config.stage2.finest_stride,
        )


def _about(config: TrainConfig, photos: int) -> dict[str, str]:
    return {"package": f"act2sal {__version__}", "photos": str(photos), "config": to_toml(config)}
