"""Fig. 10: MINet learns the errors of its labels by heart sooner than our detector."""

from pathlib import Path

from act2sal.config import TrainConfig
from act2sal.reproduce.bench import Bench, Target
from act2sal.reproduce.curves import curve_of
from act2sal.reproduce.drawing import write_curves
from act2sal.reproduce.results import Claim, Figure
from act2sal.reproduce.store import TEST, TRAINING
from act2sal.reproduce.targets.table7 import of_row
from act2sal.reproduce.training import Training
from act2sal.reproduce.watching import STAGE2

DETECTORS = ("MINet", "ours")


def trainings(config: TrainConfig) -> list[Training]:
    """Both detectors on labels that stay as they are."""
    return [of_row(config, detector, rectified=False) for detector in DETECTORS]


def make(bench: Bench, stem: Path) -> Figure:
    """Draw the MAE on training photos and on test photos over the epochs, without rectifying."""
    curves = {
        f"{detector}, {watched}": curve_of(
            [bench.store.epochs(of_row(config, detector, rectified=False)) for config in bench.configs],
            STAGE2,
            watched,
        )
        for detector in DETECTORS
        for watched in (TRAINING, TEST)
    }
    files = write_curves(stem, curves, y="MAE")
    rise = {name: values[-1] - min(values) for name, (_, values) in curves.items()}
    seen = ", ".join(f"{name} {value:+.3f}" for name, value in rise.items())
    worse = rise[f"MINet, {TEST}"] > rise[f"ours, {TEST}"]
    claim = Claim("MINet's error on test photos rises more from its best epoch to the last", worse, seen)
    numbers = {
        name: {"epoch": list(places), "MAE": list(values)} for name, (places, values) in curves.items()
    }
    caption = "Against masks that no training saw; labels are those of the baseline, not rectified."
    return Figure(TARGET.title, files, caption, numbers, (claim,))


TARGET = Target("Fig. 10: overfitting of MINet and of ours", trainings, make)
