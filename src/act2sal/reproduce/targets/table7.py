"""Table VII: detectors on the same pseudo labels, with and without Online Label Rectifying."""

from dataclasses import replace
from pathlib import Path

from act2sal.config import TrainConfig
from act2sal.networks.checkpoint import load_detector
from act2sal.reproduce.bench import Bench, Target
from act2sal.reproduce.results import Claim, Column, Number, Row, Table
from act2sal.reproduce.targets.table6 import Printed, test_columns, test_numbers
from act2sal.reproduce.training import Training, baseline, stage2_variant

DETECTORS = ("MINet", "ours †", "ours")
PAPER: dict[tuple[str, bool], Printed] = {
    ("MINet", False): {"ECSSD": (0.859, 0.067), "MSRA-B": (0.867, 0.050)},
    ("ours †", False): {"ECSSD": (0.860, 0.068), "MSRA-B": (0.865, 0.051)},
    ("ours", False): {"ECSSD": (0.865, 0.066), "MSRA-B": (0.872, 0.047)},
    ("MINet", True): {"ECSSD": (0.863, 0.065), "MSRA-B": (0.872, 0.048)},
    ("ours †", True): {"ECSSD": (0.872, 0.063), "MSRA-B": (0.876, 0.047)},
    ("ours", True): {"ECSSD": (0.880, 0.060), "MSRA-B": (0.886, 0.043)},
}
PAPER_PARAMETERS = {"MINet": 164.43, "ours †": 28.25, "ours": 28.40}
"""In millions."""


def of_row(config: TrainConfig, detector: str, *, rectified: bool) -> Training:
    """The training of a row; † has convolutions in place of the residual attention."""
    if detector == "ours" and rectified:
        return baseline(config)
    rectifier = config.stage2.rectifier if rectified else "none"
    name = f"{detector}, {'with' if rectified else 'without'} OLR"
    varied = stage2_variant(config, name, rectifier=rectifier, attention=detector != "ours †")
    if detector == "MINet":
        return replace(varied, config=replace(varied.config, detector="minet"))
    return varied


def trainings(config: TrainConfig) -> list[Training]:
    """Those of all rows."""
    return [of_row(config, detector, rectified=rectified) for detector, rectified in PAPER]


def make(bench: Bench, stem: Path) -> Table:
    """Score every detector on the test sets."""
    del stem
    rows = []
    for (detector, rectified), printed in PAPER.items():
        seeds = [of_row(config, detector, rectified=rectified) for config in bench.configs]
        weights = load_detector(bench.store.detector(seeds[0]) / "detector.safetensors").parameters()
        millions = Number((sum(weight.numel() for weight in weights) / 1e6,), PAPER_PARAMETERS[detector])
        name = f"{detector}, {'with' if rectified else 'without'} OLR"
        rows.append(Row(name, (millions, *test_numbers(bench, seeds, printed)), bench.mark))
    f = {row.name: row.numbers[1].mean or 0.0 for row in rows}
    seen = ", ".join(f"{name} {value:.3f}" for name, value in f.items())
    better = [f[f"{name}, with OLR"] > f[f"{name}, without OLR"] for name in DETECTORS]
    claims = (
        Claim("Rectifying helps every detector", all(better), seen),
        Claim("Residual attention helps", f["ours, with OLR"] > f["ours †, with OLR"], seen),
        Claim(
            "Our detector is better than MINet on these labels",
            f["ours, with OLR"] > f["MINet, with OLR"],
            seen,
        ),
    )
    columns = (Column("million parameters", digits=2), *test_columns(bench))
    note = "† convolutions in place of residual attention."
    return Table(TARGET.title, columns, tuple(rows), claims, note)


TARGET = Target("Table VII: detectors on the same labels", trainings, make)
