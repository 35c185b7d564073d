"""What every target works with: material, store, options of the baseline, and seeds."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from act2sal.config import TrainConfig
from act2sal.data.origin import LABEL_FREE
from act2sal.reproduce.material import Material
from act2sal.reproduce.results import Number, Result
from act2sal.reproduce.store import Store
from act2sal.reproduce.training import Training
from act2sal.training.assembly import initial_encoder


@dataclass(frozen=True)
class Bench:
    """What every target works with.

    Attributes:
        material: photos and masks.
        store: trainings.
        config: options of the baseline, without its seed.
        seeds: of the trainings.
    """

    material: Material
    store: Store
    config: TrainConfig
    seeds: tuple[int, ...]

    @property
    def configs(self) -> tuple[TrainConfig, ...]:
        """The options of the baseline for each seed."""
        return tuple(replace(self.config, seed=seed) for seed in self.seeds)

    @property
    def mark(self) -> str:
        """‡ where the encoder has seen labels, or may have."""
        return "" if initial_encoder(self.config.stage1, self.config).supervision == LABEL_FREE else "‡"

    def numbers(
        self,
        training: Callable[[TrainConfig], Training],
        score: Callable[[Training], dict[str, float]],
        papers: dict[str, float | None],
    ) -> tuple[Number, ...]:
        """Numbers of a training for all seeds beside the paper's, in the order of `papers`."""
        found = [score(training(config)) for config in self.configs]
        return tuple(Number(tuple(one[name] for one in found), paper) for name, paper in papers.items())


@dataclass(frozen=True)
class Target:
    """A table or a figure.

    Attributes:
        title: of the paper, such as "Table IV: the parts of stage 1".
        trainings: those that it needs, for one seed.
        make: makes it; figures are written below the stem of a path.
    """

    title: str
    trainings: Callable[[TrainConfig], list[Training]]
    make: Callable[[Bench, Path], Result]


def no_trainings(config: TrainConfig) -> list[Training]:
    """What a target needs that looks at untrained networks alone."""
    del config
    return []


def scores_of(f_paper: float | None, mae_paper: float | None) -> dict[str, float | None]:
    """The two scores of the paper's tables by our names: its "ave-F" is the adaptive F of its code."""
    return {"f_adaptive": f_paper, "mae": mae_paper}
