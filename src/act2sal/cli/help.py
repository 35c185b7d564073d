"""Formats `--help`: options in groups, texts in plain words, each example on a line of its own."""

import inspect
import re
import shutil
import textwrap
import warnings
from argparse import Action
from collections.abc import Iterator, Sequence
from typing import Any

import tyro

from act2sal.cli.ending import DEBUG, DEBUG_TEXT

_WIDEST = 100
_INDENT = 26
"""Column at which the texts of options begin."""

_MOST_TOGETHER = 12
"""Options beyond which a command shows them in groups."""

GROUPS: dict[str, tuple[str, ...]] = {
    "the result": (
        *("kind", "format", "threshold", "grow", "feather", "ground", "crop", "annotations", "matting"),
        *("refine", "min-confidence", "smooth", "methods", "convention"),
    ),
    "the network": (
        *("model", "method", "detector", "backend", "device", "encoder", "encoder-weights", "size", "seed"),
    ),
    "which photos": ("exclude", "limit", "max-pixels", "watch", "ending"),
    "very many photos": ("engine", "address", "num-cpus", "num-gpus", "store", "shard-size", "fit-on"),
}
"""Options by what they decide; those of none of these stand first, under "options"."""

_VALUES = {"STR": "TEXT", "INT": "N", "FLOAT": "NUMBER"}
"""Placeholder of a value by its name in Python."""


def help_of(kind: type, command: str, default: Any) -> str:
    """The help of a command.

    Args:
        kind: dataclass of its options.
        command: its name.
        default: an instance with the defaults, or `tyro.MISSING_NONPROP`.
    """
    width = min(_WIDEST, shutil.get_terminal_size().columns)
    parser = parser_of(kind, default)
    positional = [_value(action) for action in parser._actions if not action.option_strings]
    parts = [" ".join(["usage: act2sal", command, "[OPTIONS]", *positional]), _described(kind, width)]
    for group in parser._action_groups:
        about = [textwrap.fill(group.description, width)] if group.description else []
        for title, actions in _grouped(group.title, group._group_actions):
            rows = [_row(action, width) for action in actions]
            if title == "options":
                rows += [_laid_row(f"  {DEBUG}", DEBUG_TEXT, width)]
            parts.append("\n".join([f"{title}:", *about, *rows]))
    return "\n\n".join(parts)


def _grouped(title: str, actions: Sequence[Action]) -> Iterator[tuple[str, list[Action]]]:
    """The options of a section of the help, cut into `GROUPS` if they are many."""
    if title != "options" or len(actions) <= _MOST_TOGETHER:
        yield from [(title, list(actions))] if actions else []
        return
    named = {name: group for group, names in GROUPS.items() for name in names}
    cut: dict[str, list[Action]] = {title: []}
    for action in actions:
        cut.setdefault(named.get(action.option_strings[0].lstrip("-"), title), []).append(action)
    yield from ((group, cut[group]) for group in (title, *GROUPS) if cut.get(group))


def parser_of(kind: type, default: Any) -> Any:
    """The options as an `argparse.ArgumentParser`, which is all that tells their texts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return tyro.extras.get_parser(kind, default=default)


def _described(kind: type, width: int) -> str:
    """The text of the class; lines that are commands stay lines."""
    paragraphs = inspect.cleandoc(kind.__doc__ or "").split("\n\n")
    return "\n\n".join(_laid_out(paragraph, width) for paragraph in paragraphs)


def _laid_out(paragraph: str, width: int) -> str:
    if all(line.startswith("act2sal ") for line in paragraph.splitlines()):
        return textwrap.indent(paragraph, "  ")
    return textwrap.fill(" ".join(paragraph.split()), width)


def _row(action: Action, width: int) -> str:
    """An option, its value, its text and its default."""
    head = "  " + " ".join(filter(None, [", ".join(action.option_strings), _value(action)]))
    return _laid_row(head, in_plain_words(action.help or ""), width)


def _laid_row(head: str, text: str, width: int) -> str:
    lines = textwrap.wrap(text, width - _INDENT, break_on_hyphens=False)
    if len(head) >= _INDENT:
        return "\n".join([head, *(" " * _INDENT + line for line in lines)])
    first, *others = lines or [""]
    return "\n".join([f"{head:<{_INDENT}}{first}".rstrip(), *(" " * _INDENT + line for line in others)])


def _value(action: Action) -> str:
    """What stands for the value: `N`, `{auto,cpu}`, `KIND ...`."""
    if not isinstance(action.metavar, str):
        return ""
    repeated = re.fullmatch(r"\[+(.+?) \[.*", action.metavar)
    text = repeated.group(1) if repeated else action.metavar
    choices = [choice for choice in _choices(text) if choice not in ("None", "{None}")]
    joined = f"{{{','.join(choices)}}}" if text.startswith("{") and "}|" not in text else "|".join(choices)
    return f"{joined} ..." if repeated else joined


def _choices(text: str) -> Iterator[str]:
    for part in text.strip("{}").split(",") if text.startswith("{") and "}|" not in text else text.split("|"):
        yield re.sub(r"\b(STR|INT|FLOAT)\b", lambda found: _VALUES[found.group()], part)


def in_plain_words(text: str) -> str:
    """Rewrite a text that was written for Python: on the command line an option is left out instead of None."""
    text = " ".join(text.split())
    text = re.sub(r" ?\(default: (None)?\)", "", text)
    text = re.sub(r"(?<=\. )None: |^None: ", "Without it: ", text)
    text = re.sub(r"\bNone: ", "without it: ", text)
    return text.replace("(default: False)", "(default: off)").replace("(default: True)", "(default: on)")
