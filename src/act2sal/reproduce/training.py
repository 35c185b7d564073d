"""A training that a table or a figure needs, and the key by which it is known."""

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from act2sal.config import Stage2Config, TrainConfig
from act2sal.config_files import to_toml


@dataclass(frozen=True)
class Training:
    """A training.

    Attributes:
        name: for people, such as "lambda .2".
        config: its options, with the seed.
        labels_of: the training whose labels it learns from; None: it makes its own.
        labels_only: it ends with the labels, without a detector.
        masks: it learns from the masks of its photos, as the supervised detectors of Table II.
    """

    name: str
    config: TrainConfig
    labels_of: "Training | None" = None
    labels_only: bool = False
    masks: bool = False

    def key(self, photos: str) -> str:
        """Digest of everything that its result depends on; `photos` is the fingerprint of the photos."""
        config = _with_weights_by_content(self.config)
        if self.labels_only:  # stage 2 has no part in them
            config = replace(config, stage2=Stage2Config(), detector="a2s")
        before = "" if self.labels_of is None else self.labels_of.key(photos)
        told = (photos, to_toml(config), before, str(self.labels_only), str(self.masks))
        return hashlib.sha256("\n".join(told).encode()).hexdigest()[:12]


def _with_weights_by_content(config: TrainConfig) -> TrainConfig:
    """Name files of weights by what is in them: where they lie changes no result."""
    stage1, stage2 = config.stage1, config.stage2
    return replace(
        config,
        encoder_weights=_content(config.encoder_weights),
        stage1=replace(stage1, encoder_weights=stage1.encoder_weights and _content(stage1.encoder_weights)),
        stage2=replace(stage2, encoder_weights=stage2.encoder_weights and _content(stage2.encoder_weights)),
    )


def _content(weights: str) -> str:
    """Digest of a file of weights; the name itself of weights that are known by one."""
    file = Path(weights)
    return _digest(file, file.stat().st_mtime_ns) if file.is_file() else weights


@lru_cache
def _digest(file: Path, changed: int) -> str:
    """Digest of a file as it was at a time, `changed`."""
    del changed
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def with_needed(trainings: list[Training]) -> list[Training]:
    """The trainings, each behind the one whose labels it learns from."""
    needed: list[Training] = []
    for training in trainings:
        if training.labels_of is not None:
            needed += with_needed([training.labels_of])
        needed.append(training)
    return needed


def baseline(config: TrainConfig) -> Training:
    """A2S as it is at a scale: A3 of Table IV, alpha .1 of Table V, lambda .4 of Table VI, OLR of Table VIII."""
    return Training("A2S", config)


def stage1_variant(config: TrainConfig, name: str, **changes: object) -> Training:
    """The labels of another stage 1; `changes` are fields of `Stage1Config`."""
    return Training(name, replace(config, stage1=replace(config.stage1, **changes)), labels_only=True)  # type: ignore[arg-type]


def stage2_variant(config: TrainConfig, name: str, **changes: object) -> Training:
    """Another stage 2 on the labels of the baseline; `changes` are fields of `Stage2Config`."""
    changed = replace(config, stage2=replace(config.stage2, **changes))  # type: ignore[arg-type]
    return Training(name, changed, labels_of=baseline(config))
