"""Stage 2: fit the detector on the pseudo labels while its predictions rectify them (Eq. 7-14)."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from act2sal.a2s.detector import DetectorNetwork
from act2sal.a2s.losses import detector_loss, scale_consistency_loss
from act2sal.a2s.pseudo_labels import refine_prob
from act2sal.a2s.rectify import historical_average, lambda_at, quantise, rectify
from act2sal.a2s.resampling import flip, resize
from act2sal.config import LabelConfig, Stage2Config
from act2sal.data.label_bank import LabelBank
from act2sal.data.photo_batches import PhotoSource, stack, stack_mirrored, unit_range
from act2sal.runs.training_state import (
    EpochLog,
    LogRow,
    TrainingState,
    flip_flags,
    learning_rate,
    one_cycle,
    own_batches,
    own_generator,
)
from act2sal.runtime import parallel, progress
from act2sal.runtime.cpu_gradients import with_fast_gradients
from act2sal.runtime.gradient_step import gradient_step
from act2sal.runtime.prefetch import LateWrites, pinned, prefetched
from act2sal.runtime.stopwatch import OFF, Stopwatch
from act2sal.runtime.synced_norm import synced
from act2sal.training.trimming import FIRST_EPOCH, kept
from act2sal.training.views import change_colours, draw_colours, draw_windows, look_through, put_back

COMPILER = "inductor"
"""Backend of `torch.compile`."""


@dataclass(frozen=True)
class Drawn:
    """What was read and drawn for a batch, on the host; photos and labels are mirrored already.

    photos: (B, 3, S, S) uint8, channels last; labels: (B, 1, S, S) uint8; mirrored: (B,) bool; windows: as in
    `Batch`; colours: from `draw_colours`, None where they stay.
    """

    indices: Sequence[int]
    photos: Tensor
    labels: Tensor
    mirrored: Tensor
    windows: list[tuple[int, int, int, int]] | None
    colours: Tensor | None
    side: int
    second: int | None


@dataclass(frozen=True)
class Batch:
    """Photos and labels as the network sees them, some of them mirrored.

    photos: (B, 3, V, V) float32 in [0, 1]; labels: (B, 1, S, S) float32 in [0, 1]; mirrored: (B,) bool; windows: of
    the labels, what the photos show, None where that is all of them and V is S; second: (B, 3, W, W), the photos at
    another size, or None.
    """

    indices: Sequence[int]
    photos: Tensor
    labels: Tensor
    mirrored: Tensor
    windows: list[tuple[int, int, int, int]] | None
    second: Tensor | None

    @property
    def targets(self) -> Tensor:
        """The labels as far as the photos show them, (B, 1, V, V)."""
        if self.windows is None:
            return self.labels
        return look_through(self.labels, self.windows, self.photos.shape[-1])


@dataclass(frozen=True)
class Stage2:
    """What the epochs of stage 2 share: the data, the options and where to compute.

    photos: N square photos, those of this process; bank_folder: a `LabelBank` of their labels, of the same size, for
    this process alone; labels: CRF parameters, for HMA alone.
    """

    photos: PhotoSource
    bank_folder: Path
    config: Stage2Config
    labels: LabelConfig
    fabric: Fabric
    seed: int
    stopwatch: Stopwatch = OFF

    def fit(
        self,
        detector: DetectorNetwork,
        state: TrainingState,
        log: EpochLog,
        *,
        on_epoch: Callable[[LabelBank], None],
        quiet: bool = False,
    ) -> DetectorNetwork:
        """Fit `detector` on the labels of the bank, rectify them after every step, return it in eval mode.

        Goes on from `state`, and opens the bank there; `log` gets one row per epoch, `on_epoch` the labels as
        the epoch left them. On the CPU the weights
        depend on photos, labels, config and seed alone, interrupted or not.

        Raises:
            FloatingPointError: the loss is no longer finite.
        """
        if detector.presence is not None:
            detector.presence.requires_grad_(False)  # a teacher's, which has no part in the loss
        synced(detector).to(memory_format=torch.channels_last)
        if self.fabric.device.type == "cpu":
            with_fast_gradients(detector)
        average = moving_average(detector, self.config.average) if self.config.average > 0 else None
        self.stopwatch.watch(detector.encoder, "encoder")
        trained = (
            cast(nn.Module, torch.compile(detector, backend=COMPILER)) if self.config.compile else detector
        )
        network, optimizer = self.fabric.setup(trained, make_optimizer(detector, self.config))
        if average is not None:
            self.fabric.to_device(average)
        first = state.restore(network, optimizer, average)
        bank = LabelBank(self.bank_folder, epoch=first)
        if first:
            on_epoch(bank)  # a process that was killed may not have come to it
        network.train()
        for epoch in range(first, self.config.epochs):
            lap = self.stopwatch.lap()
            followed = (detector, average) if average is not None else None
            loss, change = self._epoch(network, optimizer, bank, epoch, quiet, followed)
            row: LogRow = {"stage": "stage2", "epoch": epoch + 1, "loss": loss, "label_change": change}
            log({**row, **lap.row()})
            bank.finish()
            parallel.barrier()
            state.save(epoch + 1, network, optimizer, average)
            parallel.barrier()
            bank.commit()
            on_epoch(bank)
        if average is not None:
            detector.load_state_dict(average.module.state_dict())
        return detector.eval()

    def _epoch(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        bank: LabelBank,
        epoch: int,
        quiet: bool,
        followed: tuple[nn.Module, AveragedModel] | None,
    ) -> tuple[float, float]:
        """One pass over the photos; the mean loss and the mean absolute change of a label's pixel.

        followed: a module and the moving average that follows it.
        """
        config = self.config
        generator = own_generator(self.seed, epoch)
        cut = own_batches(len(self.photos), config.batch_size, generator)
        total = torch.zeros(2, device=self.fabric.device)
        late = LateWrites(bank.write)
        title = f"stage 2, epoch {epoch + 1}/{config.epochs}"
        with progress.bar(title, total=len(cut), quiet=quiet) as advance:
            drawn = prefetched(self._drawn(bank, cut, generator))
            for step, one in enumerate(self.stopwatch.each("waiting", drawn)):
                batch = self._batch(one)
                set_rates(optimizer, rate_at(config, epoch, (step + 0.5) / len(cut)), config, epoch)
                loss, logits = self._step(network, optimizer, batch, epoch)
                if followed is not None:
                    followed[1].update_parameters(followed[0])
                total += torch.stack([loss, self._rectify(late, batch, logits, epoch)])
                advance()
            late.flush()
        loss_mean, change_mean = parallel.averaged(total / len(cut)).tolist()
        if not math.isfinite(loss_mean):
            message = f"the loss of stage 2 is {loss_mean} in epoch {epoch + 1}; a lower stage2.lr may help"
            raise FloatingPointError(message)
        return loss_mean, change_mean

    def _drawn(
        self, bank: LabelBank, cut: Iterable[list[int]], generator: torch.Generator
    ) -> Iterator[Drawn]:
        """What each batch shows; the only one to draw from `generator`, and runs ahead of the steps."""
        options, device, side = self.config, self.fabric.device, bank.shape[-1]
        once = flip_flags(len(self.photos), own_generator(self.seed, -1))
        for indices in cut:
            mirrored = once[indices] if options.flip_once else flip_flags(len(indices), generator)
            if not options.flip:
                mirrored = torch.zeros(len(indices), dtype=torch.bool)
            flags = mirrored.tolist()
            shown = stack_mirrored((self.photos[index] for index in indices), flags)
            targets = stack_mirrored(bank.read(indices)[:, 0].numpy(), flags)
            view = _drawn_from(options.view_sides, generator) or options.view or side
            windowed = options.crop < 1 or view != side
            windows = draw_windows(targets, options.crop, generator) if windowed else None
            colours = draw_colours(len(indices), options.jitter, generator) if options.jitter > 0 else None
            colours = None if colours is None else pinned(colours, device)
            photos = pinned(torch.from_numpy(shown), device).permute(0, 3, 1, 2)
            labels = pinned(torch.from_numpy(targets), device)[:, None]
            change = _drawn_from(options.second_sizes, generator) if options.scale_consistency > 0 else None
            second = None if change is None else view + change
            yield Drawn(indices, photos, labels, pinned(mirrored, device), windows, colours, view, second)

    def _batch(self, drawn: Drawn) -> Batch:
        """The batch on the device, as its windows and colours show it."""
        device = self.fabric.device
        photos = unit_range(drawn.photos.to(device, non_blocking=True))
        labels = unit_range(drawn.labels.to(device, non_blocking=True))
        if drawn.windows is not None:
            photos = look_through(photos, drawn.windows, drawn.side)
        if drawn.colours is not None:
            photos = change_colours(photos, drawn.colours.to(device, non_blocking=True))
        mirrored = drawn.mirrored.to(device, non_blocking=True)
        second = None if drawn.second is None else resize(photos, (drawn.second, drawn.second))
        return Batch(drawn.indices, photos, labels, mirrored, drawn.windows, second)

    def _step(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, epoch: int
    ) -> tuple[Tensor, Tensor]:
        """One step; the loss and the logits made before it, both detached."""
        with self.stopwatch.part("heads"):
            with self.fabric.autocast():
                logits = network(batch.photos.contiguous(memory_format=torch.channels_last))
            logits = logits.float()
            counted, targets = logits, batch.targets
            if self.config.trim > 0 and epoch >= FIRST_EPOCH:
                chosen = kept(torch.sigmoid(logits.detach()), targets, self.config.trim)
                counted, targets = logits[chosen], targets[chosen]
            loss = detector_loss(
                counted,
                targets,
                bce=self.config.loss_bce,
                ssim=self.config.loss_ssim,
                iou=self.config.loss_iou,
                binarise=self.config.binarise,
            )
            if batch.second is not None:
                loss = loss + self.config.scale_consistency * self._disagreement(
                    network, batch.second, logits
                )
        return gradient_step(loss, optimizer, self.fabric, self.stopwatch), logits.detach()

    def _disagreement(self, network: nn.Module, photos: Tensor, logits: Tensor) -> Tensor:
        """Squared difference of the maps of `photos`, at a second size, from those of `logits`, which are given."""
        with self.fabric.autocast():
            second = network(photos.contiguous(memory_format=torch.channels_last))
        return scale_consistency_loss(torch.sigmoid(logits.detach()), torch.sigmoid(second.float()))

    def _rectify(self, late: LateWrites, batch: Batch, logits: Tensor, epoch: int) -> Tensor:
        """Write the labels of the next epoch (Eq. 14, or HMA); the mean absolute change, a scalar."""
        # HMA has a momentum of its own, and waits for the end of the warm-up as OLR does.
        own = self.config.rectify_lambda if self.config.rectifier == "olr" else 0.0
        lam = lambda_at(epoch, warmup=self.config.rectify_warmup, lam=own)
        if self.config.rectifier == "none" or lam == 1:
            return logits.new_zeros(())
        prob = torch.sigmoid(logits)
        if batch.windows is not None:
            prob = put_back(batch.labels, prob, batch.windows)
        prob, label = flip(prob, batch.mirrored), flip(batch.labels, batch.mirrored)
        if self.config.rectifier == "hma":
            with self.stopwatch.part("CRF"):
                rectified = self._historical_average(batch, prob, label)
        else:
            rectified = rectify(label, prob, lam)
        late.put(batch.indices, quantise(rectified))
        return (rectified - label).abs().mean()

    def _historical_average(self, batch: Batch, prob: Tensor, label: Tensor) -> Tensor:
        if not prob.isfinite().all():  # the CRF takes no others
            raise FloatingPointError("the maps of stage 2 are no longer finite; a lower stage2.lr may help")
        averaged = historical_average(
            stack(self.photos, batch.indices),
            prob[:, 0].cpu().numpy(),
            label[:, 0].cpu().numpy(),
            momentum=self.config.hma_momentum,
            refine=partial(refine_prob, config=self.labels),
        )
        return torch.from_numpy(averaged)[:, None].to(label.device)


def make_optimizer(detector: DetectorNetwork, config: Stage2Config) -> torch.optim.Optimizer:
    """The optimiser, in one kernel, with the encoder's parameters in group 0 and the others in group 1."""
    encoder = list(detector.encoder.parameters())
    known = {id(parameter) for parameter in encoder}
    decoder = [parameter for parameter in detector.parameters() if id(parameter) not in known]
    groups = [{"params": encoder}, {"params": decoder}]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=True)
    return torch.optim.SGD(
        groups,
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
        weight_decay=config.weight_decay,
        fused=True,
    )


def rate_at(config: Stage2Config, epoch: int, share: float) -> float:
    """The decoder's learning rate in an epoch, counted from 0, of which `share` in [0, 1) is over."""
    if config.optimizer == "adamw":
        return one_cycle((epoch + share) / config.epochs, config.lr)
    return learning_rate(config.lr, epoch, config.milestones)


def set_rates(optimizer: torch.optim.Optimizer, rate: float, config: Stage2Config, epoch: int) -> None:
    """Give the groups of `make_optimizer` their rates in an epoch, counted from 0, the decoder's being `rate`."""
    of_encoder = 0.0 if epoch < config.frozen_epochs else config.encoder_lr_factor
    for group, factor in zip(optimizer.param_groups, (of_encoder, 1.0), strict=True):
        group["lr"] = rate * factor


def moving_average(detector: nn.Module, decay: float) -> AveragedModel:
    """A copy of a detector that follows its weights and statistics: `decay` of itself at every step."""
    return AveragedModel(detector, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


def _drawn_from(values: Sequence[int], generator: torch.Generator) -> int | None:
    """One of the values; None, and nothing drawn, where there are none."""
    return values[int(torch.randint(len(values), (1,), generator=generator))] if values else None
