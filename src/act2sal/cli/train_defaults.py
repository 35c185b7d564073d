"""Where the defaults of `act2sal train` come from: a preset, a file, or the run that is resumed."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, get_args

from act2sal.config import DetectorName, TrainConfig
from act2sal.config_files import EARLIER, load_toml
from act2sal.errors import InputError
from act2sal.presets import PRESETS, begun_from


class _Defaults(argparse.ArgumentParser):
    """Finds the options that say where the defaults come from."""

    def error(self, message: str) -> NoReturn:
        """In one line, as all errors."""
        raise InputError(message.removeprefix("argument "))


def chosen_defaults(arguments: Sequence[str]) -> TrainConfig:
    """The options that --preset and --config, or the run that is resumed, set before the command line does."""
    parser = _Defaults(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", choices=PRESETS)
    parser.add_argument("--detector", choices=get_args(DetectorName))
    parser.add_argument("--masks")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--resume", action="store_true")
    known, _ = parser.parse_known_args(arguments)
    named = known.preset is not None or known.config is not None
    if known.resume and not named and known.out is not None and (known.out / "config.toml").is_file():
        return load_toml(known.out / "config.toml", EARLIER)
    preset = PRESETS[known.preset or "default"]
    told = preset if known.config is None else load_toml(known.config, preset)
    detector, masks = known.detector or told.detector, bool(known.masks or told.masks)
    begun = begun_from(known.preset, detector, masks=masks)
    return begun if known.config is None else load_toml(known.config, begun)
