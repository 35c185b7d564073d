"""Table V: alpha, the weight of |D| beside |D|^2 (Eq. 4)."""

from functools import partial
from pathlib import Path

from act2sal.config import TrainConfig
from act2sal.reproduce.bench import Bench, Target, scores_of
from act2sal.reproduce.results import Claim, Column, Row, Table
from act2sal.reproduce.training import Training, baseline, stage1_variant

PAPER = {0.0: (0.845, 0.078), 0.1: (0.866, 0.050), 0.2: (0.862, 0.052), 0.3: (0.859, 0.055)}


def with_alpha(config: TrainConfig, alpha: float) -> Training:
    """Stage 1 with another alpha."""
    if alpha == config.stage1.alpha:
        return baseline(config)
    return stage1_variant(config, f"alpha {alpha}", alpha=alpha)


def trainings(config: TrainConfig) -> list[Training]:
    """Those of all rows."""
    return [with_alpha(config, alpha) for alpha in PAPER]


def make(bench: Bench, stem: Path) -> Table:
    """Score the labels of the training photos for each alpha."""
    del stem
    rows = tuple(
        Row(
            f"alpha {alpha}",
            bench.numbers(
                partial(with_alpha, alpha=alpha),
                bench.store.label_scores,
                scores_of(*paper),
            ),
            bench.mark,
        )
        for alpha, paper in PAPER.items()
    )
    f = [row.numbers[0].mean or 0.0 for row in rows]
    seen = ", ".join(f"{row.name} {value:.3f}" for row, value in zip(rows, f, strict=True))
    claims = (
        Claim("|D| beside |D|^2 helps", f[1] > f[0], seen),
        Claim("An alpha of .1 is best", f[1] == max(f), seen),
    )
    return Table(TARGET.title, (Column("F", "high"), Column("MAE", "low")), rows, claims)


TARGET = Target("Table V: alpha of the separation loss", trainings, make)
