"""Parses the words of a command line; an error is one line with a hint."""

import difflib
import glob
import io
import os
import re
import typing
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import tyro

from act2sal.cli.help import help_of, parser_of
from act2sal.config import Stage1Config, Stage2Config
from act2sal.errors import InputError, one_line
from act2sal.predict.cropping import MARGIN

Options = TypeVar("Options")

_MISSING = re.compile(r"^│ {5}(\S.*?) +│$", re.MULTILINE)
"""Lines of the parser's frame that name missing options; their texts are indented further."""

_ALONE = {"--crop": str(MARGIN)}
"""Options that take a number or stand alone, and what they then mean."""

MAY_BE_EMPTY = frozenset({"--ending"})
"""Options of which an empty value says something."""

_WORDS = (
    (r"^Error parsing (\S+): ", r"\1: "),
    (r"invalid literal for int\(\) with base 10: ('.*?')", r"\1 is no whole number"),
    (r"could not convert string to float: ('.*?')", r"\1 is no number"),
    (
        r"^invalid choice ('.*?') for argument '(.*?)'\. Expected one of \((.*?),?\)\.",
        r"\2: \1 is none of \3",
    ),
    (r"^Missing value for argument '(.*?)'\..*", r"\1: its value is missing"),
    (r"Could not find valid parse for arguments: \[(.*?)\]", r"\1 cannot be its value"),
    (r"^Unrecognized options: ", "not understood: "),
)
"""Words of the parser, and what is printed instead."""


def parsed(
    kind: type[Options], arguments: Sequence[str], command: str, default: Any = tyro.MISSING_NONPROP
) -> Options:
    """Parse the words of a command line.

    Args:
        kind: dataclass of the options.
        arguments: the words behind the command.
        command: its name.
        default: an instance with the defaults.

    Raises:
        InputError: an unknown option, a value that is none, or something that is missing.
        SystemExit: 0, after the help that was asked for.
    """
    if {"-h", "--help"} & set(arguments):
        print(help_of(kind, command, default))
        raise SystemExit(0)
    _refuse_empty(arguments)
    told = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # of an encoding that has frames
    try:
        with redirect_stderr(told), redirect_stdout(told):
            return tyro.cli(
                kind, args=inputs_first(with_values(arguments)), prog=f"act2sal {command}", default=default
            )
    except SystemExit:
        told.seek(0)
        wrong = _wrong(told.read(), kind, arguments, command, default)
    raise InputError(f"{wrong}; act2sal {command} --help")


def with_values(arguments: Sequence[str]) -> list[str]:
    """The words, with a value behind each option that can stand without one, such as --crop."""
    words: list[str] = []
    for word, following in pairwise([*arguments, ""]):
        words.append(word)
        if word in _ALONE and not _is_number(following):
            words.append(_ALONE[word])
    return words


def inputs_first(arguments: Sequence[str]) -> list[str]:
    """The words, those in front that name inputs but stand behind an option that takes many values.

    `--kind cutout a.jpg` is `a.jpg --kind cutout`, as a.jpg is no kind.
    """
    inputs: list[str] = []
    rest: list[str] = []
    takes: Callable[[str], bool] | None = _is_input
    for word in arguments:
        if word.startswith("--"):
            takes = _SEVERAL.get(word.partition("=")[0])
        elif takes is _is_input or (takes is not None and not takes(word) and _is_input(word)):
            takes = _is_input  # and what follows it too
            inputs.append(word)
            continue
        rest.append(word)
    return inputs + rest


def _is_input(word: str) -> bool:
    """Whether a word that is no value looks like a photo, a folder, a pattern or standard input."""
    named = word == "-" or os.sep in word or "." in word
    return named or Path(word).exists() or glob.has_magic(word)


def _is_kind(word: str) -> bool:
    from act2sal.predict.output_kinds import is_kind

    return is_kind(word)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _several() -> dict[str, Callable[[str], bool]]:
    """Options that take many values, and whether a word is one."""
    found: dict[str, Callable[[str], bool]] = {"--kind": _is_kind}
    for stage, section in (("stage1", Stage1Config), ("stage2", Stage2Config)):
        for name, type_ in typing.get_type_hints(section).items():
            if typing.get_origin(type_) is tuple:
                found[f"--{stage}.{name.replace('_', '-')}"] = _is_number
    return found


_SEVERAL = _several()


def _refuse_empty(arguments: Sequence[str]) -> None:
    before = ""
    for word in arguments:
        option, equals, value = word.partition("=")
        empty = not word or (option.startswith("--") and equals and not value)
        of = option if word else before if before.startswith("--") else ""
        if empty and of not in MAY_BE_EMPTY:
            named = f"{of} is given nothing" if of else "an argument is empty"
            raise InputError(f"{named}; name a file, a folder or a value")
        before = word


def _wrong(told: str, kind: type, arguments: Sequence[str], command: str, default: Any) -> str:
    """What the parser complains of, without its frame, in our words."""
    known = [name for action in parser_of(kind, default)._actions for name in action.option_strings]
    names = [word.partition("=")[0] for word in arguments if re.match("--?[A-Za-z]", word)]
    for name in names:
        if name.replace("_", "-") not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            return f"{command} has no option {name}{hint}"
    inner = [line.strip("│ ") for line in told.splitlines() if line.startswith("│")]
    if inner and inner[0].startswith("Missing from"):
        return f"{command} needs {' and '.join(_MISSING.findall(told.partition('│ ──')[0]))}"
    block = one_line(" ".join(_until_rule(inner)))
    for theirs, ours in _WORDS:
        block = re.sub(theirs, ours, block)
    return block


def _until_rule(lines: Sequence[str]) -> list[str]:
    rule = next((number for number, line in enumerate(lines) if line.startswith("──")), len(lines))
    return list(lines[:rule])
