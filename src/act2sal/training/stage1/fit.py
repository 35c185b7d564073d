"""The training loop of stage 1 and the cues it ends with (Eq. 1-5)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from act2sal.a2s.activation import Activation, ActivationNetwork
from act2sal.a2s.boundary import BoundaryKind
from act2sal.a2s.losses import scale_consistency_loss
from act2sal.a2s.resampling import resize
from act2sal.a2s.separation_loss import falling_exponent, stage1_loss, undecided_margin
from act2sal.a2s.texture import texture_loss
from act2sal.config import Stage1Config
from act2sal.data.photo_batches import PhotoSource, to_batch
from act2sal.networks.encoders import Encoder, freeze
from act2sal.runs.training_state import TrainingState
from act2sal.runtime import parallel
from act2sal.runtime.stopwatch import Stopwatch
from act2sal.runtime.synced_norm import synced
from act2sal.training.epochs import Fit, Plan, Trainer, run_epochs
from act2sal.training.sampling import flip_flags
from act2sal.training.schedules import learning_rate
from act2sal.training.stage1.features import Features, LiveFeatures, channel_deviation
from act2sal.training.stage1.views import QUARTER, ResizedPhotos, Views, views

SCALE_PHOTOS = 256
E5_STRIDE = 32


def activation_network(
    features: Features, config: Stage1Config, *, seed: int, boundary: BoundaryKind | None = None
) -> ActivationNetwork:
    """A fresh activation network for these features, weights drawn from `seed`, feature scales measured.

    Its decision boundary is the config's, and without `config.use_e3` the channel scales of E_3 are zero; if
    `boundary` names one, as for self-training, all levels take part.

    With `config.scale_features` the channel scales are one over the standard deviation on up to 256 photos
    spread evenly over all; with `config.random_gain` the scale of E_5 is a random gain instead.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ActivationNetwork(
            in_channels=features.channels,
            channels=config.channels,
            fusion_stride=config.fusion_stride,
            boundary=boundary or config.boundary,
        )
        gain = torch.nn.Linear(features.channels[2], 1000).weight.detach().sum(dim=0)
    if config.scale_features:
        count = min(len(features), -(-SCALE_PHOTOS // parallel.world()))
        spread = np.linspace(0, len(features) - 1, count).astype(int)
        network.set_scales([1 / d for d in channel_deviation(features, spread.tolist())])
    if config.random_gain:
        network.set_scales([network.scale3, network.scale4, gain])
    if boundary is None and not config.use_e3:
        network.set_scales([torch.zeros_like(network.scale3), network.scale4, network.scale5])
    return network


def fit(
    network: ActivationNetwork,
    features: Features,
    config: Stage1Config,
    trainer: Trainer,
    state: TrainingState,
    *,
    others: Sequence[Features] = (),
    photos: PhotoSource | None = None,
) -> ActivationNetwork:
    """Fit the four blocks by Eq. 4 and return them in eval mode; an unfrozen encoder is fitted along.

    Afterwards every encoder is frozen. The result depends on photos, config and seed alone, interrupted or not.

    Differs: with `config.mirror` = "features" the features are mirrored themselves, where the paper mirrors the photo
    before the encoder.

    Args:
        network: fresh, on the device of the trainer.
        features: of the photos of this process.
        config: options of stage 1.
        trainer: device, seed, log and progress.
        state: checkpoint of this fit.
        others: features of the same photos at other sizes, for `config.scale_consistency`.
        photos: the square photos, for `config.texture`.

    Raises:
        FloatingPointError: the loss is no longer finite.
    """
    if not config.auxiliary:
        network.boundaries[:3].requires_grad_(False)  # of the side maps, which have no part in the loss
    modules = _Trained([network])
    if isinstance(features, LiveFeatures):
        modules.append(_prepared(features.encoder, config))
    optimizer = torch.optim.SGD(
        [p for p in modules.parameters() if p.requires_grad],
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
        weight_decay=config.weight_decay,
        fused=True,
    )
    trained, optimizer = trainer.fabric.setup(synced(modules), optimizer)
    quarters = _quarters(photos) if config.texture > 0 else None
    first_fit = FirstFit(trained, optimizer, features, others, quarters, config, trainer)
    run_epochs(first_fit, trained, optimizer, trainer, state)
    if isinstance(features, LiveFeatures):
        freeze(features.encoder)
    return network.eval()


@dataclass(frozen=True)
class FirstFit(Fit[Views]):
    """The fit of the four blocks by Eq. 4; the attributes are those of `fit`."""

    trained: torch.nn.Module
    optimizer: torch.optim.Optimizer
    features: Features
    others: Sequence[Features]
    quarters: PhotoSource | None
    config: Stage1Config
    trainer: Trainer

    @property
    def plan(self) -> Plan:
        """The frame of the fit."""
        return Plan(
            stage="stage1",
            title="stage 1",
            rate_option="stage1.lr",
            epochs=self.config.epochs,
            photos=len(self.features),
            batch_size=self.config.batch_size,
        )

    def batches(
        self, indices: Sequence[list[int]], epoch: int, generator: torch.Generator
    ) -> Iterable[Views]:
        """The views of each batch."""
        flips = [flip_flags(len(batch), generator) if self.config.flip else None for batch in indices]
        device = self.trainer.fabric.device
        return views(self.features, self.others, self.quarters, indices, flips, generator, device)

    def rates(self, epoch: int, share: float) -> list[float]:
        """The learning rate of the one group, which falls at the milestones."""
        return [learning_rate(self.config.lr, epoch, self.config.milestones)]

    def step(self, batch: Views, epoch: int, generator: torch.Generator) -> list[Tensor]:
        """Take one step; returns the loss."""
        stopwatch = self.trainer.stopwatch
        with stopwatch.part("heads"):
            loss = _loss(self.trained(batch, stopwatch), batch.colours, self.config, epoch, generator)
        return [self.trainer.descend(loss, self.optimizer)]


class _Trained(torch.nn.ModuleList):
    """The modules that `fit` trains: the activation network, and behind it an encoder that is trained along."""

    def forward(self, seen: Views, stopwatch: Stopwatch) -> list[Activation]:
        """Activations for each size of the photos.

        The blocks compute in the precision of the fabric, the encoder in its own.
        """
        device = next(self.parameters()).device.type
        activations = []
        for source, fetched in zip(seen.sources, seen.fetched, strict=True):
            with stopwatch.part("waiting"), torch.autocast(device, enabled=False):
                encoded = source.levels(fetched)
            activations.append(self[0](encoded))
        return activations


def _quarters(photos: PhotoSource | None) -> PhotoSource:
    """The photos at a quarter of their size, resized when they are asked for."""
    if photos is None:
        raise ValueError("texture matching needs the photos")
    return ResizedPhotos(photos, photos[0].shape[0] // QUARTER)


def _prepared(encoder: Encoder, config: Stage1Config) -> Encoder:
    if config.freeze_encoder:
        return freeze(encoder, batchnorm_drift=config.batchnorm_drift)
    return encoder


def _loss(
    activations: Sequence[Activation],
    colours: Tensor | None,
    config: Stage1Config,
    epoch: int,
    generator: torch.Generator,
) -> Tensor:
    """The loss of one or two views of a batch, a scalar.

    Differs: what two views have to agree on are the maps before the sign of Eq. 5; in A2S-v2 each has its own.
    """
    if config.loss_at_photo_size:
        activations = [enlarged(activation) for activation in activations]
    falling = config.distance == "falling"
    total = activations[0].theta.new_zeros(())
    for activation in activations:
        total = total + stage1_loss(
            activation,
            alpha=config.alpha,
            weights=(1.0, *config.side_weights),
            drop=config.drop_pixels,
            auxiliary=config.auxiliary,
            exponent=falling_exponent(epoch, config.epochs) if falling else None,
            margin=undecided_margin(epoch, config.epochs) if config.curriculum else 0.0,
            generator=generator,
        )
    probs = [torch.sigmoid(activation.theta) for activation in activations]
    if colours is not None:
        photos = to_batch(colours, total.device)
        small = (resize(prob, photos.shape[-2:]) for prob in probs)
        total = total + config.texture * sum(texture_loss(prob, photos) for prob in small)
    if len(probs) > 1:
        total = total + config.scale_consistency * scale_consistency_loss(probs[0].detach(), probs[1])
    return total


def enlarged(activation: Activation) -> Activation:
    """The fused map (B, 1, h, w) at the size of the photo, the side maps as they are."""
    factor = E5_STRIDE * activation.sides[2].shape[-1] // activation.theta.shape[-1]
    size = [factor * side for side in activation.theta.shape[-2:]]
    return Activation(resize(activation.theta, size), activation.sides)
