"""Trimming: photos whose labels a network disagrees with most are left out of a step, as gross errors are among them.

Networks learn what labels share before they learn single mistakes by heart (Arpit et al., ICML 2017), so that a loss
that is large early on marks a wrong label more often than a hard photo (co-teaching, Han et al., NeurIPS 2018).
"""

import torch
from torch import Tensor

from act2sal.a2s.losses import IOU_EPSILON

FIRST_EPOCH = 1
"""Counted from 0: before it a network has not learnt what labels share."""


def kept(prob: Tensor, target: Tensor, trim: float) -> Tensor:
    """Which photos of a batch stay: those whose prediction has the highest soft IoU with their label.

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
