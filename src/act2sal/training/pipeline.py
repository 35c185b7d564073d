"""The whole of A2S in one run directory: photos -> pseudo labels -> detector and report."""

import json
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from act2sal.a2s.detector import DetectorNetwork
from act2sal.config import ConfigError, Stage1Config, Stage2Config, TrainConfig, to_toml
from act2sal.data.images import ImageError, write_atomic
from act2sal.data.label_bank import LabelBank
from act2sal.data.photo_bank import PhotoBank
from act2sal.data.photo_files import DatasetError, Photo, PhotoState, photo_states
from act2sal.errors import CheckpointError
from act2sal.networks.checkpoint import load_detector, load_stage1, read_metadata, save_detector, save_stage1
from act2sal.networks.encoders import UNKNOWN, Encoder
from act2sal.predict.detector import Detector
from act2sal.predict.torch_network import TorchNetwork
from act2sal.runs.cache_folder import FEATURES
from act2sal.runs.report import write_report
from act2sal.runs.run_directory import PHOTOS, PROCESSES, GenerationFolder, RunDirectory, RunError
from act2sal.runs.samples import Samples
from act2sal.runs.training_state import EpochLog, TrainingState
from act2sal.runtime import cores, launching, parallel
from act2sal.runtime.hardware import named
from act2sal.runtime.peak_memory import MEMORY, peak_memory
from act2sal.runtime.stopwatch import Stopwatch, TimedPhotos
from act2sal.training.given_labels import copy_labels, refuse_missing_labels
from act2sal.training.labelling import (
    Labelling,
    PhotosUsed,
    initial_encoder,
    lone_fabric,
    make_fabric,
    own_device,
    photo_bank,
    photos_of,
    read_label,
    refuse_changed,
    workers_of,
)
from act2sal.training.presence import fit_presence
from act2sal.training.stage2 import Stage2
from act2sal.version import __version__

COMPILERS = ("g++", "clang++", "c++", "cl")
"""Of C++, one of which torch.compile needs; the environment can name another one in CXX."""

StageConfig = TypeVar("StageConfig", Stage1Config, Stage2Config)

logger = logging.getLogger("act2sal")


def train(
    photos: Path,
    out: Path,
    config: TrainConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    profile: bool = False,
) -> PhotosUsed:
    """Train a detector on the photos in a folder, into the run directory `out` (A2S, both stages).

    Args:
        photos: folder of photos, searched to any depth; no mask is ever opened (`labelling.photos_of`).
        out: run directory; where it lies among the photos, what it holds are no photos.
        config: all options.
        resume: go on with the run in `out`; starts one where there is none.
        overwrite: replace the run in `out`.
        quiet: no progress bars.
        profile: measure where the time goes, for log, report and profile.json; on a GPU, wait for every part to end.

    Raises:
        RunError: `out` cannot be used so, or the run in it was started with other photos.
        DatasetError: fewer than two readable photos.
        CheckpointError: the teacher is no detector's file.
        EncoderError, WeightsError: no such encoder, or weights that do not fit it.
        ImageError: a photo vanished or changed on the way.
        FloatingPointError: a loss or a weight is no longer finite.
        OSError: the disk is full; with `resume` the run goes on once there is room.
        ConfigError: several machines, and the environment does not say which one this is.
        LostProcessError: one of several processes was killed, or cannot be reached.
    """
    work = partial(
        _train, photos, out, config, resume=resume, overwrite=overwrite, quiet=quiet, profile=profile
    )
    if config.devices * config.num_nodes > 1 and not launching.launched():
        return launching.run(config, work)
    return work()


@parallel.naming_the_lost()
def _train(
    photos: Path,
    out: Path,
    config: TrainConfig,
    *,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    profile: bool,
) -> PhotosUsed:
    """`train` in this process, which may be one of several."""
    config = launching.as_launched(config)
    with cores.at_most(workers_of(config)):
        return _trained(photos, out, config, resume=resume, overwrite=overwrite, quiet=quiet, profile=profile)


