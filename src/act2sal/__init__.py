"""Activation to Saliency: salient-object detectors from unlabelled photos."""

from act2sal.version import __version__

__all__ = ["__version__"]
