"""What a program cannot be faster than on this machine: measured rates of the processor, counted work.

The rates are the best of many short tries, which other programs seldom disturb all, with all threads that PyTorch
uses: multiplying matrices or a convolution, whichever is faster, and copying a block far larger than the caches.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from act2sal.config import Precision
from act2sal.runtime.precision import fabric_precision

TRIES = 20
MATRIX_SIDE = 1024
CONVOLUTION = (4, 128, 64)
"""Photos, channels and side of the map of the measured 3 x 3 convolution."""
COPIED_BYTES = 2**27
PASSES = 5
"""Times that a step moves the output of a convolution even where all that follows it is computed in one go: written
and read forward; backward read again, and its gradient written and read."""


@dataclass(frozen=True)
class Rates:
    """What the machine does at best, in 1e9 operations on numbers of a type and 1e9 bytes moved a second."""

    dtype: torch.dtype
    gflops: float
    gbytes: float

    def described(self) -> dict[str, str | float]:
        """For a JSON file."""
        return {
            "numbers": str(self.dtype).removeprefix("torch."),
            "gflop_a_second": round(self.gflops, 1),
            "gbyte_a_second": round(self.gbytes, 1),
        }

    def floor(self, work: "Work") -> float:
        """Seconds that the work takes at least: the longer of computing and moving, done side by side."""
        return max(work.flops / self.gflops, work.moved / self.gbytes) / 1e9

    def compared(self, work: "Work", seconds: float) -> dict[str, float]:
        """The work, its floor and how far above it `seconds` are, for a JSON file."""
        floor = self.floor(work)
        return {
            "gflop": round(work.flops / 1e9, 3),
            "mbyte_moved": round(work.moved / 1e6, 2),
            "floor_seconds_computing": round(work.flops / self.gflops / 1e9, 5),
            "floor_seconds_moving": round(work.moved / self.gbytes / 1e9, 5),
            "floor_seconds": round(floor, 5),
            "seconds": round(seconds, 5),
            "times_the_floor": round(seconds / floor, 2),
        }


@dataclass(frozen=True)
class Work:
    """Floating point operations, two to a multiply-add, and bytes moved between memory and processor."""

    flops: float
    moved: float

    def __add__(self, other: "Work") -> "Work":
        return Work(self.flops + other.flops, self.moved + other.moved)

    def times(self, factor: float) -> "Work":
        """The work done `factor` times."""
        return Work(self.flops * factor, self.moved * factor)


def ours() -> torch.dtype:
    """In which numbers this machine trains by default."""
    return torch.bfloat16 if fabric_precision("auto", on_gpu=False) == "bf16-mixed" else torch.float32


def cpu_fabric(precision: Precision) -> Fabric:
    """As a run on the CPU has it, by the option of that name."""
    return Fabric(accelerator="cpu", devices=1, precision=fabric_precision(precision, on_gpu=False))


def measured_rates(dtype: torch.dtype = torch.float32, tries: int = TRIES) -> Rates:
    """The rates of this machine now; what else runs on it makes them lower."""
    left, right = torch.rand(2, MATRIX_SIDE, MATRIX_SIDE).to(dtype)
    count, channels, side = CONVOLUTION
    convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False).requires_grad_(False)
    convolution = convolution.to(dtype).to(memory_format=torch.channels_last)
    maps = torch.rand(count, channels, side, side).to(dtype, memory_format=torch.channels_last)
    source = torch.ones(COPIED_BYTES // torch.float32.itemsize)
    target = torch.zeros_like(source)
    products = 2 * MATRIX_SIDE**3 / _best(lambda: left @ right, tries)
    convolved = 2 * maps.numel() * channels * 9 / _best(lambda: convolution(maps), tries)
    copied = 2 * COPIED_BYTES / _best(lambda: target.copy_(source), tries)
    return Rates(dtype, max(products, convolved) / 1e9, copied / 1e9)


def counted(
    network: nn.Module, program: Callable[[], Tensor], *, backward: bool, dtype: torch.dtype = torch.float32
) -> Work:
    """What one call of `program` costs: operations of convolutions and products, outputs of convolutions moved.

    Backward, a convolution costs what it costs forward once for the gradient of its weights and once for that of its
    input, where they are asked for. (`FlopCounterMode` would count these too, but takes no notice of groups there.)

    Args:
        network: holds the convolutions that the program runs.
        program: from photos or features to a scalar.
        backward: whether the gradients of that scalar are computed as well.
        dtype: of what is moved.
    """
    outputs = gradients = 0

    def note(convolution: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal outputs, gradients
        outputs += output.numel()
        weight = convolution.get_parameter("weight")
        wanted = weight.requires_grad + inputs[0].requires_grad
        gradients += 2 * output.numel() * weight[0].numel() * wanted

    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    hooks = [module.register_forward_hook(note) for module in convolutions]
    with FlopCounterMode(display=False) as counter:
        program()
    for hook in hooks:
        hook.remove()
    flops = counter.get_total_flops() + (gradients if backward else 0)
    return Work(flops, dtype.itemsize * outputs * (PASSES if backward else 2))


def _best(program: Callable[[], object], tries: int) -> float:
    """Seconds of the fastest of several calls."""
    program()
    seconds = []
    for _ in range(tries):
        start = time.perf_counter()
        program()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
