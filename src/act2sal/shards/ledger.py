"""What of a job is done: its options, its plan, and a note for each shard whose results are all there."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from act2sal.data.locks import locked
from act2sal.errors import InputError
from act2sal.shards.addresses import Place
from act2sal.shards.shard import PACKED, Shard, lines_of, shards_of

FOLDER = ".act2sal"
"""Folder in OUT."""

NOTES = "done"
"""Folder in that folder."""


@dataclass(frozen=True)
class Done:
    """What came of a shard.

    Attributes:
        number: of the shard.
        photos: that have results.
        failures: one line for each other photo.
        records: one for each photo, as `predict --json` writes them.
    """

    number: int
    photos: int
    failures: tuple[str, ...] = ()
    records: tuple[dict[str, Any], ...] = ()

    @property
    def without_records(self) -> "Done":
        """What the command that spreads the work keeps of it in memory."""
        return replace(self, records=())


class Ledger:
    """The notes of a job in OUT.

    A shard counts as done once its note is there, which is written behind its results. A process that is killed
    leaves no note, and its shard is done again, under the same names: nothing is there twice, and nothing is missing.

    Args:
        out: folder of the results.
    """

    def __init__(self, out: Place) -> None:
        self.out, self.folder = out, out.below(FOLDER)

    def earlier(self, job: Mapping[str, Any], *, overwrite: bool) -> list[Shard]:
        """The shards of an earlier run of the same job; none where there was none.

        Args:
            job: options that decide what the results are.
            overwrite: forget what is there.

        Raises:
            InputError: the results that are there are those of another job.
        """
        if overwrite:
            self._forget()
        if self._job.exists():
            before, told = json.loads(self._job.read()), json.loads(json.dumps(job))
            changed = [name for name in (before | told) if before.get(name) != told.get(name)]
            if changed:
                raise InputError(
                    f"{self.folder.address}: an earlier run had another {', '.join(changed)}; --overwrite begins anew"
                )
        return list(shards_of(self._plan.read())) if self._plan.exists() else []

    def told(self) -> tuple[dict[str, Any], list[Shard]] | None:
        """The options and the plan of the job that is there; None: there is none.

        Raises:
            InputError: they cannot be read.
        """
        if not self._job.exists() or not self._plan.exists():
            return None
        try:
            options = json.loads(self._job.read())
        except ValueError as error:
            raise InputError(f"{self._job.address}: {error}") from error
        return options, list(shards_of(self._plan.read()))

    def begin(self, job: Mapping[str, Any], shards: Sequence[Shard]) -> None:
        """Write the options and the plan."""
        self._job.write(json.dumps(job, indent=1).encode())
        self._plan.write(lines_of(shards))

    def done(self, number: int) -> Done | None:
        """What came of a shard; None: it is not done."""
        note = self._note(number)
        if not note.exists():
            return None
        read = json.loads(note.read())
        return Done(read["number"], read["photos"], tuple(read["failures"]), tuple(read["records"]))

    def records(self) -> Iterator[dict[str, Any]]:
        """A record of each photo of the shards that are done, read one shard after another."""
        for number in sorted(self.numbers_done()):
            done = self.done(number)
            yield from () if done is None else done.records

    def numbers_done(self) -> set[int]:
        """Numbers of all shards that are done, by one look into the folder of the notes."""
        names = (PurePosixPath(address) for address in self.folder.below(NOTES).files())
        return {int(name.stem) for name in names if name.stem.isdigit()}

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other calls out of the job, as far as locks of files reach.

        Raises:
            FolderInUseError: another call works on it.
        """
        with nullcontext() if self.folder.path is None else locked(self.folder.path):
            yield

    def commit(self, done: Done) -> None:
        """Note that the results of a shard are all there."""
        self._note(done.number).write(json.dumps(asdict(done)).encode())

    @property
    def _job(self) -> Place:
        return self.folder.below("job.json")

    @property
    def _plan(self) -> Place:
        return self.folder.below("plan.jsonl")

    def _note(self, number: int) -> Place:
        return self.folder.below(f"{NOTES}/{number:06d}.json")

    def _forget(self) -> None:
        """Remove the notes, and the packed results that they tell of, of which there may now be fewer."""
        if not self.folder.exists():
            return
        if self._plan.exists():
            for shard in shards_of(self._plan.read()):
                for ending in PACKED:
                    self.out.below(f"{shard.title}{ending}").remove()
        for address in self.folder.files():
            Place(address).remove()
