"""Freed memory stays in the process: what the kernel counts, in a process of its own."""

import platform
import subprocess
import sys

import pytest

from act2sal.allocator import keep_freed_memory

FAULTS = """
import resource, sys
import torch
from act2sal.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for step in range(12):
    if step == 2:
        before = faults()
    torch.ones(40, 1024, 1024)
print(faults() - before)
"""


def page_faults(setting: str) -> int:
    command = [sys.executable, "-c", FAULTS, setting]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is a setting of glibc")
def test_a_tensor_of_the_same_size_costs_no_new_pages() -> None:
    assert page_faults("keep") * 20 < page_faults("leave")


def test_elsewhere_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()
