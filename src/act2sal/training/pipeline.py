"""The whole of A2S in one run directory: photos -> pseudo labels -> detector and report."""

import json
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from lightning_fabric import Fabric

from act2sal.config import ConfigError, TrainConfig
from act2sal.data.images import write_atomic
from act2sal.data.photo_bank import MIN_PHOTOS
from act2sal.data.photo_files import DatasetError, Photo, PhotoState, photo_states
from act2sal.errors import CheckpointError
from act2sal.networks.checkpoint import load_detector
from act2sal.runs.report import write_report
from act2sal.runs.run_directory import PHOTOS, PROCESSES, RunDirectory, RunError
from act2sal.runs.samples import Samples
from act2sal.runtime import cores, launching, parallel
from act2sal.runtime.fabric import make_fabric
from act2sal.runtime.hardware import named
from act2sal.runtime.peak_memory import MEMORY, peak_memory
from act2sal.runtime.stopwatch import Stopwatch
from act2sal.training.about import read_supervision
from act2sal.training.assembly import initial_detector, initial_encoder
from act2sal.training.epochs import EpochWatcher, Trainer
from act2sal.training.generation import Generation
from act2sal.training.generation_detector import write_generation_detector
from act2sal.training.generation_labels import write_generation_labels
from act2sal.training.given_labels import refuse_missing_labels
from act2sal.training.given_masks import refuse_unusable_masks
from act2sal.training.labelled_shards import LabelledShards, labelled_shards
from act2sal.training.photos import PhotosUsed, TrainingPhotos, decode, photos_of, workers_of
from act2sal.training.rivals.write_rival import write_rival
from act2sal.training.shard_squares import shard_squares

COMPILERS = ("g++", "clang++", "c++", "cl")
"""C++ compilers, one of which torch.compile needs; the environment variable CXX can name another one."""


logger = logging.getLogger("act2sal")


def train(
    photos: Path | str,
    out: Path,
    config: TrainConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    profile: bool = False,
    watcher: EpochWatcher | None = None,
) -> PhotosUsed:
    """Train a detector on the photos in a folder, into the run directory `out` (A2S, both stages).

    Args:
        photos: folder of photos, searched to any depth; no mask is ever opened (`labelling.photos_of`), unless
            `config.masks` names them. With labels that `act2sal label --engine ray` stored in shards: what was
            labelled, also at an address of fsspec.
        out: run directory; where it lies among the photos, what it holds are no photos.
        config: all options.
        resume: go on with the run in `out`; starts one where there is none.
        overwrite: replace the run in `out`.
        quiet: no progress bars.
        profile: measure where the time goes, for log, report and profile.json; on a GPU, wait for every part to end.
        watcher: looks on after each epoch, of which the training learns nothing; for one process alone.

    Raises:
        RunError: `out` cannot be used so, or the run in it was started with other photos.
        DatasetError: fewer than two readable photos.
        CheckpointError: the teacher is no detector's file.
        EncoderError: there is no such encoder.
        WeightsError: the weights of an encoder do not fit it.
        ImageError: a photo vanished or changed on the way.
        FloatingPointError: a loss or a weight is no longer finite.
        OSError: the disk is full; with `resume` the run goes on once there is room.
        ConfigError: several machines, and the environment does not say which one this is.
        LostProcessError: one of several processes was killed, or cannot be reached.
        ValueError: a watcher of several processes.
    """
    if watcher is not None and config.devices * config.num_nodes > 1:
        raise ValueError("a training of several processes cannot be watched")
    work = partial(
        _train,
        photos,
        out,
        config,
        watcher,
        resume=resume,
        overwrite=overwrite,
        quiet=quiet,
        profile=profile,
    )
    if config.devices * config.num_nodes > 1 and not launching.launched():
        return launching.run(config, work)
    return work()


@parallel.naming_the_lost()
def _train(
    photos: Path | str,
    out: Path,
    config: TrainConfig,
    watcher: EpochWatcher | None,
    *,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    profile: bool,
) -> PhotosUsed:
    """Run `train` in this process, which may be one of several."""
    config = launching.as_launched(config)
    with cores.at_most(workers_of(config)):
        return _trained(
            photos, out, config, watcher, resume=resume, overwrite=overwrite, quiet=quiet, profile=profile
        )


