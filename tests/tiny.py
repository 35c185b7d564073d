"""What the tests of the training need: rendered photos and options for which a whole run takes a few seconds."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from act2sal.a2s.detector import DetectorNetwork
from act2sal.config import Stage1Config, Stage2Config, TrainConfig
from act2sal.networks.encoders import Encoder, build_encoder
from act2sal.runs.training_state import LogRow, TrainingState

SIZE = 64
ENCODER = "test_efficientnet"


def stop_after(saves: int, patch: pytest.MonkeyPatch) -> None:
    """Interrupt the training right after so many checkpoints were saved."""
    save: Callable[..., None] = TrainingState.save
    times = 0

    def stop(self: TrainingState, *args: Any, **options: Any) -> None:
        nonlocal times
        save(self, *args, **options)
        times += 1
        if times == saves:
            raise KeyboardInterrupt

    patch.setattr(TrainingState, "save", stop)


def tiny_config(*, stage1: dict[str, Any] | None = None, stage2: dict[str, Any] | None = None) -> TrainConfig:
    """Both stages on a tiny encoder at 64 x 64, with one round of self-training and one epoch of warm-up."""
    first = Stage1Config(
        epochs=2, batch_size=4, milestones=(1,), channels=8, texture=0.0, rounds=1, round_epochs=2
    )
    second = Stage2Config(epochs=3, batch_size=4, channels=8, rectify_warmup=1)
    return TrainConfig(
        encoder=ENCODER,
        encoder_weights="random",
        size=SIZE,
        device="cpu",
        workers=1,
        stage1=replace(first, **(stage1 or {})),
        stage2=replace(second, **(stage2 or {})),
    )


def tiny_arguments() -> list[str]:
    """`tiny_config()` on the command line."""
    pairs = {
        "encoder": ENCODER,
        "encoder-weights": "random",
        "size": SIZE,
        "device": "cpu",
        "workers": 1,
        "stage1.epochs": 2,
        "stage1.batch-size": 4,
        "stage1.milestones": 1,
        "stage1.channels": 8,
        "stage1.texture": 0,
        "stage1.rounds": 1,
        "stage1.round-epochs": 2,
        "stage2.epochs": 3,
        "stage2.batch-size": 4,
        "stage2.channels": 8,
        "stage2.rectify-warmup": 1,
    }
    return [word for name, value in pairs.items() for word in (f"--{name}", str(value))]


def tiny_encoder(seed: int = 0) -> Encoder:
    """The tiny encoder with weights drawn from `seed`, in train mode as it comes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_encoder(ENCODER, "random")


def tiny_detector() -> DetectorNetwork:
    """A detector on the tiny encoder, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DetectorNetwork(build_encoder(ENCODER, "random"), channels=8, finest_stride=4).eval()


def random_squares(count: int, *, size: int = SIZE, seed: int = 0) -> list[NDArray[np.uint8]]:
    """`count` squares of smooth noise, (size, size, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, size // 8, size // 8, 3), dtype=np.uint8)
    return list(coarse.repeat(8, axis=1).repeat(8, axis=2))


def cpu() -> Fabric:
    """Fabric on the CPU in float32."""
    return Fabric(accelerator="cpu", devices=1)


class Rows(list[dict[str, float | int | str]]):
    """A log that keeps its rows."""

    def __call__(self, row: LogRow) -> None:
        self.append(dict(row))


def files_of(folder: Path) -> dict[str, bytes]:
    """Contents of all files of a folder that are not hidden, by relative path."""
    found = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
