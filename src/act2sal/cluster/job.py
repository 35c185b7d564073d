"""A job on a cluster: what is left of its shards is done, and what came of all of them is told."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from act2sal.cluster.engine import Cluster, spread
from act2sal.runtime import progress
from act2sal.shards.addresses import Place
from act2sal.shards.inputs import Inputs
from act2sal.shards.ledger import Done, Ledger
from act2sal.shards.shard import Entry, Shard, planned_shards
from act2sal.shards.storing import StoreKind

logger = logging.getLogger("act2sal")


@dataclass(frozen=True)
class Job:
    """A job.

    Attributes:
        out: address of the folder of the results.
        store: how they are kept.
        suffixes: of the results of a photo.
        options: that decide what the results are.
        files: that the processes read, by their names in the ledger.
    """

    out: str
    store: StoreKind
    suffixes: Sequence[str]
    options: Mapping[str, Any]
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Existing:
    """What happens to results that are there already.

    Attributes:
        overwrite: all is done anew.
        skip: photos with results are left out.
    """

    overwrite: bool = False
    skip: bool = False


@dataclass(frozen=True)
class JobOutcome:
    """What came of a job, earlier calls included.

    Attributes:
        photos: that have results.
        failures: one line for each other photo.
    """

    photos: int
    failures: tuple[str, ...]


def completed(
    job: Job,
    inputs: Inputs,
    make: Callable[[int], Callable[[Shard], Done]],
    cluster: Cluster,
    *,
    existing: Existing,
    shard_size: int,
    title: str,
    quiet: bool,
) -> JobOutcome:
    """Do the shards that are not done, or of which some photos failed.

    Args:
        job: what to do.
        inputs: photos.
        make: as of `engine.spread`.
        cluster: where.
        existing: what happens to results that are there already.
        shard_size: most files of a shard.
        title: of the progress bar.
        quiet: no progress bar.

    Raises:
        FileExistsError: results are there that no earlier run of this job made.
        InputError: an earlier run had other options; else as `engine.spread`.
        MissingPackageError, LostProcessError: as `engine.spread`.
    """
    ledger = Ledger(Place(job.out))
    with ledger.alone():
        earlier = ledger.earlier(job.options, overwrite=existing.overwrite)
        photos = _to_do(inputs.photos, earlier, job, existing)
        shards = planned_shards(earlier, photos, inputs.packed, shard_size)
        ledger.begin(job.options, shards)
        for name, content in job.files.items():
            ledger.folder.below(name).write(content)
        every = _done(shards, ledger, make, cluster, title=title, quiet=quiet)
    return JobOutcome(
        photos=sum(one.photos for one in every),
        failures=tuple(line for one in every for line in one.failures),
    )


def _done(
    shards: Sequence[Shard],
    ledger: Ledger,
    make: Callable[[int], Callable[[Shard], Done]],
    cluster: Cluster,
    *,
    title: str,
    quiet: bool,
) -> list[Done]:
    """What came of all shards, in their order, once those that are left are done."""
    known = ((shard.number, ledger.done(shard.number)) for shard in shards)
    found = {number: done.without_records for number, done in known if done is not None and not done.failures}
    left = [shard for shard in shards if shard.number not in found]
    with progress.bar(f"{title}, shards", total=len(left), quiet=quiet) as advance:
        for done in spread(left, make, cluster) if left else ():
            found[done.number] = done
            for line in done.failures:
                logger.warning("%s", line)
            advance()
    return [found[shard.number] for shard in shards if shard.number in found]


def _to_do(photos: list[Entry], earlier: Sequence[Shard], job: Job, existing: Existing) -> list[Entry]:
    """Without photos whose results are there, which are refused unless they are to be skipped or replaced."""
    folder = Place(job.out).path
    if job.store != "files" or folder is None or existing.overwrite or not folder.is_dir():
        return photos
    known = {entry for shard in earlier for entry in shard.entries}
    kept = []
    for photo in photos:
        stem = PurePosixPath(photo.name).with_suffix("").as_posix()
        there = photo not in known and all((folder / f"{stem}{suffix}").exists() for suffix in job.suffixes)
        if there and not existing.skip:
            raise FileExistsError(
                f"{folder / stem}{job.suffixes[0]} exists already; --overwrite replaces it, "
                "--skip-existing does the others"
            )
        if not there:
            kept.append(photo)
    return kept
