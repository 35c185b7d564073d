"""Fig. 7: labels and predictions over the epochs of stage 2, with and without Online Label Rectifying."""

from pathlib import Path

from act2sal.config import TrainConfig
from act2sal.data.images import read_photo, resize_photo
from act2sal.reproduce.bench import Bench, Target
from act2sal.reproduce.drawing import Picture, write_grid
from act2sal.reproduce.results import Claim, Figure
from act2sal.reproduce.store import TRAINING
from act2sal.reproduce.targets.table7 import of_row
from act2sal.reproduce.training import Training, baseline
from act2sal.reproduce.watching import STAGE2, shown_file
from act2sal.runs.samples import read_samples

SHOWN = 3
"""Photos; they are those of the report of a training."""
COLUMNS = 4
"""Epochs that are shown, spread evenly from the first to the last."""


def trainings(config: TrainConfig) -> list[Training]:
    """A2S, and the same without rectifying."""
    return [baseline(config), of_row(config, "ours", rectified=False)]


def make(bench: Bench, stem: Path) -> Figure:
    """Draw labels and predictions of some training photos."""
    config = bench.configs[0]
    with_olr, without = trainings(config)
    last = config.stage2.epochs
    epochs = sorted({1 + round(step * (last - 1) / (COLUMNS - 1)) for step in range(COLUMNS)})
    place = bench.store.run(with_olr)
    samples = read_samples(place / "run" / "samples")
    chosen = [samples[index] for index in range(0, len(samples), max(1, len(samples) // SHOWN))][:SHOWN]
    rows: list[list[Picture]] = []
    sides: list[str] = []
    for sample in chosen:
        assert sample.photo is not None
        photo, name = read_photo(sample.photo), Path(sample.name).stem
        labels = [read_photo(sample.rectified[epoch])[..., 0] for epoch in epochs]
        rows.append([photo, *labels])
        sides += ["label", "with OLR", "without OLR"]
        for training in (with_olr, without):
            run = bench.store.run(training)
            maps = [read_photo(shown_file(run, epoch, name)) for epoch in epochs]
            rows.append([photo, *(resize_photo(one, photo.shape[:2])[..., 0] for one in maps)])
    files = write_grid(stem, ("photo", *(f"epoch {epoch}" for epoch in epochs)), rows, sides)
    numbers = {
        title: {
            "MAE on training photos": [
                float(row["mae"])
                for row in bench.store.epochs(training)
                if (row["stage"], row["set"]) == (STAGE2, TRAINING)
            ]
        }
        for title, training in (("with OLR", with_olr), ("without OLR", without))
    }
    ends = {title: values["MAE on training photos"][-1] for title, values in numbers.items()}
    seen = ", ".join(f"{title} {value:.3f}" for title, value in ends.items())
    claim = Claim("Rectified labels end closer to the object", ends["with OLR"] < ends["without OLR"], seen)
    caption = (
        "For each photo: its label after the epoch, the prediction with rectifying, and the prediction without. "
        "Scored against masks that no training saw."
    )
    return Figure(TARGET.title, files, caption, numbers, (claim,))


TARGET = Target("Fig. 7: labels and predictions over epochs", trainings, make)
