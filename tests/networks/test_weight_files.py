"""Files that are no models, and models that are not what they say: one line, status 2, nothing run, nothing left."""

import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from onnx import TensorProto, helper
from safetensors import safe_open

from act2sal.cli import main
from act2sal.errors import CheckpointError
from act2sal.networks.weight_files import WeightsError, read_weights
from act2sal.predict.detector import Detector
from act2sal.predict.onnx_network import FORMAT
from tiny import tiny_arguments


class Evil:
    """Its pickle would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def header(**entries: object) -> bytes:
    """A safetensors file of nothing but a header."""
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text


def saved(content: object) -> bytes:
    """By torch.save."""
    from io import BytesIO

    stream = BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


HUGE = {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4 * 10**18]}
NO_MODELS: dict[str, Callable[[Path], bytes]] = {
    "text.pth": lambda folder: b"hi\n",
    "config.toml": lambda folder: b'encoder = "x"\n',
    "empty.safetensors": lambda folder: b"",
    "empty.pth": lambda folder: b"",
    "random.pth": lambda folder: bytes(range(7, 255)) * 20,
    "pickled.pth": lambda folder: pickle.dumps({"a": 1}),
    "pickle start.pth": lambda folder: b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M",
    "numpy.pth": lambda folder: pickle.dumps(np.zeros(3)),
    "evil.pth": lambda folder: pickle.dumps(Evil(folder / "ran")),
    "evil in torch.pth": lambda folder: saved({"a": Evil(folder / "ran")}),
    "zip.pth": lambda folder: b"PK\x03\x04" + bytes(200),
    "truncated.pth": lambda folder: saved({"a": torch.zeros(999)})[:-700],
    "integer keys.pth": lambda folder: saved({1: torch.zeros(2)}),
    "a list.pth": lambda folder: saved([torch.zeros(2)]),
    "a number.pth": lambda folder: saved(3),
    "sparse.pth": lambda folder: saved({"a": torch.eye(3).to_sparse()}),
    "complex.pth": lambda folder: saved({"a": torch.zeros(2, dtype=torch.complex64)}),
    "meta.pth": lambda folder: saved({"a": torch.empty(10**6, 10**6, device="meta")}),
    "expanded.pth": lambda folder: saved({"a": torch.zeros(1, dtype=torch.half).expand(10**12)}),
    "nan.pth": lambda folder: saved({"a": torch.full((2,), torch.nan)}),
    "infinite.safetensors": lambda folder: safetensors.torch.save({"a": torch.full((2,), torch.inf)}),
    "huge.safetensors": lambda folder: header(a=HUGE),
    "negative.safetensors": lambda folder: header(a=HUGE | {"shape": [-1]}),
    "long header.safetensors": lambda folder: struct.pack("<Q", 2**62) + b"{",
    "short header.safetensors": lambda folder: struct.pack("<Q", 1) + b"{",
    "truncated.safetensors": lambda folder: safetensors.torch.save({"a": torch.zeros(99)})[:-9],
    "other weights.safetensors": lambda folder: safetensors.torch.save({"a": torch.zeros(2)}),
    "text.onnx": lambda folder: b"hi\n",
    "empty.onnx": lambda folder: b"",
}

COMMANDS = {
    "predict": ["predict", "PHOTO", "--out", "OUT", "--model", "FILE", "--quiet"],
    "compare": ["compare", "PHOTO", "--methods", "a2s", "--out", "OUT", "--model", "FILE"],
    "teacher": ["train", "PHOTOS", "--out", "OUT", "--quiet", "--teacher", "FILE"],
    "weights": ["train", "PHOTOS", "--out", "OUT", *tiny_arguments(), "--encoder-weights", "FILE"],
    "convert": ["convert", "FILE", "--out", "OUT.safetensors"],
    "export": ["export", "--out", "OUT.onnx", "--model", "FILE"],
}


def told(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Status of a command, and its one line."""
    capsys.readouterr()
    status = main(words)
    line = capsys.readouterr().err
    assert line.count("\n") == 1, line
    assert line.startswith("act2sal: ")
    for foreign in ("weights_only", "\x1b", "Traceback", "fault of this program"):
        assert foreign not in line
    return status, line


def words_of(command: str, file: Path, scenes: Path, out: Path) -> list[str]:
    names = {
        "PHOTO": scenes / "photos" / "scene0000.jpg",
        "PHOTOS": scenes / "photos",
        "FILE": file,
        "OUT": out / "out.png" if command == "compare" else out / "out",
        "OUT.onnx": out / "out.onnx",
        "OUT.safetensors": out / "out.safetensors",
    }
    return [str(names.get(word, word)) for word in COMMANDS[command]]


