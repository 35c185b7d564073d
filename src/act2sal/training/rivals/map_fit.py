"""The fit of a detector on the maps of several labelers, which all learned rivals share."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from act2sal.a2s.resampling import flip
from act2sal.config import Stage2Config
from act2sal.data.photo_batches import PhotoSource, stack_mirrored, unit_range
from act2sal.networks.rivals import SaliencyNetwork
from act2sal.runs.training_state import TrainingState
from act2sal.runtime.cpu_gradients import with_fast_gradients
from act2sal.runtime.prefetch import pinned
from act2sal.training.epochs import Fit, Plan, Trainer, run_epochs
from act2sal.training.sampling import flip_flags
from act2sal.training.stage2.optimizer import make_optimizer, rates_at

MapLoss = Callable[[Tensor, Sequence[Tensor], torch.Generator], Tensor]
"""Logits (B, 1, S, S) float32, the planes of the batch, each (B, 1, S, S) float32, and what noise is drawn from -> a
scalar."""


class Plane(Protocol):
    """One picture (S, S) per photo: uint8, seen as 0..1, or floating."""

    def __getitem__(self, index: int, /) -> NDArray[Any]: ...


class Watcher(Protocol):
    """Follows the predictions that a network makes while it learns."""

    def begin(self, epoch: int) -> None:
        """Prepare for the first epoch of this call."""

    def see(self, indices: Sequence[int], prob: Tensor) -> None:
        """Take the predictions (B, 1, S, S) float32 of a step, made before it; photos are not mirrored."""

    def before_save(self) -> None:
        """Write what has to be on disk before the checkpoint of an epoch."""

    def after_save(self) -> None:
        """Do what has to wait for the checkpoint of an epoch."""


@dataclass(frozen=True)
class MapTask:
    """What a fit learns from.

    Attributes:
        name: in the log, in progress bars and of the checkpoint.
        photos: N square photos.
        planes: what the loss looks at, one picture per photo each.
        loss: of logits and planes.
        config: options of stage 2 with the passes of this fit.
        first_seed: added to the number of an epoch, so that two fits draw differently.
        watcher: follows the predictions; None: nothing does.
    """

    name: str
    photos: PhotoSource
    planes: Sequence[Plane]
    loss: MapLoss
    config: Stage2Config
    first_seed: int
    watcher: Watcher | None = None


@dataclass(frozen=True)
class Drawn:
    """A batch on the host, mirrored already.

    Attributes:
        indices: of B photos.
        photos: (B, 3, S, S) uint8.
        planes: (B, 1, S, S) each.
        mirrored: (B,) bool.
        seed: of the noise of this step.
    """

    indices: Sequence[int]
    photos: Tensor
    planes: list[Tensor]
    mirrored: Tensor
    seed: int


def fit_on_maps(
    task: MapTask, detector: SaliencyNetwork, trainer: Trainer, state: TrainingState
) -> SaliencyNetwork:
    """Fit `detector`, in place, and return it in eval mode; goes on from `state`.

    Raises:
        FloatingPointError: a loss or a weight is no longer finite.
        OSError: the disk is full.
    """
    detector.to(memory_format=torch.channels_last)
    if trainer.fabric.device.type == "cpu":
        with_fast_gradients(detector)
    network, optimizer = trainer.fabric.setup(detector, make_optimizer(detector, task.config))
    run_epochs(MapFit(task, network, optimizer, trainer), network, optimizer, trainer, state)
    return detector.eval()


@dataclass
class MapFit(Fit[Drawn]):
    """The fit of a task; the attributes are what `run_epochs` is given."""

    task: MapTask
    network: nn.Module
    optimizer: torch.optim.Optimizer
    trainer: Trainer

    @property
    def plan(self) -> Plan:
        """The frame of the fit."""
        task = self.task
        return Plan(
            stage=task.name,
            title=task.name,
            rate_option="stage2.lr",
            epochs=task.config.epochs,
            photos=len(task.photos),
            batch_size=task.config.batch_size,
            first_seed=task.first_seed,
        )

    def begin(self, epoch: int) -> None:
        """Prepare the watcher."""
        if self.task.watcher is not None:
            self.task.watcher.begin(epoch)

    def batches(
        self, indices: Sequence[list[int]], epoch: int, generator: torch.Generator
    ) -> Iterator[Drawn]:
        """What is read and drawn for each batch."""
        task, device = self.task, self.trainer.fabric.device
        for chosen in indices:
            mirrored = flip_flags(len(chosen), generator)
            if not task.config.flip:
                mirrored = torch.zeros(len(chosen), dtype=torch.bool)
            flags = mirrored.tolist()
            photos = torch.from_numpy(stack_mirrored((task.photos[i] for i in chosen), flags))
            planes = [
                torch.from_numpy(stack_mirrored((plane[i] for i in chosen), flags))[:, None]
                for plane in task.planes
            ]
            seed = int(torch.randint(2**31, (1,), generator=generator))
            shown = pinned(photos, device).permute(0, 3, 1, 2)
            yield Drawn(chosen, shown, [pinned(plane, device) for plane in planes], mirrored, seed)

    def rates(self, epoch: int, share: float) -> list[float]:
        """The learning rates of encoder and decoder."""
        return rates_at(self.task.config, epoch, share)

    def step(self, batch: Drawn, epoch: int, generator: torch.Generator) -> list[Tensor]:
        """Take one step; returns the loss."""
        device = self.trainer.fabric.device
        photos = unit_range(batch.photos.to(device, non_blocking=True))
        planes = [_as_real(plane.to(device, non_blocking=True)) for plane in batch.planes]
        with self.trainer.stopwatch.part("heads"):
            with self.trainer.fabric.autocast():
                logits = self.network(photos.contiguous(memory_format=torch.channels_last))
            logits = logits.float()
            loss = self.task.loss(logits, planes, torch.Generator().manual_seed(batch.seed))
        if self.task.watcher is not None:
            prob = torch.sigmoid(logits.detach())
            self.task.watcher.see(batch.indices, flip(prob, batch.mirrored.to(device)))
        return [self.trainer.descend(loss, self.optimizer)]

    def before_save(self) -> None:
        """Let the watcher write what it has."""
        if self.task.watcher is not None:
            self.task.watcher.before_save()

    def after_save(self) -> None:
        """Let the watcher move on."""
        if self.task.watcher is not None:
            self.task.watcher.after_save()


def _as_real(plane: Tensor) -> Tensor:
    """Bytes as numbers in [0, 1]; other numbers as float32."""
    return unit_range(plane) if plane.dtype == torch.uint8 else plane.float()
