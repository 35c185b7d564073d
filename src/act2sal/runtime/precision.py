"""Arithmetic of the training: bfloat16 where the hardware supports it, else float32."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from act2sal.config import Precision

FabricPrecision = Literal["bf16-mixed", "32-true"]


def fabric_precision(wanted: Precision, *, on_gpu: bool) -> FabricPrecision:
    """Lightning Fabric's name for the arithmetic that an option asks for.

    "bf16-mixed" computes convolutions and matrix products in bfloat16; weights, BatchNorm, losses and the optimiser
    stay in float32.
    """
    if wanted == "auto":
        wanted = "bfloat16" if on_gpu or cpu_has_bfloat16() else "float32"
    return "bf16-mixed" if wanted == "bfloat16" else "32-true"


@contextmanager
def without_remarks() -> Iterator[None]:
    """Keep Lightning Fabric from printing its arithmetic on standard error."""
    fabric_logger = logging.getLogger("lightning_fabric")
    level = fabric_logger.level
    fabric_logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        fabric_logger.setLevel(level)


def cpu_has_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16; False if PyTorch is too old to tell."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
