"""Lightning Fabric: the devices of a training and its arithmetic."""

import torch
from lightning_fabric import Fabric

from act2sal.config import TrainConfig
from act2sal.runtime import parallel
from act2sal.runtime.allocator import keep_freed_memory
from act2sal.runtime.gpu import refuse_missing
from act2sal.runtime.precision import FabricPrecision, fabric_precision, without_remarks


def make_fabric(config: TrainConfig) -> Fabric:
    """Lightning Fabric on the device and in the arithmetic of the config.

    With several processes (`launching`) it waits until they have found each other. From then on the process keeps
    the memory that it frees (`allocator`).

    Raises:
        DeviceError: this machine has no such device.
    """
    refuse_missing(config.device, config.devices)
    keep_freed_memory()
    precision = fabric_precision(config.precision, on_gpu=_on_gpu(config))
    if config.devices * config.num_nodes == 1:
        return lone_fabric(config, precision)
    with without_remarks():
        fabric = Fabric(
            accelerator="cuda" if _on_gpu(config) else "cpu",
            devices=config.devices,
            num_nodes=config.num_nodes,
            strategy=parallel.strategy(),
            precision=precision,
        )
    fabric.launch()
    return fabric


def lone_fabric(config: TrainConfig, precision: FabricPrecision = "32-true") -> Fabric:
    """The same for what one process computes without the others; in float32, as predictions are made."""
    with without_remarks():
        if _on_gpu(config):
            return Fabric(accelerator="cuda", devices=own_device(config), precision=precision)
        return Fabric(accelerator=config.device, devices=1, precision=precision)


def own_device(config: TrainConfig) -> int | list[int]:
    """The device of this process, as Fabric wants it."""
    return 1 if parallel.world() == 1 or not _on_gpu(config) else [parallel.rank() % config.devices]


def _on_gpu(config: TrainConfig) -> bool:
    return config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
