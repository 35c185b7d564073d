"""Weights of encoders: recognises the names in a file, checks every tensor, downloads the MoCo v2 file."""

import hashlib
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from act2sal.networks.weight_files import WeightsError
from act2sal.runtime.progress import bar

MOCO_V2_URL = (
    "https://dl.fbaipublicfiles.com/moco/moco_checkpoints/moco_v2_800ep/moco_v2_800ep_pretrain.pth.tar"
)
MOCO_V2_MD5 = "a04e12f8"  # the first 8 hexadecimal digits, as its authors publish them
MOCO_V2_PREFIX = "module.encoder_q."

_PREFIXES = (MOCO_V2_PREFIX, "module.encoder.", "encoder.", "module.", "backbone.")
_SHOWN = 8
_BLOCK = 1 << 20


def encoder_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the encoder under plain names, out of a larger checkpoint.

    Recognised: MoCo v2 (`module.encoder_q.*`), detectors of this package and official A2S files
    (`encoder.*`), DataParallel files (`module.*`). Where one of the prefixes occurs, all else is dropped.
    """
    plain = dict(tensors)
    for prefix in _PREFIXES:
        if any(name.startswith(prefix) for name in plain):
            plain = _strip(plain, prefix)
            break
    if plain and all(name.startswith("body.") for name in plain):
        plain = _strip(plain, "body.")
    return plain


def rename_torchvision(tensors: Mapping[str, Tensor], model_names: Iterable[str]) -> dict[str, Tensor]:
    """Give torchvision tensors the names of timm: MobileNetV2, and DenseNets in their older spelling.

    `model_names` are the names of timm's whole classifier in the order of definition. torchvision numbers the
    layers of MobileNetV2 in the same order, so that the n-th layer of one is the n-th layer of the other.
    """
    if "features.0.0.weight" not in tensors:
        return {
            re.sub(r"(\.denselayer\d+\.(?:norm|conv))\.(\d)\.", r"\1\2.", k): v for k, v in tensors.items()
        }
    theirs = sorted({name.rpartition(".")[0] for name in tensors}, key=_by_number)
    ours = list(dict.fromkeys(name.rpartition(".")[0] for name in model_names))
    if len(theirs) != len(ours):
        raise WeightsError(f"these torchvision weights have {len(theirs)} layers, the encoder {len(ours)}")
    layers = dict(zip(theirs, ours, strict=True))
    renamed = {}
    for name, tensor in tensors.items():
        layer, _, leaf = name.rpartition(".")
        renamed[f"{layers[layer]}.{leaf}"] = tensor
    return renamed


def match(
    tensors: Mapping[str, Tensor], body: Mapping[str, Tensor], *, ignored: frozenset[str], source: str
) -> dict[str, Tensor]:
    """Pair `tensors` with the state dict `body` of a feature pyramid -> a state dict for it.

    timm writes `features.conv0` as `features_conv0` once a model gives features: names are compared without
    that difference. `ignored` are the top-level modules of the classifier that a pyramid leaves out (`fc`).
    `num_batches_tracked` may be missing.

    Raises:
        WeightsError: names are missing or unexpected, or shapes differ; the message lists them.
    """
    targets = {_canonical(name): name for name in body}
    found: dict[str, Tensor] = {}
    unexpected, misshapen = [], []
    for name, tensor in tensors.items():
        target = targets.get(_canonical(name))
        if target is None:
            if name.split(".")[0] not in ignored:
                unexpected.append(name)
        elif tensor.shape != body[target].shape:
            misshapen.append(f"{name} {tuple(tensor.shape)} instead of {tuple(body[target].shape)}")
            found[target] = body[target]
        else:
            found[target] = tensor
    missing = [k for k in body if k not in found and not k.endswith("num_batches_tracked")]
    problems = _listed("missing", missing) + _listed("unexpected", unexpected) + _listed("shape", misshapen)
    if problems:
        raise WeightsError(f"{source} does not fit the encoder: {'; '.join(problems)}")
    return {name: found.get(name, tensor) for name, tensor in body.items()}


def top_level_outside(model_names: Iterable[str], body_names: Iterable[str]) -> frozenset[str]:
    """Those top-level modules of a classifier (`model_names`) that its pyramid (`body_names`) leaves out."""
    kept = tuple(_canonical(name) for name in body_names)
    modules = {name.split(".")[0] for name in model_names}
    return frozenset(m for m in modules if not any(name.startswith(f"{m}_") for name in kept))


def moco_v2_place() -> Path:
    """Where the official MoCo v2 file is kept: in `$XDG_CACHE_HOME/act2sal`, else `~/.cache/act2sal`."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "act2sal"
    return cache / MOCO_V2_URL.rpartition("/")[2]


def moco_v2_file(*, quiet: bool = False) -> Path:
    """The official MoCo v2 file (ResNet-50, 800 epochs, He et al. 2020) in the cache, downloaded if need be.

    Raises:
        WeightsError: there is no network, or the checksum is not the published one.
    """
    path = moco_v2_place()
    if not path.is_file():
        try:
            _download(MOCO_V2_URL, path, quiet=quiet)
        except (urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise WeightsError(
                f"cannot download the MoCo v2 weights ({reason}). "
                f"Fetch {MOCO_V2_URL} where there is a network, and put the file at {path}"
            ) from error
    digest = _md5(path)
    if not digest.startswith(MOCO_V2_MD5):
        raise WeightsError(
            f"{path} is not the published file: its MD5 is {digest}, expected {MOCO_V2_MD5}...; "
            "delete it and try again"
        )
    return path


def _strip(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _canonical(name: str) -> str:
    return name.removeprefix("model.").replace(".", "_")


def _by_number(name: str) -> tuple[bool, list[tuple[int, str]]]:
    """Sort key that puts `features.2` before `features.10`, and the classifier last."""
    parts = [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]
    return not name.startswith("features."), parts


def _listed(kind: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{len(names)} {kind}: {', '.join(names[:_SHOWN])}{more}"]


def _download(url: str, path: Path, *, quiet: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        with urllib.request.urlopen(url, timeout=30) as response, partial.open("wb") as target:
            size = int(response.headers.get("Content-Length") or 0)
            with bar(f"{path.name} (MiB)", total=-(-size // _BLOCK), quiet=quiet) as advance:
                while block := response.read(_BLOCK):
                    target.write(block)
                    advance()
        if size and partial.stat().st_size != size:
            raise OSError(f"only {partial.stat().st_size} of {size} bytes came")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
