"""The trainings of a reproduction on disk: each is done once, whichever tables and figures need it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from act2sal.config import Device, TrainConfig
from act2sal.data.images import write_atomic
from act2sal.data.photo_files import by_stem
from act2sal.evaluation import evaluate
from act2sal.predict.detector import Detector
from act2sal.predict.maps import predict
from act2sal.reproduce.commit import commit
from act2sal.reproduce.material import Material, PhotoSet
from act2sal.reproduce.training import Training
from act2sal.reproduce.watching import EpochScores, Row, Watched, read_rows
from act2sal.runs.run_directory import RunDirectory, stage_title
from act2sal.training.labelling import label
from act2sal.training.pipeline import train

DONE = "done.json"
EPOCHS = "epochs.json"
TRAINING = "training photos"
TEST = "test photos"
"""Names of the two watched sets in the rows of `Store.epochs`."""
HAND_CRAFTED = "hand-crafted"
"""Beginning of the folder of the maps that the learned rivals start from, computed for the first of them."""
SAMPLES = 12
"""Photos whose predictions are kept after each epoch; a run's report shows the same ones."""
SCORES = ("f_adaptive", "f_mean", "f_max", "mae")


@dataclass(frozen=True)
class Machine:
    """Where trainings run: options that do not change what they compute."""

    device: Device = "auto"
    workers: int = 0


class Store:
    """Trains what is asked for, unless it is there, and says what came of it.

    Args:
        folder: gets a folder for each training, named after its key.
        material: photos and masks; a training sees the training photos alone.
        watched: how many photos of the training set are scored after each epoch; of tests, `Material.watched`.
        machine: device and threads.
        quiet: no progress bars.
    """

    def __init__(
        self, folder: Path, material: Material, watched: int, machine: Machine, *, quiet: bool = False
    ) -> None:
        self.folder, self.material, self.machine, self.quiet = folder, material, machine, quiet
        self._shown = Watched(material.training, SAMPLES)
        self._watched = {
            TRAINING: Watched(material.training, watched),
            TEST: Watched(material.watched, watched),
        }

    def place(self, training: Training) -> Path:
        """Folder of a training, which is there once it has begun."""
        return self.folder / training.key(self.material.training.fingerprint)

    def is_done(self, training: Training) -> bool:
        """Whether a training has ended."""
        return (self.place(training) / DONE).is_file()

    def run(self, training: Training) -> Path:
        """Do a training, or go on with it, unless it has ended; returns its folder.

        Raises:
            what `pipeline.train` and `labelling.label` raise.
        """
        place = self.place(training)
        if self.is_done(training):
            return place
        place.mkdir(parents=True, exist_ok=True)
        config = self._config_of(training)
        watcher = EpochScores(place / EPOCHS, self._watched, config, self._shown)
        photos = self.material.training.photos
        if training.labels_only:
            label(photos, place / "labels", config, quiet=self.quiet, watcher=watcher)
        else:
            train(photos, place / "run", config, resume=True, quiet=self.quiet, watcher=watcher)
        seconds = {} if training.labels_only else _seconds(place / "run")
        content = {"name": training.name, "seconds": seconds, "commit": commit()}
        write_atomic(place / DONE, json.dumps(content, indent=1).encode())
        return place

    def labels(self, training: Training) -> Path:
        """Folder of the labels that a training ended stage 1 with."""
        return self.run(training) / ("labels" if training.labels_only else "run/labels")

    def detector(self, training: Training) -> Path:
        """Run directory of a training."""
        return self.run(training) / "run"

    def seconds(self, training: Training) -> Mapping[str, float]:
        """Seconds by stage, as its log has them; labels alone keep no log."""
        return dict(json.loads((self.run(training) / DONE).read_bytes())["seconds"])

    def commit(self, training: Training) -> str:
        """The commit of the package by which a training was ended."""
        return str(json.loads((self.run(training) / DONE).read_bytes()).get("commit", "unknown"))

    def epochs(self, training: Training) -> list[Row]:
        """Scores after each epoch, on `TRAINING` and `TEST`."""
        return read_rows(self.run(training) / EPOCHS)

    def label_scores(self, training: Training) -> dict[str, float]:
        """Scores of the labels on the training photos (train split of the paper)."""
        folder, masks = self.labels(training), self.material.training.masks
        return self._kept(training, "labels", lambda: _scores(folder, masks))

    def test_scores(self, training: Training, test: PhotoSet) -> dict[str, float]:
        """Scores of the detector on a test set."""
        run = self.detector(training)
        maps = run.parent / "maps" / test.name
        return self._kept(
            training, _told(test), lambda: _scores(self.predicted(training, test, maps), test.masks)
        )

    def predicted(self, training: Training, test: PhotoSet, maps: Path) -> Path:
        """Write the maps of a detector for a test set into a folder; returns it."""
        wanted = set(test.names) - {path.stem for path in maps.glob("*.png")}
        if wanted:
            files = by_stem(test.photos, [])
            detector = Detector.load(self.detector(training), device=self.machine.device)
            inputs = [files[name] for name in sorted(wanted)]
            predict(inputs, maps, detector, workers=self.machine.workers, quiet=self.quiet)
        return maps

    def stage1_scores(self, training: Training, test: PhotoSet) -> dict[str, float]:
        """Scores of the labels that the fitted stage 1 of a detector's training gives a test set."""
        run = self.detector(training)
        out = run.parent / "stage1" / test.name

        def labelled() -> dict[str, float]:
            config = self._config_of(training)
            label(test.photos, out, config, run=run, quiet=self.quiet)
            return _scores(out, test.masks)

        return self._kept(training, f"stage 1, {_told(test)}", labelled)

    def _config_of(self, training: Training) -> TrainConfig:
        """The options of a training on this machine."""
        config = replace(training.config, device=self.machine.device, workers=self.machine.workers)
        if config.method != "a2s":
            maps = self.folder / f"{HAND_CRAFTED}-{self.material.training.fingerprint}"
            return replace(config, rival=replace(config.rival, maps=str(maps)))
        if training.masks:
            return replace(config, masks=str(self.material.training.masks))
        if training.labels_of is not None:
            return replace(config, given_labels=str(self.labels(training.labels_of)))
        return config

    def _kept(self, training: Training, name: str, score: Callable[[], dict[str, float]]) -> dict[str, float]:
        """Scores that are computed once."""
        file = self.place(training) / "scores.json"
        known: dict[str, dict[str, float]] = json.loads(file.read_bytes()) if file.is_file() else {}
        if name not in known:
            known[name] = score()
            write_atomic(file, json.dumps(known, indent=1).encode())
        return known[name]


def _told(test: PhotoSet) -> str:
    """A test set and which of its photos are tested on."""
    return f"{test.name} {test.fingerprint}"


def _scores(maps: Path, masks: Path) -> dict[str, float]:
    found = evaluate(maps, masks, replicates=0, quiet=True)
    return {name: getattr(found, name) for name in SCORES}


def _seconds(run: Path) -> dict[str, float]:
    """Seconds of a run by stage."""
    spent: dict[str, float] = {}
    with RunDirectory(run, writes=False) as directory:
        rows = directory.rows()
    for row in rows:
        if "seconds" in row:
            spent[stage_title(row)] = spent.get(stage_title(row), 0.0) + float(row["seconds"])
    return spent
