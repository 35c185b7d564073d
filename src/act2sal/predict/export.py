"""`act2sal export`: a detector as an ONNX file that was compared with PyTorch before it was written.

Input `squares`: (B, H, W, 3) uint8 RGB, a photo as it is decoded; scaling and normalisation are part of the graph,
where they take a hundredth of the time. Outputs: `prob`, (B, H, W) float32 in [0, 1], and, where the detector says
it, `confidence`, (B,) float32 in [0, 1] that there is a salient object. B is free. The metadata are those of the
model file, with `format` and `size` as `onnx_network` reads them.
"""

import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same_arg
from torch import Tensor, nn
from torch.nn import functional

from act2sal.data.images import read_photo, resize_photo, write_atomic
from act2sal.data.photo_search import Remarks, Search
from act2sal.data.pixel_budget import held
from act2sal.errors import CheckpointError, InputError, MissingPackageError
from act2sal.limits import LARGEST_SIZE, SMALLEST_SIZE
from act2sal.networks.checkpoint import load_detector, read_metadata
from act2sal.networks.model_files import model_file
from act2sal.networks.rivals import SaliencyNetwork, name_of
from act2sal.predict.onnx_network import FORMAT, OnnxNetwork
from act2sal.predict.torch_network import TorchNetwork
from act2sal.scenes import render_scene

if TYPE_CHECKING:
    from onnx import ModelProto

Size = int | Literal["dynamic"]

MAX_DIFFERENCE = 1e-3
"""Largest difference of a probability from PyTorch's at which a float file is written."""

MAX_MEAN_DIFFERENCE_INT8 = 0.02
"""Mean difference from PyTorch's probabilities at which an int8 file is written: it bounds what MAE can lose."""

LONGEST = 1024
"""Longest side, in pixels, of the photos on which a file for any size is compared; larger ones are shrunk."""

PHOTOS = 200
"""Photos of a folder that are used, every n-th: half of them calibrate int8, the others check it."""

FLOAT_CONVOLUTIONS = 5
"""First convolutions of the graph that int8 leaves in float. In the shipped detector (MobileNetV2) these are the stem
and the first depthwise convolutions, whose ranges are wide; they hold few weights."""

_OPSET = 17  # the newest that the exporter writes without converting
_ODD_SIZES = ((64, 64), (96, 160), (131, 97))  # checked too where the size is dynamic
_HALF_FROM = 64  # values; smaller tensors are not worth a node


class ExportError(InputError):
    """The ONNX file would differ from PyTorch; the message says by how much."""


@dataclass(frozen=True)
class Exported:
    """Result of an export: bytes of the file, and how far its maps are from PyTorch's.

    Attributes:
        undone: one line for each part of the folder of photos that cannot be read.
    """

    bytes: int
    photos: int
    largest_difference: float
    mean_difference: float
    undone: list[str]


