"""One step of an optimiser down the gradient of a loss, timed."""

import torch
from lightning_fabric import Fabric
from torch import Tensor

from act2sal.runtime.stopwatch import Stopwatch


def gradient_step(
    loss: Tensor, optimizer: torch.optim.Optimizer, fabric: Fabric, stopwatch: Stopwatch
) -> Tensor:
    """Compute the gradients of a scalar loss, step, and return the loss detached; nothing waits for a GPU."""
    with stopwatch.part("backward"):
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(loss)
    with stopwatch.part("optimiser"):
        optimizer.step()
    return loss.detach()
