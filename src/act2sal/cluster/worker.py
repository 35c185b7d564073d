"""Does one shard in a process of the cluster: fetches its photos, keeps their results, notes that they are there."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from act2sal.errors import FileError, InputError
from act2sal.shards.addresses import Place
from act2sal.shards.ledger import Done, Ledger
from act2sal.shards.shard import Shard
from act2sal.shards.staging import Staged, staged
from act2sal.shards.storing import ShardResult, StoreKind, folder_of, store_of

Results = Callable[[Sequence[Staged], Path], list[ShardResult]]
"""Makes the results of some photos, in their order, with an empty folder for what it needs on the way."""


class ShardWorker:
    """Does shards, each once.

    Args:
        out: address of the folder of the results.
        store: how they are kept.
        columns: name of each result, by what its file name has behind the photo's.
        results: makes them.
    """

    def __init__(self, out: str, store: StoreKind, columns: dict[str, str], results: Results) -> None:
        self.out, self.store, self.columns, self.results = Place(out), store, columns, results
        self.ledger = Ledger(self.out)

    def __call__(self, shard: Shard) -> Done:
        """Do a shard, unless it is done, and commit it; the records are in its note alone."""
        known = self.ledger.done(shard.number)
        if known is not None and not known.failures:
            return known.without_records
        try:
            found = self._stored(shard)
            self.ledger.commit(found)
        except (InputError, FileError, OSError) as error:
            named = shard.packed or f"shard {shard.title}"
            return Done(shard.number, 0, (f"{named}: {str(error).removeprefix(f'{named}: ')}",))
        return found.without_records

    def _stored(self, shard: Shard) -> Done:
        """Write the results of a shard."""
        store = store_of(self.store, self.out, shard, self.columns)
        photos, failures, records = 0, list[str](), list[dict[str, Any]]()
        with tempfile.TemporaryDirectory(prefix="act2sal-") as scratch:
            for number, piece in enumerate(staged(shard, _made(Path(scratch) / "photos"))):
                made = self.results(piece, _made(Path(scratch) / f"work-{number}"))
                for photo, result in zip(piece, made, strict=True):
                    store.add(result)
                    if result.error:
                        failures.append(result.error)
                        continue
                    photos += 1
                    records.append({"photo": photo.told, "files": self._files(shard, result), **result.facts})
        store.close()
        return Done(shard.number, photos, tuple(failures), tuple(records))

    def _files(self, shard: Shard, result: ShardResult) -> list[str]:
        """Addresses of the results of a photo."""
        if self.store == "files":
            folder = folder_of(self.out, shard)
            return [folder.below(f"{result.stem}{suffix}").address for suffix in result.files]
        ending = "tar" if self.store == "webdataset" else "parquet"
        return [self.out.below(f"{shard.title}.{ending}").address]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