def export(
    model: Path | None,
    out: Path,
    *,
    size: Size | None = None,
    int8: bool = False,
    photos: Path | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a detector as an ONNX file, if its maps are those of PyTorch.

    Float weights that lose nothing by it are stored in float16, as in the model file; onnxruntime turns them into
    float32 once, when it loads them.

    Args:
        model: run directory or model file; None: the detector shipped with the package.
        out: the ONNX file.
        size: side of the squares in pixels, or "dynamic": any height and width; None: that of the model.
        int8: store and compute convolutions in 8 bits, with scales found on `photos` (which need no masks).
        photos: folder of photos that are compared too; if `size` is dynamic in their own shape, at most
                `LONGEST` pixels long.
        overwrite: replace the file.

    Raises:
        CheckpointError: no such model.
        InputError: `size` is too small, or `int8` without photos.
        ExportError: the maps differ by more than `MAX_DIFFERENCE`, int8 on average `MAX_MEAN_DIFFERENCE_INT8`.
        FileExistsError: `out` is there already and `overwrite` is not set.
        MissingPackageError: onnx or onnxruntime is not installed.
    """
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists already; --overwrite replaces it")
    if int8 and photos is None:
        raise InputError("--int8 finds its scales on photos; name a folder of them with --photos")
    if isinstance(size, int) and not SMALLEST_SIZE <= size <= LARGEST_SIZE:
        raise InputError(f"size must be at least {SMALLEST_SIZE} and at most {LARGEST_SIZE}, not {size}")
    path = model_file(model)
    if path.suffix == ".onnx":
        raise CheckpointError(f"{path} is an ONNX file already")
    reference = TorchNetwork.load(path, device="cpu")
    side = size if isinstance(size, int) else reference.size
    remarks = Remarks()
    real = _real_photos(photos, remarks, None if size == "dynamic" else side)
    traced = _traced(load_detector(path), side, dynamic=size == "dynamic")
    if int8:
        traced = _quantised(traced, [resize_photo(photo, (side, side)) for photo in real[::2]])
        compared = real[1::2] or real
    else:
        compared = [*_drawn_photos(side, dynamic=size == "dynamic"), *real]
    content = _content(traced, {**read_metadata(path), "format": FORMAT, "size": str(side)})
    try:
        largest, mean = _differences(OnnxNetwork(content), reference, compared)
    except CheckpointError as error:
        if size != "dynamic":
            raise
        name = name_of(reference.network.module)
        raise ExportError(
            f"{name} has operators whose sizes the exporter fixes; leave out --size dynamic"
        ) from error
    found, limit = (mean, MAX_MEAN_DIFFERENCE_INT8) if int8 else (largest, MAX_DIFFERENCE)
    if not found <= limit:
        kind = "on average" if int8 else "at worst"
        raise ExportError(
            f"the maps of the ONNX file are {kind} {found:.3g} from PyTorch's; allowed is {limit:g}"
        )
    write_atomic(out, content)
    return Exported(len(content), len(compared), largest, mean, remarks.undone)


class _Squares(nn.Module):
    """The detector from decoded photos to probabilities."""

    def __init__(self, network: SaliencyNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, squares: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """(B, H, W, 3) uint8 -> (B, H, W) float32 in [0, 1], and confidences (B,) if the network says them."""
        photos = squares.permute(0, 3, 1, 2).float().div(255)
        if self.network.presence is None:
            return torch.sigmoid(self.network(photos))[:, 0]
        logits, confidences = self.network.rated(photos)
        return torch.sigmoid(logits)[:, 0], confidences


def _traced(network: SaliencyNetwork, side: int, *, dynamic: bool) -> "ModelProto":
    """The graph in float32, as the exporter that traces gives it.

    The newer exporter, by torch.export, needs ten times as long, further packages, and fixed heights and widths.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingPackageError('act2sal export needs onnx: pip install "act2sal[export]"') from error
    module = _Squares(network).eval()
    example = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    if not dynamic:
        _fix_padding(module, example)
    free = {0: "batch", 1: "height", 2: "width"} if dynamic else {0: "batch"}
    outputs = {"prob": free} if network.presence is None else {"prob": free, "confidence": {0: "batch"}}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        written = Path(folder) / "float.onnx"
        # This exporter warns of being the older one and of all it cannot foresee; the file is compared instead.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (example,),
            written,
            dynamo=False,
            opset_version=_OPSET,
            # Otherwise BatchNorm is folded into the weights, which float16 would then no longer hold exactly.
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            input_names=["squares"],
            output_names=list(outputs),
            dynamic_axes={"squares": free, **outputs},
        )
        return onnx.load(written)


