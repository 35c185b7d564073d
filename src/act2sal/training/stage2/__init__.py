"""Stage 2: fit the detector on the pseudo labels while its predictions rectify them (Eq. 7-14)."""

from act2sal.training.stage2.fit import Stage2

__all__ = ["Stage2"]
