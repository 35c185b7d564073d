"""Stage 2: fit the detector on the pseudo labels while its predictions rectify them (Eq. 7-14)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from act2sal.a2s.losses import detector_loss, scale_consistency_loss
from act2sal.a2s.resampling import resize
from act2sal.config import LabelConfig, Stage2Config
from act2sal.data.label_bank import LabelBank
from act2sal.data.photo_batches import PhotoSource
from act2sal.networks.rival import Rival
from act2sal.networks.rivals import SaliencyNetwork
from act2sal.runs.training_state import TrainingState
from act2sal.runtime import parallel
from act2sal.runtime.cpu_gradients import with_fast_gradients
from act2sal.runtime.prefetch import LateWrites
from act2sal.runtime.synced_norm import synced
from act2sal.training.epochs import Fit, Plan, Trainer, run_epochs
from act2sal.training.stage2.batches import Batch, Batches, Drawn
from act2sal.training.stage2.optimizer import make_optimizer, moving_average, rates_at
from act2sal.training.stage2.rectifying import Rectifier
from act2sal.training.trimming import FIRST_EPOCH, kept

COMPILER = "inductor"
"""Backend of `torch.compile`."""


def _ignore(bank: LabelBank) -> None:
    """Do nothing with the labels of an epoch."""


@dataclass(frozen=True)
class Stage2:
    """What the epochs of stage 2 share.

    Attributes:
        photos: N square photos, those of this process.
        bank_folder: folder of a `LabelBank` of their labels, of the same size, which only this process uses.
        config: options of stage 2.
        labels: options of the CRF, for HMA alone.
        trainer: device, seed, log and progress.
    """

    photos: PhotoSource
    bank_folder: Path
    config: Stage2Config
    labels: LabelConfig
    trainer: Trainer

    def fit(
        self, detector: SaliencyNetwork, state: TrainingState, *, on_epoch: Callable[[LabelBank], None]
    ) -> SaliencyNetwork:
        """Fit `detector` on the labels of the bank, rectify them after every step, return it in eval mode.

        On the CPU the weights depend on photos, labels, config and seed alone, interrupted or not.

        Args:
            detector: changed in place.
            state: checkpoint, from which the fit goes on; the bank is opened at the same epoch.
            on_epoch: called after each epoch with the labels as the epoch left them.

        Raises:
            FloatingPointError: the loss is no longer finite.
        """
        if detector.presence is not None:
            detector.presence.requires_grad_(False)  # a teacher's, which has no part in the loss
        synced(detector).to(memory_format=torch.channels_last)
        if self.trainer.fabric.device.type == "cpu":
            with_fast_gradients(detector)
        average = moving_average(detector, self.config.average) if self.config.average > 0 else None
        self.trainer.stopwatch.watch(detector.encoder, "encoder")
        trained = (
            cast(nn.Module, torch.compile(detector, backend=COMPILER)) if self.config.compile else detector
        )
        network, optimizer = self.trainer.fabric.setup(trained, make_optimizer(detector, self.config))
        if isinstance(detector, Rival):
            network.mark_forward_method("outputs")
        if average is not None:
            self.trainer.fabric.to_device(average)
        fit = self.detector_fit(detector, network, optimizer, average=average, on_epoch=on_epoch)
        run_epochs(fit, network, optimizer, self.trainer, state, average)
        if average is not None:
            detector.load_state_dict(average.module.state_dict())
        return detector.eval()

    def detector_fit(
        self,
        detector: nn.Module,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        average: AveragedModel | None = None,
        on_epoch: Callable[[LabelBank], None] = _ignore,
    ) -> "DetectorFit":
        """What an epoch does with these photos and labels; the arguments are those of `DetectorFit`."""
        batches = Batches(self.photos, self.config, self.trainer.fabric.device, self.trainer.seed)
        rectifier = Rectifier(self.photos, self.config, self.labels, self.trainer.stopwatch)
        return DetectorFit(
            batches,
            rectifier,
            self.bank_folder,
            self.config,
            self.trainer,
            detector,
            network,
            optimizer,
            average,
            on_epoch,
        )


@dataclass
class DetectorFit(Fit[Drawn]):
    """The fit of the detector, which rectifies the labels of the bank after every step.

    Attributes:
        batches_of: makes the batches.
        rectifier: rectifies the labels.
        bank_folder: folder of the labels.
        config: options of stage 2.
        trainer: device, seed, log and progress.
        detector: fitted module, for the moving average to follow.
        network: the same module as the fabric set it up.
        optimizer: likewise.
        average: moving average of the weights; None: there is none.
        on_epoch: called after each epoch with the labels as the epoch left them.
    """

    batches_of: Batches
    rectifier: Rectifier
    bank_folder: Path
    config: Stage2Config
    trainer: Trainer
    detector: nn.Module
    network: nn.Module
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    on_epoch: Callable[[LabelBank], None]
    bank: LabelBank = field(init=False)
    late: LateWrites = field(init=False)

    @property
    def plan(self) -> Plan:
        """The frame of the fit; `label_change` is the mean absolute change of a label's pixel."""
        return Plan(
            stage="stage2",
            title="stage 2",
            rate_option="stage2.lr",
            epochs=self.config.epochs,
            photos=len(self.batches_of.photos),
            batch_size=self.config.batch_size,
            measures=("loss", "label_change"),
        )

    def begin(self, epoch: int) -> None:
        """Open the labels of an epoch."""
        self.bank = LabelBank(self.bank_folder, epoch=epoch)
        if epoch:
            self.on_epoch(self.bank)  # a process that was killed may not have come to it

    def batches(
        self, indices: Sequence[list[int]], epoch: int, generator: torch.Generator
    ) -> Iterator[Drawn]:
        """What is read and drawn for each batch."""
        self.late = LateWrites(self.bank.write)
        return self.batches_of.drawn(self.bank, indices, generator)

    def rates(self, epoch: int, share: float) -> list[float]:
        """The learning rates of encoder and decoder."""
        return rates_at(self.config, epoch, share)

    def step(self, batch: Drawn, epoch: int, generator: torch.Generator) -> list[Tensor]:
        """Take one step and rectify the labels; returns the loss and the change of the labels."""
        shown = self.batches_of.on_device(batch)
        loss, logits = self.descend(shown, epoch)
        if self.average is not None:
            self.average.update_parameters(self.detector)
        return [loss, self.rectifier.rectify(self.late, shown, logits, epoch)]

    def descend(self, batch: Batch, epoch: int) -> tuple[Tensor, Tensor]:
        """Take one step; returns the loss and the logits made before it, both detached."""
        with self.trainer.stopwatch.part("heads"):
            outputs, targets = self._outputs(batch.photos), batch.targets
            logits, counted = outputs[0], outputs
            if self.config.trim > 0 and epoch >= FIRST_EPOCH:
                chosen = kept(torch.sigmoid(logits.detach()), targets, self.config.trim)
                counted, targets = [maps[chosen] for maps in outputs], targets[chosen]
            loss = self._loss(counted, targets)
            if batch.second is not None:
                loss = loss + self.config.scale_consistency * self._disagreement(batch.second, logits)
        return self.trainer.descend(loss, self.optimizer), logits.detach()

    def _outputs(self, photos: Tensor) -> list[Tensor]:
        """All logits that the loss looks at, float32, that of the answer first."""
        shown = photos.contiguous(memory_format=torch.channels_last)
        with self.trainer.fabric.autocast():
            rival = isinstance(self.detector, Rival)
            outputs = cast(Rival, self.network).outputs(shown) if rival else [self.network(shown)]
        return [maps.float() for maps in outputs]

    def _loss(self, outputs: Sequence[Tensor], targets: Tensor) -> Tensor:
        """The published loss of a rival, or that of the config, added up over the saliency maps."""
        config, detector = self.config, self.detector
        if isinstance(detector, Rival) and config.own_loss:
            return detector.own_loss(outputs, (targets > 0.5).float() if config.binarise else targets)
        maps = detector.saliency_of(outputs) if isinstance(detector, Rival) else outputs
        losses = [
            detector_loss(
                resize(logits, targets.shape[-2:]),
                targets,
                bce=config.loss_bce,
                ssim=config.loss_ssim,
                iou=config.loss_iou,
                binarise=config.binarise,
            )
            for logits in maps
        ]
        if parallel.world() > 1:  # whose gradients are averaged only if every weight takes part
            losses += [0 * idle.sum() for idle in outputs if not any(idle is counted for counted in maps)]
        return sum(losses[1:], start=losses[0])

    def _disagreement(self, photos: Tensor, logits: Tensor) -> Tensor:
        """Squared difference of the maps of `photos`, at a second size, from those of `logits`, which are given."""
        with self.trainer.fabric.autocast():
            second = self.network(photos.contiguous(memory_format=torch.channels_last))
        return scale_consistency_loss(torch.sigmoid(logits.detach()), torch.sigmoid(second.float()))

    def end_pass(self) -> None:
        """Write the labels of the last step."""
        self.late.flush()

    def before_save(self) -> None:
        """Complete the labels of the next epoch on disk, in all processes."""
        self.bank.finish()
        parallel.barrier()

    def after_save(self) -> None:
        """Move on to the labels of the next epoch, once the checkpoint is saved."""
        parallel.barrier()
        self.bank.commit()
        self.on_epoch(self.bank)
