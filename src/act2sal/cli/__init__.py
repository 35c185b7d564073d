"""The `act2sal` command: finds the command, runs it, turns errors into one line and an exit status."""

import errno
import logging
import sys
from collections.abc import Callable, Sequence

from act2sal.cli.commands import (
    compare_command,
    convert_command,
    demo_command,
    evaluate_command,
    export_command,
    label_command,
    predict_command,
    train_command,
)
from act2sal.cli.status import OK, SOME_FAILED, WRONG_USAGE, error
from act2sal.errors import FileError, InputError, MissingPackageError
from act2sal.version import __version__

TRAINING_PACKAGES = frozenset(
    {"lightning_fabric", "safetensors", "tensorboard", "timm", "torch", "torchvision"}
)
"""What `pip install "act2sal[train]"` adds."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk, a quota or a limit that is full."""

COMMANDS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "train": (train_command, "train a detector on a folder of unlabelled photos"),
    "label": (label_command, "write pseudo labels only"),
    "predict": (predict_command, "photos in, saliency maps out"),
    "compare": (compare_command, "the maps of several methods side by side, in one picture"),
    "evaluate": (evaluate_command, "score maps against masks"),
    "export": (export_command, "a detector as an ONNX file"),
    "convert": (convert_command, "read a checkpoint of the published A2S code"),
    "demo": (demo_command, "train and predict on bundled material"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns 0 all done, 1 some inputs failed or the work broke off, 2 wrong usage."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["--version"]:
        print(f"act2sal {__version__}")
        return OK
    if not given or given[0] in ("-h", "--help"):
        print(_overview())
        return OK if given else WRONG_USAGE
    if given[0] not in COMMANDS:
        return error(f"there is no command {given[0]!r}; possible: {', '.join(COMMANDS)}", WRONG_USAGE)
    try:
        return COMMANDS[given[0]][0](given[1:])
    except (InputError, FileExistsError, MissingPackageError) as reason:
        return error(str(reason), WRONG_USAGE)
    except ModuleNotFoundError as reason:
        if (reason.name or "").partition(".")[0] not in TRAINING_PACKAGES:
            raise
        print(f'act2sal {given[0]} needs PyTorch: pip install "act2sal[train]"', file=sys.stderr)
        return WRONG_USAGE
    except OSError as reason:
        return error(_told(reason, given[0]), SOME_FAILED)
    except (FloatingPointError, FileError) as reason:
        return error(str(reason), SOME_FAILED)
    except KeyboardInterrupt as reason:
        how_far = str(reason) or "interrupted"
        return error(f"{how_far}{_how_to_go_on(given[0])}", SOME_FAILED)


def _overview() -> str:
    rows = "\n".join(f"  {name:<10} {text}" for name, (_, text) in COMMANDS.items())
    return (
        "usage: act2sal COMMAND ... [--help]\n\nSalient-object detectors from unlabelled photos.\n\n"
        f"{rows}\n\nact2sal COMMAND --help shows every option with its default."
    )


def _told(reason: OSError, command: str) -> str:
    """One line on a file that cannot be read or written."""
    text = reason.strerror or str(reason)
    what = text[:1].lower() + text[1:]
    named = f"{reason.filename}: {what}" if reason.filename else what
    return named + (_how_to_go_on(command) if reason.errno in NO_ROOM else "")


def _how_to_go_on(command: str) -> str:
    flags = {"train": "--resume", "predict": "--skip-existing"}
    how = f"; the same command with {flags[command]} goes on" if command in flags else ""
    return f"; what was written stays{how}"
