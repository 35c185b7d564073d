"""Stage 1: fit the activation network on frozen features and read the saliency cues off it (Eq. 1-5)."""

from act2sal.training.stage1.cues import PhotoSizeCues, cue_logits
from act2sal.training.stage1.feature_cache import budget_in_bytes
from act2sal.training.stage1.features import Features, FrozenFeatures, LiveFeatures
from act2sal.training.stage1.fit import activation_network, fit
from act2sal.training.stage1.resident_features import ResidentFeatures, fit_in_memory
from act2sal.training.stage1.self_training import fit_on_labels
from act2sal.training.stage1.views import ResizedPhotos

__all__ = [
    "Features",
    "FrozenFeatures",
    "LiveFeatures",
    "PhotoSizeCues",
    "ResidentFeatures",
    "ResizedPhotos",
    "activation_network",
    "budget_in_bytes",
    "cue_logits",
    "fit",
    "fit_in_memory",
    "fit_on_labels",
]
