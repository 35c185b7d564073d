"""ONNX files: the maps of PyTorch, the weights of the model file, and everything that can be missing."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from act2sal.a2s.detector import DetectorNetwork
from act2sal.cli import main
from act2sal.errors import CheckpointError, InputError, MissingPackageError
from act2sal.networks import model_files
from act2sal.networks.checkpoint import load_detector, save_detector
from act2sal.networks.encoders import build_encoder
from act2sal.predict import detector as detector_module
from act2sal.predict import export
from act2sal.predict.detector import Detector
from act2sal.predict.export import ExportError
from act2sal.predict.onnx_network import OnnxNetwork
from act2sal.predict.torch_network import TorchNetwork
from plain import plainly
from tiny import random_squares, tiny_encoder

BLOCKED = ("torch", "timm", "torchvision", "lightning_fabric", "matplotlib", "tensorboard", "safetensors")


def saved(path: Path, *, stride: int = 2) -> Path:
    """A model file with convolutions in float16, to be used at 64 pixels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = DetectorNetwork(tiny_encoder(), channels=8, finest_stride=stride)
    save_detector(path, network, half=True, metadata={"size": "64", "package": "act2sal 1"})
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("model") / "m.safetensors")


@pytest.fixture(scope="module")
def exported(model: Path) -> Path:
    """Of `model`, at its own size."""
    export.export(model, model.with_suffix(".onnx"))
    return model.with_suffix(".onnx")


@pytest.mark.parametrize("count", [1, 2, 5])
def test_maps_are_those_of_pytorch(count: int, model: Path, exported: Path) -> None:
    squares = np.stack(random_squares(count, seed=count))
    network = OnnxNetwork.load(exported)
    prob = network(squares)
    assert (prob.shape, prob.dtype, network.size) == ((count, 64, 64), np.float32, 64)
    assert 0 <= prob.min() <= prob.max() <= 1
    assert np.abs(prob - TorchNetwork.load(model, device="cpu")(squares)).max() < 1e-4


def test_padding_as_in_tensorflow_stays_right(tmp_path: Path) -> None:
    encoder = build_encoder("mobilenetv2", "builtin")
    assert encoder.spec.pad_type == "same"
    save_detector(
        tmp_path / "m.safetensors", DetectorNetwork(encoder, channels=2, finest_stride=4), half=True
    )
    done = export.export(tmp_path / "m.safetensors", tmp_path / "m.onnx", size=33)
    assert done.largest_difference < 1e-3
    assert OnnxNetwork.load(tmp_path / "m.onnx").size == 33


def test_a_dynamic_file_takes_any_height_and_width(model: Path, tmp_path: Path) -> None:
    export.export(model, tmp_path / "m.onnx", size="dynamic")
    network, reference = OnnxNetwork.load(tmp_path / "m.onnx"), TorchNetwork.load(model, device="cpu")
    assert network.size == 64
    for shape in ((1, 64, 64, 3), (2, 33, 90, 3), (3, 128, 40, 3)):
        squares = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        assert np.abs(network(squares) - reference(squares)).max() < 1e-3


def test_a_fixed_file_takes_one_size(exported: Path) -> None:
    with pytest.raises(Exception, match="does not compute what its description says"):
        OnnxNetwork.load(exported)(np.zeros((1, 96, 96, 3), np.uint8))


def test_the_weights_are_those_of_the_model_file_and_as_small(model: Path, exported: Path) -> None:
    stored = {t.name: numpy_helper.to_array(t) for t in onnx.load(exported).graph.initializer}
    halves = {name.removesuffix(".float16") for name in stored if name.endswith(".float16")}
    weights = {f"network.{name}": tensor for name, tensor in load_detector(model).state_dict().items()}
    assert halves == {n for n, t in weights.items() if t.ndim >= 2 and t.numel() >= 64} | (
        halves & {n for n, t in weights.items() if t.ndim == 1}  # ones and zeros of a fresh network
    )
    for name, values in stored.items():
        plain = name.removesuffix(".float16")
        if plain in weights:
            assert np.array_equal(values.astype(np.float32), weights[plain].numpy())


def test_the_metadata_say_what_the_model_file_says(exported: Path) -> None:
    entries = OnnxNetwork.load(exported).metadata
    assert entries == {"format": "act2sal detector", "size": "64", "package": "act2sal 1"}
    assert {p.key: p.value for p in onnx.load(exported).metadata_props} == entries


def test_threads_do_not_disturb_each_other(exported: Path) -> None:
    network = OnnxNetwork.load(exported, threads=2)
    squares = np.stack(random_squares(6))
    alone = np.concatenate([network(square[None]) for square in squares])
    with ThreadPoolExecutor(4) as pool:
        for prob in pool.map(network, [squares] * 8):
            assert np.abs(prob - alone).max() < 1e-5


def test_int8_leaves_the_first_convolutions_in_float(model: Path, scenes: Path, tmp_path: Path) -> None:
    export.export(model, tmp_path / "m.onnx", int8=True, photos=scenes / "photos")
    graph = onnx.load(tmp_path / "m.onnx").graph
    scaled = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    kinds = [node.input[1] in scaled for node in graph.node if node.op_type == "Conv"]
    assert kinds.count(False) == export.FLOAT_CONVOLUTIONS < len(kinds)
    assert not any(kinds[:2])


