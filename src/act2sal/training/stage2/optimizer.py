"""The optimiser of stage 2, its learning rates, and the moving average of the weights."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from act2sal.config import Stage2Config
from act2sal.networks.rivals import SaliencyNetwork
from act2sal.training.schedules import learning_rate, one_cycle, polynomial, triangle


def make_optimizer(detector: SaliencyNetwork, config: Stage2Config) -> torch.optim.Optimizer:
    """Make the (fused) optimiser, with the parameters of the encoder in group 0 and the others in group 1."""
    encoder = detector.encoder_parameters()
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


def rates_at(config: Stage2Config, epoch: int, share: float) -> list[float]:
    """Learning rates of the groups of `make_optimizer` when a share of an epoch is over.

    Args:
        config: options of stage 2.
        epoch: counted from 0.
        share: in [0, 1).
    """
    rate = _rate_at(config, epoch, share)
    of_encoder = 0.0 if epoch < config.frozen_epochs else config.encoder_lr_factor
    return [rate * of_encoder, rate]


def _rate_at(config: Stage2Config, epoch: int, share: float) -> float:
    if config.schedule == "triangle":
        return config.lr * triangle((epoch + share) / config.epochs)
    if config.schedule == "poly":
        return config.lr * polynomial(epoch / config.epochs)
    if config.schedule == "cycle" or (config.schedule == "auto" and config.optimizer == "adamw"):
        return one_cycle((epoch + share) / config.epochs, config.lr)
    return learning_rate(config.lr, epoch, config.milestones)


def moving_average(detector: nn.Module, decay: float) -> AveragedModel:
    """A copy of a detector that follows its weights and statistics: `decay` of itself at every step."""
    return AveragedModel(detector, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
