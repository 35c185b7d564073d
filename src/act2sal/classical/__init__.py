"""Hand-crafted saliency, without training and without weights: the methods that the paper compares with."""

from act2sal.classical.absorbing_markov import mc
from act2sal.classical.dense_sparse import dsr
from act2sal.classical.hierarchical import hs
from act2sal.classical.robust_background import rbd
from act2sal.data.images import SaliencyMethod

METHODS: dict[str, SaliencyMethod] = {"dsr": dsr, "mc": mc, "rbd": rbd, "hs": hs}
"""By the name on the command line, in the order of Table II."""

__all__ = ["METHODS", "SaliencyMethod", "dsr", "hs", "mc", "rbd"]
