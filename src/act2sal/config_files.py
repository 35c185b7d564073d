"""Options in TOML files: written, read, and checked value by value."""

import dataclasses
import tomllib
import typing
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import tomli_w

from act2sal.config import ConfigError, Stage1Config, TrainConfig

EARLIER = TrainConfig(stage1=Stage1Config(texture=0.0))
"""What options meant to runs that were begun before they were there, and whose config.toml lacks them."""


def to_toml(config: TrainConfig) -> str:
    """The config as TOML text; options that are None are left out."""
    return tomli_w.dumps(_without_none(dataclasses.asdict(config)))


def from_toml(text: str, base: TrainConfig) -> TrainConfig:
    """`base` with the values that the TOML text sets.

    Raises:
        ConfigError: no TOML, an unknown key or a value of the wrong kind; names it.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not TOML: {error}") from error
    return _updated(base, values, "")


def load_toml(path: Path, base: TrainConfig) -> TrainConfig:
    """`from_toml` of a file; its errors name the file.

    Raises:
        ConfigError: cannot be read, or see `from_toml`.
    """
    try:
        return from_toml(path.read_text(encoding="utf-8"), base)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not TOML: it is no UTF-8") from error
    except (OSError, RecursionError, ConfigError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in values.items() if value is not None}
    return {n: _without_none(v) if isinstance(v, dict) else v for n, v in kept.items()}


def _updated(base: Any, values: dict[str, Any], prefix: str) -> Any:
    types = typing.get_type_hints(type(base))
    changes: dict[str, Any] = {}
    for name, value in values.items():
        if name not in types:
            raise ConfigError(f"unknown option {prefix}{name}; known: {', '.join(types)}")
        if dataclasses.is_dataclass(types[name]):
            if not isinstance(value, dict):
                raise ConfigError(f"{prefix}{name} is a table of options")
            changes[name] = _updated(getattr(base, name), value, f"{prefix}{name}.")
        else:
            changes[name] = _converted(value, types[name], prefix + name)
    return replace(base, **changes)


def _converted(value: Any, kind: Any, name: str) -> Any:
    """`value` from TOML as the type of its field, or a ConfigError."""
    value = _FORMER.get((name, value), value) if isinstance(value, bool) else value
    choices = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        if any(value == choice and type(value) is type(choice) for choice in choices):
            return value
        raise ConfigError(f"{name} = {value!r}; possible: {', '.join(map(str, choices))}")
    if typing.get_origin(kind) is tuple:
        return _tuple(value, choices, name)
    accepted = choices or (kind,)
    if float in accepted and type(value) is int:
        return float(value)
    if type(value) not in accepted:
        raise ConfigError(f"{name} = {value!r}; needs {' or '.join(t.__name__ for t in accepted)}")
    return value


_FORMER: dict[tuple[str, bool], str] = {("labels.soft", True): "fitted", ("labels.soft", False): "none"}
"""Values that options had in the files of earlier versions, and what they are called now."""


def _tuple(value: Any, kinds: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    """A list from TOML as a tuple of `kinds`, whose second one may be `...`, or a ConfigError."""
    numbers = (int, float) if kinds[0] is float else (int,)
    long_enough = isinstance(value, list) and (kinds[-1] is ... or len(value) == len(kinds))
    if long_enough and all(type(v) in numbers for v in value):
        return tuple(map(kinds[0], value))
    what = "whole numbers" if kinds[0] is int else "numbers"
    many = "" if kinds[-1] is ... else f"{len(kinds)} "
    raise ConfigError(f"{name} = {value!r}; needs a list of {many}{what}")
