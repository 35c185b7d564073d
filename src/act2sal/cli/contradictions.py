"""Refuses options that would have no effect beside others, with one line that names both.

Options of a stage of the training that does not run give a warning only, as scripts set them for all trainings.
Only options that the command line names count, not those of a preset or a file.
"""

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from act2sal.cli.cluster_options import ClusterOptions, LabelShardOptions, ShardOptions
from act2sal.config import LabelConfig, RivalConfig, Stage1Config, TrainConfig
from act2sal.errors import InputError
from act2sal.predict.plan import is_one_file, is_one_video

logger = logging.getLogger("act2sal")


@dataclass(frozen=True)
class Contradiction:
    """Options that have no effect if something else holds.

    Attributes:
        options: names on the command line, without the dashes.
        beside: the other option, or its value, in the words of the message.
        holds: whether the other is there, given the parsed options and the names on the command line.
        refused: whether to refuse the options; otherwise to warn.
    """

    options: tuple[str, ...]
    beside: str
    holds: Callable[[Any, frozenset[str]], bool]
    refused: bool = True


def refuse_contradictions(command: str, arguments: Sequence[str], options: Any) -> None:
    """Refuse a command line with an option that has no effect.

    Args:
        command: its name.
        arguments: its command line.
        options: what it was parsed to.

    Raises:
        InputError: the first one that cannot; names it and the other.
    """
    given = given_names(arguments)
    for rule in CONTRADICTIONS.get(command, ()):
        idle = [f"--{name}" for name in rule.options if name in given]
        if not idle or not rule.holds(options, given):
            continue
        if rule.refused:
            raise InputError(f"{idle[0]} has no effect beside {rule.beside}")
        verb = "has" if len(idle) == 1 else "have"
        logger.warning("%s %s no effect beside %s", ", ".join(idle), verb, rule.beside)


def given_names(arguments: Iterable[str]) -> frozenset[str]:
    """The options that a command line names, without dashes and values; `--stage2.no-flip` names stage2.flip.

    `--no-watch` and the like name nothing: they say what holds anyway.
    """
    words = [word.partition("=")[0].replace("_", "-") for word in arguments if word.startswith("--")]
    names = [word.removeprefix("--") for word in words if not word.startswith("--no-")]
    return frozenset(name.replace(".no-", ".") for name in names)


def _section(name: str, kind: type[Any]) -> tuple[str, ...]:
    return tuple(f"{name}.{field.name.replace('_', '-')}" for field in fields(kind))


def _all(*names: str) -> Callable[[Any, frozenset[str]], bool]:
    """All of these options are named on the command line."""
    return lambda options, given: given.issuperset(names)


_STAGE1, _LABELS = _section("stage1", Stage1Config), _section("labels", LabelConfig)

_ROUNDS = ("stage1.round-epochs", "stage1.round-trim", "stage1.round-lr", "stage1.round-weight-decay")

_FIRST_FIT = tuple(
    f"stage1.{name}"
    for name in (
        "epochs",
        "lr",
        "milestones",
        "momentum",
        "weight-decay",
        "use-e3",
        "boundary",
        "sign",
        "alpha",
        "distance",
        "curriculum",
        "scale-consistency",
        "second-sizes",
        "texture",
        "auxiliary",
        "side-weights",
        "drop-pixels",
        "flip",
        "loss-at-photo-size",
    )
)
"""Of stage 1, what only Eq. 1-5 read."""

_LIVE = ("stage1.precision", "cache-size")
"""What only stored features read."""

_OURS = ("stage2.channels", "stage2.finest-stride", "stage2.attention")
"""Of stage 2, what only our detector reads."""

_NETWORK = ("detector", "stage2.encoder", "stage2.encoder-weights", *_OURS)
"""Of stage 2, what only a fresh detector reads."""

_OF_STAGE2_ALONE = tuple(
    f"stage2.{name}"
    for name in (
        "compile",
        "loss-bce",
        "loss-ssim",
        "loss-iou",
        "own-loss",
        "binarise",
        "rectifier",
        "rectify-lambda",
        "rectify-warmup",
        "hma-momentum",
        "flip-once",
        "crop",
        "view",
        "view-sides",
        "trim",
        "scale-consistency",
        "second-sizes",
        "average",
        "jitter",
    )
)
"""Of stage 2, what the fits of learned rivals do not read."""

