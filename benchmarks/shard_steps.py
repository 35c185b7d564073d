"""What a photo takes on a cluster, by step: seconds of a core, bytes moved, requests to an object store.

    python benchmarks/shard_steps.py PHOTOS --out recipes/results/shard_steps.json

WebDataset shards are made of the photos, and `predict` and `label` do them on one core of this machine, shard by
shard, as a process of a cluster would. Shards and results lie on the disk while seconds are counted, and then in an
object store (moto on this machine, which speaks S3's language, read by s3fs) while requests are. Last, Ray spreads
works that do nothing, which shows how many the command can hand out in a second.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from onnxruntime import InferenceSession

from act2sal.cluster.engine import Cluster, spread
from act2sal.cluster.labelling import CONFIG, STAGE1, LabelWork, labeller
from act2sal.cluster.predicting import PredictWork, model_name, model_of, predictor
from act2sal.cluster.worker import ShardWorker
from act2sal.config import TrainConfig
from act2sal.data.images import write_atomic
from act2sal.data.photo_files import Photo, find_photos
from act2sal.predict.rendering import MAPS, Rendering
from act2sal.runtime import cores
from act2sal.runtime.hardware import hardware
from act2sal.shards.addresses import Place
from act2sal.shards.ledger import Ledger
from act2sal.shards.shard import Shard
from act2sal.shards.staging import Staged
from act2sal.shards.storing import ShardStore, StoreKind
from act2sal.training.labelling import fit_on

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from archives import tar_of
from object_store import object_store

STORE: StoreKind = "parquet"
MAX_PIXELS = 10**8


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("--shards", type=int, default=6, help="how many are done; the first does not count")
    parser.add_argument("--photos-a-shard", type=int, default=64)
    parser.add_argument("--labelled", type=int, default=16, help="photos of a shard that are labelled")
    parser.add_argument("--works", type=int, nargs=2, default=(200, 2200), metavar="N", help="few and many")
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    options = parser.parse_args()
    cores.lower(1)
    files = [photo.path for photo in find_photos(options.photos)]
    names = ("shards", "photos_a_shard", "labelled")
    words = " ".join(f"--{name.replace('_', '-')} {getattr(options, name)}" for name in names)
    result: dict[str, Any] = {"command": f"python benchmarks/shard_steps.py PHOTOS {words}"}
    with tempfile.TemporaryDirectory() as folder:
        shards = packed(files, options.shards, options.photos_a_shard, Path(folder) / "photos")
        few = packed(files, options.shards, options.labelled, Path(folder) / "few")
        run = fitted(files, Path(folder) / "run")
        jobs: dict[str, tuple[list[Path], Callable[[str], ShardWorker]]] = {
            "predict": (shards, prediction),
            "label": (few, partial(labelling, run)),
        }
        for name, (archives, make) in jobs.items():
            result[name] = figures(archives, make, Path(folder) / name)
            print(name, result[name], flush=True)
    result["works handed out a second"] = round(handed_out(*options.works), 1)
    result["hardware"] = hardware()
    print(result["works handed out a second"], result["hardware"])
    if options.out:
        write_atomic(options.out, (json.dumps(result, indent=1) + "\n").encode())


def packed(files: Sequence[Path], count: int, size: int, folder: Path) -> list[Path]:
    """So many WebDataset shards of so many photos; photos come again where there are too few."""
    folder.mkdir()
    archives = []
    for number in range(count):
        chosen = [files[(number * size + place) % len(files)] for place in range(size)]
        members = {f"{place:05d}{file.suffix}": file.read_bytes() for place, file in enumerate(chosen)}
        archives.append(Path(tar_of(folder / f"{number}.tar", members)))
    return archives


def fitted(files: Sequence[Path], run: Path) -> Path:
    """A stage 1 of the default form, fitted for a moment: labels by it take as long as those of any other."""
    config = TrainConfig(device="cpu", workers=1)
    short = replace(config.stage1, epochs=1, milestones=(), rounds=1, round_epochs=1)
    photos = [Photo(file, Path(file.name)) for file in files[:8]]
    fit_on(photos, run, replace(config, stage1=short), quiet=True)
    return run


def prediction(out: str) -> ShardWorker:
    """What predicts, as the processes of a cluster do it by default."""
    model = model_of("a2s", None, "cpu", "auto")
    assert model is not None
    work = PredictWork(out, STORE, MAPS, "a2s", model_name(model), "cpu", "auto", MAX_PIXELS)
    Ledger(Place(out)).folder.below(work.model).write(model.read_bytes())
    return predictor(work, 1)


def labelling(run: Path, out: str) -> ShardWorker:
    """What labels."""
    for name in (STAGE1, CONFIG):
        Ledger(Place(out)).folder.below(name).write((run / name).read_bytes())
    return labeller(LabelWork(out, STORE, TrainConfig(device="cpu", workers=1), MAX_PIXELS), 1)


@dataclass
class Steps:
    """Seconds of the processor by step, all threads of this process counted."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def timed(self, step: str, call: Callable[..., Any], clock: Callable[[], float]) -> Callable[..., Any]:
        """The same call, whose seconds are added up."""

        def measured(*arguments: Any, **options: Any) -> Any:
            begun = clock()
            try:
                return call(*arguments, **options)
            finally:
                self.seconds[step] += clock() - begun

        return measured

    def fetched(self, pieces: Iterator[list[Staged]]) -> Iterator[list[Staged]]:
        """The pieces of a shard; the seconds until each is there are added up."""
        step = self.timed("fetch and unpack", lambda: next(pieces, None), time.process_time)
        while (piece := step()) is not None:
            yield piece


