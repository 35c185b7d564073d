"""Trains in forked children that are watched or killed; `test_pipeline.py` runs this in a process of its own.

Usage: forked_runs.py PHOTOS OUT [SEED]

OUT/watched: a run during which every file and folder that Python opened was noted in OUT/opened.txt. OUT/whole: a
run of two generations that nothing disturbs. OUT/killed: the same, killed by SIGKILL at ten random moments and
resumed; OUT/kills.txt has a line for each kill: the rows in the log, and what the process was about to do.
"""

import json
import os
import random
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch.optim.optimizer import register_optimizer_step_pre_hook

from act2sal.runs.run_directory import RunDirectory
from act2sal.runs.training_state import LogRow
from act2sal.training.pipeline import train
from tiny import tiny_config

KILLS = 10
SEED = 0

TWO_GENERATIONS = replace(tiny_config(), generations=2)


def in_child(body: Callable[[], object]) -> int:
    """Run `body` in a forked process; its wait status."""
    child = os.fork()
    if child == 0:
        try:
            body()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def watched(photos: Path, out: Path) -> None:
    opened: list[str] = []

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("open", "os.listdir", "os.scandir") and isinstance(
            arguments[0], str | bytes | os.PathLike
        ):
            opened.append(os.fsdecode(arguments[0]))

    sys.addaudithook(note)
    train(photos, out / "watched", tiny_config(), quiet=True)
    (out / "opened.txt").write_text("\n".join(opened))


class Moments:
    """Where this process stands in a run: rows in the log, and moments since the last one was written.

    A moment is an optimiser's step, or a file of the run that is about to be opened, renamed or deleted.
    """

    def __init__(self, run: Path, act: Callable[[tuple[int, int], str], None]) -> None:
        """Call `act` at every moment from now on, with where it is and what is about to be done."""
        log = run / "log.jsonl"
        self.rows = len(log.read_text().splitlines()) if log.is_file() else 0
        self.since, self.run, self.act = 0, run, act
        write = RunDirectory.log

        def logged(directory: RunDirectory, row: LogRow) -> None:
            write(directory, row)
            self.rows, self.since = len(directory.rows()), 0

        RunDirectory.log = logged  # type: ignore[method-assign]
        register_optimizer_step_pre_hook(lambda *_: self.reached("step"))
        sys.addaudithook(self.audit)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("open", "os.rename", "os.remove") and str(arguments[0]).startswith(str(self.run)):
            self.reached(f"{event} {Path(str(arguments[0])).relative_to(self.run)}")

    def reached(self, what: str) -> None:
        self.since += 1
        self.act((self.rows, self.since), what)


def counted(photos: Path, out: Path) -> None:
    moments: list[tuple[int, int]] = []
    Moments(out / "whole", lambda at, what: moments.append(at))
    train(photos, out / "whole", TWO_GENERATIONS, quiet=True)
    (out / "moments.json").write_text(json.dumps(moments))


def killed_at(moment: tuple[int, int], photos: Path, out: Path) -> None:
    def act(at: tuple[int, int], what: str) -> None:
        if at >= moment:
            os.write(kills, f"{at[0]} rows: {what}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    kills = os.open(out / "kills.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    Moments(out / "killed", act)
    train(photos, out / "killed", TWO_GENERATIONS, resume=True, quiet=True)


def main() -> None:
    photos, out = Path(sys.argv[1]), Path(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else SEED
    assert in_child(partial(watched, photos, out)) == 0
    assert in_child(partial(counted, photos, out)) == 0
    moments = [(rows, since) for rows, since in json.loads((out / "moments.json").read_text())]
    for moment in sorted(random.Random(seed).sample(moments, KILLS)):
        status = in_child(partial(killed_at, moment, photos, out))
        assert os.WTERMSIG(status) == signal.SIGKILL, f"{moment} was not reached"
    assert in_child(lambda: train(photos, out / "killed", TWO_GENERATIONS, resume=True, quiet=True)) == 0


if __name__ == "__main__":
    main()
