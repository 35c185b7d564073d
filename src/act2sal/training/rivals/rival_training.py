"""What the trainings of all learned rivals have at hand: photos, maps, fits that go on, pictures for the report."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from act2sal.config import Stage2Config
from act2sal.data.photo_bank import PhotoBank
from act2sal.data.photo_batches import PhotoSource, stack
from act2sal.networks.rivals import SaliencyNetwork
from act2sal.predict.detector import BATCH
from act2sal.predict.torch_network import TorchNetwork
from act2sal.runs.samples import Samples
from act2sal.runs.training_state import TrainingState
from act2sal.runtime.fabric import lone_fabric
from act2sal.training.assembly import initial_detector
from act2sal.training.generation import Generation
from act2sal.training.rivals.arrays import kept_array
from act2sal.training.rivals.map_fit import MapLoss, MapTask, Plane, Watcher, fit_on_maps

SEEDS_OF_A_FIT = 100_000
"""Between the seeds of the epochs of two fits."""


@dataclass(frozen=True)
class RivalTraining:
    """The training of a learned rival.

    Attributes:
        generation: options, folders, log.
        bank: N photos at the size of stage 2.
        maps: of the hand-crafted methods by their names, (N, S, S) uint8 each.
        samples: pictures for the report.
    """

    generation: Generation
    bank: PhotoBank
    maps: Mapping[str, NDArray[np.uint8]]
    samples: Samples

    @property
    def stage2(self) -> Stage2Config:
        """The options of the fits."""
        return self.generation.config.stage2

    def fresh(self, number: int) -> SaliencyNetwork:
        """Build a detector that has learnt nothing; those of other numbers begin with another decoder."""
        config = self.generation.config
        return initial_detector(replace(config, seed=config.seed + number))

    def state(self, name: str) -> TrainingState:
        """The checkpoint of a fit."""
        return TrainingState(self.generation.folder.checkpoints / f"{name.replace(' ', '-')}.pt")

    def fit(
        self,
        name: str,
        number: int,
        detector: SaliencyNetwork,
        planes: Sequence[Plane],
        loss: MapLoss,
        *,
        config: Stage2Config,
        photos: PhotoSource | None = None,
        watcher: Watcher | None = None,
        state: TrainingState | None = None,
    ) -> SaliencyNetwork:
        """Fit a detector, in place, and return it in eval mode; a fit that was stopped goes on.

        Args:
            name: of the fit, in the log and of its checkpoint.
            number: of the fit, for its draws.
            detector: what it begins with, where it was not begun yet.
            planes: what the loss looks at.
            loss: of logits and planes.
            config: options of the fit.
            photos: of the planes; None: all.
            watcher: follows the predictions.
            state: checkpoint; None: `state(name)`.
        """
        task = MapTask(
            name,
            self.bank if photos is None else photos,
            planes,
            loss,
            config,
            first_seed=number * SEEDS_OF_A_FIT,
            watcher=watcher,
        )
        return fit_on_maps(task, detector, self.generation.trainer, state or self.state(name))

    def predictions(self, name: str, detector: SaliencyNetwork) -> NDArray[np.uint8]:
        """What a detector predicts for all photos, (N, S, S) uint8; computed once."""
        return self.kept(f"predicted by {name}", self._predicted(detector))

    def _predicted(self, detector: SaliencyNetwork) -> Iterator[NDArray[np.uint8]]:
        network = TorchNetwork(detector, size=self.bank.size, fabric=lone_fabric(self.generation.config))
        for first in range(0, len(self.bank), BATCH):
            indices = range(first, min(first + BATCH, len(self.bank)))
            yield from np.round(network(stack(self.bank, indices)) * 255).astype(np.uint8)

    def kept(
        self,
        name: str,
        rows: Iterable[NDArray[Any]],
        *,
        shape: tuple[int, ...] | None = None,
        dtype: type[np.generic] = np.uint8,
    ) -> NDArray[Any]:
        """Open the array of that name in the cache, written from `rows` where it is not there.

        Args:
            name: words.
            rows: of the array.
            shape: of the array; None: (N, S, S), a picture for each photo.
            dtype: of the numbers.
        """
        size = self.bank.size
        path = self.cache / f"{name.replace(' ', '-')}.npy"
        return kept_array(path, rows, shape=shape or (len(self.bank), size, size), dtype=dtype)

    @property
    def cache(self) -> Path:
        """Folder of what can be computed again."""
        return self.generation.folder.cache / "rival"
