"""Training and prediction on a pretended GPU: nothing of the host meets what is on the device."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from act2sal.a2s.activation import ActivationNetwork
from act2sal.a2s.boundary import BoundaryKind
from act2sal.cli import main
from act2sal.config import TrainConfig
from act2sal.data.images import read_photo
from act2sal.presets import PRESETS
from act2sal.runs.run_directory import RunDirectory
from act2sal.training.pipeline import train
from act2sal.training.stage1 import rounds
from act2sal.training.stage1.features import Features
from act2sal.training.stage1.fit import activation_network
from act2sal.training.stage1.stage import Stage1
from act2sal.training.stage2 import fit as stage2
from pretended_gpu import DEVICE, Tally, on_gpu, pretended_gpu
from tiny import ENCODER, SIZE, files_of, tiny_config

MIXED = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu"


def on_device() -> Tensor:
    return torch.ones(2, 3, 4, 4, device="cuda")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: on_device() + torch.ones(4), MIXED),
        (lambda: torch.ones(4).add_(on_device()[0, 0, 0]), MIXED),
        (lambda: torch.zeros(()).add_(on_device().sum()), MIXED),
        (lambda: torch.cat([on_device(), torch.ones(2, 3, 4, 4)]), MIXED),
        (lambda: torch.stack([on_device().sum(), torch.zeros(())]), MIXED),
        (lambda: torch.ones(4)[torch.zeros(1, dtype=torch.long, device="cuda")], MIXED),
        (lambda: nn.Conv2d(3, 1, 1)(on_device()), MIXED),
        (lambda: on_device().numpy(), "can't convert cuda:0 device type tensor to numpy"),
        (lambda: np.asarray(on_device()), "can't convert cuda:0 device type tensor to numpy"),
        (lambda: on_device().pin_memory(), "cannot pin"),
        (lambda: torch.rand(2, device="cuda", generator=torch.Generator()), "Expected a 'cuda' device type"),
        (lambda: on_device().uniform_(generator=torch.Generator()), "Expected a 'cuda' device type"),
    ],
)
def test_what_cuda_refuses_is_refused(wrong: Callable[[], Any], message: str) -> None:
    with pretended_gpu(), pytest.raises((RuntimeError, TypeError), match=message):
        wrong()


def test_what_cuda_takes_is_taken() -> None:
    with pretended_gpu():
        there, number = on_device(), torch.tensor(2.0)
        for result in (there * number, there[torch.tensor([0])], there.masked_fill(there > 0, number)):
            assert on_gpu(result)
        host = torch.empty(2, 3, 4, 4, pin_memory=True)
        host.copy_(there)
        for result in (host, there.cpu(), there.to("cpu"), torch.ones(1).to(host)):
            assert not on_gpu(result)
        assert (there.device, there.cpu().device) == (DEVICE, torch.device("cpu"))
        assert float(there.sum()) == 96


def test_gradients_and_optimisers_are_where_the_weights_are() -> None:
    with pretended_gpu():
        module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 1, 1)).to(DEVICE)
        optimizer = torch.optim.AdamW(module.parameters(), fused=True)
        module(on_device()).square().mean().backward()
        optimizer.step()
        for weight in module.parameters():
            assert weight.grad is not None
            assert on_gpu(weight)
            assert on_gpu(weight.grad)
            assert all(on_gpu(value) for value in optimizer.state[weight].values())


def tiny(preset: TrainConfig) -> TrainConfig:
    """A preset on a tiny encoder with small photos, few epochs and narrow blocks.

    Detectors of other papers, which have no narrow form, get one epoch.
    """
    shortened: dict[str, Any] = {"epochs": 2, "batch_size": 4, "milestones": (1,), "channels": 8}
    passes: dict[str, Any] = {} if preset.detector == "a2s" else {"epochs": 1, "milestones": ()}
    return replace(
        preset,
        encoder=ENCODER,
        encoder_weights="random",
        size=SIZE,
        workers=1,
        device="cuda",
        stage1=replace(preset.stage1, **shortened, round_epochs=2),
        stage2=replace(
            preset.stage2, **shortened | passes, rectify_warmup=1, encoder=None, encoder_weights=None
        ),
        rival=replace(preset.rival, epochs=1, last_epochs=2),
    )


def changed(*, stage1: dict[str, Any] | None = None, stage2: dict[str, Any] | None = None) -> TrainConfig:
    """`tiny.tiny_config` on the device."""
    return replace(tiny_config(stage1=stage1, stage2=stage2), device="cuda")


def trained_on_gpu(
    photos: Path, run: Path, config: TrainConfig, *, free: int = 2**36, **options: Any
) -> Tally:
    """A whole training."""
    with pretended_gpu(free=free) as tally:
        train(photos, run, config, quiet=True, **options)
    assert tally.operations > 1000
    assert (run / "detector.safetensors").is_file()
    return tally


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset(name: str, scenes: Path, tmp_path: Path) -> None:
    trained_on_gpu(scenes / "photos", tmp_path / "run", tiny(PRESETS[name]), profile=True)


WAYS = {
    "two generations, int8": replace(
        changed(stage1={"precision": "int8", "mirror": "photos"}, stage2={"epochs": 2}), generations=2
    ),
    "float32": replace(changed(), precision="float32"),
    "encoder trained along": changed(stage1={"freeze_encoder": False}),
    "statistics drift": changed(stage1={"batchnorm_drift": True, "random_gain": True, "boundary": "db1"}),
    "HMA": changed(stage1={"boundary": "db4", "use_e3": False}, stage2={"rectifier": "hma", "crop": 0.5}),
    "views": changed(stage2={"view": 48, "crop": 0.5, "jitter": 0.2, "flip_once": True, "loss_ssim": 1.0}),
    "A2S-v2 and v3": changed(
        stage1={"distance": "falling", "curriculum": True, "scale_consistency": 1.0, "texture": 0.05}
        | {"second_sizes": (-32, 32)},
        stage2={"view_sides": (48, 64), "scale_consistency": 1.0, "second_sizes": (-16, 16), "average": 0.9}
        | {"frozen_epochs": 1},
    ),
    "two encoders": changed(stage1={"sign": "corners"}, stage2={"encoder": "test_resnet", "size": 96}),
}


@pytest.mark.parametrize("name", WAYS)
def test_every_way_to_train(name: str, scenes: Path, tmp_path: Path) -> None:
    trained_on_gpu(scenes / "photos", tmp_path / "run", WAYS[name])


@pytest.mark.parametrize("cache_size", [None, 0.0], ids=["on disk", "nowhere"])
def test_features_that_do_not_fit_on_the_device(
    cache_size: float | None, scenes: Path, tmp_path: Path
) -> None:
    config = replace(changed(stage1={"precision": "int8"}, stage2={"epochs": 1}), cache_size=cache_size)
    trained_on_gpu(scenes / "photos", tmp_path / "run", config, free=0)


def test_compiled(scenes: Path, tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler itself is CUDA's own; what is around it is not."""
    monkeypatch.setattr(stage2, "COMPILER", "eager")
    given = replace(changed(stage2={"compile": True}), given_labels=str(trained / "labels"))
    trained_on_gpu(scenes / "photos", tmp_path / "run", given)