def _trained(
    photos: Path,
    out: Path,
    config: TrainConfig,
    *,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    profile: bool,
) -> PhotosUsed:
    """The same, within the cores that it may use."""
    found, undone = photos_of(photos, out, config)
    teacher = _first_teacher(config)
    _refuse_misfits(found, config)
    fabric = make_fabric(config)
    quiet = quiet or not parallel.leads()
    if not quiet:
        logger.info("device: %s", named(fabric.device))
    with _opened(out, config, resume=resume, overwrite=overwrite) as run:
        _tell_processes(run, config, quiet=quiet)
        stopwatch = _stopwatch(fabric, running=profile)
        bank = _all_photos(found, run, config, stopwatch, quiet=quiet)
        failures = [*undone, *(str(failure) for failure in bank.failures)]
        for number in range(1, config.generations + 1):
            folder = run.generation(number, of=config.generations)
            if not parallel.from_leader(folder.detector.is_file()):
                if config.generations > 1 and not quiet:
                    logger.info("generation %d of %d", number, config.generations)
                log = run.log if config.generations == 1 else _with_generation(run.log, number)
                given = config.given_labels if number == 1 else None
                _Generation(
                    folder, run.cache, bank, config, fabric, log, teacher, given, quiet, stopwatch
                ).train()
            teacher = folder.detector
        if parallel.leads():
            run.log({"stage": MEMORY, "epoch": 0, **peak_memory()})
            supervision = read_supervision(run.detector)
            write_report(run, config, photos=len(bank), failures=failures, supervision=supervision)
            if not config.keep_cache:
                for number in range(1, config.generations + 1):
                    shutil.rmtree(run.generation(number, of=config.generations).cache, ignore_errors=True)
        return PhotosUsed(len(bank), failures)


def _opened(out: Path, config: TrainConfig, *, resume: bool, overwrite: bool) -> RunDirectory:
    """The run directory, which the leader prepares and writes."""
    with parallel.leader_first():
        if parallel.leads():
            return RunDirectory.open(out, config, resume=resume, overwrite=overwrite)
        return RunDirectory(out, writes=False)


def _tell_processes(run: RunDirectory, config: TrainConfig, *, quiet: bool) -> None:
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


def _all_photos(
    found: Sequence[Photo],
    run: RunDirectory,
    config: TrainConfig,
    stopwatch: Stopwatch,
    *,
    quiet: bool,
) -> PhotoBank:
    """The photos of all processes, decoded by the leader."""
    with parallel.leader_first():
        if parallel.leads():
            _check_photos(run, found)
        bank = _decoded(found, run.cache, config, config.stage1.size, run.log, stopwatch, quiet=quiet)
    if parallel.from_leader(bank.states) != bank.states:
        raise DatasetError(f"process {parallel.rank() + 1} finds other photos than the first one")
    if len(bank) < 2 * parallel.world():
        raise DatasetError(f"{len(bank)} photos are too few for {parallel.world()} processes: each needs two")
    return bank


def read_supervision(detector: Path) -> dict[str, str]:
    """What the encoders behind a detector's file had seen: {"stage 1 encoder": "ImageNet labels", ...}."""
    about = read_metadata(detector)
    return {f"{stage} encoder": about[f"{stage} supervision"] for stage in ("stage 1", "stage 2")}


def _stopwatch(fabric: Fabric, *, running: bool) -> Stopwatch:
    """A stopwatch that waits for the device of the fabric where parts begin and end."""
    if fabric.device.type == "cuda":
        return Stopwatch(running=running, synchronise=torch.cuda.synchronize)
    return Stopwatch(running=running)


def _decoded(
    photos: Sequence[Photo],
    cache: Path,
    config: TrainConfig,
    size: int | None,
    log: EpochLog,
    stopwatch: Stopwatch,
    *,
    quiet: bool,
) -> PhotoBank:
    """`photo_bank`, logged."""
    lap = stopwatch.lap()
    with stopwatch.part("decode"):
        bank = photo_bank(photos, cache, config, size, quiet=quiet)
    log({"stage": f"{PHOTOS} {bank.size} pixels", "epoch": 0, **lap.row()})
    return bank


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


