"""Encoders: feature pyramids with five levels (as a rule strides 2 to 32) out of timm models, and their weights."""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from act2sal.errors import InputError
from act2sal.networks.encoder_weights import (
    MOCO_V2_PREFIX,
    encoder_tensors,
    match,
    moco_v2_file,
    rename_torchvision,
    top_level_outside,
)
from act2sal.networks.model_files import BUILTIN_PATH
from act2sal.networks.weight_files import WeightsError, read_weights

UNKNOWN = "unknown"
"""Supervision of weights whose training is not known."""
STRIDES = (2, 4, 8, 16, 32)
STRIDES_BEFORE_POOLS = (1, 2, 4, 8, 16)
"""Of the five levels of a VGG that each end before a pool."""
SHORT_NAMES = {
    "densenet": "densenet169",
    "efficientnet": "efficientnet_b0",
    "mobilenet": "mobilenetv2_100",
    "mobilenet_v2": "mobilenetv2_100",
    "mobilenetv2": "mobilenetv2_100",
    "mobilenetv3": "mobilenetv3_large_100",
    "resnet": "resnet50",
}


class EncoderError(InputError):
    """A model name that gives no encoder; the message says why."""


@dataclass(frozen=True)
class EncoderSpec:
    """Everything that defines an encoder except its weights; stored in every file that holds an encoder."""

    name: str
    """The model's name in timm."""
    mean: tuple[float, float, float]
    """Subtracted from photos in [0, 1], per RGB channel."""
    std: tuple[float, float, float]
    """Divides the result, per RGB channel."""
    bn_eps: float | None = None
    """Epsilon of every BatchNorm; None keeps that of the model."""
    pad_type: str = ""
    """timm's `pad_type`: "same" for weights that come from TensorFlow."""
    supervision: str = "none"
    """What the weights were trained with: "none", "ImageNet labels", "unknown", ..."""
    output_stride: int = 32
    """Stride of the deepest level: 32, or 16 or 8, where convolutions are dilated in place of further strides.
    16 of a VGG means its five levels before each pool (strides 1 to 16) instead of those after."""


class Encoder(nn.Module):
    """Five feature levels of a photo, E_1 to E_5 of the paper.

    `body` maps (B, 3, H, W) to five tensors. `channels` and `strides` belong to the levels, finest first.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        body: nn.Module,
        channels: tuple[int, ...],
        spec: EncoderSpec,
        strides: tuple[int, ...] = STRIDES,
    ) -> None:
        super().__init__()
        self.body = body
        self.channels = channels
        self.strides = strides
        self.spec = spec
        self._held_in_eval = False
        # Not in the state dict: the spec that is written beside the weights holds the same numbers.
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1), persistent=False)

    @property
    def name(self) -> str:
        """The model's name in timm."""
        return self.spec.name

    @property
    def supervision(self) -> str:
        """What the weights were trained with."""
        return self.spec.supervision

    def forward(self, photos: Tensor) -> list[Tensor]:
        """Photos (B, 3, H, W) float32 RGB in [0, 1] -> five levels (B, channels[i], H_i, W_i) float32.

        H_i = H / strides[i], W_i likewise, rounded up (DenseNet, VGG: down). Normalisation is done here.
        """
        return list(self.body((photos - self.mean) / self.std))

    def train(self, mode: bool = True) -> "Encoder":
        """As `nn.Module.train`; a frozen encoder stays in eval mode."""
        super().train(mode and not self._held_in_eval)
        return self

    def hold_in_eval(self) -> None:
        """Stay in eval mode from now on, even if a parent is set to train mode."""
        self._held_in_eval = True
        self.eval()


class DenseNetLevels(nn.Module):
    """The five activations of a DenseNet: ReLU'd norm0, transition1-3.norm and norm5.

    Differs: timm's own pyramid gives the raw outputs of the dense blocks. Those are inputs of a
    BatchNorm + ReLU, of any scale and sign, and no activations.
    """

    def __init__(self, features: nn.Sequential) -> None:
        super().__init__()
        self.features = features

    def forward(self, photos: Tensor) -> list[Tensor]:
        """Normalised photos (B, 3, H, W) float32 -> five non-negative levels."""
        levels = []
        hidden = photos
        for name, module in self.features.named_children():
            if name == "pool0":
                levels.append(hidden)
            if name.startswith("transition"):
                for step, layer in module.named_children():
                    hidden = layer(hidden)
                    if step == "norm":
                        levels.append(hidden)
            else:
                hidden = module(hidden)
        return [*levels, hidden]


