"""`act2sal label --engine ray`: stage 1 is fitted on a sample here and applied to all photos by the cluster."""

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from act2sal.cluster.engine import Cluster
from act2sal.cluster.job import Existing, Job, JobOutcome, completed
from act2sal.cluster.worker import ShardWorker
from act2sal.config import TrainConfig
from act2sal.config_files import to_toml
from act2sal.data.images import limit_pixels
from act2sal.data.photo_bank import MIN_PHOTOS
from act2sal.data.photo_files import Photo
from act2sal.data.photo_search import Remarks
from act2sal.errors import InputError
from act2sal.shards.addresses import Place
from act2sal.shards.inputs import Inputs, inputs_of
from act2sal.shards.ledger import Ledger
from act2sal.shards.shard import Shard
from act2sal.shards.staging import Staged, staged
from act2sal.shards.storing import ShardResult, StoreKind
from act2sal.training.labelling import fit_on, label_some, options_of
from act2sal.training.stage1.applying import AppliedStage1

STAGE1, CONFIG = "stage1.safetensors", "config.toml"
COLUMNS = {".png": "label"}


@dataclass(frozen=True)
class LabelWork:
    """What every process of a job does.

    Attributes:
        out: address of the folder of the labels.
        store: how they are kept.
        config: options of stage 1 and of the labels.
        max_pixels: of a photo.
    """

    out: str
    store: StoreKind
    config: TrainConfig
    max_pixels: int


@dataclass(frozen=True)
class Fit:
    """Where stage 1 comes from.

    Attributes:
        run: run directory whose stage 1 is used; None: one is fitted.
        photos: to fit on, spread evenly over the inputs.

    Raises:
        InputError: too few photos.
    """

    run: Path | None
    photos: int

    def __post_init__(self) -> None:
        if self.photos < MIN_PHOTOS:
            raise InputError(f"--fit-on is at least {MIN_PHOTOS}, not {self.photos}")


def label_on_cluster(
    given: Sequence[str],
    work: LabelWork,
    cluster: Cluster,
    fit: Fit,
    *,
    existing: Existing,
    shard_size: int,
    quiet: bool = False,
) -> JobOutcome:
    """Label all photos of the inputs that have no label yet.

    Args:
        given: as of `inputs.inputs_of`.
        work: what to do.
        cluster: where.
        fit: where stage 1 comes from.
        existing: what happens to labels that are there already.
        shard_size: most files of a shard.
        quiet: no progress bar.

    Raises:
        DatasetError: as `inputs.inputs_of`, or there is nothing to fit on.
        CheckpointError, ConfigError: the run holds no stage 1.
        EncoderError, WeightsError, FloatingPointError: as `labelling.label`.
        MissingPackageError, LostProcessError: as `engine.spread`.
    """
    remarks = Remarks()
    inputs = inputs_of(given, Place(work.out), exclude=work.config.exclude, remarks=remarks)
    kept = Ledger(Place(work.out)).folder
    with tempfile.TemporaryDirectory(prefix="act2sal-") as scratch:
        run = Path(scratch) / "run" if fit.run is None else fit.run
        options = _options(work, fit)
        if fit.run is None:
            earlier = (
                not existing.overwrite and kept.below("job.json").exists() and kept.below(STAGE1).exists()
            )
            if earlier:  # fitted by the call that was stopped
                _copy(kept, run)
            else:
                sample = _sample(inputs, fit.photos, Path(scratch))
                fit_on(sample, run, work.config, quiet=quiet)
        files = {name: (run / name).read_bytes() for name in (STAGE1, CONFIG)}
    job = Job(work.out, work.store, tuple(COLUMNS), options, files)
    make = partial(labeller, work)
    outcome = completed(
        job, inputs, make, cluster, existing=existing, shard_size=shard_size, title="labels", quiet=quiet
    )
    return replace(outcome, failures=(*remarks.undone, *outcome.failures))


