"""`act2sal predict --engine ray`: the results of the local command, shard by shard."""

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from act2sal.cluster.engine import Cluster
from act2sal.cluster.job import Existing, Job, JobOutcome, completed
from act2sal.cluster.worker import ShardWorker
from act2sal.config import Backend
from act2sal.data.images import limit_pixels
from act2sal.data.photo_files import Photo
from act2sal.data.photo_search import AUTO, Remarks
from act2sal.predict.detector import model_file_of
from act2sal.predict.job import maker_of
from act2sal.predict.maps import MapMaker, done
from act2sal.predict.plan import Task
from act2sal.predict.records import Record
from act2sal.predict.rendering import Rendering
from act2sal.shards.addresses import Place
from act2sal.shards.inputs import inputs_of
from act2sal.shards.ledger import Ledger
from act2sal.shards.staging import Staged
from act2sal.shards.storing import ShardResult, StoreKind


@dataclass(frozen=True)
class PredictWork:
    """What every process of a job does.

    Attributes:
        out: address of the folder of the results.
        store: how results are kept.
        rendering: what is made of each photo.
        method: "a2s" or a name of `classical.METHODS`.
        model: name of the copy of the detector's file in the ledger; "": the method has none.
        device: of the detector.
        backend: that runs it.
        max_pixels: of a photo.
    """

    out: str
    store: StoreKind
    rendering: Rendering
    method: str
    model: str
    device: str
    backend: Backend
    max_pixels: int

    @property
    def columns(self) -> dict[str, str]:
        """Name of each result, by what its file name has behind the photo's."""
        names = [kind.name for kind in self.rendering.kinds]
        return dict(zip(self.rendering.suffixes, names, strict=True))

    def as_json(self) -> dict[str, Any]:
        """The options that decide what the results are."""
        rendering = self.rendering
        return {
            "command": "predict",
            "store": self.store,
            "method": self.method,
            "model": self.model,
            "kind": [repr(kind) for kind in rendering.kinds],
            "format": rendering.format,
            "selection": repr(rendering.selection),
            "crop": rendering.crop,
            "matting": rendering.matting,
            "refine": rendering.refine,
            "min-confidence": rendering.min_confidence,
            "rates": rendering.rates,
        }


def model_of(method: str, model: Path | None, device: str, backend: Backend) -> Path | None:
    """The file of the detector, as `Detector.load` would read it; None: the method has none.

    Raises:
        CheckpointError: there is no such file.
    """
    return model_file_of(model, device, backend) if method == "a2s" else None


def model_name(file: Path | None) -> str:
    """Name of the copy of a model file: the digest of its content, and its ending, which says what runs it."""
    if file is None:
        return ""
    return f"model-{hashlib.sha256(file.read_bytes()).hexdigest()[:16]}{file.suffix}"


def predictor(work: PredictWork, threads: int) -> ShardWorker:
    """What does shards in one process, which reads the model once.

    Args:
        work: what to do.
        threads: that decode and encode.

    Raises:
        CheckpointError: the model cannot be used.
    """
    limit_pixels(work.max_pixels)
    maker = _maker(work)

    def results(piece: Sequence[Staged], folder: Path) -> list[ShardResult]:
        del folder  # results go from memory to where they are kept
        return _results(piece, maker, work.rendering, threads)

    return ShardWorker(work.out, work.store, work.columns, results)


def _maker(work: PredictWork) -> MapMaker:
    """What makes the maps."""
    with tempfile.TemporaryDirectory() as folder:
        file = None
        if work.model:
            file = Path(folder) / work.model
            file.write_bytes(Ledger(Place(work.out)).folder.below(work.model).read())
        return maker_of(work.method, file, work.rendering, device=work.device, backend=work.backend)


def _results(
    piece: Sequence[Staged], maker: MapMaker, rendering: Rendering, threads: int
) -> list[ShardResult]:
    """The results of some photos, by the local command's own way."""
    suffixes = rendering.suffixes
    tasks = {
        number: Task(Photo(photo.file, Path(photo.name)), tuple(Path(f"{number}{s}") for s in suffixes))
        for number, photo in enumerate(piece)
        if photo.file is not None
    }
    numbers = {task.targets: number for number, task in tasks.items()}
    files: dict[Path, bytes] = {}
    facts: dict[int, dict[str, Any]] = {}
    errors = {number: photo.failure for number, photo in enumerate(piece)}

    def note(record: Record) -> None:
        facts[numbers[record.task.targets]] = record.facts.as_json()

    def fail(task: Task, line: str) -> None:
        photo = piece[numbers[task.targets]]
        errors[numbers[task.targets]] = line.replace(str(photo.file), photo.told)

    done(
        list(tasks.values()),
        maker,
        rendering,
        workers=threads,
        quiet=True,
        on_record=note,
        on_failure=fail,
        write_file=files.__setitem__,
    )
    results = []
    for number, photo in enumerate(piece):
        if number in facts:
            made = {suffix: files[Path(f"{number}{suffix}")] for suffix in suffixes}
            results.append(ShardResult(photo.name, made, facts[number]))
        else:
            results.append(ShardResult(photo.name, {}, {}, errors[number]))
    return results


def predict_on_cluster(
    given: Sequence[str],
    work: PredictWork,
    cluster: Cluster,
    *,
    model: Path | None,
    exclude: str = AUTO,
    existing: Existing,
    shard_size: int,
    quiet: bool = False,
) -> JobOutcome:
    """Do all photos of the inputs that are not done.

    Args:
        given: as of `inputs.inputs_of`.
        work: what to do.
        cluster: where.
        model: file of the detector, of which a copy is put beside the results, where all machines find it.
        exclude: as of `inputs.inputs_of`.
        existing: what happens to results that are there already.
        shard_size: most files of a shard.
        quiet: no progress bar.

    Raises:
        DatasetError: as `inputs.inputs_of`.
        FileExistsError: results are there that no earlier run of this job made.
        InputError: an earlier run had other options.
        MissingPackageError, LostProcessError: as `engine.spread`.
    """
    remarks = Remarks()
    inputs = inputs_of(given, Place(work.out), exclude=exclude, remarks=remarks)
    files = {work.model: model.read_bytes()} if model is not None else {}
    job = Job(work.out, work.store, work.rendering.suffixes, work.as_json(), files)
    make = partial(predictor, work)
    outcome = completed(
        job, inputs, make, cluster, existing=existing, shard_size=shard_size, title="predict", quiet=quiet
    )
    return replace(outcome, failures=(*remarks.undone, *outcome.failures))
