"""Ends a command: its exit status, and one line for any error."""

import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from act2sal.errors import FileError, InputError, LostProcessError, MissingPackageError, one_line

OK, SOME_FAILED, WRONG_USAGE = 0, 1, 2

DEBUG = "--debug"
DEBUG_TEXT = "Say also where in the program an error arose that ends the command."

TRAINING_PACKAGES = frozenset(
    {"filelock", "lightning_fabric", "safetensors", "tensorboard", "timm", "torch", "torchvision"}
)
"""Packages that `pip install "act2sal[train]"` adds."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk, a quota or a limit that is full."""


def failures(lines: Sequence[str], *, of: str = "photo", what: str = "read", named: str = "above") -> int:
    """Exit status; says how many photos failed, and where they are named.

    Args:
        lines: one for each.
        of: what they are.
        what: could not be done with them.
        named: where; a run that was resumed has them in its report alone.
    """
    if not lines:
        return OK
    them = of if len(lines) == 1 else f"{of}s"
    they_are = "it is" if len(lines) == 1 else "they are"
    print(f"{len(lines)} {them} could not be {what}; {they_are} named {named}", file=sys.stderr)
    return SOME_FAILED


def error(message: str, status: int) -> int:
    """Print an error in one line; returns the status."""
    print(f"act2sal: {one_line(message)}", file=sys.stderr)
    return status


def ended(work: Callable[[], int], command: str, *, debug: bool = False) -> int:
    """The exit status of `work`; what it raises becomes one line, below its traceback where `debug` asks for that.

    Nothing leaves it but the SystemExit of the parser. Where the reader of the output has gone (`... | head`),
    nothing is said.
    """
    try:
        try:
            return work()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        _say_no_more()
        return SOME_FAILED
    except (Exception, KeyboardInterrupt) as reason:
        if debug and not isinstance(reason, KeyboardInterrupt):
            traceback.print_exc()
        return error(*_told(reason, command))


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """SIGTERM, as a service manager sends it, stops the body as Ctrl-C does, so that it writes what it promised."""
    if threading.current_thread() is not threading.main_thread():  # which alone may set handlers
        yield
        return

    def stop(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # what is written now is not broken off by a second one
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _told(reason: BaseException, command: str) -> tuple[str, int]:
    """The line and the exit status."""
    match reason:
        case InputError() | FileExistsError() | MissingPackageError():
            return str(reason), WRONG_USAGE
        case ModuleNotFoundError() if (reason.name or "").partition(".")[0] in TRAINING_PACKAGES:
            return f'{command} needs PyTorch: pip install "act2sal[train]"', WRONG_USAGE
        case OSError():
            return _file_told(reason, command), SOME_FAILED
        case FloatingPointError() | FileError() | LostProcessError():
            return str(reason), SOME_FAILED
        case KeyboardInterrupt():
            return f"{str(reason) or 'interrupted'}{_how_to_go_on(command)}", SOME_FAILED
        case MemoryError():
            return f"{command} needs more memory than there is{_how_to_go_on(command)}", SOME_FAILED
    first = str(reason).strip().partition("\n")[0]
    what = f"{type(reason).__name__}: {first}" if first else type(reason).__name__
    return f"{command} broke off, which is a fault of this program: {what}; {DEBUG} shows where", SOME_FAILED


def _file_told(reason: OSError, command: str) -> str:
    """On a file that cannot be read or written."""
    text = reason.strerror or str(reason) or type(reason).__name__
    what = text[:1].lower() + text[1:]
    named = f"{reason.filename}: {what}" if reason.filename else what
    return named + (_how_to_go_on(command) if reason.errno in NO_ROOM else "")


def _how_to_go_on(command: str) -> str:
    flags = {"train": "--resume", "predict": "--skip-existing"}
    how = f"; the same command with {flags[command]} goes on" if command in flags else ""
    return f"; what was written stays{how}"


def _say_no_more() -> None:
    """Discard further output after its reader has gone, also while Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
