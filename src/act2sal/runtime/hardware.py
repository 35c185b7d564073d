"""Describes the machine in one line, to stand beside measurements."""

import platform
from pathlib import Path

import torch

from act2sal.runtime.cores import on_cpu, usable


def hardware() -> str:
    """Cores, processor, PyTorch and GPU: "2 cores, AMD EPYC, torch 2.15.0, GPU: none"."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return f"{usable()} cores, {processor()}, torch {torch.__version__}, GPU: {gpu}"


def named(device: torch.device) -> str:
    """Name of a device for people: "CPU, 2 threads (PyTorch)", "NVIDIA H100, cuda:0 (PyTorch)"."""
    if device.type == "cpu":
        return f"{on_cpu(torch.get_num_threads())} (PyTorch)"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "Apple GPU"
    return f"{name}, {device} (PyTorch)"


def processor() -> str:
    """Name of the processor according to the system."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
