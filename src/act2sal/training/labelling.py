"""From photos to pseudo labels: encoder features, stage 1, its rounds of self-training, Eq. 6."""

import hashlib
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from act2sal.a2s.activation import ActivationNetwork
from act2sal.a2s.pseudo_labels import write_labels
from act2sal.config import EARLIER, ConfigError, Stage1Config, Stage2Config, TrainConfig, load_toml, to_toml
from act2sal.data.array_files import ArrayFileError, check, create_array, open_array, seal
from act2sal.data.images import ImageError, read_photo, resize_photo, write_atomic
from act2sal.data.locks import locked
from act2sal.data.origin import all_seen
from act2sal.data.photo_bank import PhotoBank, build_photo_bank
from act2sal.data.photo_batches import PhotoSource
from act2sal.data.photo_files import DatasetError, Photo, png_paths, refuse_collisions
from act2sal.data.photo_search import Remarks, Search, SilentRemarks
from act2sal.networks.checkpoint import load_stage1
from act2sal.networks.encoders import Encoder, build_encoder, freeze
from act2sal.predict.detector import Detector
from act2sal.runs.cache_folder import FEATURES, clear_all_but_features
from act2sal.runs.training_state import EpochLog, LogRow, TrainingState
from act2sal.runtime import cores, parallel
from act2sal.runtime.allocator import keep_freed_memory
from act2sal.runtime.gpu import refuse_missing
from act2sal.runtime.hardware import named
from act2sal.runtime.precision import FabricPrecision, fabric_precision, without_remarks
from act2sal.runtime.stopwatch import OFF, Stopwatch, TimedPhotos
from act2sal.training.stage1 import (
    Features,
    FrozenFeatures,
    LiveFeatures,
    PhotoSizeCues,
    ResidentFeatures,
    ResizedPhotos,
    activation_network,
    budget_in_bytes,
    cue_logits,
    fit,
    fit_in_memory,
    fit_on_labels,
)
from act2sal.training.teacher import predicted_logits

logger = logging.getLogger("act2sal")


@dataclass(frozen=True)
class PhotosUsed:
    """What a command leaves: how many photos were used, and one line for each that could not be read."""

    photos: int
    failures: list[str]


@dataclass(frozen=True)
class Fitted:
    """A fitted stage 1: the network, the encoder it reads and the features of the photos."""

    network: ActivationNetwork
    encoder: Encoder
    features: Features