def _trained(
    photos: Path | str,
    out: Path,
    config: TrainConfig,
    watcher: EpochWatcher | None,
    *,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    profile: bool,
) -> PhotosUsed:
    """`train` in this process, within the cores that it may use."""
    shards = labelled_shards(photos, out, config)
    found, undone = ([], list(shards.undone)) if shards else photos_of(Path(photos), out, config)
    teacher = _first_teacher(config)
    _refuse_misfits(found, config, in_shards=shards is not None)
    fabric = make_fabric(config)
    quiet = quiet or not parallel.leads()
    if not quiet:
        logger.info("device: %s", named(fabric.device))
    if config.masks is not None and parallel.leads():
        logger.warning("trained on MASKS, those in %s: this run is supervised", config.masks)
    with _open_run(out, config, resume=resume, overwrite=overwrite) as run:
        _log_processes(run, config, quiet=quiet)
        stopwatch = _stopwatch(fabric, running=profile)
        trainer = Trainer(fabric, config.seed, run.log, quiet, stopwatch, watcher)
        used = (
            _of_shards(shards, run, config, trainer) if shards else _decode_all(found, run, config, trainer)
        )
        failures = [*undone, *used.failures]
        for number in range(1, config.generations + 1):
            folder = run.generation(number, of=config.generations)
            if not parallel.from_leader(folder.detector.is_file()):
                given = config.given_labels if number == 1 else None
                numbered = _number_rows(trainer, number, config.generations)
                _train_generation(Generation(folder, run.cache, used, config, numbered, teacher, given))
            teacher = folder.detector
        if parallel.leads():
            run.log({"stage": MEMORY, "epoch": 0, **peak_memory()})
            supervision = read_supervision(run.detector)
            write_report(run, config, photos=used.total, failures=failures, supervision=supervision)
            if not config.keep_cache:
                for number in range(1, config.generations + 1):
                    shutil.rmtree(run.generation(number, of=config.generations).cache, ignore_errors=True)
        return PhotosUsed(used.total, failures)


def _train_generation(generation: Generation) -> None:
    """Write the labels and the detector of a generation, going on where an earlier call was stopped."""
    own = generation.photos.own
    folder = generation.folder.samples
    samples = Samples(folder, own) if parallel.leads() else Samples(folder, own, 0)
    samples.photos()
    if generation.config.method != "a2s":
        write_rival(generation, samples)
        return
    write_generation_labels(generation, samples)
    write_generation_detector(generation, samples)
    parallel.barrier()


def _number_rows(trainer: Trainer, number: int, generations: int) -> Trainer:
    """The trainer of one of several generations, whose log rows name it."""
    if generations == 1:
        return trainer
    if not trainer.quiet:
        logger.info("generation %d of %d", number, generations)
    return replace(trainer, log=lambda row: trainer.log({"generation": number, **row}))


def _open_run(out: Path, config: TrainConfig, *, resume: bool, overwrite: bool) -> RunDirectory:
    """Open the run directory, which the leader prepares and writes."""
    with parallel.leader_first():
        if parallel.leads():
            return RunDirectory.open(out, config, resume=resume, overwrite=overwrite)
        return RunDirectory(out, writes=False)


def _log_processes(run: RunDirectory, config: TrainConfig, *, quiet: bool) -> None:
    """Log the effective batch and learning rate of each stage, where several processes share a step."""
    processes = parallel.world()
    if processes == 1:
        return
    row: dict[str, float | int | str] = {"stage": PROCESSES, "epoch": 0, "processes": processes}
    for name, stage in (("stage 1", config.stage1), ("stage 2", config.stage2)):
        size, here = stage.batch_size, stage.batch_size // processes
        row |= {f"{name} batch": size, f"{name} rate": stage.lr}
        if not quiet:
            logger.info(
                "%s: %d processes x %d photos = batches of %d, learning rate %g",
                *(name, processes, here, size, stage.lr),
            )
    run.log(row)


def _decode_all(
    found: Sequence[Photo], run: RunDirectory, config: TrainConfig, trainer: Trainer
) -> TrainingPhotos:
    """Decode the photos of all processes, in the leader."""
    with parallel.leader_first():
        if parallel.leads():
            _check_photos(run, photo_states(found))
        bank = decode(found, run.cache, config, config.stage1.size, trainer)
    if parallel.from_leader(bank.states) != bank.states:
        raise DatasetError(f"process {parallel.rank() + 1} finds other photos than the first one")
    if len(bank) < 2 * parallel.world():
        raise DatasetError(f"{len(bank)} photos are too few for {parallel.world()} processes: each needs two")
    own = bank.part(parallel.rank(), parallel.world())
    return TrainingPhotos(own, len(bank), [str(failure) for failure in bank.failures])