_CRF = tuple(name for name in _LABELS if name.startswith(("labels.gaussian", "labels.bilateral")))
_OWN_LABELS = tuple(name for name in _LABELS if name not in (*_CRF, "labels.iterations"))
"""Of the labels, what only their making reads, and not HMA."""


def _stage1_rules(config: Callable[[Any], Any]) -> tuple[Contradiction, ...]:
    """What holds within the options of stage 1 and of labels; config: what has both among the options."""

    def holds(test: Callable[[Stage1Config], bool]) -> Callable[[Any, frozenset[str]], bool]:
        return lambda options, given: test(config(options).stage1)

    return (
        Contradiction(_ROUNDS, "--stage1.rounds 0", holds(lambda s: s.rounds == 0), refused=False),
        Contradiction(
            ("stage1.second-sizes",),
            "--stage1.scale-consistency 0",
            holds(lambda s: s.scale_consistency == 0),
        ),
        Contradiction(
            ("stage1.alpha",), "--stage1.distance falling", holds(lambda s: s.distance == "falling")
        ),
        Contradiction(("stage1.side-weights",), "--stage1.no-auxiliary", holds(lambda s: not s.auxiliary)),
        Contradiction(
            ("labels.gt-prob",),
            "--labels.soft all",
            lambda options, given: config(options).labels.soft == "all",
        ),
        Contradiction(
            ("stage1.batchnorm-drift",),
            "--stage1.no-freeze-encoder",
            holds(lambda s: s.batchnorm_drift and not s.freeze_encoder),
        ),
        Contradiction(_LIVE, "--stage1.no-freeze-encoder", holds(lambda s: not s.freeze_encoder)),
        Contradiction(_LIVE, "--stage1.batchnorm-drift", holds(lambda s: s.batchnorm_drift)),
        Contradiction(
            ("stage1.mirror",),
            "--stage1.no-flip and --stage1.rounds 0",
            holds(lambda s: not s.flip and s.rounds == 0),
        ),
    )


def _train(test: Callable[[TrainConfig], bool]) -> Callable[[Any, frozenset[str]], bool]:
    """A test of the resolved options of a training."""
    return lambda options, given: test(options.options)


def _given_alone(config: TrainConfig) -> bool:
    """Whether stage 1 makes no labels at all."""
    return config.given_labels is not None and config.generations == 1