@dataclass(frozen=True)
class Labelling:
    """What the steps from photos to labels share.

    bank: the photos of this process at the size of stage 1; features: folder of the frozen features; cache: folder
    for what else can be computed again; checkpoints: folder for what cannot; log: receives a row per epoch and phase;
    teacher: a detector whose predictions take the place of the cues of Eq. 1-5; stopwatch: times the parts of the
    work.
    """

    bank: PhotoBank
    features: Path
    cache: Path
    checkpoints: Path
    config: TrainConfig
    fabric: Fabric
    log: EpochLog
    quiet: bool
    teacher: Detector | None = None
    stopwatch: Stopwatch = OFF

    def fit(self) -> Fitted:
        """Fit stage 1 with its rounds of self-training, going on where an earlier call was stopped.

        Raises:
            ConfigError: a teacher, but no round in which to learn from it.
        """
        encoder, features = self._features()
        if self.teacher is not None:
            freeze(encoder)  # there is no first fit in which it could be trained, or its statistics drift
        before = self.teacher or Fitted(self._first_fit(encoder, features), encoder, features)
        for number in range(1, self.config.stage1.rounds + 1):
            before = Fitted(self._round(number, features, before), encoder, features)
        if isinstance(before, Detector):
            raise ConfigError("stage1.rounds = 0: stage 1 learns from a detector in a round of self-training")
        return before

    def write(
        self, source: Fitted | Detector, out: Path, *, phase: str, resume: bool
    ) -> tuple[Sequence[NDArray[np.float32]], list[Path]]:
        """Write the labels that a fitted stage 1, or a detector, gives all photos, and log it as `phase`.

        Returns:
            Signed cues, (h, w) float32 of every photo, and the paths of the labels.

        Raises:
            ImageError: a photo vanished or changed after it was decoded; its label is not kept.
            DatasetError: a photo can no longer be read.
            OSError: the disk is full.
        """
        lap = self.stopwatch.lap()
        cues = self._cues(source)
        targets = self.bank.outputs(out)
        kept = {target for target in targets if resume and target.is_file()}
        failures = write_labels(
            [photo.path for photo in self.bank.photos],
            targets,
            cues,
            self.config.labels,
            fitted=isinstance(source, Detector) or source.network.boundary == "affine",
            workers=workers_of(self.config),
            resume=resume,
            quiet=self.quiet,
            stopwatch=self.stopwatch,
            seen=self._seen(source),
        )
        for index in self.bank.changed():
            if targets[index] not in kept:
                targets[index].unlink(missing_ok=True)
        refuse_changed(self.bank)
        if failures:
            raise DatasetError(f"{failures[0]} (it could be read when the features were computed)")
        self.log({"stage": phase, "epoch": 0, **lap.row()})
        return cues, targets

    def _cues(self, source: Fitted | Detector) -> Sequence[NDArray[np.float32]]:
        options, file = self.config.stage1, self.cache / "cues.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, Detector):
            with self.stopwatch.part("heads"):
                return list(predicted_logits(source, self.timed_bank(), file, quiet=self.quiet))
        if options.cues_at_photo_size:
            paths = [photo.path for photo in self.bank.photos]
            return PhotoSizeCues(source.network, source.encoder, paths, options)
        cues = cue_logits(
            source.network,
            source.features,
            options,
            file,
            fabric=self.fabric,
            quiet=self.quiet,
            stopwatch=self.stopwatch,
        )
        return list(cues)

    def _seen(self, source: Fitted | Detector) -> str:
        """The labels that the encoders behind the labels were trained with; "" where a teacher does not say."""
        encoder = [source.encoder.supervision] if isinstance(source, Fitted) else []
        told = [*encoder, *([self.teacher.seen] if self.teacher is not None else [])]
        return all_seen(told) if all(told) else ""

    def timed_bank(self) -> PhotoSource:
        """The photos; reading them is timed."""
        return TimedPhotos(self.bank, self.stopwatch)

    def _features(self) -> tuple[Encoder, Features]:
        encoder = initial_encoder(self.config.stage1, self.config)
        self.fabric.to_device(encoder)
        self.stopwatch.watch(encoder, "encoder")
        return encoder, self._features_of(encoder, self.timed_bank(), self.features)

    def _features_of(self, encoder: Encoder, photos: PhotoSource, folder: Path) -> Features:
        """Features of the photos; those of a frozen encoder are kept, on a GPU if they fit, else on disk."""
        options = self.config.stage1
        if not _cachable(options):
            return LiveFeatures(encoder, photos, self.fabric.device, mirror=options.mirror)
        lap = self.stopwatch.lap()
        frozen = _frozen_features(freeze(encoder), photos, self)
        mirrored = options.flip or options.rounds > 0
        features: Features = frozen
        if self._on_gpu(frozen, mirrored=mirrored):
            features = ResidentFeatures(frozen, mirrored=mirrored, quiet=self.quiet)
        else:
            budget = budget_in_bytes(self.config.cache_size, folder) // parallel.world()
            frozen.keep(folder, budget, mirrored=mirrored, quiet=self.quiet)
        self.log({"stage": "features", "epoch": 0, **lap.row(), "device": str(self.fabric.device)})
        return features

    def _on_gpu(self, features: FrozenFeatures, *, mirrored: bool) -> bool:
        """Whether there is a GPU in whose memory the features fit."""
        if self.fabric.device.type != "cuda":
            return False
        free, _ = torch.cuda.mem_get_info(self.fabric.device)
        return fit_in_memory(features, mirrored=mirrored, free=free)

    def _second_views(self, encoder: Encoder) -> list[Features]:
        """Features of the photos at the other sizes of `scale_consistency`; none where it is off."""
        options = self.config.stage1
        if options.scale_consistency == 0:
            return []
        found = []
        for change in options.second_sizes:
            side = self.bank.size + change
            folder = self.features.with_name(f"{self.features.name}-{side}")
            found.append(self._features_of(encoder, ResizedPhotos(self.timed_bank(), side), folder))
        return found

    def _first_fit(self, encoder: Encoder, features: Features) -> ActivationNetwork:
        """The blocks fitted by Eq. 4."""
        options, seed = self.config.stage1, self.config.seed
        network = self._on_device(activation_network(features, options, seed=seed))
        return fit(
            network,
            features,
            options,
            seed=seed,
            fabric=self.fabric,
            state=TrainingState(self.checkpoints / "stage1.pt"),
            log=self.log,
            others=self._second_views(encoder),
            photos=self.bank,
            quiet=self.quiet,
            stopwatch=self.stopwatch,
        )

    def _round(self, number: int, features: Features, before: Fitted | Detector) -> ActivationNetwork:
        """Fresh blocks fitted on the labels that the ones before, or the teacher, give."""
        options, seed = self.config.stage1, self.config.seed
        network = self._on_device(
            activation_network(features, options, seed=seed + number, boundary="affine")
        )
        file = self.cache / f"round-{number}.npy"
        if not _whole(file):
            with torch.inference_mode():
                height, width = network(features.read([0])).theta.shape[-2:]
            self._write_round_labels(file, before, (height, width), f"labels of round {number - 1}")
        return fit_on_labels(
            network,
            features,
            open_array(file),
            options,
            round_number=number,
            seed=seed,
            fabric=self.fabric,
            state=TrainingState(self.checkpoints / f"{file.stem}.pt"),
            log=self.log,
            quiet=self.quiet,
            stopwatch=self.stopwatch,
        )

    def _on_device(self, network: ActivationNetwork) -> ActivationNetwork:
        """The blocks where the features come, so that they can be asked before they are fitted."""
        self.fabric.to_device(network)
        return network

    def _write_round_labels(
        self, file: Path, source: Fitted | Detector, size: tuple[int, int], phase: str
    ) -> None:
        """The labels of all photos on the grid of the fused map, `size` = (h, w): (N, h, w) uint8 0..255."""
        folder = file.with_suffix("")
        _, targets = self.write(source, folder, phase=phase, resume=True)
        partial = file.with_suffix(".partial")
        grid = create_array(partial, np.uint8, (len(targets), *size))
        for row, target in zip(grid, targets, strict=True):
            row[:] = read_label(target, size)
        seal(grid)
        partial.replace(file)
        if not self.config.keep_cache:
            shutil.rmtree(folder)


