"""Photos in shards and the labels that `act2sal label --engine ray` made of them, for `train --given-labels`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from act2sal.config import ConfigError, TrainConfig
from act2sal.data.photo_files import DatasetError, PhotoState
from act2sal.data.photo_search import Remarks, SilentRemarks
from act2sal.runtime import parallel
from act2sal.shards.addresses import Place
from act2sal.shards.inputs import Inputs, inputs_of
from act2sal.shards.ledger import Ledger
from act2sal.shards.shard import PACKED, Entry, Shard
from act2sal.shards.storing import StoreKind


@dataclass(frozen=True)
class LabelledShard:
    """A shard of photos with labels.

    Attributes:
        planned: the shard as it was when it was labelled, which names its labels.
        photos: the same photos, where they are now.
    """

    planned: Shard
    photos: Shard

    @property
    def name(self) -> str:
        """What tells it from the others."""
        return self.photos.name or self.photos.title


@dataclass(frozen=True)
class LabelledShards:
    """All shards of a training.

    Attributes:
        labels: folder of the labels.
        store: how they are kept.
        shards: in the order of the plan.
        undone: one line for each photo or archive without labels.
    """

    labels: Place
    store: StoreKind
    shards: tuple[LabelledShard, ...]
    undone: tuple[str, ...]

    @property
    def own(self) -> tuple[LabelledShard, ...]:
        """Those of this process: every `world()`-th."""
        return self.shards[parallel.rank() :: parallel.world()]

    @property
    def states(self) -> list[PhotoState]:
        """What they are, to notice other ones."""
        return [[shard.name, len(shard.photos.entries), 0] for shard in self.shards]


def labelled_shards(photos: Path | str, out: Path, config: TrainConfig) -> LabelledShards | None:
    """The shards of a training; None: its photos are files in a folder, and their labels too, or there are none.

    Args:
        photos: folder, pattern or list of photos or shards, here or at an address of fsspec (`inputs.inputs_of`).
        out: run directory, left out.
        config: whose `given_labels` is the folder of the labels, here or at an address.

    Raises:
        ConfigError: an option that shards do not go with.
        DatasetError: photos that were labelled are missing, or shards without labels.
        InputError: what the job of the labels noted cannot be read.
    """
    if config.given_labels is None:
        if not Place(photos).is_local or str(photos).endswith(PACKED):
            raise DatasetError(
                f"{photos}: shards are labelled by act2sal label --engine ray; "
                "--given-labels LABELS then trains on them"
            )
        return None
    labels = Place(config.given_labels)
    ledger = Ledger(labels)
    job = ledger.told()
    if job is None or job[0].get("command") != "label":
        return None
    store, planned = cast(StoreKind, job[0]["store"]), job[1]
    if store == "files" and Place(photos).is_local and not any(shard.packed for shard in planned):
        return None
    _refuse_options(config)
    remarks = Remarks() if parallel.leads() else SilentRemarks()
    inputs = inputs_of([str(photos)], Place(out), exclude=config.exclude, remarks=remarks)
    done = ledger.numbers_done()
    shards = _placed([shard for shard in planned if shard.number in done], inputs)
    undone = _unfinished(planned, done, labels) + _new(planned, inputs, labels)
    return LabelledShards(labels, store, shards, tuple(undone))


def _refuse_options(config: TrainConfig) -> None:
    if config.generations > 1:
        raise ConfigError(
            "generations above 1 need photos as files; those of shards are read once, at one size"
        )
    if config.limit is not None:
        raise ConfigError("limit counts files; of shards, name fewer")


def _placed(planned: Sequence[Shard], inputs: Inputs) -> tuple[LabelledShard, ...]:
    """The planned shards, with the addresses that their photos have now."""
    files = {entry.name: entry for entry in inputs.photos}
    packed = {entry.name: entry for entry in inputs.packed}
    shards = [LabelledShard(shard, _now(shard, files, packed)) for shard in planned]
    if not shards:
        raise DatasetError("none of the photos is labelled yet; the same act2sal label command goes on")
    return tuple(shards)


def _now(shard: Shard, files: dict[str, Entry], packed: dict[str, Entry]) -> Shard:
    """A shard with the addresses of today."""
    if shard.packed:
        if shard.name not in packed:
            raise DatasetError(f"{shard.name}: its photos have labels, but it is not among the photos")
        return replace(shard, packed=packed[shard.name].address)
    missing = [entry.name for entry in shard.entries if entry.name not in files]
    if missing:
        raise DatasetError(
            f"{missing[0]}, one of {len(missing)}, has a label, but it is not among the photos"
        )
    return replace(shard, entries=tuple(files[entry.name] for entry in shard.entries))


def _unfinished(planned: Sequence[Shard], done: set[int], labels: Place) -> list[str]:
    """One line for each shard that was planned and is not done."""
    return [
        f"{shard.packed or f'{labels.address}, shard {shard.title}'}: not labelled yet; the same act2sal label "
        "command goes on"
        for shard in planned
        if shard.number not in done
    ]


def _new(planned: Sequence[Shard], inputs: Inputs, labels: Place) -> list[str]:
    """One line for each photo or archive that was not there when the labels were made."""
    known = {entry.name for shard in planned for entry in shard.entries}
    known_packed = {shard.name for shard in planned if shard.packed}
    new = [entry for entry in inputs.photos if entry.name not in known]
    new += [entry for entry in inputs.packed if entry.name not in known_packed]
    return [
        f"{entry.address}: no label; act2sal label makes those that are missing"
        for entry in new
        if not _is_below(Place(entry.address), labels)
    ]


def _is_below(file: Place, folder: Place) -> bool:
    if file.path is None or folder.path is None:
        return file.address.startswith(f"{folder.address.rstrip('/')}/")
    return folder.path.resolve() in file.path.resolve().parents
