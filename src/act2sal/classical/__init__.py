"""Hand-crafted saliency, without training and without weights: the methods that the paper compares with."""

from act2sal.classical.absorbing_markov import mc
from act2sal.classical.robust_background import rbd
from act2sal.classical.superpixels import SaliencyMethod

METHODS: dict[str, SaliencyMethod] = {"mc": mc, "rbd": rbd}
"""By the name on the command line."""

__all__ = ["METHODS", "SaliencyMethod", "mc", "rbd"]
