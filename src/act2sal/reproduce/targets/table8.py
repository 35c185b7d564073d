"""Table VIII: Online Label Rectifying beside HMA, the moving average of USPS, which cleans predictions by CRF."""

from pathlib import Path

from act2sal.config import TrainConfig
from act2sal.reproduce.bench import Bench, Target
from act2sal.reproduce.results import Claim, Column, Number, Row, Table
from act2sal.reproduce.targets.table6 import Printed, test_columns, test_numbers
from act2sal.reproduce.training import Training, baseline, stage2_variant

HMA, OLR = "HMA", "OLR"
PAPER_HOURS = {HMA: 5.33, OLR: 0.36}
PAPER: dict[str, Printed] = {
    HMA: {"ECSSD": (0.843, 0.078), "MSRA-B": (0.876, 0.049)},
    OLR: {"ECSSD": (0.880, 0.060), "MSRA-B": (0.886, 0.043)},
}
STAGE2 = "stage2"


def of_row(config: TrainConfig, rectifier: str) -> Training:
    """The training of a row."""
    return baseline(config) if rectifier == OLR else stage2_variant(config, "HMA", rectifier="hma")


def trainings(config: TrainConfig) -> list[Training]:
    """Those of both rows."""
    return [of_row(config, rectifier) for rectifier in PAPER]


def make(bench: Bench, stem: Path) -> Table:
    """Time stage 2 with each, and score its detector."""
    del stem
    rows = []
    for rectifier, printed in PAPER.items():
        seeds = [of_row(config, rectifier) for config in bench.configs]
        seconds = Number(tuple(bench.store.seconds(training)[STAGE2] for training in seeds))
        hours = Number((), PAPER_HOURS[rectifier])
        rows.append(Row(rectifier, (seconds, hours, *test_numbers(bench, seeds, printed)), bench.mark))
    spent = {row.name: row.numbers[0].mean or 0.0 for row in rows}
    f = {row.name: row.numbers[2].mean or 0.0 for row in rows}
    ratio = spent[HMA] / spent[OLR]
    claims = (
        Claim("Stage 2 with HMA takes 15 times as long", ratio >= 15, f"{ratio:.1f} times as long"),
        Claim("OLR is better than HMA", f[OLR] > f[HMA], f"OLR {f[OLR]:.3f}, HMA {f[HMA]:.3f}"),
    )
    columns = (Column("seconds of stage 2", "low", 1), Column("hours", digits=2), *test_columns(bench))
    note = (
        "Seconds are those of all of stage 2 on this machine, where the network takes most of both; "
        "`benchmarks/rectifying.py` times the rectifying alone."
    )
    return Table(TARGET.title, columns, tuple(rows), claims, note)


TARGET = Target("Table VIII: two ways to rectify labels", trainings, make)
