"""Activation to Saliency: salient-object detectors from unlabelled photos."""

__version__ = "0.1.0"
