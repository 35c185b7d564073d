"""Table IV: what stage 1 loses without each of its parts, by the labels of the training photos."""

from functools import partial
from pathlib import Path

from act2sal.config import TrainConfig
from act2sal.reproduce.bench import Bench, Target, scores_of
from act2sal.reproduce.results import Claim, Column, Row, Table
from act2sal.reproduce.training import Training, baseline, stage1_variant

WHOLE = "A3: all of stage 1"


def variants(config: TrainConfig) -> dict[str, Training]:
    """The trainings by the names of the rows."""
    return {
        "A0: encoder not frozen": stage1_variant(config, "encoder not frozen", freeze_encoder=False),
        "A1: no auxiliary supervision": stage1_variant(config, "no auxiliary supervision", auxiliary=False),
        "A2: no pixels dropped": stage1_variant(config, "no pixels dropped", drop_pixels=0.0),
        WHOLE: baseline(config),
    }


PAPER = {
    "A0: encoder not frozen": (0.028, 0.350),
    "A1: no auxiliary supervision": (0.814, 0.092),
    "A2: no pixels dropped": (0.837, 0.081),
    WHOLE: (0.866, 0.050),
}


def trainings(config: TrainConfig) -> list[Training]:
    """Those of the four rows."""
    return list(variants(config).values())


def make(bench: Bench, stem: Path) -> Table:
    """Score the labels of each variant."""
    del stem
    rows = tuple(
        Row(
            name,
            bench.numbers(partial(_of_row, name), bench.store.label_scores, scores_of(*paper)),
            bench.mark,
        )
        for name, paper in PAPER.items()
    )
    f = {row.name.partition(":")[0]: row.numbers[0].mean or 0.0 for row in rows}
    seen = ", ".join(f"{name} {value:.3f}" for name, value in f.items())
    claims = (
        Claim("Without freezing, stage 1 collapses", f["A0"] < f["A3"] / 2, seen),
        Claim("Auxiliary supervision helps", f["A3"] > f["A1"], seen),
        Claim("Dropping pixels helps", f["A3"] > f["A2"], seen),
    )
    return Table(TARGET.title, (Column("F", "high"), Column("MAE", "low")), rows, claims)


def _of_row(name: str, config: TrainConfig) -> Training:
    return variants(config)[name]


TARGET = Target("Table IV: parts of stage 1", trainings, make)
