"""The `act2sal` command: finds the command, runs it, turns errors into one line and an exit status."""

import difflib
import io
import logging
import sys
import warnings
from collections.abc import Callable, Sequence

from act2sal.cli.commands import (
    compare_command,
    convert_command,
    data_command,
    demo_command,
    evaluate_command,
    export_command,
    label_command,
    predict_command,
    reproduce_command,
    serve_command,
    train_command,
)
from act2sal.cli.ending import DEBUG, OK, WRONG_USAGE, ended, error
from act2sal.errors import one_line
from act2sal.runtime import cores
from act2sal.version import __version__

COMMANDS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "train": (train_command, "train a detector on a folder of unlabelled photos"),
    "label": (label_command, "write pseudo labels only"),
    "predict": (predict_command, "photos in, saliency maps out"),
    "serve": (serve_command, "a web page and an HTTP service for photos"),
    "compare": (compare_command, "the maps of several methods side by side, in one picture"),
    "evaluate": (evaluate_command, "score maps against masks"),
    "export": (export_command, "a detector as an ONNX file"),
    "convert": (convert_command, "read a checkpoint of the published A2S code"),
    "reproduce": (reproduce_command, "re-run tables and figures of the paper"),
    "data": (data_command, "what of the field's data sets is there, and what is odd"),
    "demo": (demo_command, "train and predict on bundled material"),
}


class _OneLine(logging.Formatter):
    """A message, which may hold names of files, on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Its text."""
        return one_line(record.getMessage())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns 0 all done, 1 some inputs failed or the work broke off, 2 wrong usage."""
    _prepare_output()
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG in given
    if arguments is None and not (debug or sys.warnoptions):
        warnings.simplefilter("ignore")  # of libraries, in several lines and about themselves
    given = [word for word in given if word != DEBUG]
    return ended(lambda: _run(given), given[0] if given else "", debug=debug)


def _run(given: Sequence[str]) -> int:
    if given[:1] == ["--version"]:
        print(f"act2sal {__version__}")
        return OK
    if not given or given[0] in ("-h", "--help"):
        print(_overview())
        return OK if given else WRONG_USAGE
    command, arguments = given[0], given[1:]
    if command not in COMMANDS:
        close = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"possible: {', '.join(COMMANDS)}"
        return error(f"there is no command {command!r}; {hint}", WRONG_USAGE)
    with cores.at_most(0):
        return COMMANDS[command][0](arguments)


def _prepare_output() -> None:
    """Replace characters that the terminal cannot show, and log to standard error as plain lines."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine())
    logging.basicConfig(handlers=[handler])
    logging.getLogger("act2sal").setLevel(logging.INFO)
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)


def _overview() -> str:
    rows = "\n".join(f"  {name:<10} {text}" for name, (_, text) in COMMANDS.items())
    return (
        "usage: act2sal COMMAND ... [--help]\n\nSalient-object detectors from unlabelled photos.\n\n"
        f"{rows}\n\nact2sal COMMAND --help shows every option with its default. With --debug, any command that an "
        "error\nends also says where in the program."
    )
