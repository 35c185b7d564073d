"""Batches, flips, learning rates, generators and checkpoints: what makes a resumed run exact."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from act2sal.errors import InputError
from act2sal.runs.training_state import TrainingState
from act2sal.training.sampling import batches, epoch_generator, flip_flags
from act2sal.training.schedules import learning_rate, one_cycle


@given(count=st.integers(1, 60), size=st.integers(2, 12), seed=st.integers(0, 99))
def test_batches_hold_every_index_once_and_none_is_alone(count: int, size: int, seed: int) -> None:
    cut = batches(count, size, epoch_generator(seed, 0))
    assert sorted(index for batch in cut for index in batch) == list(range(count))
    assert all(len(batch) == size for batch in cut[:-1])
    assert len(cut[-1]) in range(min(2, count), size + 2)


@pytest.mark.parametrize(
    ("count", "size", "lengths"),
    [(8, 4, [4, 4]), (9, 4, [4, 5]), (10, 4, [4, 4, 2]), (3, 8, [3]), (1, 8, [1]), (5, 2, [2, 3])],
)
def test_a_photo_left_over_joins_the_batch_before(count: int, size: int, lengths: list[int]) -> None:
    assert [len(batch) for batch in batches(count, size, epoch_generator(0, 0))] == lengths


def test_the_order_changes_with_epoch_and_seed_alone() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        return batches(40, 8, epoch_generator(seed, epoch))

    assert order(0, 3) == order(0, 3)
    assert order(0, 3) != order(0, 4)
    assert order(0, 3) != order(1, 3)


def test_generators_of_seeds_and_epochs_do_not_coincide() -> None:
    seeds = {
        epoch_generator(seed, epoch).initial_seed() for seed in range(30) for epoch in (-1, 0, 1, 999, 3001)
    }
    assert len(seeds) == 150
    assert epoch_generator(2, 5).initial_seed() == 2_000_011
    assert epoch_generator(0, -1).initial_seed() == 2**63 - 1


def test_half_of_the_photos_are_mirrored() -> None:
    flags = flip_flags(10_000, epoch_generator(0, 0))
    assert flags.dtype == torch.bool
    assert flags.shape == (10_000,)
    assert 0.48 < flags.float().mean() < 0.52


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 1.0), (9, 1.0), (10, 0.1), (15, 0.1), (16, 0.01), (19, 0.01)]
)
def test_the_learning_rate_of_the_paper(epoch: int, rate: float) -> None:
    assert learning_rate(1.0, epoch, (10, 16)) == pytest.approx(rate)


def test_a_learning_rate_without_milestones_stays() -> None:
    assert learning_rate(0.3, 100, ()) == 0.3


def trained(steps: int, state: TrainingState) -> nn.Linear:
    """A linear layer after `steps` steps of SGD with momentum; goes on from `state` and saves every step."""
    torch.manual_seed(0)
    network = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for step in range(state.restore(network, optimizer), steps):
        inputs = torch.rand(4, 3, generator=epoch_generator(0, step))
        optimizer.zero_grad()
        network(inputs).square().mean().backward()
        optimizer.step()
        state.save(step + 1, network, optimizer)
    return network


def test_a_resumed_loop_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = trained(5, TrainingState(tmp_path / "whole.pt"))
    trained(2, TrainingState(tmp_path / "parts.pt"))
    resumed = trained(5, TrainingState(tmp_path / "parts.pt"))
    assert torch.equal(whole.weight, resumed.weight)
    assert torch.equal(whole.bias, resumed.bias)


def test_nothing_saved_is_epoch_zero_and_leaves_the_network(tmp_path: Path) -> None:
    network = nn.Linear(2, 1)
    before = network.weight.clone()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    assert TrainingState(tmp_path / "none.pt").restore(network, optimizer) == 0
    assert torch.equal(network.weight, before)


def test_a_saved_state_gives_back_the_epoch_and_leaves_no_other_file(tmp_path: Path) -> None:
    network = nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(network.parameters())
    state = TrainingState(tmp_path / "deeper" / "state.pt")
    state.save(3, network, optimizer)
    state.save(4, network, optimizer)
    assert state.restore(network, optimizer) == 4
    assert sorted(path.name for path in state.path.parent.iterdir()) == ["state.previous.pt", "state.pt"]


def saved_twice(folder: Path, check: Callable[[int], None] = lambda _: None) -> TrainingState:
    """A state whose weight is 3 after epoch 3 and 4 after epoch 4."""
    state = TrainingState(folder / "state.pt", check)
    network = nn.Linear(1, 1)
    for epoch in (3, 4):
        nn.init.constant_(network.weight, epoch)
        state.save(epoch, network, torch.optim.AdamW(network.parameters()))
    return state


def restored(state: TrainingState) -> tuple[int, float]:
    """The epoch and the weight; -1 where the network was left as it was."""
    network = nn.Linear(1, 1)
    nn.init.constant_(network.weight, -1)
    return state.restore(network, torch.optim.AdamW(network.parameters())), network.weight.item()


@pytest.mark.parametrize("kept", [0, 1, 30, 0.5, 0.9, -1])
def test_of_a_file_that_is_cut_the_one_before_is_used(
    kept: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = saved_twice(tmp_path)
    whole = state.path.read_bytes()
    state.path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    assert restored(state) == (3, 3)
    assert caplog.messages == [f"{tmp_path}/state.pt is damaged; going on from epoch 3"]
    assert restored(state) == (3, 3)
    assert len(caplog.messages) == 1
    assert state.usable()


def test_any_byte_that_changed_is_noticed_or_harmless(tmp_path: Path) -> None:
    state = saved_twice(tmp_path)
    whole, before = state.path.read_bytes(), state.previous.read_bytes()
    noticed = 0
    for place in range(0, len(whole), 3):
        state.previous.write_bytes(before)
        state.path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        found = restored(state)
        assert found in ((4, 4), (3, 3)), f"byte {place}"
        noticed += found == (3, 3)
    assert noticed > 100


def test_two_damaged_files_are_named_and_it_begins_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = saved_twice(tmp_path)
    for path in (state.path, state.previous):
        path.write_bytes(b"no checkpoint")
    assert restored(state) == (0, -1)
    assert not state.usable()
    assert caplog.messages == [
        f"{tmp_path}/state.pt is damaged; beginning anew",
        f"{tmp_path}/state.previous.pt is damaged; beginning anew",
    ]


def test_killed_between_the_two_renamings_the_one_before_is_used(tmp_path: Path) -> None:
    state = saved_twice(tmp_path)
    state.path.unlink()
    assert restored(state) == (3, 3)


def test_a_good_file_is_not_replaced_by_a_damaged_one(tmp_path: Path) -> None:
    state = saved_twice(tmp_path)
    state.path.write_bytes(b"no checkpoint")
    network = nn.Linear(1, 1)
    optimizer = torch.optim.AdamW(network.parameters())
    state.restore(network, optimizer)
    state.save(4, network, optimizer)
    state.path.unlink()
    assert restored(state) == (3, 3)


def test_an_epoch_whose_other_files_are_damaged_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def check(epoch: int) -> None:
        if epoch == 4:
            raise InputError("labels of epoch 4 are damaged")

    assert restored(saved_twice(tmp_path, check)) == (3, 3)
    assert caplog.messages == ["labels of epoch 4 are damaged; going on from epoch 3"]


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    state = saved_twice(tmp_path)
    network = nn.Linear(1, 1)
    nn.init.constant_(network.bias, float("nan"))
    with pytest.raises(FloatingPointError, match="the weights of state are no longer finite after epoch 5"):
        state.save(5, network, torch.optim.AdamW(network.parameters()))
    assert restored(state) == (4, 4)


@pytest.mark.parametrize(
    ("share", "rate"),
    [
        (0.0, 0.0),
        (0.05, 1.0),
        (0.1, 2.0),
        (0.325, 1 + math.cos(math.pi / 4)),
        (0.55, 1.0),
        (1.0, 0.0),
    ],
)
def test_one_cycle_by_hand(share: float, rate: float) -> None:
    assert one_cycle(share, 2.0) == pytest.approx(rate, abs=1e-12)


@given(a=st.floats(0, 1), b=st.floats(0, 1))
def test_one_cycle_rises_to_a_tenth_and_falls_after(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert 0 <= one_cycle(low, 1.0) <= 1
    if high <= 0.1:
        assert one_cycle(low, 1.0) <= one_cycle(high, 1.0) + 1e-12
    if low >= 0.1:
        assert one_cycle(low, 1.0) >= one_cycle(high, 1.0) - 1e-12
