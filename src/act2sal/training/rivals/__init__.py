"""Trainings of the learned rivals, which need no masks either: SBF, MNL and USPS in place of both stages of A2S."""