def test_int8_is_calibrated_on_photos_and_compared_on_others(
    model: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="name a folder of them with --photos"):
        export.export(model, tmp_path / "m.onnx", int8=True)
    done = export.export(model, tmp_path / "m.onnx", int8=True, photos=scenes / "photos")
    assert done.photos == 3
    assert 0 < done.mean_difference <= export.MAX_MEAN_DIFFERENCE_INT8
    kinds = {node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    network, reference = OnnxNetwork.load(tmp_path / "m.onnx"), TorchNetwork.load(model, device="cpu")
    squares = np.stack(random_squares(2))
    assert np.abs(network(squares) - reference(squares)).mean() < 0.05
    monkeypatch.setattr(export, "MAX_MEAN_DIFFERENCE_INT8", done.mean_difference / 2)
    with pytest.raises(ExportError, match=r"on average .* from PyTorch's; allowed is"):
        export.export(model, tmp_path / "other.onnx", int8=True, photos=scenes / "photos")
    assert not (tmp_path / "other.onnx").exists()


def test_a_file_that_differs_is_not_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = load_detector(model)
    with torch.no_grad():
        other.local.fuse.bias += 0.5
    monkeypatch.setattr(export, "load_detector", lambda path: other)
    with pytest.raises(ExportError, match="at worst"):
        export.export(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.real_data
def test_real_photos_of_several_sizes(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PHOTOS", 2)
    shipped = model_files.BUILTIN_PATH
    photos = data_dir / "sod_dev" / "images"
    done = export.export(shipped, tmp_path / "m.onnx", size="dynamic", photos=photos)
    assert done.largest_difference < 1e-3
    assert done.bytes < 1.1 * shipped.stat().st_size


def test_the_ending_and_the_backend_choose_who_computes(
    model: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kind(source: Path | None, **options: str) -> type:
        return type(Detector.load(source, **options).network)  # type: ignore[arg-type]

    assert kind(exported) is kind(exported, backend="onnx") is OnnxNetwork
    assert kind(model, device="cpu") is kind(model, device="cpu", backend="torch") is TorchNetwork
    monkeypatch.setattr(model_files, "BUILTIN_PATH", model)
    monkeypatch.setattr(model_files, "BUILTIN_ONNX_PATH", exported.with_name("none.onnx"))
    assert kind(None, device="cpu") is TorchNetwork
    with pytest.raises(CheckpointError, match="ships no ONNX file"):
        kind(None, backend="onnx")
    monkeypatch.setattr(model_files, "BUILTIN_ONNX_PATH", exported)
    assert kind(None, device="cpu") is kind(None, backend="onnx") is OnnxNetwork
    assert kind(None, device="cpu", backend="torch") is TorchNetwork
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(detector_module, "gpu_is_possible", lambda: False)
    assert detector_module.model_file_of(None, "auto", "auto") == exported
    monkeypatch.setattr(detector_module, "gpu_is_possible", lambda: True)
    assert detector_module.model_file_of(None, "auto", "auto") == model
    assert detector_module.model_file_of(None, "cpu", "auto") == exported


def test_backends_refuse_what_is_not_theirs(model: Path, exported: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"act2sal export --model .*m\.safetensors --out"):
        Detector.load(model, backend="onnx")
    with pytest.raises(CheckpointError, match="an ONNX file, which PyTorch does not read"):
        Detector.load(exported, backend="torch")
    with pytest.raises(CheckpointError, match="computed on the CPU, not on cuda"):
        Detector.load(exported, device="cuda")
    with pytest.raises(CheckpointError, match="there is no model file"):
        Detector.load(tmp_path / "none.onnx")
    with pytest.raises(CheckpointError, match="is an ONNX file already"):
        export.export(exported, tmp_path / "m.onnx")
    (tmp_path / "bad.onnx").write_bytes(exported.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"bad\.onnx is damaged or no ONNX file"):
        Detector.load(tmp_path / "bad.onnx")
    graph = onnx.load(exported)
    del graph.metadata_props[:]
    onnx.save(graph, tmp_path / "plain.onnx")
    with pytest.raises(CheckpointError, match=r"plain\.onnx holds no act2sal detector"):
        Detector.load(tmp_path / "plain.onnx")


def test_without_the_packages_the_error_names_the_extra(
    model: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingPackageError, match=r'pip install "act2sal\[export\]"'):
        export.export(model, tmp_path / "m.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackageError, match=r'pip install "act2sal\[onnx\]"'):
        Detector.load(exported)


def test_the_command_writes_one_file_once(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", "--model", str(model), "--out", str(tmp_path / "m.onnx")]
    assert main([*command, "--size", "32"]) == 0
    assert "m.onnx: 0." in capsys.readouterr().out
    assert OnnxNetwork.load(tmp_path / "m.onnx").size == 32
    assert main(command) == 2
    assert "exists already; --overwrite replaces it" in capsys.readouterr().err
    assert main([*command, "--size", "8", "--overwrite"]) == 2
    assert capsys.readouterr().err == "act2sal: size must be at least 32, not 8\n"


def test_predict_needs_no_pytorch(exported: Path, scenes: Path, tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    command = (
        "predict",
        scenes / "photos",
        "--out",
        maps,
        "--model",
        exported,
        "--backend",
        "onnx",
        "--quiet",
    )
    done = plainly(*command, blocked=BLOCKED)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list(maps.iterdir())) == 6


def test_a_model_file_needs_pytorch_and_says_how_to_get_it(model: Path, scenes: Path, tmp_path: Path) -> None:
    done = plainly("predict", scenes / "photos", "--out", tmp_path / "out", "--model", model)
    assert done.returncode == 2
    assert done.stderr == 'act2sal: predict needs PyTorch: pip install "act2sal[train]"\n'
