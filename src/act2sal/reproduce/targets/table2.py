"""Table II: adaptive F and MAE of supervised, hand-crafted and label-free detectors on the test sets."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

from act2sal.classical import METHODS
from act2sal.config import DetectorName, MethodName, TrainConfig
from act2sal.evaluation import evaluate
from act2sal.predict.maps import predict_by
from act2sal.reproduce.bench import Bench, Target
from act2sal.reproduce.material import PAPER_TESTS, PhotoSet
from act2sal.reproduce.results import Claim, Column, Number, Row, Table
from act2sal.reproduce.training import Training, baseline

SUPERVISED: tuple[DetectorName, ...] = ("picanet", "cpd", "basnet", "itsd", "minet")
LEARNED: tuple[MethodName, ...] = ("sbf", "mnl", "usps")
STAGE1, STAGE2 = "A2S, stage 1", "A2S, stage 2"
PRINTED = {"picanet": "PiCANet", "basnet": "BASNet", "minet": "MINet", STAGE1: STAGE1, STAGE2: STAGE2}
"""Names as the paper writes them, where that is not in capitals."""

Paper = tuple[tuple[float, float] | None, ...]
"""F and MAE on `PAPER_TESTS`."""

PAPER: dict[str, Paper] = {
    "picanet": (
        (0.885, 0.046),
        (0.874, 0.055),
        (0.710, 0.068),
        (0.804, 0.076),
        (0.759, 0.041),
        (0.870, 0.044),
    ),
    "cpd": ((0.917, 0.037), (0.899, 0.038), (0.747, 0.056), (0.831, 0.072), (0.805, 0.043), (0.891, 0.034)),
    "basnet": (
        (0.879, 0.037),
        (0.896, 0.036),
        (0.756, 0.056),
        (0.781, 0.077),
        (0.791, 0.048),
        (0.898, 0.033),
    ),
    "itsd": ((0.906, 0.036), (0.902, 0.038), (0.758, 0.058), (0.817, 0.066), (0.794, 0.040), (0.899, 0.030)),
    "minet": ((0.924, 0.033), (0.903, 0.038), (0.756, 0.055), (0.842, 0.064), (0.828, 0.037), (0.908, 0.028)),
    "dsr": ((0.639, 0.174), (0.723, 0.121), (0.558, 0.137), (0.579, 0.260), (0.512, 0.148), (0.675, 0.143)),
    "mc": ((0.611, 0.204), (0.717, 0.144), (0.529, 0.186), (0.574, 0.272), None, None),
    "rbd": ((0.686, 0.189), (0.751, 0.117), (0.510, 0.201), (0.609, 0.223), (0.508, 0.194), (0.657, 0.178)),
    "hs": ((0.623, 0.228), (0.713, 0.161), (0.521, 0.227), (0.595, 0.286), (0.460, 0.258), (0.623, 0.223)),
    "sbf": ((0.787, 0.085), (0.867, 0.058), (0.583, 0.135), (0.680, 0.141), (0.627, 0.105), (0.805, 0.074)),
    "mnl": ((0.878, 0.070), (0.877, 0.056), (0.716, 0.086), (0.842, 0.139), None, None),
    "usps": ((0.882, 0.064), (0.901, 0.042), (0.696, 0.077), None, None, None),
    STAGE1: ((0.840, 0.072), (0.857, 0.053), (0.634, 0.096), (0.750, 0.114), (0.693, 0.080), (0.822, 0.056)),
    STAGE2: ((0.880, 0.060), (0.886, 0.043), (0.683, 0.082), (0.775, 0.106), (0.714, 0.076), (0.856, 0.048)),
}
PAPER_LABELLED: dict[str, Paper] = {
    STAGE1: ((0.851, 0.081), (0.881, 0.050), (0.690, 0.080), (0.753, 0.124), (0.733, 0.073), (0.859, 0.054)),
    STAGE2: ((0.888, 0.064), (0.902, 0.040), (0.719, 0.069), (0.790, 0.106), (0.750, 0.065), (0.887, 0.042)),
}
"""Rows ‡ of the paper, whose encoder has seen ImageNet's labels."""


def supervised(detector: DetectorName, config: TrainConfig) -> Training:
    """A detector that is trained on masks, with the passes and the losses of our stage 2."""
    stage2 = replace(config.stage2, rectifier="none")
    return Training(f"{detector}, on masks", replace(config, detector=detector, stage2=stage2), masks=True)


