"""Table VI: lambda, the share of the old label that Online Label Rectifying keeps (Eq. 14)."""

from pathlib import Path

from act2sal.config import TrainConfig
from act2sal.reproduce.bench import Bench, Target
from act2sal.reproduce.results import Claim, Column, Number, Row, Table
from act2sal.reproduce.training import Training, baseline, stage2_variant

Printed = dict[str, tuple[float, float]]
PAPER: dict[float, Printed] = {
    0.2: {"ECSSD": (0.870, 0.066), "MSRA-B": (0.878, 0.048)},
    0.3: {"ECSSD": (0.876, 0.063), "MSRA-B": (0.882, 0.046)},
    0.4: {"ECSSD": (0.880, 0.060), "MSRA-B": (0.886, 0.043)},
    0.5: {"ECSSD": (0.879, 0.062), "MSRA-B": (0.884, 0.045)},
    0.6: {"ECSSD": (0.873, 0.065), "MSRA-B": (0.880, 0.048)},
}


def with_lambda(config: TrainConfig, share: float) -> Training:
    """Stage 2 with another lambda, on the labels of the baseline."""
    if share == config.stage2.rectify_lambda:
        return baseline(config)
    return stage2_variant(config, f"lambda {share}", rectify_lambda=share)


def trainings(config: TrainConfig) -> list[Training]:
    """Those of all rows."""
    return [with_lambda(config, share) for share in PAPER]


def make(bench: Bench, stem: Path) -> Table:
    """Score the detector of each lambda on the test sets."""
    del stem
    rows = tuple(
        Row(
            f"lambda {share}",
            test_numbers(bench, [with_lambda(config, share) for config in bench.configs], printed),
            bench.mark,
        )
        for share, printed in PAPER.items()
    )
    f = [row.numbers[0].mean or 0.0 for row in rows]
    seen = ", ".join(f"{row.name} {value:.3f}" for row, value in zip(rows, f, strict=True))
    claims = (
        Claim("A lambda of .4 is best", f[2] == max(f), seen),
        Claim("Scores change by .01 at most over lambda", max(f) - min(f) <= 0.01, seen),
    )
    return Table(TARGET.title, test_columns(bench), rows, claims)


def test_columns(bench: Bench) -> tuple[Column, ...]:
    """F and MAE of each test set."""
    return tuple(
        column
        for test in bench.material.tests
        for column in (Column(f"{test.name} F", "high"), Column(f"{test.name} MAE", "low"))
    )


def test_numbers(bench: Bench, seeds: list[Training], printed: Printed) -> tuple[Number, ...]:
    """F and MAE of trainings, one for each seed, on each test set, beside what the paper prints."""
    numbers = []
    for test in bench.material.tests:
        found = [bench.store.test_scores(training, test) for training in seeds]
        paper = printed.get(test.name, (None, None))
        for measure, value in zip(("f_adaptive", "mae"), paper, strict=True):
            numbers.append(Number(tuple(one[measure] for one in found), value))
    return tuple(numbers)


TARGET = Target("Table VI: lambda of Online Label Rectifying", trainings, make)