def _of_shards(
    shards: LabelledShards, run: RunDirectory, config: TrainConfig, trainer: Trainer
) -> TrainingPhotos:
    """Read the shards of this process, with their labels, as squares of the size of stage 2."""
    if parallel.from_leader(shards.states) != shards.states:
        raise DatasetError(f"process {parallel.rank() + 1} finds other shards than the first one")
    with parallel.leader_first():
        if parallel.leads():
            _check_photos(run, shards.states)
    size = config.stage2.size or config.size
    folder = parallel.own_folder(run.cache / f"shards-{size}")
    lap = trainer.stopwatch.lap()
    with trainer.stopwatch.part("decode"):
        bank, labels, unread = shard_squares(
            shards, folder, size=size, workers=workers_of(config), quiet=trainer.quiet
        )
    trainer.log({"stage": f"{PHOTOS} {size} pixels", "epoch": 0, **lap.row()})
    counts = parallel.gathered(len(bank))
    if min(counts) < MIN_PHOTOS:
        raise DatasetError(
            f"{sum(counts)} photos with labels in {len(shards.shards)} shards are too few for {len(counts)} "
            "processes: each needs two, from shards of its own"
        )
    failures = [line for lines in parallel.gathered(unread) for line in lines]
    return TrainingPhotos(bank, sum(counts), failures, labels)


def _stopwatch(fabric: Fabric, *, running: bool) -> Stopwatch:
    """A stopwatch that waits for the device of the fabric where parts begin and end."""
    if fabric.device.type == "cuda":
        return Stopwatch(running=running, synchronise=torch.cuda.synchronize)
    return Stopwatch(running=running)


def _first_teacher(config: TrainConfig) -> Path | None:
    """The file of the detector that the first generation learns from; a CheckpointError where it is none."""
    if config.teacher is None:
        return None
    path = Path(config.teacher)
    file = path / "detector.safetensors" if path.is_dir() else path
    if file.suffix == ".onnx":
        raise CheckpointError(
            f"{file} is an ONNX file, which cannot be trained; a teacher is a RUN or a .safetensors"
        )
    load_detector(file)
    return file


def _refuse_misfits(found: Sequence[Photo], config: TrainConfig, *, in_shards: bool) -> None:
    """Make sure, before there is a RUN, that encoders, their weights, given labels and a compiler can be used."""
    if config.masks is not None:
        refuse_unusable_masks(found, Path(config.masks))
    if config.given_labels is not None and not in_shards:
        refuse_missing_labels(found, Path(config.given_labels))
    if (
        config.method == "a2s"
        and config.masks is None
        and (config.given_labels is None or config.generations > 1)
    ):
        initial_encoder(config.stage1, config)
    if config.teacher is None:
        initial_detector(config)
    if config.stage2.compile and not any(map(shutil.which, (os.environ.get("CXX", ""), *COMPILERS))):
        raise ConfigError("stage2.compile needs a C++ compiler, such as g++, and there is none")


def _check_photos(run: RunDirectory, now: Sequence[PhotoState]) -> None:
    """Refuse to go on with other photos than those that the labels and checkpoints of the run belong to."""
    file = run.checkpoints / "photos.json"
    if file.is_file():
        try:
            then = json.loads(file.read_bytes())
        except ValueError as error:
            raise RunError(f"{file} is damaged; start anew with --overwrite") from error
        other = sorted({str(name) for name, *_ in (*_not_in(then, now), *_not_in(now, then))})
        if other:
            raise RunError(
                f"the photos are no longer those that {run.path} was started with: {other[0]} is new, missing or "
                f"changed, {len(other)} in all; put back what changed, or start anew with --overwrite"
            )
    write_atomic(file, json.dumps(now).encode())


def _not_in(states: Sequence[PhotoState], others: Sequence[PhotoState]) -> list[PhotoState]:
    known = {tuple(state) for state in others}
    return [state for state in states if tuple(state) not in known]