def learned(method: MethodName, config: TrainConfig) -> Training:
    """A label-free rival with our detector."""
    return Training(method, replace(config, method=method))


def trainings(config: TrainConfig) -> list[Training]:
    """Those of all learned rows."""
    return [
        baseline(config),
        *(learned(method, config) for method in LEARNED),
        *(supervised(detector, config) for detector in SUPERVISED),
    ]


def make(bench: Bench, stem: Path) -> Table:
    """Train and score every row on every test set."""
    tests = bench.material.tests
    columns = tuple(
        column
        for test in tests
        for column in (Column(f"{test.name} F", "high"), Column(f"{test.name} MAE", "low"))
    )
    maps = stem.parent / "runs" / "hand-crafted"
    rows = [
        *(_row(bench, name, partial(_of_masks, bench, name), "masks") for name in SUPERVISED),
        *(_row(bench, name, partial(_hand_crafted, bench, name, maps), "") for name in METHODS),
        _row(bench, STAGE1, partial(_stage1, bench), bench.mark),
        *(_row(bench, name, partial(_of_rival, bench, name), bench.mark) for name in LEARNED),
        _row(bench, STAGE2, partial(_stage2, bench), bench.mark),
    ]
    return Table(TARGET.title, columns, tuple(rows), _claims(rows))


def _of_masks(bench: Bench, name: str, config: TrainConfig, test: PhotoSet) -> dict[str, float]:
    return bench.store.test_scores(supervised(cast(DetectorName, name), config), test)


def _of_rival(bench: Bench, name: str, config: TrainConfig, test: PhotoSet) -> dict[str, float]:
    return bench.store.test_scores(learned(cast(MethodName, name), config), test)


def _stage1(bench: Bench, config: TrainConfig, test: PhotoSet) -> dict[str, float]:
    return bench.store.stage1_scores(baseline(config), test)


def _stage2(bench: Bench, config: TrainConfig, test: PhotoSet) -> dict[str, float]:
    return bench.store.test_scores(baseline(config), test)


def _hand_crafted(
    bench: Bench, name: str, folder: Path, config: TrainConfig, test: PhotoSet
) -> dict[str, float]:
    """Scores of a hand-crafted method, which has no seed: its maps are computed once."""
    del config
    out = folder / name / test.name
    predict_by([test.photos], out, METHODS[name], skip_existing=True, quiet=bench.store.quiet)
    found = evaluate(out, test.masks, replicates=0, quiet=True)
    return {"f_adaptive": found.f_adaptive, "mae": found.mae}


def _row(bench: Bench, name: str, score: "partial[dict[str, float]]", seen: str) -> Row:
    """A row: F and MAE on each test set, for each seed, beside those of the paper."""
    printed = PAPER_LABELLED.get(name, PAPER[name]) if seen == "‡" else PAPER[name]
    hand_crafted = name in METHODS
    numbers: list[Number] = []
    for test in bench.material.tests:
        configs = bench.configs[:1] if hand_crafted else bench.configs
        found = [score(config, test) for config in configs]
        paper = printed[PAPER_TESTS.index(test.name)] if test.name in PAPER_TESTS else None
        for place, measure in enumerate(("f_adaptive", "mae")):
            ours = tuple(one[measure] for one in found)
            numbers.append(Number(ours, None if paper is None else paper[place]))
    return Row(printed_name(name), tuple(numbers), seen)


def printed_name(name: str) -> str:
    """The name of a row as the paper writes it."""
    return PRINTED.get(name, name.upper())


def _claims(rows: list[Row]) -> tuple[Claim, ...]:
    """Of the first test set, by F."""
    f = {row.name: row.numbers[0].mean or 0.0 for row in rows if row.seen != "masks"}
    seen = ", ".join(f"{name} {value:.3f}" for name, value in f.items())
    ours = f[STAGE2]
    hand_crafted, learned_ones = ([f[printed_name(name)] for name in names] for names in (METHODS, LEARNED))
    return (
        Claim("Stage 2 improves on stage 1", ours > f[STAGE1], seen),
        Claim("A2S is better than the hand-crafted methods", ours > max(hand_crafted), seen),
        Claim("A2S is better than SBF, MNL and USPS", ours > max(learned_ones), seen),
    )


TARGET = Target("Table II: detectors on the test sets", trainings, make)
