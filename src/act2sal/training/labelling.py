"""From photos to pseudo labels: encoder features, stage 1, its rounds of self-training, Eq. 6."""

import hashlib
import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from act2sal.config import TrainConfig
from act2sal.config_files import EARLIER, load_toml, to_toml
from act2sal.data.images import write_atomic
from act2sal.data.locks import locked
from act2sal.data.photo_files import Photo, png_paths, refuse_collisions
from act2sal.networks.checkpoint import load_stage1, save_stage1
from act2sal.runs.cache_folder import FEATURES, clear_all_but_features
from act2sal.runs.training_state import LogRow
from act2sal.runtime import cores
from act2sal.runtime.fabric import make_fabric
from act2sal.runtime.hardware import named
from act2sal.training.about import about
from act2sal.training.assembly import initial_encoder
from act2sal.training.epochs import EpochWatcher, Trainer
from act2sal.training.photos import PhotosUsed, photo_bank, photos_of, workers_of
from act2sal.training.stage1.applying import AppliedStage1
from act2sal.training.stage1.label_writing import write_all_labels
from act2sal.training.stage1.rounds import fit_stage1
from act2sal.training.stage1.stage import Stage1

logger = logging.getLogger("act2sal")


def label(
    photos: Path,
    out: Path,
    config: TrainConfig,
    *,
    run: Path | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    watcher: EpochWatcher | None = None,
) -> PhotosUsed:
    """Write the pseudo labels of the photos in a folder: `OUT/a/b.png` for `PHOTOS/a/b.jpg` (A2S, stage 1).

    What an interrupted call has done is kept in `OUT/.act2sal` and used by the next one with the same options.

    Args:
        photos: folder of photos, searched to any depth.
        out: folder of the labels, 8-bit PNG with 0 and 255.
        config: options of stage 1 and of the labels.
        run: run directory whose fitted stage 1, size, sign and label options are used instead of fitting one.
        overwrite: write labels anew that are there already; without it they are kept.
        quiet: no progress bars.
        watcher: looks on after each epoch, of which the fit learns nothing.

    Raises:
        DatasetError: as `pipeline.train`, or a label would replace a photo.
        FolderInUseError: another process is writing to `out`.
        ImageError: a photo vanished or changed on the way.
        OSError: the disk is full.
        EncoderError, WeightsError, FloatingPointError: as `pipeline.train`.
        CheckpointError, ConfigError: `run` holds no stage 1.
    """
    if run is not None:
        config = options_of(run, config)
    found, undone = photos_of(photos, out, config)
    refuse_collisions(found, png_paths(found, out))
    if run is None:
        initial_encoder(config.stage1, config)  # a mistyped one is found before the work
    else:
        load_stage1(run / "stage1.safetensors")
    with locked(out), cores.at_most(workers_of(config)):
        outcome = _label(found, out, config, run, watcher, overwrite=overwrite, quiet=quiet)
    return replace(outcome, failures=undone + outcome.failures)


def _label(
    found: Sequence[Photo],
    out: Path,
    config: TrainConfig,
    run: Path | None,
    watcher: EpochWatcher | None,
    *,
    overwrite: bool,
    quiet: bool,
) -> PhotosUsed:
    """`label`, in the one process that writes to `out`."""
    fabric = make_fabric(config)
    if not quiet:
        logger.info("device: %s", named(fabric.device))
    work = _prepare_work_folder(out, config, found)
    bank = photo_bank(found, work, config, config.stage1.size, quiet=quiet)
    trainer = Trainer(fabric, config.seed, _no_log, quiet, watcher=watcher)
    stage = Stage1(bank, work / FEATURES, work, work, config, trainer)
    fitted = fit_stage1(stage) if run is None else AppliedStage1.load(run).on(stage)
    write_all_labels(fitted, out, stage, phase="labels", resume=not overwrite)
    shutil.rmtree(work)
    return PhotosUsed(len(bank), [str(failure) for failure in bank.failures])


def options_of(run: Path, config: TrainConfig) -> TrainConfig:
    """`config` with the options that have to be those of the run.

    Raises:
        ConfigError: it has none.
    """
    known = load_toml(run / "config.toml", EARLIER)
    return replace(config, size=known.size, stage1=known.stage1, labels=known.labels)


def fit_on(photos: Sequence[Photo], run: Path, config: TrainConfig, *, quiet: bool) -> None:
    """Fit stage 1 on photos and write it with its options to `run`, from which `label` and others take it.

    Raises:
        DatasetError, OSError, EncoderError, WeightsError, FloatingPointError: as `label`.
    """
    with locked(run), cores.at_most(workers_of(config)):
        work = _prepare_work_folder(run, config, photos)
        bank = photo_bank(photos, work, config, config.stage1.size, quiet=quiet)
        trainer = Trainer(make_fabric(config), config.seed, _no_log, quiet)
        fitted = fit_stage1(Stage1(bank, work / FEATURES, work, work, config, trainer))
        metadata = about(config, len(bank))
        save_stage1(run / "stage1.safetensors", fitted.network, fitted.encoder, metadata=metadata)
        write_atomic(run / "config.toml", to_toml(config).encode())
        shutil.rmtree(work)


def label_some(
    photos: Sequence[Photo], out: Path, work: Path, applied: AppliedStage1, config: TrainConfig
) -> PhotosUsed:
    """Write the labels of some photos by a stage 1 that is there: `OUT/a/b.png` for a photo with the path `a/b.jpg`.

    Args:
        photos: some.
        out: folder of the labels.
        work: an empty folder for what is computed on the way.
        applied: stage 1.
        config: its options (`options_of`).

    Raises:
        DatasetError, ImageError, OSError: as `label`.
    """
    bank = photo_bank(photos, work, config, config.stage1.size, quiet=True, least=0)
    failures = [str(failure) for failure in bank.failures]
    if not len(bank):
        return PhotosUsed(0, failures)
    trainer = Trainer(make_fabric(config), config.seed, _no_log, quiet=True)
    stage = Stage1(bank, work / FEATURES, work, work, config, trainer)
    write_all_labels(applied.on(stage), out, stage, phase="labels", resume=False)
    return PhotosUsed(len(bank), failures)


def _prepare_work_folder(out: Path, config: TrainConfig, photos: Sequence[Photo]) -> Path:
    """Create or reuse `OUT/.act2sal`; if it belongs to other options or photos, delete all but the features."""
    work = out / ".act2sal"
    states = [(photo.path.as_posix(), photo.path.lstat().st_mtime_ns) for photo in photos]
    digest = hashlib.sha256(repr(states).encode()).hexdigest()
    text, file = f"# photos {digest}\n{to_toml(replace(config, cache_size=None))}", work / "config.toml"
    if work.is_dir() and not (file.is_file() and file.read_text(encoding="utf-8") == text):
        clear_all_but_features(work)
    write_atomic(file, text.encode())
    return work


def _no_log(row: LogRow) -> None:
    """The log of a command that keeps none."""
