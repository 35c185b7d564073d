"""The line about the machine that stands beside figures."""

import torch

from act2sal.runtime.cores import usable
from act2sal.runtime.hardware import hardware, processor


def test_it_names_cores_processor_and_torch() -> None:
    line = hardware()
    assert line.startswith(f"{usable()} cores, {processor()}, torch {torch.__version__}, GPU: ")
    assert processor()
