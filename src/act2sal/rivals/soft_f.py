"""The loss of USPS (Nguyen et al., NeurIPS 2019): 1 - F of a soft-thresholded prediction, and its labels.

Phase I refines the maps of each hand-crafted method by themselves: the network's predictions are sharpened by the CRF
and averaged over the epochs (`a2s.rectify.historical_average`, from zero on), and the average is the label of the
next iteration. Phase II trains one network on the refined labels of all methods.
"""

import torch
from torch import Tensor

THRESHOLDS = {"mc": 0.31, "hs": 0.36, "dsr": 0.23, "rbd": 0.25}
"""Where the maps of each method are cut in the first iteration of phase I (published code)."""

REFINED_THRESHOLD = 0.5
"""Where refined labels are cut (published code)."""

BETA2_OF_PHASE = (1.0, 4.0)
"""Beta squared of the F-measure in phase I and phase II (published code)."""

RATES_OF_ITERATIONS = (1e-6, 2e-6, 5e-6)
"""Learning rate of each iteration of phase I (published code)."""

EPSILON = 1e-5
"""Added to all three denominators (published code)."""


def soft_threshold(prob: Tensor, label: Tensor, threshold: float) -> Tensor:
    """Predictions that are beyond their label, on its side of the threshold, count as right and get no gradient.

    If the label is above the threshold and the prediction above the label, the prediction becomes 1; if the label is
    below and the prediction below the label, it becomes 0.

    Args:
        prob: (B, 1, H, W) float in [0, 1].
        label: (B, 1, H, W) float in [0, 1], soft.
        threshold: in (0, 1).
    """
    sure = (label > threshold) & (prob > label)
    nothing = (label < threshold) & (prob < label)
    return torch.where(sure, torch.ones_like(prob), torch.where(nothing, torch.zeros_like(prob), prob))


def soft_f_loss(prob: Tensor, label: Tensor, threshold: float, beta2: float) -> Tensor:
    """`1 - F` of soft-thresholded predictions against discretised labels, mean over the batch; a scalar.

    Args:
        prob: (B, 1, H, W) float in [0, 1].
        label: (B, 1, H, W) float in [0, 1]; object where it is above the threshold.
        threshold: in (0, 1).
        beta2: beta squared of the F-measure.
    """
    target = (label > threshold).to(prob.dtype).flatten(1)
    found = soft_threshold(prob, label, threshold).flatten(1)
    hits = (found * target).sum(dim=1)
    precision, recall = hits / (found.sum(dim=1) + EPSILON), hits / (target.sum(dim=1) + EPSILON)
    f = (1 + beta2) * precision * recall / (beta2 * precision + recall + EPSILON)
    return 1 - f.mean()
