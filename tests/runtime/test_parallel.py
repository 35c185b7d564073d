"""Several processes: that they agree with one, and what happens when one of them ends."""

import json
import multiprocessing
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

import parallel_work
from act2sal.config import ConfigError, TrainConfig
from act2sal.data.label_bank import LabelBank
from act2sal.errors import InputError, LostProcessError
from act2sal.networks.checkpoint import load_detector
from act2sal.runs.run_directory import RunError
from act2sal.runtime import launching, parallel
from act2sal.scenes import write_scenes
from act2sal.training import epochs
from act2sal.training.pipeline import train
from act2sal.training.sampling import batches, epoch_generator, flip_flags
from act2sal.training.stage1 import fit as first_fit
from act2sal.training.stage1 import self_training
from act2sal.training.stage2 import batches as batches_of_stage2
from parallel_work import (
    PROCESSES,
    fail_in_the_second,
    fresh_norm,
    norm_inputs,
    norm_results,
    presence_of,
    presence_of_two,
    resume_with_a_damaged_bank,
    talk,
)
from tiny import files_of, random_squares, tiny_config

PHOTOS = 9
EPOCHS = 3


def config() -> TrainConfig:
    """A short training in float32; pixels are left out of no loss, as every process would draw others."""
    stage1 = {"epochs": 1, "round_epochs": 1, "drop_pixels": 0.0}
    return replace(tiny_config(stage1=stage1, stage2={"epochs": EPOCHS}), precision="float32")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An odd number of photos, so that one process has one less."""
    folder = tmp_path_factory.mktemp("photos")
    write_scenes(folder, PHOTOS, seed=3, size=(72, 96))
    return folder / "photos"


@pytest.fixture(scope="module")
def two(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run directory of a training in two processes."""
    run = tmp_path_factory.mktemp("two") / "run"
    assert train(photos, run, replace(config(), devices=PROCESSES), quiet=True).photos == PHOTOS
    return run


@dataclass
class Generators:
    """Those of two processes."""

    both: list[torch.Generator]


