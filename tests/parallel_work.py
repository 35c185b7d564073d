"""What the processes of `test_parallel.py` do; little is imported here, as each of them starts anew."""

from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from act2sal.errors import InputError
from act2sal.runs.training_state import TrainingState
from act2sal.runtime import parallel
from act2sal.runtime.synced_norm import synced
from act2sal.training.presence import fit_presence
from tiny import cpu, tiny_detector

PROCESSES = 2


def joined() -> int:
    """Meet the other process; the number of this one."""
    Fabric(accelerator="cpu", devices=PROCESSES, strategy=parallel.strategy()).launch()
    return parallel.rank()


def norm_inputs() -> tuple[Tensor, Tensor]:
    """Maps (8, 3, 5, 4) far from zero, and the weight of each value in a loss."""
    generator = torch.Generator().manual_seed(0)
    return 7 + torch.randn(8, 3, 5, 4, generator=generator), torch.randn(8, 3, 5, 4, generator=generator)


def fresh_norm() -> nn.Module:
    """A batch norm with weights, in a module as `synced` needs it."""
    norm = nn.BatchNorm2d(3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
        norm.bias.copy_(torch.tensor([0.1, 0.0, -1.0]))
    return nn.Sequential(norm)


def norm_results(norm: nn.Module, maps: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """What a norm gives in a training step, its gradients, its running statistics, and what it gives after it."""
    leaf = maps.clone().requires_grad_(True)
    normalised = norm(leaf)
    (normalised * weights).sum().backward()
    assert leaf.grad is not None
    results = {
        "maps": normalised.detach(),
        "gradient of maps": leaf.grad,
        "later": norm.eval()(maps).detach(),
    }
    for name, parameter in norm.named_parameters():
        assert parameter.grad is not None
        results[f"gradient of {name}"] = parallel.summed(parameter.grad)
    return results | dict(norm.named_buffers())


def talk() -> tuple[dict[str, object], dict[str, NDArray[np.float32]]]:
    """What the first process is told, and what a norm gives on its half of the maps."""
    rank = joined()
    told = {
        "rank": rank,
        "world": parallel.world(),
        "from leader": parallel.from_leader(f"from {rank}"),
        "first given": parallel.first_given(f"from {rank}" if rank == 1 else None),
        "gathered": parallel.gathered(f"from {rank}"),
        "largest": parallel.largest(5 + rank),
        "summed": parallel.summed(torch.tensor([1.0, rank])).tolist(),
        "averaged": parallel.averaged(torch.tensor([1.0, rank])).tolist(),
    }
    maps, weights = (values.chunk(PROCESSES)[rank] for values in norm_inputs())
    results = norm_results(synced(fresh_norm()), maps, weights)
    return told, {name: values.numpy() for name, values in results.items()}


def presence_of(photos: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """What a detector learns of photos without objects, where each process has its part of them."""
    own = photos[parallel.rank() :: parallel.world()]
    presence = fit_presence(tiny_detector(), own, seed=0, fabric=cpu(), quiet=True)
    return np.append(presence.linear.weight.detach().numpy(), presence.linear.bias.detach().numpy())


def presence_of_two(photos: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """The second process's, if both have got the same."""
    joined()
    both = parallel.gathered(presence_of(photos))
    assert np.array_equal(both[0], both[1])
    return both[1]


def fail_in_the_second() -> None:
    """One process refuses what it is given, the other one waits for it."""
    if joined() == 1:
        raise InputError("the second has no photos")
    with parallel.naming_the_lost():
        parallel.barrier()


def resume_with_a_damaged_bank(path: Path) -> list[int]:
    """Save two epochs; the epochs from which both go on once the second one's labels of the last are damaged."""
    rank = joined()
    network = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    state = TrainingState(path, second_epoch_is_damaged if rank == 1 else every_epoch_is_whole)
    for epoch in (1, 2):
        state.save(epoch, network, optimizer)
    parallel.barrier()
    assert state.usable()
    epochs = torch.zeros(PROCESSES, dtype=torch.int64)
    epochs[rank] = state.restore(network, optimizer)
    return [int(epoch) for epoch in parallel.summed(epochs)]


def second_epoch_is_damaged(epoch: int) -> None:
    if epoch == 2:
        raise InputError("labels_0002.npy is damaged")


def every_epoch_is_whole(epoch: int) -> None:
    """Nothing is damaged here."""