def labeller(work: LabelWork, threads: int) -> ShardWorker:
    """What does shards in one process, which reads stage 1 once.

    Args:
        work: what to do.
        threads: of every pool.
    """
    limit_pixels(work.max_pixels)
    with tempfile.TemporaryDirectory(prefix="act2sal-") as folder:
        run = Path(folder)
        _copy(Ledger(Place(work.out)).folder, run)
        applied, config = AppliedStage1.load(run), options_of(run, work.config)
    config = replace(config, workers=threads)

    def results(piece: Sequence[Staged], folder: Path) -> list[ShardResult]:
        return _results(piece, folder, applied, config)

    return ShardWorker(work.out, work.store, COLUMNS, results)


def _results(
    piece: Sequence[Staged], folder: Path, applied: AppliedStage1, config: TrainConfig
) -> list[ShardResult]:
    """The labels of some photos."""
    photos = {
        number: Photo(photo.file, Path(f"{number}.jpg"))
        for number, photo in enumerate(piece)
        if photo.file is not None
    }
    errors = {number: photo.failure for number, photo in enumerate(piece)}
    labels = folder / "labels"
    for line in label_some(list(photos.values()), labels, folder / "work", applied, config).failures:
        for number, one in photos.items():
            if line.startswith(f"{one.path}: "):
                errors[number] = line.replace(str(one.path), piece[number].told)
    results = []
    for number, photo in enumerate(piece):
        file = labels / f"{number}.png"
        made = {".png": file.read_bytes()} if file.is_file() else {}
        results.append(ShardResult(photo.name, made, {}, "" if made else errors[number]))
    return results


def _options(work: LabelWork, fit: Fit) -> dict[str, Any]:
    """The options that decide what the labels are."""
    config = replace(work.config, device="auto", workers=0, cache_size=None)
    stage1 = "" if fit.run is None else hashlib.sha256((fit.run / STAGE1).read_bytes()).hexdigest()[:16]
    told = {"command": "label", "store": work.store, "run": stage1, "fit-on": fit.photos if not stage1 else 0}
    return told | ({} if stage1 else {"config": to_toml(config)})


def _sample(inputs: Inputs, count: int, scratch: Path) -> list[Photo]:
    """So many photos, spread evenly over all that are files; of packed ones, as many of each as are needed."""
    if inputs.photos:
        spread = np.linspace(0, len(inputs.photos) - 1, min(count, len(inputs.photos))).round().astype(int)
        shards = [Shard(0, tuple(inputs.photos[index] for index in spread))]
        share = count
    else:
        spread = np.linspace(0, len(inputs.packed) - 1, min(count, len(inputs.packed))).round().astype(int)
        shards = [Shard(0, packed=inputs.packed[index].address) for index in spread]
        share = -(-count // len(shards))
    photos: list[Photo] = []
    for place, shard in enumerate(shards):
        photos += _first_of(shard, share, scratch / f"sample-{place}")
    return photos[:count]


def _first_of(shard: Shard, count: int, folder: Path) -> list[Photo]:
    """The first photos of a shard, as files that stay."""
    photos: list[Photo] = []
    (folder / "piece").mkdir(parents=True)
    for piece in staged(shard, folder / "piece"):
        for photo in piece:
            if photo.file is None or len(photos) == count:
                continue
            kept = folder / f"{len(photos):06d}{Path(photo.name).suffix}"
            file = photo.file if photo.file.parent != folder / "piece" else photo.file.rename(kept)
            photos.append(Photo(file, Path(f"{folder.name}/{len(photos):06d}.jpg")))
        if len(photos) == count:
            break
    return photos


def _copy(kept: Place, run: Path) -> None:
    """Bring the stage 1 of a job to this machine."""
    run.mkdir(parents=True, exist_ok=True)
    for name in (STAGE1, CONFIG):
        (run / name).write_bytes(kept.below(name).read())
