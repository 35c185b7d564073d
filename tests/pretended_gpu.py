"""A CUDA device that is not there, for tests of what has to be where.

Tensors stay on the CPU, where they are computed; the storages of those that were moved to the device carry a mark.
What CUDA refuses is refused with its message: tensors of both sides in one operation, NumPy arrays of the device's
memory, pinning it, a generator of the other side. Arithmetic, its order and its precision are those of the CPU; what
an autocast would convolve or multiply in bfloat16 is computed in float32 and rounded, as many a CPU has no fast way.

A mark passes from the inputs of an operation to its results, in gradients too, whose operations PyTorch's dispatcher
tells of. Where Python asks for a device (`.to`, `.cpu`, `.device`, `device=`), a function mode answers.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("cuda", 0)
_CPU = torch.device("cpu")
_MIXED = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
_NO_NUMPY = (
    "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy it to host memory first."
)
_COPIES = {"aten::copy_", "aten::_foreach_copy_"}
"""Operations that may have tensors of both sides, and whose result lies where it lay."""
_SCALAR_OF_HOST = {"aten::masked_fill", "aten::masked_fill_", "aten::fill_", "aten::index_put_"}
"""Operations, beside those by elements, that take a single number from the host."""
_INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
"""Operations whose second argument, the indices, may lie on the host."""
_PRODUCTS = {"aten::convolution", "aten::convolution_backward", "aten::addmm", "aten::mm", "aten::bmm"}
"""Operations that are very slow in bfloat16 on a CPU without instructions for it."""


def on_gpu(tensor: Tensor) -> bool:
    """Whether a tensor is on the pretended device."""
    with torch._C.DisableTorchFunction():
        return getattr(tensor.untyped_storage(), "_pretended", False)


def _put(tensor: Tensor, gpu: bool) -> Tensor:
    with torch._C.DisableTorchFunction():
        tensor.untyped_storage()._pretended = gpu  # type: ignore[attr-defined]
    return tensor


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


@dataclass
class Tally:
    """How many operations were computed on the device."""

    operations: int = 0


class _Operations(TorchDispatchMode):
    """Passes marks on, and refuses what lies on both sides.

    within: whether the call of Python that is going on has an input on the device; what it makes out of nothing, such
    as zeros, is there too.
    """

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self.tally, self.within = tally, False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunction():
            name, given = func._schema.name, _tensors((args, kwargs))
            gpu = any(on_gpu(tensor) for tensor in given) if given else self.within
            if name in _COPIES:
                return func(*args, **kwargs)
            if gpu:
                _refuse_mixed(func, args, kwargs)
                self.tally.operations += 1
            result = _computed(func, args, kwargs)
            for tensor in _tensors(result) if gpu else []:
                _put(tensor, True)
            return result


def _computed(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The operation's result; one of `_PRODUCTS` in bfloat16 is that in float32, rounded."""
    if func._schema.name not in _PRODUCTS or all(t.dtype != torch.bfloat16 for t in _tensors(args)):
        return func(*args, **kwargs)

    def of_type(dtype: torch.dtype) -> Callable[[Any], Any]:
        return lambda leaf: leaf.to(dtype) if isinstance(leaf, Tensor) else leaf

    return tree_map(of_type(torch.bfloat16), func(*tree_map(of_type(torch.float32), args), **kwargs))