def test_a_teacher_and_given_labels(trained: Path, scenes: Path, tmp_path: Path) -> None:
    trained_on_gpu(scenes / "photos", tmp_path / "taught", replace(changed(), teacher=str(trained)))
    given = replace(changed(), given_labels=str(trained / "labels"))
    trained_on_gpu(scenes / "photos", tmp_path / "given", given)


@pytest.fixture(scope="module")
def on_gpu_run(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a training on the device; not to be changed."""
    run = tmp_path_factory.mktemp("on_gpu") / "run"
    trained_on_gpu(scenes / "photos", run, changed())
    return run


def test_a_run_that_is_stopped_goes_on_to_the_bit(
    on_gpu_run: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the second epoch of each loop; weights and optimiser come back from the file to the device."""
    kept = RunDirectory.log
    stops = [("stage1", 2), ("stage1 round 1", 2), ("stage2", 2)]

    def stopping(self: RunDirectory, row: Any) -> None:
        if (row["stage"], row["epoch"]) in stops:
            stops.remove((row["stage"], row["epoch"]))
            raise KeyboardInterrupt
        kept(self, row)

    monkeypatch.setattr(RunDirectory, "log", stopping)
    run = tmp_path / "run"
    for _ in range(3):
        with pretended_gpu(), pytest.raises(KeyboardInterrupt):
            train(scenes / "photos", run, changed(), resume=True, quiet=True)
    trained_on_gpu(scenes / "photos", run, changed(), resume=True)
    assert files_of(run / "labels") == files_of(on_gpu_run / "labels")
    assert (run / "detector.safetensors").read_bytes() == (on_gpu_run / "detector.safetensors").read_bytes()


def test_a_run_of_the_device_goes_on_without_it(on_gpu_run: Path, scenes: Path, tmp_path: Path) -> None:
    run = shutil.copytree(on_gpu_run, tmp_path / "run")
    (run / "detector.safetensors").unlink()
    for state in (run / "checkpoints").glob("stage2.pt"):
        state.with_name("stage2.previous.pt").replace(state)
    train(scenes / "photos", run, replace(changed(), device="cpu"), resume=True, quiet=True)
    assert (run / "detector.safetensors").is_file()


def command(*arguments: str | Path) -> Tally:
    """A command that succeeds, on the device."""
    with pretended_gpu() as tally:
        assert main([str(argument) for argument in arguments]) == 0
    return tally


def test_labels(on_gpu_run: Path, scenes: Path, tmp_path: Path) -> None:
    words = {"--encoder": ENCODER, "--encoder-weights": "random", "--size": SIZE, "--stage1.epochs": 2}
    words |= {"--stage1.rounds": 1, "--stage1.batch-size": 4, "--stage1.channels": 8}
    fresh = [str(word) for pair in words.items() for word in pair]
    at_photo_size = shutil.copytree(on_gpu_run, tmp_path / "at photo size")
    toml = (at_photo_size / "config.toml").read_text()
    changed = toml.replace("cues_at_photo_size = false", "cues_at_photo_size = true")
    (at_photo_size / "config.toml").write_text(changed)
    assert changed != toml
    for name, how in (("new", fresh), ("run", ["--run", on_gpu_run]), ("size", ["--run", at_photo_size])):
        options = ("--out", tmp_path / name, "--device", "cuda", "--workers", "1", "--quiet")
        assert command("label", scenes / "photos", *how, *options).operations > 100
    for label in (on_gpu_run / "labels").iterdir():
        apart = read_photo(label) != read_photo(tmp_path / "run" / label.name)
        assert apart.mean() < 0.02  # features in bfloat16 may differ in their last bit with the batch


def test_predictions_are_those_of_the_cpu(on_gpu_run: Path, scenes: Path, tmp_path: Path) -> None:
    photos = scenes / "photos"
    for name, device in (("there", "cuda"), ("here", "cpu")):
        options = ("--model", on_gpu_run, "--device", device, "--json", tmp_path / f"{name}.json", "--quiet")
        tally = command("predict", photos, "--out", tmp_path / name, "--refine", "crf", *options)
        assert (tally.operations > 10) == (device == "cuda")
    for there in (tmp_path / "there").iterdir():
        apart = read_photo(there).astype(int) - read_photo(tmp_path / "here" / there.name)
        assert np.abs(apart).max() <= 1


def test_comparison_and_export(on_gpu_run: Path, scenes: Path, tmp_path: Path) -> None:
    model = ("--model", on_gpu_run)
    compared = ("--out", tmp_path / "sheet.png", "--methods", "a2s", "--device", "cuda", "--quiet")
    assert command("compare", scenes / "photos", *model, *compared).operations > 10
    assert (
        main(["export", *map(str, model), "--out", str(tmp_path / "model.onnx")]) == 0
    )  # computed on the CPU


def test_blocks_that_are_asked_before_they_are_moved_are_found(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard is not blind: what this package once did wrong is found."""

    def left_behind(features: Features, stage: Stage1, number: int = 0) -> ActivationNetwork:
        boundary: BoundaryKind | None = "affine" if number else None
        return activation_network(features, stage.config.stage1, seed=number, boundary=boundary)

    monkeypatch.setattr(rounds, "_fresh_blocks", left_behind)
    with pretended_gpu(), pytest.raises(RuntimeError, match=MIXED):
        train(scenes / "photos", tmp_path / "run", changed(), quiet=True)