def _refuse_misfits(found: Sequence[Photo], config: TrainConfig) -> None:
    """Make sure, before there is a RUN, that encoders, their weights, given labels and a compiler can be used."""
    if config.given_labels is not None:
        refuse_missing_labels(found, Path(config.given_labels))
    if config.given_labels is None or config.generations > 1:
        initial_encoder(config.stage1, config)
    if config.teacher is None:
        _fresh_detector(initial_encoder(config.stage2, config), config)
    if config.stage2.compile and not any(map(shutil.which, (os.environ.get("CXX", ""), *COMPILERS))):
        raise ConfigError("stage2.compile needs a C++ compiler, such as g++, and there is none")


def _check_photos(run: RunDirectory, photos: Sequence[Photo]) -> None:
    """Refuse to go on with other photos than those that the labels and checkpoints of the run belong to."""
    file, now = run.checkpoints / "photos.json", photo_states(photos)
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


def _with_generation(log: EpochLog, number: int) -> EpochLog:
    return lambda row: log({"generation": number, **row})


@dataclass(frozen=True)
class _Generation:
    """Both stages, once: photos -> labels -> detector.

    folder: gets the results; cache: of the run, for photos and features; bank: the photos of all processes; teacher:
    the detector before, or None; given: folder of labels to train on, None: stage 1 makes them.
    """

    folder: GenerationFolder
    cache: Path
    bank: PhotoBank
    config: TrainConfig
    fabric: Fabric
    log: EpochLog
    teacher: Path | None
    given: str | None
    quiet: bool
    stopwatch: Stopwatch

    def train(self) -> None:
        """Write the labels and the detector, going on where an earlier call was stopped."""
        own = self.bank.part(parallel.rank(), parallel.world())
        samples = (
            Samples(self.folder.samples, own) if parallel.leads() else Samples(self.folder.samples, own, 0)
        )
        samples.photos()
        self._write_labels(own, samples)
        self._write_detector(own, samples)
        parallel.barrier()

    def _write_labels(self, bank: PhotoBank, samples: Samples) -> None:
        """Write stage1.safetensors and the labels of this process's photos, unless an earlier call did."""
        finished = self._labels_done
        if parallel.from_leader(finished.is_file()):
            return
        if self.given is not None:
            samples.labels(copy_labels(bank, Path(self.given), self.folder))
        else:
            self._make_labels(bank, samples)
        parallel.barrier()
        if parallel.leads():
            write_atomic(finished, b"")

    def _make_labels(self, bank: PhotoBank, samples: Samples) -> None:
        """Write stage1.safetensors and the labels of this process's photos by stage 1."""
        labelling = Labelling(
            bank=bank,
            features=parallel.own_folder(self.cache / FEATURES),
            cache=parallel.own_folder(self.folder.cache),
            checkpoints=self.folder.checkpoints,
            config=self.config,
            fabric=self.fabric,
            log=self.log,
            quiet=self.quiet,
            teacher=self._loaded_teacher(),
            stopwatch=self.stopwatch,
        )
        fitted = labelling.fit()
        if parallel.leads():
            about = _about(self.config, len(self.bank))
            save_stage1(self.folder.stage1, fitted.network, fitted.encoder, metadata=about)
        cues, targets = labelling.write(fitted, self.folder.labels, phase="labels", resume=True)
        samples.activations(cues, threshold=self.config.labels.threshold)
        samples.labels(targets)

    def _write_detector(self, bank: PhotoBank, samples: Samples) -> None:
        """Fit the detector on labels/ and write detector.safetensors."""
        config, options = self.config, self.config.stage2
        targets = bank.outputs(self.folder.labels)
        size = options.size or config.size
        if size != (config.stage1.size or config.size):
            cache = parallel.own_folder(self.cache)
            bank = _decoded(bank.photos, cache, config, size, self.log, self.stopwatch, quiet=self.quiet)
            refuse_changed(self.bank)
        label_folder = parallel.own_folder(self.folder.checkpoints / "labels")
        state = TrainingState(self.folder.checkpoints / "stage2.pt", partial(LabelBank.check, label_folder))
        if not state.usable():
            labels = (self._label(target, size) for target in targets)
            LabelBank.create(label_folder, labels, count=len(bank), size=size)
        detector = self._initial_detector()
        photos = TimedPhotos(bank, self.stopwatch)
        stage = Stage2(photos, label_folder, options, config.labels, self.fabric, config.seed, self.stopwatch)
        stage.fit(
            detector, state, self.log, on_epoch=lambda b: samples.rectified(b.epoch, b), quiet=self.quiet
        )
        fabric = lone_fabric(config)
        detector.presence = fit_presence(detector, bank, seed=config.seed, fabric=fabric, quiet=self.quiet)
        if parallel.leads():
            self._save(detector, bank.size, fabric, samples)

    def _save(self, detector: DetectorNetwork, size: int, fabric: Fabric, samples: Samples) -> None:
        """Write detector.safetensors, which is for squares of `size` pixels, and its samples."""
        trained = Detector(TorchNetwork(detector, size=size, fabric=fabric))
        samples.predictions(lambda squares: np.stack(trained.batch(list(squares))))
        supervision = {
            "stage 1 supervision": self._label_supervision(),
            "stage 2 supervision": cast(Encoder, detector.encoder).supervision,
        }
        about = _about(self.config, len(self.bank)) | {"size": str(size)} | supervision
        save_detector(self.folder.detector, detector, half=True, metadata=about)

    @property
    def _labels_done(self) -> Path:
        return self.folder.checkpoints / "labels.done"

    def _label(self, target: Path, size: int) -> NDArray[np.uint8]:
        """A square label; one that is damaged is deleted, so that a resumed run writes it again."""
        try:
            return read_label(target, (size, size))
        except ImageError:
            target.unlink(missing_ok=True)
            self._labels_done.unlink(missing_ok=True)  # another process may have found one, too
            raise

    def _loaded_teacher(self) -> Detector | None:
        if self.teacher is None:
            return None
        network = TorchNetwork.load(self.teacher, device=self.config.device, devices=own_device(self.config))
        self.stopwatch.watch(network.network.encoder, "encoder")
        return Detector(network)

    def _label_supervision(self) -> str:
        """What the encoder of stage 1 had seen; unknown where given labels have no stage 1 beside them."""
        if not self.folder.stage1.is_file():
            return UNKNOWN
        return load_stage1(self.folder.stage1)[1].supervision

    def _initial_detector(self) -> DetectorNetwork:
        """The teacher, or a detector with a decoder drawn from the seed."""
        if self.teacher is not None:
            return load_detector(self.teacher)
        return _fresh_detector(initial_encoder(self.config.stage2, self.config), self.config)


def _fresh_detector(encoder: Encoder, config: TrainConfig) -> DetectorNetwork:
    """A detector with a decoder drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return DetectorNetwork(
            encoder,
            channels=config.stage2.channels,
            attention=config.stage2.attention,
            finest_stride=config.stage2.finest_stride,
        )


def _about(config: TrainConfig, photos: int) -> dict[str, str]:
    """What a model file says of its making; of the files of weights the name alone, not where they lay."""
    told = replace(
        config,
        encoder_weights=Path(config.encoder_weights).name,
        given_labels=None if config.given_labels is None else Path(config.given_labels).name,
        teacher=None if config.teacher is None else Path(config.teacher).name,
        stage1=_without_folder(config.stage1),
        stage2=_without_folder(config.stage2),
    )
    return {"package": f"act2sal {__version__}", "photos": str(photos), "config": to_toml(told)}


def _without_folder(stage: StageConfig) -> StageConfig:
    weights = stage.encoder_weights
    return stage if weights is None else replace(stage, encoder_weights=Path(weights).name)
