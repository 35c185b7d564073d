"""The loss of stage 1, which pushes pixels away from the decision boundary (A2S, Eq. 4)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from act2sal.a2s.activation import Activation
from act2sal.config import Stage1Config
from act2sal.runtime.prefetch import sent


def drop_pixels(shape: Sequence[int], rate: float, generator: torch.Generator) -> Tensor:
    """Mask of the pixels that the loss keeps: bool of the given shape, each False with probability `rate`.

    Drawn on the generator's device.
    """
    return torch.rand(tuple(shape), generator=generator, device=generator.device) >= rate


def separation_loss(theta: Tensor, alpha: float = Stage1Config.alpha, keep: Tensor | None = None) -> Tensor:
    """Distance from the boundary as a loss (Eq. 4): `1 - mean(D^2 + alpha D)`, D = |sigmoid(theta) - 1/2|.

    Differs: the constant 1 is the official code's; the paper has none. The mean is over the kept pixels of
    the whole batch, as in the official code.

    Args:
        theta: (B, 1, h, w) float logits, signed or not.
        alpha: weight of the linear term.
        keep: (B, 1, h, w) bool, the pixels that count; all of them if None.

    Returns:
        Scalar in [3/4 - alpha/2, 1]; 1 if nothing is kept.
    """
    distance = (torch.sigmoid(theta) - 0.5).abs()
    gain = distance**2 + alpha * distance
    if keep is None:
        return 1 - gain.mean()
    return 1 - (gain * keep).sum() / keep.sum().clamp_min(1)


def distance_loss(theta: Tensor, exponent: float, keep: Tensor | None = None) -> Tensor:
    """Distance from the boundary with an exponent in place of Eq. 4 (A2S-v2): `2^-k - mean |sigmoid(theta) - .5|^k`.

    Args:
        theta: (B, 1, h, w) float logits, signed or not.
        exponent: k; 2 pushes the decided pixels, 1 all pixels alike.
        keep: (B, 1, h, w) bool, the pixels that count; all of them if None.

    Returns:
        Scalar in [0, 2^-k]; 2^-k if nothing is kept.
    """
    gain = (torch.sigmoid(theta) - 0.5).abs() ** exponent
    if keep is None:
        return 0.5**exponent - gain.mean()
    return 0.5**exponent - (gain * keep).sum() / keep.sum().clamp_min(1)


def falling_exponent(epoch: int, epochs: int) -> float:
    """The exponent of `distance_loss` in an epoch, counted from 0: `2^(1 - epoch / epochs)`, from 2 to 1 (A2S-v2)."""
    return 2 ** (1 - epoch / epochs)


def undecided_margin(epoch: int, epochs: int) -> float:
    """Pixels with `|prob - 1/2|` below this do not count in an epoch, counted from 0: `.2 - .6 epoch / epochs`.

    The curriculum of A2S-v3: from a third of the epochs on it is at most 0, and all pixels count.
    """
    return 0.2 - 0.6 * epoch / epochs


def stage1_loss(
    activation: Activation,
    *,
    alpha: float = Stage1Config.alpha,
    weights: tuple[float, float, float, float] = (1.0, *Stage1Config.side_weights),
    drop: float = Stage1Config.drop_pixels,
    auxiliary: bool = True,
    exponent: float | None = None,
    margin: float = 0.0,
    generator: torch.Generator,
) -> Tensor:
    """The loss of stage 1 (Eq. 4) on F and, with auxiliary supervision, on F_3, F_4, F_5.

    Args:
        activation: logits of the network.
        alpha: weight of the linear term (Table V).
        weights: of F, F_3, F_4, F_5; the defaults are the official code's.
        drop: fraction of the pixels dropped at random, afresh for every map; 0 is row A2 of Table IV.
        auxiliary: whether the side maps count; False is row A1 of Table IV.
        exponent: of `distance_loss`, which then takes the place of Eq. 4 (A2S-v2); None: Eq. 4.
        margin: pixels with `|sigmoid(theta) - 1/2|` below this do not count (`undecided_margin`).
        generator: randomness of the dropped pixels, on any device: one on the CPU draws the same everywhere.

    Returns:
        Scalar.
    """
    maps = (activation.theta, *activation.sides) if auxiliary else (activation.theta,)
    total = activation.theta.new_zeros(())
    for theta, weight in zip(maps, weights, strict=False):
        keep = sent(drop_pixels(theta.shape, drop, generator), theta.device) if drop > 0 else None
        if margin > 0:
            decided = (torch.sigmoid(theta.detach()) - 0.5).abs() >= margin
            keep = decided if keep is None else keep & decided
        if exponent is None:
            total = total + weight * separation_loss(theta, alpha, keep)
        else:
            total = total + weight * distance_loss(theta, exponent, keep)
    return total