def build_encoder(name: str, weights: str | Path, *, output_stride: int = 32) -> Encoder:
    """Build the encoder `name` (timm or short name) with `weights`.

    Pre-processing and build options come with the weights: from the metadata of a safetensors file, else from timm's
    configuration of the model.

    Args:
        name: timm name or short name.
        weights: "builtin" (shipped with the package), "timm" (downloaded by timm), "moco_v2" (official file,
            ResNet-50, downloaded once), "random", or the path of a safetensors or PyTorch file with timm,
            torchvision, MoCo v2 or official A2S names.
        output_stride: of the deepest level; see `EncoderSpec`.

    Raises:
        EncoderError: the model does not have the five levels.
        WeightsError: the weights do not fit.
    """
    model = SHORT_NAMES.get(name, name)
    default = replace(_default_spec(model), output_stride=output_stride)
    if weights == "random":
        return _empty_encoder(default)
    if weights == "timm":
        return _timm_encoder(default)
    if weights == "builtin":
        if not BUILTIN_PATH.is_file():
            raise WeightsError(
                "this installation holds no builtin encoder; use --encoder-weights timm or a path"
            )
        return _encoder_from_file(default, BUILTIN_PATH)
    if weights == "moco_v2":
        if model.partition(".")[0] != "resnet50":
            raise WeightsError(f"moco_v2 weights are for resnet50, not for {model}")
        return _encoder_from_file(default, moco_v2_file())
    return _encoder_from_file(default, Path(weights))


def encoder_metadata(encoder: Encoder) -> dict[str, str]:
    """The spec of `encoder` as `encoder.*` entries for the metadata of a safetensors file."""
    spec = encoder.spec
    return {
        "encoder.name": spec.name,
        "encoder.mean": ",".join(map(repr, spec.mean)),
        "encoder.std": ",".join(map(repr, spec.std)),
        "encoder.bn_eps": "" if spec.bn_eps is None else repr(spec.bn_eps),
        "encoder.pad_type": spec.pad_type,
        "encoder.supervision": spec.supervision,
        "encoder.output_stride": str(spec.output_stride),
    }


def encoder_from_metadata(metadata: Mapping[str, str]) -> Encoder:
    """Build the encoder that `encoder_metadata` described, with random weights.

    Raises:
        WeightsError: an entry is missing or malformed.
    """
    if "encoder.name" not in metadata:
        raise WeightsError("the file does not say which encoder it holds (no encoder.name in its metadata)")
    return _empty_encoder(_spec_from_metadata(metadata, _default_spec(metadata["encoder.name"])))


def freeze(encoder: Encoder, *, batchnorm_drift: bool = False) -> Encoder:
    """Stop training of `encoder` (in place): no gradients, and eval mode whatever its parent does.

    Differs: the official code leaves BatchNorm in train mode, so that its running statistics drift;
    `batchnorm_drift=True` does the same.
    """
    encoder.requires_grad_(False)
    if not batchnorm_drift:
        encoder.hold_in_eval()
    return encoder


def _empty_encoder(spec: EncoderSpec) -> Encoder:
    build = _densenet_body if spec.name.startswith("densenet") else _timm_body
    body, channels, strides = build(spec)
    if spec.bn_eps is not None:
        for module in body.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = spec.bn_eps
    return Encoder(body=body, channels=channels, spec=spec, strides=strides)


def _densenet_body(spec: EncoderSpec) -> tuple[nn.Module, tuple[int, ...], tuple[int, ...]]:
    if spec.output_stride != STRIDES[-1]:
        raise EncoderError(f"{spec.name} has no form of output stride {spec.output_stride}")
    model: Any = timm.create_model(spec.name, pretrained=False)
    transitions = [
        module for name, module in model.features.named_children() if name.startswith("transition")
    ]
    stem = model.feature_info[0]["num_chs"]
    channels = (stem, *(module.norm.num_features for module in transitions), model.num_features)
    return DenseNetLevels(model.features), channels, STRIDES


def _timm_body(spec: EncoderSpec) -> tuple[nn.Module, tuple[int, ...], tuple[int, ...]]:
    """The pyramid of a timm model, its channels and its strides."""
    body = _timm_pyramid(spec)
    reductions = body.feature_info.reduction()
    before_pools = spec.output_stride == STRIDES_BEFORE_POOLS[-1] and reductions[0] == 1
    wanted = STRIDES_BEFORE_POOLS if before_pools else STRIDES
    if any(stride not in reductions for stride in wanted):
        raise EncoderError(f"{spec.name} has levels of strides {reductions}; needed are {list(wanted)}")
    indices = tuple(len(reductions) - 1 - reductions[::-1].index(stride) for stride in wanted)
    dilated = spec.output_stride not in (wanted[-1], STRIDES[-1])
    if dilated or tuple(body.feature_info.out_indices) != indices:
        body = _timm_pyramid(spec, indices, dilated=dilated)
    return body, tuple(body.feature_info.channels()), tuple(body.feature_info.reduction())


