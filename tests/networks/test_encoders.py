"""Encoders: levels, weights under every naming, what is refused, freezing."""

import hashlib
import io
import urllib.error
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import densenet121, mobilenet_v2, resnet18, resnet50

from act2sal.data.images import read_photo, resize_photo
from act2sal.networks import encoder_weights, encoders
from act2sal.networks.encoder_weights import encoder_tensors, moco_v2_file
from act2sal.networks.encoders import (
    Encoder,
    EncoderError,
    build_encoder,
    encoder_from_metadata,
    encoder_metadata,
    freeze,
)
from act2sal.networks.weight_files import WeightsError, read_weights

MOBILE_HEAD = ("conv_head.", "bn2.", "classifier.")


def photo_batch(height: int = 64, width: int = 96) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))


def spread(model: nn.Module) -> nn.Module:
    """Give every BatchNorm statistics of its own, so that a mix-up of two layers shows."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(0.1 * torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=generator))
    return model.eval()


def normalised(photos: Tensor) -> Tensor:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (photos - mean.view(3, 1, 1)) / std.view(3, 1, 1)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2", "densenet121", "darknet17"])
@pytest.mark.parametrize("size", [(64, 96), (65, 97)])
def test_five_levels_of_the_promised_shapes(name: str, size: tuple[int, int]) -> None:
    encoder = build_encoder(name, "random").eval()
    with torch.no_grad():
        levels = encoder(photo_batch(*size))
    assert encoder.strides == (2, 4, 8, 16, 32)
    assert len(encoder.channels) == len(levels) == 5
    for level, channels, stride in zip(levels, encoder.channels, encoder.strides, strict=True):
        assert level.dtype == torch.float32
        assert level.shape[:2] == (1, channels)
        for side, whole in zip(level.shape[2:], size, strict=True):
            assert side == -(-whole // stride) or (name == "densenet121" and side == whole // stride)


def test_level_one_of_a_resnet_comes_before_the_pooling() -> None:
    reference = spread(resnet18())
    encoder = build_encoder("resnet18", "random").eval()
    encoder.body.load_state_dict({k: v for k, v in reference.state_dict().items() if not k.startswith("fc.")})
    photos = photo_batch()
    with torch.no_grad():
        stem = reference.relu(reference.bn1(reference.conv1(normalised(photos))))
        deepest = reference.layer4(
            reference.layer3(reference.layer2(reference.layer1(reference.maxpool(stem))))
        )
        levels = encoder(photos)
    torch.testing.assert_close(levels[0], stem)
    torch.testing.assert_close(levels[4], deepest)


def test_levels_of_a_densenet_are_activations() -> None:
    reference = spread(densenet121()).features
    encoder = build_encoder("densenet121", "random").eval()
    encoder.body.load_state_dict({f"features.{k}": v for k, v in reference.state_dict().items()})
    photos = photo_batch()
    with torch.no_grad():
        hidden = reference[:3](normalised(photos))  # conv0, norm0, relu0
        expected = [hidden]
        hidden = reference.pool0(hidden)
        for i in (1, 2, 3):
            block, transition = getattr(reference, f"denseblock{i}"), getattr(reference, f"transition{i}")
            hidden = transition.relu(transition.norm(block(hidden)))
            expected.append(hidden)
            hidden = transition.pool(transition.conv(hidden))
        expected.append(torch.relu(reference.norm5(reference.denseblock4(hidden))))
        levels = encoder(photos)
    assert encoder.channels == (64, 256, 512, 1024, 1024)
    for level, wanted in zip(levels, expected, strict=True):
        assert level.min() >= 0
        torch.testing.assert_close(level, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("convnext_atto", r"strides \[4, 8, 16, 32\]; needed are \[2, 4, 8, 16, 32\]"),
        ("vit_tiny_patch16_224", "strides"),
        ("resnet51", "no model resnet51 .*did you mean .*resnet50"),
        ("resnet50.no_such_tag", "tag"),
    ],
)
def test_models_without_five_levels_are_refused(name: str, message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        build_encoder(name, "random")


@pytest.mark.parametrize(
    ("name", "output_stride", "strides"),
    [
        ("vgg11", 16, (1, 2, 4, 8, 16)),
        ("vgg11", 32, (2, 4, 8, 16, 32)),
        ("resnet10t", 16, (2, 4, 8, 16, 16)),
        ("mobilenetv2_050", 8, (2, 4, 8, 8, 8)),
    ],
)
def test_other_output_strides(name: str, output_stride: int, strides: tuple[int, ...]) -> None:
    encoder = build_encoder(name, "random", output_stride=output_stride).eval()
    again = encoder_from_metadata(encoder_metadata(encoder)).eval()
    again.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        levels, others = encoder(photo_batch()), again(photo_batch())
    assert encoder.strides == again.strides == strides
    for level, other, channels, stride in zip(levels, others, encoder.channels, strides, strict=True):
        assert level.shape == (1, channels, 64 // stride, 96 // stride)
        assert torch.equal(level, other)


def test_dilation_takes_the_same_weights(tmp_path: Path) -> None:
    whole = spread(timm.create_model("mobilenetv2_050", pretrained=False))
    torch.save(whole.state_dict(), tmp_path / "w.pth")
    dilated = build_encoder("mobilenetv2_050", tmp_path / "w.pth", output_stride=8).eval()
    plain = build_encoder("mobilenetv2_050", tmp_path / "w.pth").eval()
    assert dilated.spec.output_stride == 8
    with torch.no_grad():
        for level in range(3):
            torch.testing.assert_close(dilated(photo_batch())[level], plain(photo_batch())[level])


@pytest.mark.parametrize(("name", "output_stride"), [("densenet121", 8), ("vgg11", 8), ("resnet10t", 12)])
def test_models_without_that_output_stride_are_refused(name: str, output_stride: int) -> None:
    with pytest.raises(EncoderError, match=f"{name} has no form of output stride {output_stride}"):
        build_encoder(name, "random", output_stride=output_stride)


# --- weights -----------------------------------------------------------------------------------------


def test_timm_names_from_safetensors_and_pth(tmp_path: Path) -> None:
    whole = spread(timm.create_model("mobilenetv2_050", pretrained=False))
    save_file(whole.state_dict(), tmp_path / "w.safetensors")
    torch.save({"state_dict": whole.state_dict()}, tmp_path / "w.pth")
    with torch.no_grad():
        expected = whole.forward_intermediates(normalised(photo_batch()), intermediates_only=True)
        for name in ("w.safetensors", "w.pth"):
            levels = build_encoder("mobilenetv2_050", tmp_path / name).eval()(photo_batch())
            for level, wanted in zip(levels, expected, strict=True):
                torch.testing.assert_close(level, wanted)


def test_torchvision_mobilenet_is_renamed_layer_by_layer(tmp_path: Path) -> None:
    reference = spread(mobilenet_v2())
    torch.save(reference.state_dict(), tmp_path / "tv.pth")
    save_file(reference.state_dict(), tmp_path / "tv.safetensors")  # stores no order
    stages = {1: 0, 3: 1, 6: 2, 13: 3, 17: 4}  # torchvision block -> level
    with torch.no_grad():
        hidden, expected = normalised(photo_batch()), {}
        for index, block in enumerate(reference.features[:18]):
            hidden = block(hidden)
            if index in stages:
                expected[stages[index]] = hidden
        for name in ("tv.pth", "tv.safetensors"):
            levels = build_encoder("mobilenetv2", tmp_path / name).eval()(photo_batch())
            for i, level in enumerate(levels):
                torch.testing.assert_close(level, expected[i], rtol=1e-4, atol=1e-4)


def test_torchvision_densenet_in_the_older_spelling(tmp_path: Path) -> None:
    reference = spread(densenet121())
    old = {
        k.replace("norm1.", "norm.1.").replace("conv2.", "conv.2.") if "denselayer" in k else k: v
        for k, v in reference.state_dict().items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "old.pth")
    encoder = build_encoder("densenet121", tmp_path / "old.pth")
    torch.testing.assert_close(
        encoder.body.state_dict()["features.denseblock1.denselayer1.norm1.running_var"],
        reference.features.denseblock1.denselayer1.norm1.running_var,
    )


def moco_like(whole: nn.Module) -> dict[str, object]:
    """The layout of official MoCo v2 files: query encoder with an MLP as classifier, key encoder, queue."""
    plain = {k: v for k, v in whole.state_dict().items() if not k.startswith("fc.")}
    mlp = {"fc.0.weight": torch.zeros(8, 8), "fc.0.bias": torch.zeros(8), "fc.2.weight": torch.zeros(4, 8)}
    tensors = {f"module.encoder_q.{k}": v for k, v in {**plain, **mlp}.items()}
    tensors |= {f"module.encoder_k.{k}": torch.zeros_like(v) for k, v in plain.items()}
    tensors["module.queue"] = torch.zeros(4, 16)
    return {"epoch": 800, "arch": "resnet18", "state_dict": tensors, "optimizer": {"param_groups": []}}


def test_moco_v2_layout(tmp_path: Path) -> None:
    whole = spread(resnet18())
    path = tmp_path / "moco.pth.tar"
    torch.save(moco_like(whole), path)
    encoder = build_encoder("resnet18", path)
    assert encoder.supervision == "none"
    for name, tensor in encoder.body.state_dict().items():
        torch.testing.assert_close(tensor, whole.state_dict()[name])


def test_official_a2s_layout_and_half_precision(tmp_path: Path) -> None:
    whole = spread(resnet18())
    tensors = {
        f"encoder.{k}": v.half() if v.is_floating_point() else v for k, v in whole.state_dict().items()
    }
    tensors["decoder.fusion.ad0.0.weight"] = torch.zeros(2)
    torch.save(tensors, tmp_path / "a2s.pth")
    encoder = build_encoder("resnet18", tmp_path / "a2s.pth")
    assert encoder.supervision == "unknown"
    weight = encoder.body.state_dict()["conv1.weight"]
    assert weight.dtype == torch.float32
    torch.testing.assert_close(weight, whole.conv1.weight.half().float())


def test_pre_processing_and_build_options_travel_with_the_weights(tmp_path: Path) -> None:
    whole = timm.create_model("mobilenetv2_050", pretrained=False)
    metadata = {
        "timm": "mobilenetv2_050",
        "mean": "0.5,0.4,0.3",
        "std": "0.25,0.2,0.1",
        "bn_eps": "1.001e-3",
        "pad_type": "same",
        "supervision": "none",
    }
    save_file(whole.state_dict(), tmp_path / "w.safetensors", metadata=metadata)
    first = build_encoder("mobilenetv2_050", tmp_path / "w.safetensors")
    stored = {f"encoder.{k}": v.contiguous() for k, v in first.state_dict().items()}
    save_file(stored, tmp_path / "detector.safetensors", metadata=encoder_metadata(first))
    second = build_encoder("mobilenetv2_050", tmp_path / "detector.safetensors")
    third = encoder_from_metadata(encoder_metadata(first))
    third.load_state_dict(first.state_dict())
    for encoder in (first, second, third):
        assert encoder.spec.mean == (0.5, 0.4, 0.3)
        assert encoder.spec.std == (0.25, 0.2, 0.1)
        assert encoder.supervision == "none"
        assert {m.eps for m in encoder.modules() if isinstance(m, nn.BatchNorm2d)} == {1.001e-3}
        same_padding = [m for m in encoder.modules() if type(m).__name__ == "Conv2dSame"]
        assert same_padding
        encoder.eval()
    with torch.no_grad():
        for a, b, c in zip(first(photo_batch()), second(photo_batch()), third(photo_batch()), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
            torch.testing.assert_close(a, c, rtol=0, atol=0)


def test_normalisation_is_inside() -> None:
    encoder = Encoder(
        body=nn.Identity(), channels=(3,), spec=replace(build_encoder("resnet18", "random").spec)
    )
    photos = torch.tensor([0.485, 0.456 + 0.224, 0.406 - 0.225]).view(1, 3, 1, 1)
    torch.testing.assert_close(encoder(photos)[0].flatten(), torch.tensor([0.0, 1.0, -1.0]))
    assert encoder.state_dict() == {}


def resnet18_file(
    tmp_path: Path, *, without: tuple[str, ...] = (), extra: dict[str, Tensor] | None = None
) -> Path:
    tensors = {k: v for k, v in resnet18().state_dict().items() if not k.startswith(without or ("-",))}
    torch.save({**tensors, **(extra or {})}, tmp_path / "w.pth")
    return tmp_path / "w.pth"


def test_every_mismatch_is_listed(tmp_path: Path) -> None:
    extra = {f"extra{i}.weight": torch.zeros(1) for i in range(9)} | {"bn1.bias": torch.zeros(3)}
    path = resnet18_file(tmp_path, without=("layer4.1.conv2",), extra=extra)
    with pytest.raises(WeightsError) as raised:
        build_encoder("resnet18", path)
    message = str(raised.value)
    assert str(path) in message
    assert "1 missing: layer4.1.conv2.weight" in message
    assert "9 unexpected: extra0.weight" in message
    assert "extra7.weight and 1 more" in message
    assert "bn1.bias (3,) instead of (64,)" in message


def test_only_the_heads_of_the_model_may_be_extra(tmp_path: Path) -> None:
    build_encoder("resnet18", resnet18_file(tmp_path, extra={"fc.0.weight": torch.zeros(2, 2)}))
    with pytest.raises(WeightsError, match=r"1 unexpected: classifier\.weight"):
        build_encoder("resnet18", resnet18_file(tmp_path, extra={"classifier.weight": torch.zeros(2)}))


def test_batch_counters_may_be_missing(tmp_path: Path) -> None:
    tensors = {k: v for k, v in resnet18().state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(tensors, tmp_path / "w.pth")
    build_encoder("resnet18", tmp_path / "w.pth")


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors", metadata={"timm": "densenet169"})
    with pytest.raises(WeightsError, match="holds weights of densenet169, not of mobilenetv2_100"):
        build_encoder("mobilenetv2", tmp_path / "w.safetensors")
    save_file(mobilenet_v2().state_dict(), tmp_path / "tv.safetensors")
    with pytest.raises(WeightsError, match="layers"):
        build_encoder("resnet18", tmp_path / "tv.safetensors")


@pytest.mark.parametrize("key", ["mean", "std", "bn_eps"])
def test_malformed_metadata_is_an_error(tmp_path: Path, key: str) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors", metadata={key: "0.5,x"})
    with pytest.raises(WeightsError, match="malformed pre-processing"):
        build_encoder("resnet18", tmp_path / "w.safetensors")


def test_metadata_without_a_name_is_an_error() -> None:
    with pytest.raises(WeightsError, match=r"encoder\.name"):
        encoder_from_metadata({"encoder.mean": "0,0,0"})


class Stranger:
    """A class that a weights-only load does not know."""


@pytest.mark.parametrize("content", ["text", "number", "object", "nothing"])
def test_files_that_hold_no_weights(tmp_path: Path, content: str) -> None:
    path = tmp_path / "w.pth"
    if content == "text":
        path.write_text("not a checkpoint")
    elif content == "number":
        torch.save({"epoch": 3}, path)
    elif content == "object":
        torch.save({"model": Stranger()}, path)
    with pytest.raises(WeightsError) as raised:
        read_weights(path)
    assert str(path) in str(raised.value)


def test_a_damaged_safetensors_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(WeightsError, match=r"w\.safetensors"):
        read_weights(tmp_path / "w.safetensors")


def test_encoder_tensors_leaves_plain_names_alone() -> None:
    tensors = {"conv1.weight": torch.zeros(1), "fc.bias": torch.zeros(1)}
    assert encoder_tensors(tensors) == tensors


# --- builtin, MoCo v2, timm --------------------------------------------------------------------------


def test_builtin_reads_the_shipped_detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "detector.safetensors"
    monkeypatch.setattr(encoders, "BUILTIN_PATH", path)
    with pytest.raises(WeightsError, match="no builtin encoder"):
        build_encoder("mobilenetv2", "builtin")
    shipped = build_encoder("mobilenetv2", "random")
    tensors = {
        f"encoder.{k}": v.half() if v.is_floating_point() else v for k, v in shipped.state_dict().items()
    }
    save_file({**tensors, "decoder.weight": torch.zeros(1)}, path, metadata=encoder_metadata(shipped))
    loaded = build_encoder("mobilenetv2", "builtin")
    torch.testing.assert_close(
        loaded.body.state_dict()["conv_stem.weight"],
        shipped.body.state_dict()["conv_stem.weight"].half().float(),
    )
    with pytest.raises(WeightsError, match="holds weights of mobilenetv2_100, not of resnet50"):
        build_encoder("resnet50", "builtin")


def test_moco_v2_without_a_network_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(url: str, timeout: float) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", offline)
    with pytest.raises(WeightsError) as raised:
        build_encoder("resnet50", "moco_v2")
    message = str(raised.value)
    assert "Name or service not known" in message
    assert encoder_weights.MOCO_V2_URL in message
    assert str(tmp_path / "act2sal" / "moco_v2_800ep_pretrain.pth.tar") in message


class Response(io.BytesIO):
    """What `urlopen` gives: a stream with headers."""

    def __init__(self, content: bytes, length: int) -> None:
        super().__init__(content)
        self.headers = {"Content-Length": str(length)}


def test_moco_v2_is_downloaded_once_and_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = b"weights" * 300_000  # MD5 844a49fbf56f5c3a255fd4f58fd00ee7
    calls = []

    def fetch(url: str, timeout: float) -> Response:
        calls.append(url)
        return Response(content, len(content))

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", fetch)
    with pytest.raises(WeightsError, match="is not the published file"):
        moco_v2_file()
    monkeypatch.setattr(encoder_weights, "MOCO_V2_MD5", "844a49fb")
    path = moco_v2_file()
    assert path.read_bytes() == content
    assert calls == [encoder_weights.MOCO_V2_URL]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert "moco_v2_800ep_pretrain.pth.tar (MiB)" in capsys.readouterr().err


def test_a_broken_download_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: Response(b"half", 8))
    with pytest.raises(WeightsError, match="only 4 of 8 bytes came"):
        moco_v2_file(quiet=True)
    assert list((tmp_path / "act2sal").iterdir()) == []


def test_a_moco_v2_file_in_the_cache_is_used_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = resnet50()
    path = tmp_path / "act2sal" / "moco_v2_800ep_pretrain.pth.tar"
    path.parent.mkdir()
    torch.save(moco_like(whole), path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(encoder_weights, "MOCO_V2_MD5", hashlib.md5(path.read_bytes()).hexdigest()[:8])
    encoder = build_encoder("resnet", "moco_v2")
    assert (encoder.name, encoder.supervision) == ("resnet50", "none")
    torch.testing.assert_close(
        encoder.body.state_dict()["layer4.2.conv3.weight"], whole.state_dict()["layer4.2.conv3.weight"]
    )


def test_moco_v2_is_for_resnet50_alone() -> None:
    with pytest.raises(WeightsError, match="for resnet50, not for mobilenetv2_100"):
        build_encoder("mobilenetv2", "moco_v2")


def test_timm_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model
    whole = spread(create("densenet121", pretrained=False))
    monkeypatch.setattr(
        timm,
        "create_model",
        lambda name, pretrained, **rest: whole if pretrained else create(name, pretrained=False, **rest),
    )
    encoder = build_encoder("densenet121", "timm")
    assert encoder.supervision == "ImageNet labels"
    torch.testing.assert_close(
        encoder.body.state_dict()["features.norm5.running_mean"], whole.features.norm5.running_mean
    )


def test_timm_weights_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def offline(name: str, pretrained: bool, **rest: object) -> nn.Module:
        if pretrained:
            raise OSError("We couldn't connect\nmany more lines")
        return create(name, pretrained=False, **rest)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(WeightsError, match=r"timm cannot fetch weights for resnet18: We couldn't connect$"):
        build_encoder("resnet18", "timm")


def test_weights_that_name_no_imagenet_classes_are_not_called_label_free() -> None:
    assert encoders._timm_supervision("vit_small_patch14_dinov2.lvd142m").startswith("unknown")


# --- freezing ----------------------------------------------------------------------------------------


def test_a_frozen_encoder_does_not_drift() -> None:
    encoder = freeze(build_encoder("resnet18", "random"))
    parent = nn.ModuleDict({"encoder": encoder, "head": nn.Conv2d(512, 1, 1)}).train()
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    parent["head"](parent["encoder"](photo_batch())[4]).mean().backward()
    assert not encoder.training
    assert not any(module.training for module in encoder.modules())
    assert parent["head"].training
    assert all(p.grad is None and not p.requires_grad for p in encoder.parameters())
    for name, tensor in encoder.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_the_official_drift_moves_statistics_and_nothing_else() -> None:
    encoder = freeze(build_encoder("resnet18", "random"), batchnorm_drift=True)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    encoder.train()(photo_batch())
    assert encoder.training
    changed = {k for k, v in encoder.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert all("running" in k or "num_batches" in k for k in changed)
    assert not any(p.requires_grad for p in encoder.parameters())


# --- real weights ------------------------------------------------------------------------------------


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "file", "deepest"),
    [
        ("densenet169", "densenet169_imagenet.safetensors", 1664),
        ("mobilenetv2", "mobilenetv2_100_imagenet.safetensors", 320),
    ],
)
def test_real_weights_give_sensible_features(shared_dir: Path, name: str, file: str, deepest: int) -> None:
    encoder = freeze(build_encoder(name, shared_dir / "weights" / file))
    photo = read_photo(sorted((shared_dir / "data" / "duts_tr_3000" / "images").iterdir())[0])
    photos = torch.from_numpy(resize_photo(photo, (160, 160))).permute(2, 0, 1)[None].float() / 255
    levels = encoder(photos)
    assert encoder.supervision == "ImageNet labels"
    assert [tuple(level.shape[2:]) for level in levels] == [(s, s) for s in (80, 40, 20, 10, 5)]
    assert levels[4].shape[1] == deepest
    for level in levels:
        assert level.isfinite().all()
        assert 0.01 < level.std() < 100


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("densenet169", "densenet169_imagenet.safetensors"),
        ("mobilenetv2_100", "mobilenetv2_100_imagenet.safetensors"),
    ],
)
def test_real_weights_classify_as_the_whole_model_would(shared_dir: Path, name: str, file: str) -> None:
    """The deepest level equals what timm's own classifier computes from the same file."""
    path = shared_dir / "weights" / file
    tensors, metadata = read_weights(path)
    options = {"pad_type": "same"} if metadata.get("pad_type") else {}
    whole = timm.create_model(name, pretrained=False, **options).eval()
    whole.load_state_dict(tensors, strict=False)
    for module in whole.modules():
        if isinstance(module, nn.BatchNorm2d) and "bn_eps" in metadata:
            module.eps = float(metadata["bn_eps"])
    photos = photo_batch(96, 96)
    mean, std = (
        torch.tensor([float(x) for x in metadata[k].split(",")]).view(3, 1, 1) for k in ("mean", "std")
    )
    with torch.no_grad():
        hidden = (photos - mean) / std
        if name == "densenet169":
            expected = whole.forward_features(hidden)
        else:
            expected = whole.blocks(whole.bn1(whole.conv_stem(hidden)))
        deepest = build_encoder(name, path).eval()(photos)[4]
    torch.testing.assert_close(deepest, expected, rtol=1e-4, atol=1e-4)
