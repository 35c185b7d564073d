"""Trimming: leaves out of a step the photos whose labels the network disagrees with most.

Networks learn what labels share before they learn single mistakes by heart (Arpit et al., ICML 2017), so that a loss
that is large early on marks a wrong label more often than a hard photo (co-teaching, Han et al., NeurIPS 2018).
"""

import torch
from torch import Tensor

from act2sal.a2s.losses import IOU_EPSILON

FIRST_EPOCH = 1
"""First epoch, counted from 0, in which photos are left out: the network has to learn first what labels share."""


def kept(prob: Tensor, target: Tensor, trim: float) -> Tensor:
    """Choose the photos of a batch whose predictions have the highest soft IoU with their labels.

    Args:
        prob: (B, 1, H, W) float in [0, 1], predictions.
        target: (B, 1, H, W) float in [0, 1], labels.
        trim: share of the photos that is left out, in [0, 1); rounded down, so that one photo stays at least.

    Returns:
        Indices, (K,) int64 in ascending order, K = B - floor(trim B).
    """
    overlap = (prob * target).sum(dim=(1, 2, 3))
    union = (prob + target).sum(dim=(1, 2, 3)) - overlap
    best = torch.topk(overlap / (union + IOU_EPSILON), len(prob) - int(trim * len(prob))).indices
    return best.sort().values
