"""The arithmetic in which networks are fitted: bfloat16 where the hardware has it, float32 elsewhere."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from act2sal.config import Precision

FabricPrecision = Literal["bf16-mixed", "32-true"]


def fabric_precision(wanted: Precision, *, on_gpu: bool) -> FabricPrecision:
    """What Lightning Fabric calls the arithmetic that an option asks for.

    bf16-mixed: convolutions and products of matrices in bfloat16; weights, normalisation over a batch, losses and the
    optimiser in float32.
    """
    if wanted == "auto":
        wanted = "bfloat16" if on_gpu or cpu_has_bfloat16() else "float32"
    return "bf16-mixed" if wanted == "bfloat16" else "32-true"


@contextmanager
def without_remarks() -> Iterator[None]:
    """Lightning Fabric does not tell on standard error which arithmetic it was made with."""
    fabric_logger = logging.getLogger("lightning_fabric")
    level = fabric_logger.level
    fabric_logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        fabric_logger.setLevel(level)


def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 by instructions of its own; False where PyTorch is too old to say."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
