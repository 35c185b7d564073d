"""Stage 1: fit the activation network on frozen features and read the saliency cues off it (Eq. 1-5)."""

from act2sal.stage1.cues import PhotoSizeCues, cue_logits
from act2sal.stage1.features import CachedFeatures, Features, LiveFeatures, cache_features, cache_key
from act2sal.stage1.fit import activation_network, fit
from act2sal.stage1.self_training import fit_on_labels

__all__ = [
    "CachedFeatures",
    "Features",
    "LiveFeatures",
    "PhotoSizeCues",
    "activation_network",
    "cache_features",
    "cache_key",
    "cue_logits",
    "fit",
    "fit_on_labels",
]