def step_as_two(monkeypatch: pytest.MonkeyPatch, ranks: list[int]) -> None:
    """Let this process take the photos and the flips of two processes into each of its steps.

    ranks: whose photos stand first in a batch; the sums over it are the same but for their rounding.
    """

    def generators(seed: int, epoch: int) -> Generators:
        return Generators([epoch_generator(seed, epoch, rank) for rank in ranks])

    def own_photos(rank: int, size: int, generator: torch.Generator) -> list[list[int]]:
        owned = range(rank, PHOTOS, PROCESSES)
        cut = batches(len(owned), size // PROCESSES, generator, length=-(-PHOTOS // PROCESSES))
        return [[owned[index] for index in batch] for batch in cut]

    def joined_batches(count: int, size: int, drawn: Generators) -> list[list[int]]:
        parts = (own_photos(rank, size, own) for rank, own in zip(ranks, drawn.both, strict=True))
        return [first + second for first, second in zip(*parts, strict=True)]

    def joined_flags(count: int, drawn: Generators) -> Tensor:
        halves = [flip_flags(-(-count // PROCESSES), generator) for generator in drawn.both]
        return torch.cat(halves)[:count]

    for module in (epochs, batches_of_stage2):
        monkeypatch.setattr(module, "own_generator", generators)
    monkeypatch.setattr(epochs, "own_batches", joined_batches)
    for module in (first_fit, self_training, batches_of_stage2):
        monkeypatch.setattr(module, "flip_flags", joined_flags)


@pytest.fixture(scope="module")
def one(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same steps in one process, in both orders of the photos within a batch."""
    folder = tmp_path_factory.mktemp("one")
    for ranks in ([0, 1], [1, 0]):
        with pytest.MonkeyPatch.context() as monkeypatch:
            step_as_two(monkeypatch, ranks)
            train(photos, folder / str(ranks[0]), config(), quiet=True)
    return [folder / "0", folder / "1"]


def losses(run: Path) -> NDArray[np.float64]:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return np.array([row["loss"] for row in rows if "loss" in row])


def rectified(run: Path) -> NDArray[np.int64]:
    """The labels as stage 2 has left them, (N, S, S)."""
    folder = run / "checkpoints" / "labels"
    parts = [folder / f"process-{rank}-of-{PROCESSES}" for rank in range(PROCESSES)]
    banks = [LabelBank(part, epoch=EPOCHS) for part in (parts if parts[0].is_dir() else [folder])]
    found = np.zeros((PHOTOS, *banks[0].shape[1:]), np.int64)
    for rank, bank in enumerate(banks):
        found[rank :: len(banks)] = bank.read(range(len(bank)))[:, 0].numpy()
    return found


def test_two_processes_agree_with_one(two: Path, one: list[Path]) -> None:
    """Within ten times what the order of the sums alone does to one process, or one rounding of a float32.

    Rectified labels are rounded to whole levels, so that what is equal but for rounding differs by one at most.
    """
    first, second = losses(one[0]), losses(one[1])
    assert first.shape == (1 + 1 + EPOCHS,)
    rounding = max(float(np.abs(first / second - 1).max()), float(np.finfo(np.float32).eps))
    assert rounding < 1e-5
    np.testing.assert_allclose(losses(two), first, rtol=10 * rounding)
    assert files_of(two / "labels") == files_of(one[0] / "labels")
    difference = np.abs(rectified(two) - rectified(one[0]))
    assert difference.max() <= 1
    assert difference.mean() < 0.01


def test_a_killed_process_ends_the_run_and_torchrun_goes_on_with_it(
    photos: Path, two: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    known = set(multiprocessing.active_children())
    killer = threading.Thread(target=kill_in_stage2, args=(run, known), daemon=True)
    killer.start()
    with pytest.raises(
        LostProcessError, match=r"^process 2 of 2 on this machine ended by signal 9; .*--resume"
    ):
        train(photos, run, replace(config(), devices=PROCESSES), quiet=True)
    killer.join()
    assert not set(multiprocessing.active_children()) - known
    assert not (run / "detector.safetensors").exists()
    with pytest.raises(RunError, match=r"devices x num_nodes = 2, now 1"):
        train(photos, run, config(), resume=True, quiet=True)
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={PROCESSES}"]
    command = [*torchrun, "-m", "act2sal.cli", "train", str(photos), "--out", str(run), "--resume", "--quiet"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained on 9 photos") == 1
    for name in ("detector.safetensors", "stage1.safetensors"):
        assert (run / name).read_bytes() == (two / name).read_bytes()
    assert files_of(run / "labels") == files_of(two / "labels")
    assert (rectified(run) == rectified(two)).all()
    assert (losses(run) == losses(two)).all()


def kill_in_stage2(run: Path, known: set[multiprocessing.process.BaseProcess]) -> None:
    """Kill the second process of a training once an epoch of stage 2 is over."""
    log = run / "log.jsonl"
    while not (log.is_file() and '"stage2"' in log.read_text()):
        time.sleep(0.01)
    processes = sorted(set(multiprocessing.active_children()) - known, key=lambda process: process.pid or 0)
    processes[1].kill()


def test_what_processes_tell_each_other_and_a_norm_over_both() -> None:
    told, norm = launching.run(TrainConfig(devices=PROCESSES), talk)
    assert told == {
        "rank": 0,
        "world": 2,
        "from leader": "from 0",
        "first given": "from 1",
        "gathered": ["from 0", "from 1"],
        "largest": 6,
        "summed": [2.0, 1.0],
        "averaged": [1.0, 0.5],
    }
    whole = norm_results(fresh_norm(), *norm_inputs())
    for name in ("maps", "gradient of maps", "later"):
        whole[name] = whole[name].chunk(PROCESSES)[0]
    assert norm.keys() == whole.keys()
    for name, values in whole.items():
        np.testing.assert_allclose(norm[name], values.numpy(), rtol=1e-5, atol=1e-5, err_msg=name)


def test_two_processes_learn_of_photos_without_objects_what_one_does() -> None:
    photos = random_squares(5)
    np.testing.assert_allclose(
        launching.run(TrainConfig(devices=PROCESSES), partial(presence_of_two, photos)),
        presence_of(photos),
        rtol=1e-3,
        atol=1e-5,
    )


def test_two_processes_take_every_way_that_one_takes(photos: Path, tmp_path: Path) -> None:
    """Two generations, another size in stage 2, a profile, a detector on labels that were given."""
    options = replace(config(), devices=PROCESSES, generations=2)
    options = replace(options, stage2=replace(options.stage2, epochs=1, size=32))
    run = tmp_path / "run"
    assert train(photos, run, options, quiet=True, profile=True).photos == PHOTOS
    profile = json.loads((run / "profile.json").read_text())
    assert {"Generation 1, stage 1", "Generation 1, stage 2", "Generation 2, stage 2"} <= set(profile)
    generations = {
        row.get("generation") for row in map(json.loads, (run / "log.jsonl").read_text().splitlines())
    }
    assert {1, 2} <= generations
    assert len(list((run / "labels").glob("*.png"))) == PHOTOS
    given = replace(options, generations=1, given_labels=str(run / "labels"))
    assert train(photos, tmp_path / "given", given, quiet=True).photos == PHOTOS
    assert files_of(tmp_path / "given" / "labels") == files_of(run / "labels")
    for folder in (run, tmp_path / "given"):
        assert load_detector(folder / "detector.safetensors").presence is not None


def test_damage_that_one_process_finds_sends_all_back_an_epoch(tmp_path: Path) -> None:
    work = partial(resume_with_a_damaged_bank, tmp_path / "stage2.pt")
    assert launching.run(TrainConfig(devices=PROCESSES), work) == [1, 1]
    assert {path.name for path in tmp_path.iterdir()} == {"stage2.damaged.pt", "stage2.previous.pt"}


def test_what_one_process_says_ends_all() -> None:
    with pytest.raises(InputError, match=r"^the second has no photos\n"):
        launching.run(TrainConfig(devices=PROCESSES), fail_in_the_second)


def test_one_process_has_nobody_to_talk_to(tmp_path: Path) -> None:
    assert (parallel.rank(), parallel.world(), parallel.leads()) == (0, 1, True)
    assert parallel.own_folder(tmp_path) == tmp_path
    assert parallel.from_leader("mine") == "mine"
    assert parallel.largest(3) == 3
    assert parallel.averaged(torch.tensor([3.0])).tolist() == [3.0]
    norm = parallel_work.fresh_norm()
    assert type(parallel_work.synced(norm)[0]) is torch.nn.BatchNorm2d
    with parallel.leader_first():
        parallel.barrier()


@given(count=st.integers(2, 60), processes=st.integers(2, 8), size=st.integers(2, 6), seed=st.integers(0, 9))
def test_processes_take_as_many_steps_and_leave_no_photo_out(
    count: int, processes: int, size: int, seed: int
) -> None:
    longest = -(-count // processes)
    cuts = []
    for rank in range(min(processes, count)):
        owned = len(range(rank, count, processes))
        cut = batches(owned, size, epoch_generator(seed, 0, rank), length=longest)
        assert {index for batch in cut for index in batch} == set(range(owned))
        cuts.append([len(batch) for batch in cut])
    assert all(lengths == cuts[0] for lengths in cuts)


def test_the_order_differs_between_processes_and_epochs() -> None:
    orders = {str(batches(40, 8, epoch_generator(0, epoch, rank))) for epoch in range(3) for rank in range(3)}
    assert len(orders) == 9


@pytest.mark.parametrize(
    ("options", "size"),
    [({"devices": 3}, 8), ({"devices": 2, "num_nodes": 4}, 8), ({"devices": 2}, 2)],
    ids=["no multiple", "one photo each", "one photo each"],
)
def test_a_batch_has_to_be_cut_evenly(options: dict[str, int], size: int) -> None:
    stages = tiny_config(stage1={"batch_size": size}, stage2={"batch_size": size})
    with pytest.raises(ConfigError, match=rf"stage1\.batch_size must be a multiple of the .*, not {size}$"):
        replace(stages, **options)  # type: ignore[arg-type]


def test_a_machine_has_to_know_its_number(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="NODE_RANK, MASTER_ADDR, MASTER_PORT in the environment"):
        train(photos, tmp_path / "run", replace(config(), num_nodes=2), quiet=True)
    assert not (tmp_path / "run").exists()