@pytest.mark.parametrize("name", NO_MODELS)
def test_a_file_that_is_no_model_is_one_line_in_every_command(
    name: str, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / name
    file.write_bytes(NO_MODELS[name](tmp_path))
    for command in COMMANDS:
        status, line = told(words_of(command, file, scenes, tmp_path), capsys)
        assert (command, status) == (command, 2)
        assert name in line
        assert not (tmp_path / "out").exists() or command == "weights"
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_is_no_model(
    command: str, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    status, line = told(words_of(command, tmp_path / "folder", scenes, tmp_path), capsys)
    assert (status, "folder" in line) == (2, True)


def changed(trained: Path, target: Path, **metadata: str) -> Path:
    """The trained detector with other entries in its metadata."""
    source = trained / "detector.safetensors"
    tensors = safetensors.torch.load_file(source)
    with safe_open(source, framework="pt") as stored:
        entries = stored.metadata()
    safetensors.torch.save_file(tensors, target, {**entries, **metadata})
    return target


SIZES = ["", "x", "-5", "0", "31", "320.0", "1e3", str(10**30), "²", "nan"]


@pytest.mark.parametrize("size", SIZES)
def test_a_size_that_is_none(
    size: str, scenes: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = changed(trained, tmp_path / "model.safetensors", **{"about.size": size})
    status, line = told(words_of("predict", file, scenes, tmp_path), capsys)
    assert status == 2
    assert f"{file}: the size in its metadata is" in line


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        *(("channels", value) for value in ("", "x", "-5", "0", "8.0", "16", str(10**6), str(10**30))),
        *(("finest_stride", value) for value in ("", "3", "nan")),
        *(("attention", value) for value in ("", "yes", "false")),
        *(("presence", value) for value in ("x", "false")),
        *(("encoder.mean", value) for value in ("", "1,2", "nan,nan,nan", "x,y,z")),
        *(("encoder.std", value) for value in ("0,0,0", "inf,1,1", "-1,1,1")),
        *(("encoder.bn_eps", value) for value in ("x", "nan", "-1")),
        *(("encoder.name", value) for value in ("", "nothing", "resnet50", "vit_giant_patch14_224")),
        *(("encoder.pad_type", value) for value in ("x", "\x1b[31m")),
        ("version", "2\n3"),
        ("format", "\x1b[31mred"),
    ],
)
def test_metadata_that_do_not_fit(
    entry: str, value: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = changed(trained, tmp_path / "model.safetensors", **{entry: value})
    status, line = told(["predict", str(tmp_path), "--model", str(file)], capsys)
    assert (status, str(file) in line) == (2, True)


def test_weights_that_give_no_numbers(
    scenes: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = safetensors.torch.load_file(trained / "detector.safetensors")
    with safe_open(trained / "detector.safetensors", framework="pt") as stored:
        entries = stored.metadata()
    large = {
        name: torch.full_like(t.float(), 3e38) if t.is_floating_point() else t for name, t in tensors.items()
    }
    file = tmp_path / "model.safetensors"
    safetensors.torch.save_file(large, file, entries)
    status, line = told(words_of("predict", file, scenes, tmp_path), capsys)
    assert (status, "no numbers" in line) == (2, True)


def graph(path: Path, value: float = 0.5, shape: object = ("b", 64, 64, 3), **metadata: str) -> Path:
    """An ONNX file whose output is a constant beside its input."""
    squares = helper.make_tensor_value_info("squares", TensorProto.UINT8, shape)
    prob = helper.make_tensor_value_info("prob", TensorProto.FLOAT, ("b", "h", "w"))
    constant = helper.make_tensor("value", TensorProto.FLOAT, (), [value])
    nodes = [
        helper.make_node("Cast", ["squares"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], axes=[3], keepdims=0),
        helper.make_node("Add", ["mean", "value"], ["prob"]),
    ]
    made = helper.make_graph(nodes, "graph", [squares], [prob], [constant])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("size", [*SIZES, "320"])
def test_an_onnx_file_of_another_size(
    size: str, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = graph(tmp_path / "model.onnx", format=FORMAT, size=size)
    status, line = told(words_of("predict", file, scenes, tmp_path), capsys)
    assert (status, str(file) in line) == (2, True)


def test_onnx_files_of_other_models(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told_as = {"format": FORMAT, "size": "64"}
    good = graph(tmp_path / "good.onnx", **told_as)
    assert Detector.load(good)(np.zeros((9, 9, 3), np.uint8)).shape == (9, 9)
    wrong = [
        graph(tmp_path / "plain.onnx"),
        graph(tmp_path / "nan.onnx", float("nan"), **told_as),
        graph(tmp_path / "grey.onnx", shape=("b", 64, 64, 1), **told_as),
        graph(tmp_path / "planes.onnx", shape=("b", 3, 64, 64), **told_as),
        graph(tmp_path / "flat.onnx", shape=("b", 64, 64, 3, 1), **told_as),
    ]
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(good.read_bytes()[:-40])
    for file in (*wrong, cut):
        assert told(words_of("predict", file, scenes, tmp_path), capsys)[0] == 2


def test_what_a_file_is_its_content_says(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(3.0)}
    (tmp_path / "a.pth").write_bytes(safetensors.torch.save(tensors, {"key": "value"}))
    (tmp_path / "b.safetensors").write_bytes(saved({"state_dict": tensors}))
    read, metadata = read_weights(tmp_path / "a.pth")
    assert (read["a"].tolist(), metadata) == ([0, 1, 2], {"key": "value"})
    assert read_weights(tmp_path / "b.safetensors")[0]["a"].tolist() == [0, 1, 2]


def test_errors_of_the_api_are_the_packages_own(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"x")
    with pytest.raises(WeightsError, match="is no model file"):
        read_weights(tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="is no model file"):
        Detector.load(tmp_path / "a.pth")