def _fix_padding(module: nn.Module, example: Tensor) -> None:
    """Make constants of the paddings that timm computes from the shape of every input.

    onnxruntime joins a constant padding with the convolution behind it, which saves a tenth of the time.
    """

    def fix(conv: Conv2dSame, inputs: tuple[Tensor]) -> None:
        padding = pad_same_arg(
            list(inputs[0].shape[-2:]), list(conv.kernel_size), list(conv.stride), list(conv.dilation)
        )
        conv.forward = partial(_padded_convolution, conv, padding)  # type: ignore[method-assign]

    same = [layer for layer in module.modules() if isinstance(layer, Conv2dSame)]
    hooks = [layer.register_forward_pre_hook(fix) for layer in same]
    with torch.inference_mode():
        module(example)
    for hook in hooks:
        hook.remove()


def _padded_convolution(conv: Conv2dSame, padding: list[int], maps: Tensor) -> Tensor:
    padded = functional.pad(maps, padding)
    return functional.conv2d(padded, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)


def _quantised(model: "ModelProto", squares: Sequence[NDArray[np.uint8]]) -> "ModelProto":
    """The graph with convolutions in 8 bits, by the ranges of their inputs and outputs over the squares.

    All but the first `FLOAT_CONVOLUTIONS`.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        """Hands out the squares one by one."""

        def __init__(self) -> None:
            self.rest = iter(squares)

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            """The next input; None: there is none left."""
            square = next(self.rest, None)
            return None if square is None else {"squares": square[None]}

    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    with tempfile.TemporaryDirectory() as folder:
        prepared, quantised = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(model, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            quantised,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=convolutions[:FLOAT_CONVOLUTIONS],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            # Seven bits of weight: processors without VNNI add products in 16 bits, which eight would overflow.
            reduce_range=True,
        )
        return onnx.load(quantised)


def _content(model: "ModelProto", metadata: dict[str, str]) -> bytes:
    """The file: weights in float16 where that is exact, each with the node that makes float32 of it."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _HALF_FROM:
            continue
        with np.errstate(over="ignore"):  # infinite in float16, hence not exact
            half = values.astype(np.float16)
        if np.array_equal(half.astype(np.float32), values):
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.float16"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    helper.set_model_props(model, dict(sorted(metadata.items())))
    return model.SerializeToString()


def _real_photos(folder: Path | None, remarks: Remarks, side: int | None) -> list[NDArray[np.uint8]]:
    """Photos of the folder, every n-th, as squares; if `side` is None, in their own shape (`_shrunk`)."""
    if folder is None:
        return []
    found = Search(remarks=remarks).photos([folder])
    squares = []
    for photo in found[:: max(1, len(found) // PHOTOS)][:PHOTOS]:
        with held(photo.path):
            pixels = read_photo(photo.path)
            squares.append(resize_photo(pixels, _shrunk(pixels.shape) if side is None else (side, side)))
    return squares


def _shrunk(shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of a photo whose longer side is brought to at most `LONGEST`."""
    scale = min(1, LONGEST / max(shape[:2]))
    return max(1, round(scale * shape[0])), max(1, round(scale * shape[1]))


def _drawn_photos(side: int, *, dynamic: bool) -> list[NDArray[np.uint8]]:
    """Noise and rendered scenes, in which a detector finds something, of the sizes that the file takes."""
    rng = np.random.default_rng(0)
    drawn = []
    for size in ((side, side), *_ODD_SIZES) if dynamic else ((side, side),):
        drawn.append(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
        drawn.extend(resize_photo(render_scene(number)[0], size) for number in range(3))
    return drawn


def _differences(
    network: OnnxNetwork, reference: TorchNetwork, photos: Sequence[NDArray[np.uint8]]
) -> tuple[float, float]:
    """Largest and mean |difference| of the probabilities over the photos; NaN where one is no number.

    The largest is that of the confidences where these differ more.
    """
    apart = [np.abs(network(photo[None]) - reference(photo[None])) for photo in photos]
    largest = [d.max() for d in apart]
    if reference.rates:
        largest += [np.abs(network.rated(p[None])[1] - reference.rated(p[None])[1]).max() for p in photos]
    return float(np.max(largest)), float(np.mean([d.mean() for d in apart]))
