"""The learned rivals of the paper, which need no masks: SBF, MNL and USPS, as pure functions."""