def figures(archives: Sequence[Path], make: Callable[[str], ShardWorker], folder: Path) -> dict[str, Any]:
    """Seconds, bytes and requests of a photo or a shard; the first shard only warms up."""
    begun = time.process_time()
    worker = make(str(folder))
    start = time.process_time() - begun
    count = done(worker, archives[0], 0).photos
    steps, totals = Steps(), []
    with ExitStack() as stack:
        for patched in timers(steps, worker):
            stack.enter_context(patched)
        for number, archive in enumerate(archives[1:], start=1):
            begun = time.process_time()
            done(worker, archive, number)
            totals.append((time.process_time() - begun) / count)
    photos = count * len(totals)
    found = {step: seconds / photos for step, seconds in steps.seconds.items()}
    found["everything else"] = sum(totals) / len(totals) - sum(found.values())
    titles = [f"{number:06d}" for number in range(1, len(archives))]
    return {
        "photos a shard": count,
        "seconds to begin": round(start, 2),
        "seconds a photo": {step: round(seconds, 5) for step, seconds in found.items()},
        "seconds a photo in all": round(sum(totals) / len(totals), 5),
        "deviation of a shard's seconds, relative": round(
            statistics.stdev(totals) / statistics.mean(totals), 4
        )
        if len(totals) > 1
        else 0.0,
        "bytes a photo": {
            "read": round(sum(archive.stat().st_size for archive in archives[1:]) / photos),
            "results": round(sum((folder / f"{title}.{STORE}").stat().st_size for title in titles) / photos),
            "note": round(
                sum((folder / ".act2sal" / "done" / f"{title}.json").stat().st_size for title in titles)
                / photos
            ),
        },
        "requests a shard": requests(archives[0], make),
    }


def timers(steps: Steps, worker: ShardWorker) -> list[Any]:
    """Patches that time the steps of a worker; what runs in threads is timed by their own clocks."""
    from act2sal.cluster import worker as module
    from act2sal.predict import maps
    from act2sal.training import labelling as label
    from act2sal.training.stage1 import label_writing

    def whole(step: str, call: Callable[..., Any]) -> Callable[..., Any]:
        return steps.timed(step, call, time.process_time)

    def own(step: str, call: Callable[..., Any]) -> Callable[..., Any]:
        return steps.timed(step, call, time.thread_time)

    def store_of(*arguments: Any) -> ShardStore:
        store = original(*arguments)
        store.add = whole("store", store.add)  # type: ignore[method-assign]
        store.close = whole("store", store.close)  # type: ignore[method-assign]
        return store

    original, read, write, network = module.store_of, maps._decoded, Rendering.write, InferenceSession.run
    staged, commit = module.staged, worker.ledger.commit
    return [
        patch.object(module, "store_of", store_of),
        patch.object(module, "staged", lambda *arguments: steps.fetched(staged(*arguments))),
        patch.object(worker.ledger, "commit", whole("note", commit)),
        patch.object(maps, "_decoded", own("decode and shrink", read)),
        patch.object(InferenceSession, "run", own("network", network)),
        patch.object(Rendering, "write", own("enlarge and encode", write)),
        patch.object(label, "photo_bank", whole("decode and shrink", label.photo_bank)),
        patch.object(label_writing, "_compute_cues", whole("network", label_writing._compute_cues)),
        patch.object(label_writing, "write_labels", whole("dense CRF", label_writing.write_labels)),
    ]


def done(worker: ShardWorker, archive: Path | str, number: int) -> Any:
    """Do a shard; all of it has to end well."""
    found = worker(Shard(number, packed=str(archive), name=Path(archive).name))
    assert not found.failures, found.failures
    return found


def requests(archive: Path, make: Callable[[str], ShardWorker]) -> dict[str, int]:
    """Requests of a shard that lies in an object store, and whose results go there."""
    with object_store() as counted:
        for number in (0, 1):
            Place(f"s3://photos/{number}.tar").write(archive.read_bytes())
        worker = make("s3://maps/out")
        done(worker, "s3://photos/0.tar", 0)
        counted.clear()
        done(worker, "s3://photos/1.tar", 1)
        return dict(counted)


def handed_out(few: int, many: int) -> float:
    """Works a second that Ray spreads over two processes and brings back, where they do nothing, after a few."""
    ends = [time.perf_counter() for _ in spread([1] * many, _idle, Cluster(num_cpus=2))]
    return (many - few) / (ends[many - 1] - ends[few - 1])


def _idle(threads: int) -> Callable[[int], int]:
    del threads
    return int


if __name__ == "__main__":
    main()