def _refuse_mixed(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise what CUDA raises where an operation that has an input on the device has one on the host as well."""
    name = func._schema.name
    if kwargs.get("generator") is not None:
        raise RuntimeError(f"Expected a 'cuda' device type for generator but found 'cpu' ({func})")
    looked_at = (args[0], *args[2:]) if name in _INDEXING else args
    of_host = [tensor for tensor in _tensors((looked_at, kwargs)) if not on_gpu(tensor)]
    takes_numbers = torch.Tag.pointwise in func.tags or name in _SCALAR_OF_HOST
    changes_host = name.endswith("_") and isinstance(args[0], Tensor) and not on_gpu(args[0])
    if changes_host or any(tensor.dim() > 0 or not takes_numbers for tensor in of_host):
        raise RuntimeError(f"{_MIXED} ({func})")


class _Functions(TorchFunctionMode):
    """Answers where Python asks for a device."""

    def __init__(self, operations: _Operations) -> None:
        super().__init__()
        self.operations = operations

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        answer = _ANSWERS.get(func)
        if answer is not None:
            return answer(func, args, kwargs)
        kwargs.pop("pin_memory", None)
        asked = kwargs.get("device")
        if asked is not None and torch.device(asked).type == "cuda":
            if kwargs.get("generator") is not None:
                raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
            return _put(func(*args, **kwargs | {"device": _CPU}), True)
        outer, self.operations.within = self.operations.within, any(map(on_gpu, _tensors((args, kwargs))))
        try:
            return func(*args, **kwargs)
        finally:
            self.operations.within = outer


def _moved(tensor: Tensor, gpu: bool, **options: Any) -> Tensor:
    """The tensor on one of the sides; itself where it is there already and nothing else is to change."""
    if on_gpu(tensor) == gpu:
        return tensor.to(**options)
    return _put(tensor.to(**options | {"copy": True}), gpu)


def _to(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    tensor, *rest = args
    copy = kwargs.pop("copy", False)
    other = kwargs.pop("other", rest[0] if rest else None)
    if isinstance(other, Tensor):
        device, dtype, layout = torch.device(DEVICE if on_gpu(other) else _CPU), other.dtype, None
    else:
        device, dtype, _, layout = torch._C._nn._parse_to(*rest, **kwargs)
    gpu = on_gpu(tensor) if device is None else device.type == "cuda"
    options = {"copy": copy, "dtype": dtype or tensor.dtype, "memory_format": layout or torch.preserve_format}
    return _moved(tensor, gpu, **options)


def _pinned(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    if on_gpu(args[0]):
        raise RuntimeError("cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned")
    return args[0].clone()


def _refusing_gpu(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    if on_gpu(args[0]):
        raise TypeError(_NO_NUMPY)
    return func(*args, **kwargs)


_ANSWERS: dict[Any, Callable[[Any, Sequence[Any], dict[str, Any]], Any]] = {
    Tensor.device.__get__: lambda func, args, kwargs: DEVICE if on_gpu(args[0]) else _CPU,
    Tensor.is_cuda.__get__: lambda func, args, kwargs: on_gpu(args[0]),
    Tensor.is_cpu.__get__: lambda func, args, kwargs: not on_gpu(args[0]),
    Tensor.get_device: lambda func, args, kwargs: 0 if on_gpu(args[0]) else -1,
    Tensor.to: _to,
    Tensor.cpu: lambda func, args, kwargs: _moved(args[0], False),
    Tensor.cuda: lambda func, args, kwargs: _moved(args[0], True),
    Tensor.pin_memory: _pinned,
    Tensor.numpy: _refusing_gpu,
    Tensor.__array__: _refusing_gpu,
    Tensor.__deepcopy__: lambda func, args, kwargs: _put(func(*args, **kwargs), on_gpu(args[0])),
}


@contextmanager
def _watched(tally: Tally) -> Iterator[None]:
    """Both modes, in this thread."""
    operations = _Operations(tally)
    with operations, _Functions(operations):
        yield


class _Event:
    def record(self, stream: object = None) -> None: ...
    def synchronize(self) -> None: ...


_ANSWERS_OF_CUDA: dict[str, Any] = {
    "Event": _Event,
    "current_device": lambda: 0,
    "device_count": lambda: 1,
    "empty_cache": lambda: None,
    "get_device_capability": lambda device=None: (9, 0),
    "get_device_name": lambda device=None: "pretended GPU",
    "is_available": lambda: True,
    "is_bf16_supported": lambda including_emulation=True: True,
    "max_memory_allocated": lambda device=None: 0,
    "set_device": lambda device: None,
    "synchronize": lambda device=None: None,
}


def _of_cpu(device_type: str) -> str:
    return "cpu" if device_type == "cuda" else device_type


class _Autocast(torch.autocast):
    """The CPU's stands in for CUDA's."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(_of_cpu(device_type), *args, **kwargs)


@contextmanager
def pretended_gpu(*, free: int = 2**36) -> Iterator[Tally]:
    """The device, with so many bytes free, is there in the body and in threads that are started in it."""
    run, enabled, tally = threading.Thread.run, torch.is_autocast_enabled, Tally()

    def watched_run(thread: threading.Thread) -> None:
        with _watched(tally):
            run(thread)

    with pytest.MonkeyPatch.context() as patch, _watched(tally):
        for name, answer in _ANSWERS_OF_CUDA.items():
            patch.setattr(torch.cuda, name, answer)
        patch.setattr(torch.cuda, "mem_get_info", lambda device=None: (free, 2**36))
        for check in ("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check"):
            patch.setattr(torch.optim.Optimizer, check, lambda optimizer: None, raising=False)
        patch.setattr(torch.nn.RNNBase, "flatten_parameters", lambda layer: None)  # a layout for cuDNN
        patch.setattr(torch, "autocast", _Autocast)
        patch.setattr(torch, "is_autocast_enabled", lambda device_type="cuda": enabled(_of_cpu(device_type)))
        patch.setattr(threading.Thread, "run", watched_run)
        yield tally
