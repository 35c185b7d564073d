"""Trains in forked children that are watched or killed; `test_pipeline.py` runs this in a process of its own.

Usage: forked_runs.py PHOTOS OUT

OUT/watched: a run during which every file and folder that Python opened was noted in OUT/opened.txt. OUT/killed:
a run that was killed again and again, each time a little later, right before some file would have been renamed
into place, and resumed. OUT/kills.txt: how often.
"""

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from act2sal.pipeline import train
from tiny import tiny_config

FIRST_KILL, KILL_STEP = 4, 7


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


def killed_at(renaming: int, photos: Path, run: Path) -> None:
    left = renaming

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event == "os.rename":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    train(photos, run, tiny_config(), resume=True, quiet=True)


def main() -> None:
    photos, out = Path(sys.argv[1]), Path(sys.argv[2])
    assert in_child(partial(watched, photos, out)) == 0
    kills = 0
    while status := in_child(partial(killed_at, FIRST_KILL + KILL_STEP * kills, photos, out / "killed")):
        assert os.WTERMSIG(status) == signal.SIGKILL
        kills += 1
    (out / "kills.txt").write_text(str(kills))


if __name__ == "__main__":
    main()
