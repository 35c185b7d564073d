"""Freed memory stays in the process: what the kernel counts, in a process of its own."""

import platform
import subprocess
import sys

import pytest

from act2sal.runtime.allocator import keep_freed_memory

FAULTS = """
import resource, sys
import torch
from act2sal.runtime.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
photos = torch.rand(4, 16, 96, 96)
kernel = torch.rand(16, 16, 3, 3, requires_grad=True)
for step in range(16):
    if step == 6:
        before = faults()
    hidden = photos
    for layer in range(4):
        hidden = torch.relu(torch.conv2d(hidden, kernel, padding=1))
    hidden.mean().backward()
print(faults() - before)
"""


def page_faults(setting: str) -> int:
    command = [sys.executable, "-c", FAULTS, setting]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is a setting of glibc")
def test_a_training_step_costs_hardly_a_new_page() -> None:
    assert page_faults("keep") * 5 < page_faults("leave")


def test_elsewhere_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()
