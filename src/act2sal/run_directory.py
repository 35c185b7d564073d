"""The folder a training run lives in: where everything stands, who may write, and the log."""

import fcntl
import json
import shutil
from pathlib import Path
from typing import IO

from torch.utils.tensorboard import SummaryWriter

from act2sal.config import TrainConfig, load_toml, to_toml
from act2sal.errors import InputError
from act2sal.images import write_atomic
from act2sal.training_state import LogRow

CONTENTS = (
    "config.toml",
    "log.jsonl",
    "tensorboard",
    "stage1.safetensors",
    "labels",
    "detector.safetensors",
    "report.html",
    "samples",
    "checkpoints",
    "cache",
)


class RunError(InputError):
    """A run directory that cannot be used as asked; the message names it and says what to do."""


class RunDirectory:
    """RUN/ with its lock held by this process until `close`.

    Attributes:
        path: of the run; `config`, `stage1`, `labels`, `detector`, `report`, `samples`, `checkpoints`, `cache`
            are the paths inside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.toml"
        self.log_file = path / "log.jsonl"
        self.stage1 = path / "stage1.safetensors"
        self.labels = path / "labels"
        self.detector = path / "detector.safetensors"
        self.report = path / "report.html"
        self.samples = path / "samples"
        self.checkpoints = path / "checkpoints"
        self.cache = path / "cache"
        path.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(path)
        self._writer: SummaryWriter | None = None

    @classmethod
    def open(cls, path: Path, config: TrainConfig, *, resume: bool, overwrite: bool) -> "RunDirectory":
        """Take RUN for a new run, for the same run again (`resume`), or for a new one in place of the old.

        Raises:
            RunError: RUN is used by another process; it holds a run and neither flag is given, or a run of
                another config; or it holds other things than a run.
        """
        if path.exists() and not path.is_dir():
            raise RunError(f"{path} is a file; --out needs a folder")
        foreign = (
            [p.name for p in path.iterdir() if p.name not in {*CONTENTS, ".lock"}] if path.is_dir() else []
        )
        known = (path / "config.toml").is_file()
        if foreign and not known:
            raise RunError(f"{path} holds other files ({foreign[0]}, ...); --out needs a new or empty folder")
        if known and not (resume or overwrite):
            raise RunError(f"{path} holds a run already; --resume goes on with it, --overwrite replaces it")
        run = cls(path)
        if known and overwrite:
            run._clear()
        elif known:
            run._check_same(config)
        write_atomic(run.config, to_toml(config).encode())
        return run

    def log(self, row: LogRow) -> None:
        """Add a row to log.jsonl and to the TensorBoard events; a row of the same stage and epoch is replaced."""
        rows = {(r["stage"], r["epoch"]): r for r in self.rows()} | {(row["stage"], row["epoch"]): row}
        write_atomic(self.log_file, "".join(json.dumps(dict(r)) + "\n" for r in rows.values()).encode())
        if self._writer is None:
            self._writer = SummaryWriter(self.path / "tensorboard")
        for name, value in row.items():
            if name not in ("stage", "epoch") and not isinstance(value, str):
                self._writer.add_scalar(f"{row['stage']}/{name}", value, int(row["epoch"]))
        self._writer.flush()

    def rows(self) -> list[LogRow]:
        """The rows of log.jsonl, oldest first."""
        if not self.log_file.is_file():
            return []
        return [json.loads(line) for line in self.log_file.read_text(encoding="utf-8").splitlines()]

    def close(self) -> None:
        """Give the lock back."""
        if self._writer is not None:
            self._writer.close()
        self._lock.close()

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _clear(self) -> None:
        for name in CONTENTS:
            entry = self.path / name
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)

    def _check_same(self, config: TrainConfig) -> None:
        saved = load_toml(self.config, TrainConfig())
        old, new = to_toml(saved).splitlines(), to_toml(config).splitlines()
        changed = [line for line in new if line not in old] + [line for line in old if line not in new]
        if saved != config:
            raise RunError(
                f"{self.path} was started with other options ({'; '.join(changed[:4])}); "
                "leave them out to go on with it, or use --overwrite"
            )


def saved_config(path: Path) -> TrainConfig | None:
    """The config a run was started with, None where there is no run.

    Raises:
        ConfigError: it cannot be read.
    """
    file = path / "config.toml"
    return load_toml(file, TrainConfig()) if file.is_file() else None


def _locked(path: Path) -> IO[str]:
    lock = (path / ".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise RunError(f"another process is writing to {path}") from error
    return lock
