"""The folder of a training run: its paths, its lock and its log."""

import dataclasses
import json
import logging
import shutil
from pathlib import Path

from act2sal.config import TrainConfig
from act2sal.config_files import load_toml, to_toml
from act2sal.data.images import TEMPORARY, write_atomic
from act2sal.data.locks import FILE as LOCK
from act2sal.data.locks import lock
from act2sal.errors import InputError
from act2sal.runs.cache_folder import clear_all_but_features
from act2sal.runs.event_file import EventFile
from act2sal.runs.training_state import LogRow

CONTENTS = (
    "config.toml",
    "log.jsonl",
    "tensorboard",
    "stage1.safetensors",
    "labels",
    "maps",
    "detector.safetensors",
    "report.html",
    "profile.json",
    "scores.json",
    "samples",
    "checkpoints",
    "cache",
)
PHOTOS, PROCESSES = "photos at", "processes"
"""Beginnings of the names of log rows about reading photos and about processes, which precede all learning."""

_GENERATION = "generation-"
_ROW_KEY = ("generation", "stage", "epoch")
_SHOWN = 4
MACHINE_OPTIONS = ("device", "devices", "num_nodes", "workers", "keep_cache", "cache_size")
"""Options that may change when a run is resumed: where and with what it runs, not what it computes."""

logger = logging.getLogger("act2sal")


class RunError(InputError):
    """A run directory that cannot be used as asked; the message names it and says what to do."""


class GenerationFolder:
    """The files that one generation of a run leaves below `path`.

    Attributes:
        path: the folder; `stage1`, `labels`, `detector`, `samples`, `checkpoints`, `cache` are the paths inside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stage1 = path / "stage1.safetensors"
        self.labels = path / "labels"
        self.detector = path / "detector.safetensors"
        self.samples = path / "samples"
        self.checkpoints = path / "checkpoints"
        self.cache = path / "cache"


class RunDirectory(GenerationFolder):
    """A run directory, locked by this process until `close`; the files of the last generation lie in it directly.

    Attributes:
        path: of the run; `config`, `log_file`, `report` and `profile` are further paths inside it.
        writes: whether this process holds the lock; else another process of the same training writes the log.
    """

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        super().__init__(path)
        self.config = path / "config.toml"
        self.log_file = path / "log.jsonl"
        self.report = path / "report.html"
        self.profile = path / "profile.json"
        path.mkdir(parents=True, exist_ok=True)
        self.writes = writes
        self._lock = lock(path) if writes else None
        self._events = EventFile(path / "tensorboard")

    @classmethod
    def open(cls, path: Path, config: TrainConfig, *, resume: bool, overwrite: bool) -> "RunDirectory":
        """Open RUN for a new run, to resume the same run, or to overwrite an old one.

        Raises:
            RunError: RUN holds a run and neither flag is given, or a run of another config, or other things than a
                run.
            FolderInUseError: another process is writing to it.
        """
        if path.exists() and not path.is_dir():
            raise RunError(f"{path} is a file; --out needs a folder")
        _refuse_foreign(path)
        run = cls(path)
        try:
            run._prepare(config, resume=resume, overwrite=overwrite)
        except BaseException:
            run.close()
            raise
        return run

    def generation(self, number: int, *, of: int) -> GenerationFolder:
        """The folder of a generation, counted from 1: RUN itself for the last one, else RUN/generation-NUMBER."""
        return self if number == of else GenerationFolder(self.path / f"{_GENERATION}{number}")

    def log(self, row: LogRow) -> None:
        """Add a row to log.jsonl and to the TensorBoard events; it replaces one of the same stage and epoch."""
        if not self.writes:
            return
        rows = {_row_key(r): r for r in (*self.rows(), row)}
        write_atomic(self.log_file, "".join(json.dumps(dict(r)) + "\n" for r in rows.values()).encode())
        scalars = {
            f"{stage_title(row)}/{name}": value
            for name, value in row.items()
            if name not in _ROW_KEY and not isinstance(value, str)
        }
        self._events.write(scalars, int(row["epoch"]))

    def rows(self) -> list[LogRow]:
        """The rows of log.jsonl, oldest first; a line that is damaged is named in a warning and left out."""
        if not self.log_file.is_file():
            return []
        rows = []
        for number, line in enumerate(self.log_file.read_bytes().splitlines(), start=1):
            try:
                rows.append(json.loads(line))
            except ValueError:
                logger.warning("%s: line %d is damaged and left out", self.log_file, number)
        return rows

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self, config: TrainConfig, *, resume: bool, overwrite: bool) -> None:
        """Keep or delete earlier files, and write the config."""
        if not (resume or overwrite) and self._holds_work():
            raise RunError(
                f"{self.path} holds a run already; --resume goes on with it, --overwrite replaces it"
            )
        for left in self.path.rglob(f"{TEMPORARY}*"):  # by a process that was killed
            left.unlink()
        if resume and not overwrite and self.config.is_file():
            self._check_same(config)
        else:
            self._clear()
        write_atomic(self.config, to_toml(config).encode())

    def _holds_work(self) -> bool:
        """Whether the folder holds more than decoded photos, which a refused start can leave behind."""
        stages = [str(row["stage"]) for row in self.rows()]
        begun = any(stage != PROCESSES and not stage.startswith(PHOTOS) for stage in stages)
        return begun or any(path.exists() for path in (self.stage1, self.labels, self.detector))

    def _clear(self) -> None:
        # The config stays until it is replaced: a folder that was half cleared is still known as a run.
        generations = self.path.glob(f"{_GENERATION}*")
        for entry in (*generations, *(self.path / name for name in CONTENTS if name != self.config.name)):
            if entry == self.cache and entry.is_dir():
                clear_all_but_features(entry)
            elif entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)

    def _check_same(self, config: TrainConfig) -> None:
        old, new = _flat(load_toml(self.config, TrainConfig())), _flat(config)
        compared = [name for name in old if name not in MACHINE_OPTIONS]
        changed = [f"{name} = {old[name]}, now {new[name]}" for name in compared if old[name] != new[name]]
        if changed:
            raise RunError(
                f"{self.path} was started with other options ({'; '.join(changed[:_SHOWN])}); "
                "leave them out to go on with it, or use --overwrite"
            )


def stage_title(row: LogRow) -> str:
    """Stage of a log row, after its generation if the run has several: "generation 2, stage1 round 1"."""
    return f"generation {row['generation']}, {row['stage']}" if "generation" in row else str(row["stage"])


def _row_key(row: LogRow) -> tuple[float | int | str | None, ...]:
    return tuple(row.get(name) for name in _ROW_KEY)


def _refuse_foreign(path: Path) -> None:
    """Refuse a folder with files of others; a run is recognised by its lock file and its config."""
    names = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    others = sorted(name for name in names if not name.startswith((LOCK, TEMPORARY)))
    if others and not {LOCK, "config.toml"} <= names:
        raise RunError(f"{path} holds other files ({others[0]}, ...); --out needs a new or empty folder")


def _flat(config: TrainConfig) -> dict[str, object]:
    """All options by their names on the command line, and the total number of processes."""
    options: dict[str, object] = {"devices x num_nodes": config.devices * config.num_nodes}
    for name, value in dataclasses.asdict(config).items():
        if isinstance(value, dict):
            options |= {f"{name}.{own}": inner for own, inner in value.items()}
        else:
            options[name] = value
    return options
