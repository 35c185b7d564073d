"""Fig. 9: decision boundaries, by the MAE of the cues after each epoch of stage 1."""

from pathlib import Path
from typing import get_args

from act2sal.config import Boundary, TrainConfig
from act2sal.reproduce.bench import Bench, Target
from act2sal.reproduce.curves import curve_of
from act2sal.reproduce.drawing import write_curves
from act2sal.reproduce.results import Claim, Figure
from act2sal.reproduce.store import TRAINING
from act2sal.reproduce.training import Training, baseline, stage1_variant
from act2sal.reproduce.watching import STAGE1

BOUNDARIES: tuple[Boundary, ...] = get_args(Boundary)


def of_boundary(config: TrainConfig, boundary: Boundary) -> Training:
    """Stage 1 with a boundary."""
    if boundary == config.stage1.boundary:
        return baseline(config)
    return stage1_variant(config, f"boundary {boundary}", boundary=boundary)


def trainings(config: TrainConfig) -> list[Training]:
    """One for each boundary."""
    return [of_boundary(config, boundary) for boundary in BOUNDARIES]


def make(bench: Bench, stem: Path) -> Figure:
    """Draw the curves, means over the seeds."""
    curves = {
        boundary.upper(): curve_of(
            [bench.store.epochs(of_boundary(config, boundary)) for config in bench.configs], STAGE1, TRAINING
        )
        for boundary in BOUNDARIES
    }
    files = write_curves(stem, curves, y="MAE on training photos")
    last = {name: values[-1] for name, (_, values) in curves.items()}
    seen = ", ".join(f"{name} {value:.3f}" for name, value in last.items())
    collapsed = all(last[name] > last["DB5"] + 0.05 for name in ("DB1", "DB2"))
    claims = (
        Claim("The Adaptive Decision Boundary (DB5) ends best", last["DB5"] == min(last.values()), seen),
        Claim("DB1 and DB2 collapse: they end worse by .05 and more", collapsed, seen),
    )
    numbers = {
        name: {"epoch": list(places), "MAE": list(values)} for name, (places, values) in curves.items()
    }
    caption = "Cues before the CRF, against the masks of some training photos, which the fit never sees."
    return Figure(TARGET.title, files, caption, numbers, claims)


TARGET = Target("Fig. 9: decision boundaries", trainings, make)
