"""Model files: what comes back is what was written; damaged and foreign files are named."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from act2sal.a2s.activation import ActivationNetwork
from act2sal.a2s.detector import DetectorNetwork
from act2sal.networks.checkpoint import (
    CheckpointError,
    load_detector,
    load_stage1,
    read_metadata,
    save_detector,
    save_stage1,
)
from act2sal.networks.encoders import build_encoder
from act2sal.networks.official import convert_official


@pytest.fixture(scope="module")
def detector() -> DetectorNetwork:
    torch.manual_seed(0)
    net = DetectorNetwork(build_encoder("resnet10t", "random"), channels=8, attention=False, finest_stride=4)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            nn.init.normal_(module.running_mean)
    return net.eval()


@pytest.fixture
def saved(detector: DetectorNetwork, tmp_path: Path) -> Path:
    save_detector(tmp_path / "detector.safetensors", detector, metadata={"size": "320", "mean": "ours"})
    return tmp_path / "detector.safetensors"


@torch.no_grad()
def test_detector_comes_back(detector: DetectorNetwork, saved: Path) -> None:
    photos = torch.rand(1, 3, 40, 50)
    loaded = load_detector(saved)
    assert torch.equal(loaded(photos), detector(photos))
    assert (loaded.channels, loaded.attention, loaded.finest_stride) == (8, False, 4)
    assert loaded.encoder.spec == detector.encoder.spec
    assert not loaded.training


def test_metadata_of_the_caller_comes_back_and_collides_with_nothing(saved: Path) -> None:
    assert read_metadata(saved) == {"size": "320", "mean": "ours"}


def test_equal_content_gives_equal_bytes(detector: DetectorNetwork, saved: Path) -> None:
    first = saved.read_bytes()
    for _ in range(5):
        save_detector(saved, detector, metadata={"mean": "ours", "size": "320"})
        assert saved.read_bytes() == first
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_half_precision_is_for_the_weights_of_convolutions(detector: DetectorNetwork, tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    save_detector(path, detector, half=True)
    for name, tensor in safetensors.torch.load_file(path).items():
        if tensor.is_floating_point():
            assert tensor.dtype == (torch.float16 if tensor.ndim == 4 else torch.float32), name
    for name, tensor in load_detector(path).state_dict().items():
        torch.testing.assert_close(tensor, detector.state_dict()[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kept", [0, 7, 500, 0.5, -1])
def test_truncated_files_are_named(saved: Path, kept: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * kept) if isinstance(kept, float) else kept])
    with pytest.raises(CheckpointError, match=r"detector\.safetensors"):
        load_detector(saved)


def test_missing_and_foreign_files_are_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no model file .*absent"):
        load_detector(tmp_path / "absent.safetensors")
    with pytest.raises(CheckpointError, match=r"holds no act2sal stage 1: it is an act2sal detector"):
        load_stage1(saved)
    foreign = tmp_path / "foreign.safetensors"
    safetensors.torch.save_file({"a": torch.ones(1)}, foreign)
    with pytest.raises(
        CheckpointError, match=r"foreign\.safetensors holds no act2sal detector: it is a file of"
    ):
        load_detector(foreign)
    official = tmp_path / "official.pth"
    torch.save({"module.decoder.adapter0.0.weight": torch.ones(1)}, official)
    with pytest.raises(CheckpointError, match="act2sal convert"):
        load_detector(official)


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("version", "2", "has version 2"),
        ("channels", "16", r"such as adapters\.0\.0\.bias"),
        ("channels", "many", "invalid literal"),
        ("finest_stride", "3", "finest stride 3"),
        ("attention", "true", r"such as local\.attention\.0\.bias"),
        ("channels", None, "lacks the entry 'channels'"),
    ],
)
def test_files_that_contradict_themselves(saved: Path, entry: str, value: str | None, message: str) -> None:
    with safetensors.safe_open(saved, framework="pt") as stored:
        metadata = dict(stored.metadata())
    if value is None:
        del metadata[entry]
    else:
        metadata[entry] = value
    safetensors.torch.save_file(safetensors.torch.load_file(saved), saved, metadata)
    with pytest.raises(CheckpointError, match=rf"detector\.safetensors[\s\S]*{message}"):
        load_detector(saved)


@torch.no_grad()
def test_stage1_comes_back(tmp_path: Path) -> None:
    encoder = build_encoder("resnet10t", "random").eval()
    network = ActivationNetwork(
        in_channels=encoder.channels[2:], channels=8, fusion_stride=4, boundary="db4"
    ).eval()
    network.set_scales([torch.rand(c) for c in network.in_channels])
    save_stage1(tmp_path / "stage1.safetensors", network, encoder, metadata={"size": "224"})
    loaded, loaded_encoder = load_stage1(tmp_path / "stage1.safetensors")
    photos = torch.rand(1, 3, 64, 64)
    assert torch.equal(loaded(loaded_encoder(photos)[2:]).theta, network(encoder(photos)[2:]).theta)
    assert (loaded.boundary, loaded.fusion_stride) == ("db4", 4)
    assert read_metadata(tmp_path / "stage1.safetensors") == {"size": "224"}


def test_conversion_names_what_is_wrong(saved: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.safetensors"
    with pytest.raises(CheckpointError, match=r"no checkpoint .*absent"):
        convert_official(tmp_path / "absent.pth", target)
    with pytest.raises(CheckpointError, match="neither a stage 1 nor a detector"):
        convert_official(saved, target)
    torch.save({"decoder.adapter0.0.weight": torch.ones(1)}, tmp_path / "bare.pth")
    with pytest.raises(CheckpointError, match=r"bare\.pth is not as the official code writes it: .*missing"):
        convert_official(tmp_path / "bare.pth", target)
    resnet = build_encoder("resnet50", "random").body.state_dict()
    strange = {f"encoder.{name}": tensor for name, tensor in resnet.items()}
    strange |= {"decoder.adapter0.0.weight": torch.ones(1), "decoder.head.bias": torch.ones(1)}
    torch.save(strange, tmp_path / "strange.pth")
    with pytest.raises(CheckpointError, match=r"strange\.pth is not .*: unknown tensor decoder\.head\.bias"):
        convert_official(tmp_path / "strange.pth", target)
    (tmp_path / "noise.pth").write_bytes(b"noise")
    with pytest.raises(CheckpointError, match=r"noise\.pth"):
        convert_official(tmp_path / "noise.pth", target)
    assert not target.exists()