def label(
    photos: Path,
    out: Path,
    config: TrainConfig,
    *,
    run: Path | None = None,
    overwrite: bool = False,
    quiet: bool = False,
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

    Raises:
        DatasetError: as `pipeline.train`, or a label would replace a photo.
        FolderInUseError: another process is writing to `out`.
        ImageError: a photo vanished or changed on the way.
        OSError: the disk is full.
        EncoderError, WeightsError, FloatingPointError: as `pipeline.train`.
        CheckpointError, ConfigError: `run` holds no stage 1.
    """
    if run is not None:
        config = _options_of(run, config)
    found, undone = photos_of(photos, out, config)
    refuse_collisions(found, png_paths(found, out))
    if run is None:
        initial_encoder(config.stage1, config)  # a mistyped one is found before the work
    else:
        load_stage1(run / "stage1.safetensors")
    with locked(out), cores.at_most(workers_of(config)):
        outcome = _label(found, out, config, run, overwrite=overwrite, quiet=quiet)
    return replace(outcome, failures=undone + outcome.failures)


def photos_of(folder: Path, out: Path, config: TrainConfig) -> tuple[list[Photo], list[str]]:
    """The photos that are learnt from, and one line for each part of the folder that cannot be had.

    Masks are never opened; results, of which those of this call go to `out`, are left out. The leader tells.

    Raises:
        DatasetError: no photos, or it cannot be known which pictures are masks.
    """
    remarks = Remarks() if parallel.leads() else SilentRemarks()
    search = Search(outside=out, exclude=config.exclude, careful=True, limit=config.limit, remarks=remarks)
    return search.photos([folder]), remarks.undone


def _label(
    found: Sequence[Photo], out: Path, config: TrainConfig, run: Path | None, *, overwrite: bool, quiet: bool
) -> PhotosUsed:
    """`label`, by the one process that writes to `out`."""
    fabric = make_fabric(config)
    if not quiet:
        logger.info("device: %s", named(fabric.device))
    work = _work_folder(out, config, found)
    bank = photo_bank(found, work, config, config.stage1.size, quiet=quiet)
    labelling = Labelling(bank, work / FEATURES, work, work, config, fabric, _no_log, quiet)
    fitted = labelling.fit() if run is None else _fitted_by(run, labelling)
    labelling.write(fitted, out, phase="labels", resume=not overwrite)
    shutil.rmtree(work)
    return PhotosUsed(len(bank), [str(failure) for failure in bank.failures])


def make_fabric(config: TrainConfig) -> Fabric:
    """Lightning Fabric on the device and in the arithmetic of the config.

    With several processes (`launching`) it waits until they have found each other. From then on the process keeps
    the memory that it frees (`allocator`).

    Raises:
        DeviceError: this machine has no such device.
    """
    refuse_missing(config.device, config.devices)
    keep_freed_memory()
    precision = fabric_precision(config.precision, on_gpu=_on_gpu(config))
    if config.devices * config.num_nodes == 1:
        return lone_fabric(config, precision)
    with without_remarks():
        fabric = Fabric(
            accelerator="cuda" if _on_gpu(config) else "cpu",
            devices=config.devices,
            num_nodes=config.num_nodes,
            strategy=parallel.strategy(),
            precision=precision,
        )
    fabric.launch()
    return fabric


def lone_fabric(config: TrainConfig, precision: FabricPrecision = "32-true") -> Fabric:
    """The same for what one process computes without the others; in float32, as predictions are made."""
    with without_remarks():
        if _on_gpu(config):
            return Fabric(accelerator="cuda", devices=own_device(config), precision=precision)
        return Fabric(accelerator=config.device, devices=1, precision=precision)


def own_device(config: TrainConfig) -> int | list[int]:
    """The device of this process, as Fabric wants it."""
    return 1 if parallel.world() == 1 or not _on_gpu(config) else [parallel.rank() % config.devices]


def workers_of(config: TrainConfig) -> int:
    """Threads of this process; where nothing is said, several processes share the cores of their machine."""
    return config.workers or max(1, cores.usable() // config.devices)


def _on_gpu(config: TrainConfig) -> bool:
    return config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())


def photo_bank(
    photos: Sequence[Photo], cache: Path, config: TrainConfig, size: int | None, *, quiet: bool
) -> PhotoBank:
    """The photos as squares of `size` (None: the config's) pixels, kept in `cache`."""
    side = size or config.size
    folder = cache / f"photos-{side}"
    return build_photo_bank(photos, folder, size=side, workers=workers_of(config), quiet=quiet)


def refuse_changed(bank: PhotoBank) -> None:
    """Make sure that the photos are still the files that were decoded.

    Raises:
        ImageError: one of them vanished or changed.
    """
    changed = bank.changed()
    if changed:
        reason = "vanished or changed while it was in use; put back as it was, the work can go on"
        raise ImageError(bank.photos[changed[0]].path, reason)


def initial_encoder(stage: Stage1Config | Stage2Config, config: TrainConfig) -> Encoder:
    """The encoder that a stage starts from; weights that are `random` are drawn from the seed.

    Raises:
        EncoderError, WeightsError: as `encoders.build_encoder`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return build_encoder(stage.encoder or config.encoder, stage.encoder_weights or config.encoder_weights)


def read_label(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A label's PNG resized to `size` = (height, width): uint8 0..255."""
    return resize_photo(read_photo(path), size)[..., 0]


def _whole(file: Path) -> bool:
    """Whether the labels of a round are there; a damaged file is named in a warning."""
    try:
        check(file)
    except FileNotFoundError:
        return False
    except ArrayFileError as error:
        logger.warning("%s; its labels are made anew", error)
        return False
    return True


def _cachable(options: Stage1Config) -> bool:
    """Whether the encoder answers the same at every epoch."""
    return options.freeze_encoder and not options.batchnorm_drift


def _fitted_by(run: Path, labelling: Labelling) -> Fitted:
    """The stage 1 of a run, applied to other photos as it was to its own."""
    network, encoder = load_stage1(run / "stage1.safetensors")
    labelling.fabric.to_device(freeze(encoder))
    labelling.fabric.to_device(network)
    if _cachable(labelling.config.stage1):
        return Fitted(network, encoder, _frozen_features(encoder, labelling.timed_bank(), labelling))
    return Fitted(network, encoder, LiveFeatures(encoder, labelling.bank, labelling.fabric.device))


def _frozen_features(encoder: Encoder, photos: PhotoSource, labelling: Labelling) -> FrozenFeatures:
    options = labelling.config.stage1
    return FrozenFeatures(
        encoder,
        photos,
        fabric=labelling.fabric,
        precision=options.precision,
        mirror=options.mirror,
    )


def _options_of(run: Path, config: TrainConfig) -> TrainConfig:
    """`config` with the options that have to be those of the run."""
    known = load_toml(run / "config.toml", EARLIER)
    return replace(config, size=known.size, stage1=known.stage1, labels=known.labels)


def _work_folder(out: Path, config: TrainConfig, photos: Sequence[Photo]) -> Path:
    """`OUT/.act2sal`; where it belongs to other options or photos, all but the features is deleted."""
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