def _timm_pyramid(spec: EncoderSpec, indices: tuple[int, ...] | None = None, *, dilated: bool = False) -> Any:
    """Build the pyramid of timm with the levels `indices`; None: the default ones."""
    options: dict[str, Any] = {} if indices is None else {"out_indices": indices}
    if spec.pad_type:
        options["pad_type"] = spec.pad_type
    if dilated:
        options["output_stride"] = spec.output_stride
    try:
        return timm.create_model(spec.name, pretrained=False, features_only=True, **options)
    except Exception as error:  # timm's models raise whatever they like
        if dilated:
            raise EncoderError(f"{spec.name} has no form of output stride {spec.output_stride}") from error
        raise EncoderError(f"timm cannot make a feature pyramid of {spec.name}: {error}") from error


def _default_spec(model: str) -> EncoderSpec:
    """The spec of random weights: pre-processing as in timm's configuration."""
    try:
        config = timm.get_pretrained_cfg(model) if timm.is_model(model) else None
    except RuntimeError as error:  # a tag that the model does not have
        raise EncoderError(str(error)) from error
    if config is None:
        close = difflib.get_close_matches(model, [*SHORT_NAMES, *timm.list_models()], n=3)
        hint = f" (did you mean {', '.join(close)}?)" if close else ""
        raise EncoderError(f"timm has no model {model}{hint}")
    return EncoderSpec(name=model, mean=_three(config.mean), std=_three(config.std))


def _timm_encoder(default: EncoderSpec) -> Encoder:
    model, encoder = default.name, _empty_encoder(default)
    try:
        whole = timm.create_model(model, pretrained=True)
    except Exception as error:  # the download raises whatever its HTTP client raises
        first_line = str(error).strip().partition("\n")[0] or type(error).__name__
        raise WeightsError(f"timm cannot fetch weights for {model}: {first_line}") from error
    encoder.spec = replace(encoder.spec, supervision=_timm_supervision(model))
    tensors = whole.state_dict()
    _load(encoder, tensors, whole_names=list(tensors), source=f"timm's {model}")
    return encoder


def _timm_supervision(model: str) -> str:
    """Supervision according to timm's tag of the weights; `UNKNOWN` unless the tag names ImageNet."""
    config = timm.get_pretrained_cfg(model)
    tag = str(config.tag or "") if config else ""
    labelled = any(word in tag for word in ("in1k", "in12k", "in21k", "in22k"))
    return "ImageNet labels" if labelled else f"unknown (timm {tag})"


def _encoder_from_file(default: EncoderSpec, path: Path) -> Encoder:
    model = default.name
    tensors, metadata = read_weights(path)
    if not any(key.startswith("encoder.") for key in metadata):
        metadata = {f"encoder.{key}": value for key, value in metadata.items()}
    made_for = metadata.get("encoder.name") or metadata.get("encoder.timm") or model
    if SHORT_NAMES.get(made_for, made_for).partition(".")[0] != model.partition(".")[0]:
        raise WeightsError(f"{path} holds weights of {made_for}, not of {model}")
    label_free = any(name.startswith(MOCO_V2_PREFIX) for name in tensors)
    default = replace(default, supervision="none" if label_free else UNKNOWN)
    spec = replace(_spec_from_metadata(metadata, default), output_stride=default.output_stride)
    encoder = _empty_encoder(spec)
    whole = list(timm.create_model(model, pretrained=False).state_dict())
    plain = rename_torchvision(encoder_tensors(tensors), whole)
    _load(encoder, plain, whole_names=whole, source=str(path))
    return encoder


def _load(encoder: Encoder, tensors: Mapping[str, Tensor], *, whole_names: list[str], source: str) -> None:
    body = encoder.body.state_dict()
    ignored = top_level_outside(whole_names, body)
    encoder.body.load_state_dict(match(tensors, body, ignored=ignored, source=source))


def _spec_from_metadata(metadata: Mapping[str, str], default: EncoderSpec) -> EncoderSpec:
    eps = metadata.get("encoder.bn_eps")
    try:
        spec = EncoderSpec(
            name=default.name,
            mean=_three(map(float, metadata["encoder.mean"].split(",")))
            if "encoder.mean" in metadata
            else default.mean,
            std=_three(map(float, metadata["encoder.std"].split(",")))
            if "encoder.std" in metadata
            else default.std,
            bn_eps=float(eps) if eps else default.bn_eps,
            pad_type=metadata.get("encoder.pad_type", default.pad_type),
            supervision=metadata.get("encoder.supervision", default.supervision),
            output_stride=int(metadata.get("encoder.output_stride", default.output_stride)),
        )
    except ValueError as error:
        raise WeightsError(f"malformed pre-processing in the metadata of the weights: {error}") from error
    eps_given = spec.bn_eps or 0.0
    finite = all(map(math.isfinite, (*spec.mean, *spec.std, eps_given)))
    if not finite or min(spec.std) <= 0 or eps_given < 0:
        raise WeightsError("malformed pre-processing in the metadata of the weights: mean, std or bn_eps")
    if spec.pad_type not in ("", "same", "valid"):
        raise WeightsError(f"unknown padding {spec.pad_type!r} in the metadata of the weights")
    return spec


def _three(numbers: Iterable[float]) -> tuple[float, float, float]:
    red, green, blue = numbers
    return red, green, blue
