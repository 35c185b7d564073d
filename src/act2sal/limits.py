"""The values that options can take, so that a run is refused at its start and not after hours."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

SMALLEST_SIZE = 32
"""Pixels: the coarsest level of an encoder has stride 32."""

LARGEST_SIZE = 8192
"""Pixels: features of one photo of this size take tens of gigabytes."""


@dataclass(frozen=True)
class Limit:
    """What holds for the values of an option, and the same in words."""

    holds: Callable[[Any], bool]
    words: str


def _at_least(low: int) -> Limit:
    return Limit(lambda value: value >= low, f"at least {low}")


def _between(low: float, high: float, words: str) -> Limit:
    return Limit(lambda value: low < value < high, words)


_POSITIVE = Limit(lambda value: value > 0, "more than 0")
_SHARE = Limit(lambda value: 0 <= value <= 1, "in [0, 1]")
_PART = Limit(lambda value: 0 <= value < 1, "in [0, 1)")
_NONE_NEGATIVE = Limit(lambda values: min(values, default=0) >= 0, "0 or more each")

_OF_BOTH_STAGES: dict[str, Limit] = {
    "size": _at_least(SMALLEST_SIZE),
    "epochs": _at_least(0),
    # Normalisation over a batch needs two photos.
    "batch_size": _at_least(2),
    "lr": _POSITIVE,
    "milestones": _NONE_NEGATIVE,
    "momentum": _PART,
    "weight_decay": _at_least(0),
}

LIMITS: dict[str, Limit] = {
    "size": _at_least(SMALLEST_SIZE),
    "limit": _at_least(2),
    "devices": _at_least(1),
    "num_nodes": _at_least(1),
    "workers": _at_least(0),
    "seed": _at_least(0),
    "cache_size": _at_least(0),
    "generations": _at_least(1),
    **{f"{stage}.{name}": limit for stage in ("stage1", "stage2") for name, limit in _OF_BOTH_STAGES.items()},
    "stage1.channels": _at_least(1),
    "stage1.alpha": _at_least(0),
    "stage1.scale_consistency": _at_least(0),
    "stage1.texture": _at_least(0),
    "stage1.side_weights": _NONE_NEGATIVE,
    "stage1.drop_pixels": _PART,
    "stage1.rounds": _at_least(0),
    "stage1.round_epochs": _at_least(1),
    "stage1.round_trim": _PART,
    "stage1.round_lr": _POSITIVE,
    "stage1.round_weight_decay": _at_least(0),
    "labels.gt_prob": _between(0.5, 1, "between 0.5 and 1"),
    "labels.iterations": _at_least(0),
    "labels.gaussian_sxy": _POSITIVE,
    "labels.gaussian_compat": _at_least(0),
    "labels.bilateral_sxy": _POSITIVE,
    "labels.bilateral_srgb": _POSITIVE,
    "labels.bilateral_compat": _at_least(0),
    "labels.median": Limit(lambda side: side >= 1 and side % 2 == 1, "odd and at least 1"),
    "rival.rounds": _at_least(1),
    "rival.epochs": _at_least(1),
    "rival.last_epochs": _at_least(1),
    "stage2.encoder_lr_factor": _at_least(0),
    "stage2.channels": Limit(lambda width: width >= 2 and width % 2 == 0, "even and at least 2"),
    "stage2.loss_bce": _at_least(0),
    "stage2.loss_ssim": _at_least(0),
    "stage2.loss_iou": _at_least(0),
    "stage2.rectify_lambda": _SHARE,
    "stage2.rectify_warmup": _at_least(0),
    "stage2.hma_momentum": _SHARE,
    "stage2.crop": Limit(lambda share: 0 < share <= 1, "more than 0 and at most 1"),
    "stage2.view": _at_least(SMALLEST_SIZE),
    "stage2.trim": _PART,
    "stage2.view_sides": Limit(
        lambda sides: min(sides, default=SMALLEST_SIZE) >= SMALLEST_SIZE, f"{SMALLEST_SIZE} or more each"
    ),
    "stage2.scale_consistency": _at_least(0),
    "stage2.average": _PART,
    "stage2.frozen_epochs": _at_least(0),
    "stage2.jitter": _SHARE,
}
"""By the name of the option as in a TOML file; an option that is None is not checked."""


MOST: dict[str, float] = {
    "size": LARGEST_SIZE,
    "view": LARGEST_SIZE,
    "view_sides": LARGEST_SIZE,
    "seed": 2**63 - 1,
    "channels": 4096,
    "batch_size": 4096,
    "epochs": 10**6,
    "round_epochs": 10**6,
    "last_epochs": 10**6,
    "rounds": 1000,
    "generations": 1000,
    "iterations": 10**4,
    "median": 255,
    "gaussian_sxy": 10**5,
    "bilateral_sxy": 10**5,
    "bilateral_srgb": 10**5,
}
"""The largest values that a machine or a library could take, by the name without its section."""

MOST_WHOLE, MOST_REAL = 10**9, 3e38
"""Of every other number: what libraries take for a whole one, and what single precision holds."""

LEAST_OF_COMMANDS = {"workers": 0, "limit": 1, "photos": 2, "tests": 1, "worst": 0, "size": SMALLEST_SIZE}
"""Numbers that commands other than train take, and their least values."""


LEAST_PIXELS = 1
"""Of `--max-pixels`, which every command that reads photos takes."""


def broken_pixels(most: int) -> str | None:
    """What is wrong with a value of `--max-pixels`, in one line; None where nothing is."""
    return f"max_pixels must be at least {LEAST_PIXELS}, not {most}" if most < LEAST_PIXELS else None


def broken_number(options: Any) -> str | None:
    """The first number of a command, other than train, that it cannot take, in one line; None where all are right.

    Args:
        options: with the numbers as attributes; one that is missing, None or a word is not checked.
    """
    for name, least in LEAST_OF_COMMANDS.items():
        value = getattr(options, name, None)
        if isinstance(value, int) and value < least:
            return f"{name} must be at least {least}, not {value}"
        if isinstance(value, int) and name == "size" and value > LARGEST_SIZE:
            return f"{name} must be at most {LARGEST_SIZE}, not {value}"
    return None


def _beside_rival(options: Mapping[str, Any]) -> str | None:
    """An option that a learned rival cannot do with; None where there is none."""
    given = [name for name in ("masks", "given_labels", "teacher") if options[name] is not None]
    many = [name for name in ("generations", "devices", "num_nodes") if options[name] > 1]
    return next(iter([*given, *many]), None)


def _too_large(options: Mapping[str, Any], section: str = "") -> str | None:
    """The first number above what can be taken; infinity is."""
    for name, value in options.items():
        if isinstance(value, Mapping):
            if (found := _too_large(value, f"{name}.")) is not None:
                return found
            continue
        for number in value if isinstance(value, tuple) else (value,):
            if not isinstance(number, int | float):
                continue
            else_most = MOST_WHOLE if isinstance(number, int) else MOST_REAL
            most = MOST.get(name, else_most)
            if not -else_most <= number <= most:
                bound = f"at least -{else_most}" if number < 0 else f"at most {most}"
                return f"{section}{name} must be {bound}, not {number}"
    return None


def broken_limit(options: Mapping[str, Any]) -> str | None:
    """The first option outside its limit, in one line; None where all are inside.

    Args:
        options: every option of a training, those of a section in a mapping of their own.
    """
    for name, limit in LIMITS.items():
        section, _, own = name.rpartition(".")
        value = (options[section] if section else options)[own]
        if value is not None and not limit.holds(value):
            return f"{name} must be {limit.words}, not {value}"
    if (too_large := _too_large(options)) is not None:
        return too_large
    if options["masks"] is not None and options["generations"] > 1:
        return "masks are for one generation: a second one would learn from the first detector, and not from masks"
    if options["method"] != "a2s" and (other := _beside_rival(options)) is not None:
        return f"method {options['method']} makes its own labels, in one process; leave out {other}"
    if options["generations"] > 1 and options["stage1"]["rounds"] == 0:
        return (
            "generations above 1 need stage1.rounds of 1 or more, in which stage 1 learns from the detector"
        )
    if (
        options["teacher"] is not None
        and options["given_labels"] is None
        and options["masks"] is None
        and options["stage1"]["rounds"] == 0
    ):
        return "a teacher needs stage1.rounds of 1 or more, in which stage 1 learns from it"
    for stage in ("stage1", "stage2"):
        changes = options[stage]["second_sizes"]
        smallest = _smallest_side(options, stage) + min(changes, default=0)
        if options[stage]["scale_consistency"] > 0 and (not changes or smallest < SMALLEST_SIZE):
            return (
                f"{stage}.second_sizes must lead to sizes of {SMALLEST_SIZE} pixels or more, not {smallest}"
            )
    processes = options["devices"] * options["num_nodes"]
    for stage in ("stage1", "stage2"):
        size = options[stage]["batch_size"]
        if processes > 1 and (size % processes or size < 2 * processes):
            return (
                f"{stage}.batch_size must be a multiple of the {processes} processes and two photos or more in each, "
                f"not {size}"
            )
    stage2 = options["stage2"]
    if not stage2["loss_bce"] + stage2["loss_ssim"] + stage2["loss_iou"] > 0:
        return "stage2.loss_bce, loss_ssim and loss_iou cannot all be 0"
    return None


def _smallest_side(options: Mapping[str, Any], stage: str) -> int:
    """Of what a stage's networks see, in pixels."""
    own = options[stage]
    side = own.get("view") or own["size"] or options["size"]
    return min(own.get("view_sides") or (side,))