def _otherwise_launched(options: Any, given: frozenset[str]) -> bool:
    """Whether torchrun has started other numbers of processes and machines than the options name."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return False
    here, everywhere = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    named = {"devices": options.options.devices, "num-nodes": options.options.num_nodes}
    started = {"devices": here, "num-nodes": everywhere // here}
    return any(name in given and named[name] != started[name] for name in named)


TRAIN = (
    Contradiction(("devices", "num-nodes"), "torchrun, which started others", _otherwise_launched),
    Contradiction(("overwrite",), "--resume", lambda o, given: o.resume and o.overwrite),
    Contradiction(_NETWORK, "--teacher, whose network goes on", _train(lambda c: c.teacher is not None)),
    Contradiction(
        ("encoder", "encoder-weights"),
        "--teacher and --given-labels",
        _train(lambda c: _given_alone(c) and c.teacher is not None),
    ),
    Contradiction(
        (*_STAGE1, *_LABELS, "cache-size"),
        "--method other than a2s, which has no stage 1",
        _train(lambda c: c.method != "a2s"),
        refused=False,
    ),
    Contradiction(
        _OF_STAGE2_ALONE,
        "--method other than a2s, which has a loss of its own",
        _train(lambda c: c.method != "a2s"),
    ),
    Contradiction(_section("rival", RivalConfig), "--method a2s", _train(lambda c: c.method == "a2s")),
    Contradiction(
        ("rival.published-rates",),
        "--method other than usps",
        _train(lambda c: c.method not in ("a2s", "usps")),
    ),
    Contradiction(("given-labels",), "--masks", _train(lambda c: c.masks is not None)),
    Contradiction((*_STAGE1, "cache-size"), "--masks", _train(lambda c: c.masks is not None), refused=False),
    Contradiction(_OWN_LABELS, "--masks", _train(lambda c: c.masks is not None), refused=False),
    Contradiction((*_STAGE1, "cache-size"), "--given-labels", _train(_given_alone), refused=False),
    Contradiction(_OWN_LABELS, "--given-labels", _train(_given_alone), refused=False),
    Contradiction(
        (*_CRF, "labels.iterations"),
        "--given-labels without --stage2.rectifier hma",
        _train(lambda c: _given_alone(c) and c.stage2.rectifier != "hma"),
        refused=False,
    ),
    Contradiction(
        _FIRST_FIT, "--teacher, which takes the place of Eq. 1-5", _train(lambda c: c.teacher is not None)
    ),
    Contradiction(
        _FIRST_FIT,
        "--given-labels, which take the place of Eq. 1-5",
        _train(lambda c: c.given_labels is not None and c.generations > 1),
        refused=False,
    ),
    Contradiction(
        ("labels.gt-prob",),
        "--teacher, whose probabilities are not thresholded unless --labels.soft is none",
        _train(lambda c: c.teacher is not None and c.labels.soft != "none"),
    ),
    *_stage1_rules(lambda options: options.options),
    Contradiction(
        ("stage2.momentum",), "--stage2.optimizer adamw", _train(lambda c: c.stage2.optimizer == "adamw")
    ),
    Contradiction(
        ("stage2.milestones",),
        "--stage2.optimizer adamw",
        _train(lambda c: (c.stage2.schedule, c.stage2.optimizer) == ("auto", "adamw")),
    ),
    Contradiction(
        ("stage2.milestones",),
        "--stage2.schedule other than steps",
        _train(lambda c: c.stage2.schedule not in ("auto", "steps")),
    ),
    Contradiction(
        (*_OURS, "stage2.compile"), "--detector other than a2s", _train(lambda c: c.detector != "a2s")
    ),
    Contradiction(("stage2.own-loss",), "--detector a2s", _train(lambda c: c.detector == "a2s")),
    Contradiction(
        ("stage2.loss-bce", "stage2.loss-ssim", "stage2.loss-iou"),
        "--stage2.own-loss",
        _train(lambda c: c.detector != "a2s" and c.stage2.own_loss),
    ),
    Contradiction(
        ("stage2.rectify-lambda",), "--stage2.rectifier hma", _train(lambda c: c.stage2.rectifier == "hma")
    ),
    Contradiction(
        ("stage2.hma-momentum",), "--stage2.rectifier olr", _train(lambda c: c.stage2.rectifier == "olr")
    ),
    Contradiction(
        ("stage2.rectify-lambda", "stage2.rectify-warmup", "stage2.hma-momentum"),
        "--stage2.rectifier none",
        _train(lambda c: c.stage2.rectifier == "none"),
    ),
    Contradiction(
        ("stage2.flip-once",),
        "--stage2.no-flip",
        _train(lambda c: c.stage2.flip_once and not c.stage2.flip),
    ),
    Contradiction(
        ("stage2.second-sizes",),
        "--stage2.scale-consistency 0",
        _train(lambda c: c.stage2.scale_consistency == 0),
    ),
    Contradiction(("stage2.view",), "--stage2.view-sides", _train(lambda c: bool(c.stage2.view_sides))),
    *(
        Contradiction(
            (name,), f"--stage1.{name} and --stage2.{name}", _all(f"stage1.{name}", f"stage2.{name}")
        )
        for name in ("encoder", "encoder-weights", "size")
    ),
)


def _on_cluster(kind: type[Any]) -> tuple[str, ...]:
    """What only a cluster reads."""
    return tuple(field.name.replace("_", "-") for field in fields(kind) if field.name != "engine")


def _engine(name: str) -> Callable[[Any, frozenset[str]], bool]:
    return lambda options, given: options.cluster.engine == name


def _of_video(options: Any, given: frozenset[str]) -> bool:
    """Whether the names say that a video is read or written; what is in folders is found later."""
    return is_one_video(options.out) or any(is_one_video(Path(name)) for name in options.inputs)


LABEL = (
    Contradiction(_on_cluster(LabelShardOptions), "--engine local (the default)", _engine("local")),
    Contradiction(("workers", "limit"), "--engine ray", _engine("ray")),
    Contradiction(("fit-on",), "--run, whose stage 1 is fitted", lambda o, given: o.run is not None),
    Contradiction(
        ("encoder", "encoder-weights", "size", "seed", "cache-size", *_STAGE1, *_LABELS),
        "--run, whose stage 1 is used as it is",
        lambda o, given: o.run is not None,
    ),
    *_stage1_rules(lambda options: options),
    *(
        Contradiction((name,), f"--stage1.{name}", _all(f"stage1.{name}"))
        for name in ("encoder", "encoder-weights", "size")
    ),
)


def _piped(options: Any, given: frozenset[str]) -> bool:
    return tuple(options.inputs) == ("-",) and options.cluster.engine == "local"


PREDICT = (
    Contradiction(_on_cluster(ShardOptions), "--engine local (the default)", _engine("local")),
    Contradiction(("watch", "smooth", "annotations", "workers"), "--engine ray", _engine("ray")),
    Contradiction(("overwrite",), "--skip-existing", lambda o, given: o.overwrite and o.skip_existing),
    Contradiction(
        ("overwrite",), "--watch, which implies --skip-existing", lambda o, g: o.overwrite and o.watch
    ),
    Contradiction(
        ("threshold", "grow"),
        "--kind map, which is never cut",
        lambda o, given: set(o.kind) == {"map"} and o.crop is None and o.annotations is None,
    ),
    Contradiction(("feather",), "--kind map, which is never cut", lambda o, given: set(o.kind) == {"map"}),
    Contradiction(
        ("matting",),
        "--kind map, mask and overlay, whose saliency is no alpha",
        lambda o, given: set(o.kind) <= {"map", "mask", "overlay"},
    ),
    Contradiction(("crop", "annotations"), "a video", _of_video),
    Contradiction(
        ("crop",),
        "--annotations, which are of whole photos",
        lambda o, given: o.annotations is not None,
    ),
    Contradiction(
        ("model", "backend", "device", "min-confidence"),
        "--method other than a2s",
        lambda o, given: o.method != "a2s",
    ),
    Contradiction(
        ("watch", "skip-existing", "smooth", "exclude", "annotations"), "- (standard input)", _piped
    ),
    Contradiction(
        ("watch", "annotations"),
        "an --out that is one file",
        lambda o, given: is_one_file(o.out) or is_one_video(o.out),
    ),
    Contradiction(
        ("out",),
        "- (standard input) unless it names one picture, such as x.png",
        lambda o, given: _piped(o, given) and not is_one_file(o.out),
    ),
    Contradiction(
        ("overwrite",),
        "- (standard input) without --out",
        lambda o, given: _piped(o, given) and "out" not in given,
    ),
)

SERVE = (
    Contradiction(("photos", "review"), "no --run", lambda o, given: o.run is None),
    Contradiction(("review",), "no --photos", lambda o, given: o.photos is None),
    Contradiction(("public",), "--token-file, which asks all for it", lambda o, g: o.token_file is not None),
    Contradiction(
        ("public",),
        "a --host that only this machine reaches",
        lambda o, given: o.host in ("localhost", "127.0.0.1", "::1"),
    ),
    Contradiction(
        ("name",),
        "a --host that other machines reach, where any name will do",
        lambda o, given: o.host not in ("localhost", "127.0.0.1", "::1"),
    ),
)

COMPARE = (
    Contradiction(
        ("model", "device"), "--methods without a2s", lambda o, given: "a2s" not in o.methods.split(",")
    ),
)

EVALUATE = (
    Contradiction(_on_cluster(ClusterOptions), "--engine local (the default)", _engine("local")),
    Contradiction(("workers",), "--engine ray", _engine("ray")),
    Contradiction(("photos", "sheet"), "--worst 0 (the default)", lambda o, given: o.worst <= 0),
)

CONTRADICTIONS: dict[str, tuple[Contradiction, ...]] = {
    "train": TRAIN,
    "label": LABEL,
    "predict": PREDICT,
    "serve": SERVE,
    "compare": COMPARE,
    "evaluate": EVALUATE,
}
"""Of each command, in the order in which they are looked for."""
