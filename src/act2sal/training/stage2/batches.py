"""Batches of stage 2: what is read and drawn on the host, and what the network sees."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from act2sal.a2s.resampling import resize
from act2sal.config import Stage2Config
from act2sal.data.label_bank import LabelBank
from act2sal.data.photo_batches import PhotoSource, stack_mirrored, unit_range
from act2sal.runtime.prefetch import pinned
from act2sal.training.sampling import flip_flags, own_generator
from act2sal.training.views import change_colours, draw_colours, draw_windows, look_through


@dataclass(frozen=True)
class Drawn:
    """What was read and drawn for a batch, on the host; photos and labels are mirrored already.

    Attributes:
        indices: of B photos.
        photos: (B, 3, S, S) uint8, channels last.
        labels: (B, 1, S, S) uint8.
        mirrored: (B,) bool.
        windows: as in `Batch`.
        colours: from `draw_colours`; None: colours stay.
        side: side of the views, in pixels.
        second: side of the second views; None: there are none.
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

    Attributes:
        indices: of B photos.
        photos: (B, 3, V, V) float32 in [0, 1].
        labels: (B, 1, S, S) float32 in [0, 1].
        mirrored: (B,) bool.
        windows: part of each label that its photo shows; None: all of it, and V is S.
        second: (B, 3, W, W) float32, the photos at another size; None: there are none.
    """

    indices: Sequence[int]
    photos: Tensor
    labels: Tensor
    mirrored: Tensor
    windows: list[tuple[int, int, int, int]] | None
    second: Tensor | None

    @property
    def targets(self) -> Tensor:
        """The labels in the windows of the photos, (B, 1, V, V)."""
        if self.windows is None:
            return self.labels
        return look_through(self.labels, self.windows, self.photos.shape[-1])


@dataclass(frozen=True)
class Batches:
    """Makes the batches of stage 2.

    Attributes:
        photos: N square photos, those of this process.
        config: options of stage 2.
        device: where the network computes.
        seed: seed of the training.
    """

    photos: PhotoSource
    config: Stage2Config
    device: torch.device
    seed: int

    def drawn(self, bank: LabelBank, cut: Iterable[list[int]], generator: torch.Generator) -> Iterator[Drawn]:
        """Read and draw each batch on the host; runs ahead of the steps, and draws everything from `generator`."""
        options, device, side = self.config, self.device, bank.shape[-1]
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

    def on_device(self, drawn: Drawn) -> Batch:
        """Copy a batch to the device and apply its windows and colours."""
        device = self.device
        photos = unit_range(drawn.photos.to(device, non_blocking=True))
        labels = unit_range(drawn.labels.to(device, non_blocking=True))
        if drawn.windows is not None:
            photos = look_through(photos, drawn.windows, drawn.side)
        if drawn.colours is not None:
            photos = change_colours(photos, drawn.colours.to(device, non_blocking=True))
        mirrored = drawn.mirrored.to(device, non_blocking=True)
        second = None if drawn.second is None else resize(photos, (drawn.second, drawn.second))
        return Batch(drawn.indices, photos, labels, mirrored, drawn.windows, second)


def _drawn_from(values: Sequence[int], generator: torch.Generator) -> int | None:
    """Draw one of the values; None if there are none."""
    return values[int(torch.randint(len(values), (1,), generator=generator))] if values else None
