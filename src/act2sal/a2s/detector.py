"""Stage 2: the saliency detector and its Residual Attention Modules (A2S, Eq. 7-11)."""

from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from act2sal.a2s.resampling import resize


class FiveLevelEncoder(Protocol):
    """What the detector needs of an encoder: a module that says how wide its five levels are.

    Called with photos (B, 3, H, W) float32 in [0, 1], it returns E_1..E_5 at strides 2, 4, 8, 16, 32.
    """

    @property
    def channels(self) -> Sequence[int]:
        """Channels of E_1..E_5."""


class ConvUnit(nn.Sequential):
    """Convolution 3x3 with bias, GroupNorm with two channels a group, ReLU.

    In the published networks these are the 32 groups of 64 channels and the 64 groups of 128.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1),
            nn.GroupNorm(channels // 2, channels),
            nn.ReLU(),
        )


class ResidualAttentionModule(nn.Module):
    """RAM: `H'_i = H_i * sigmoid(conv(H_i - H_5))`, `R = conv(concat(H'_i, H'_j, H_5))` (Eq. 9-10).

    H_5 passes a convolution, GroupNorm and ReLU of its own before it is resized, as in the official code; the
    last convolution has neither norm nor activation. With `attention=False` the maps enter the last
    convolution unweighted (row † of Table VII).
    """

    def __init__(self, *, channels: int, attention: bool = True) -> None:
        super().__init__()
        self.deep = ConvUnit(channels, channels)
        widths = [channels, channels] if attention else []
        self.attention = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for width in widths)
        self.fuse = nn.Conv2d(3 * channels, channels, 3, padding=1)

    def forward(self, finer: Tensor, coarser: Tensor, deepest: Tensor) -> Tensor:
        """R at the size of `finer`.

        Args:
            finer: H_1 or H_3, (B, C, h, w) float32.
            coarser: H_2 or H_4, (B, C, h', w') float32, resized to `finer`.
            deepest: H_5 or what was made of it, (B, C, h'', w'') float32, resized to `finer`.
        """
        size = finer.shape[-2:]
        guide = resize(self.deep(deepest), size)
        maps = [finer, resize(coarser, size)]
        if len(self.attention):
            maps = [h * torch.sigmoid(conv(h - guide)) for h, conv in zip(maps, self.attention, strict=True)]
        return self.fuse(torch.cat([*maps, guide], dim=1))


class Deepening(nn.Module):
    """What H_5 passes before the local module: two units, the first twice as wide, each enlarged x2."""

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.widen = ConvUnit(channels, 2 * channels)
        self.narrow = ConvUnit(2 * channels, channels)

    def forward(self, deepest: Tensor) -> Tensor:
        """(B, C, h, w) float32 -> (B, C, 4h, 4w) float32."""
        return _double(self.narrow(_double(self.widen(deepest))))


class ObjectPresence(nn.Module):
    """Whether a photo holds a salient object at all: a linear function of the mean and the maximum of E_5 over it.

    Differs: not in the paper, whose detector answers every photo with a map. `presence.fit_presence` fits it.

    Args:
        channels: of E_5.
    """

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * channels, 1)

    def forward(self, deepest: Tensor) -> Tensor:
        """E_5 (B, C, h, w) float32 -> logits (B,) float32."""
        return self.linear(pooled(deepest))[:, 0]


def pooled(deepest: Tensor) -> Tensor:
    """E_5 (B, C, h, w) float32 -> its mean and its maximum over the photo, (B, 2C) float32."""
    return torch.cat([deepest.mean(dim=(2, 3)), deepest.amax(dim=(2, 3))], dim=1)


class DetectorNetwork(nn.Module):
    """The saliency detector: photos in, logits at their size out (Eq. 7-11).

    The product of a local (levels 1, 2, 5) and a regional (levels 3, 4, 5) module, summed over channels.

    Differs: with `finest_stride=4` the convolution on E_1 has stride 2, so that the local module works at a
    quarter of the pixels. The paper's detector is `finest_stride=2` with 64 channels.

    Args:
        encoder: the feature pyramid, trained with the rest; see `FiveLevelEncoder`.
        channels: width of the decoder, an even number.
        attention: residual attention; False is row † of Table VII.
        finest_stride: stride of the map that is enlarged to the photo's size.
        presence: says whether there is an object; None: nothing does, until the attribute is set.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        channels: int,
        finest_stride: Literal[2, 4],
        attention: bool = True,
        presence: ObjectPresence | None = None,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.attention = attention
        self.finest_stride: Literal[2, 4] = finest_stride
        self.encoder = encoder
        widths: Sequence[int] = encoder.channels  # type: ignore[assignment]
        strides = (finest_stride // 2, 1, 1, 1, 1)
        self.adapters = nn.ModuleList(ConvUnit(w, channels, s) for w, s in zip(widths, strides, strict=True))
        self.regional = ResidualAttentionModule(channels=channels, attention=attention)
        self.local = ResidualAttentionModule(channels=channels, attention=attention)
        self.deepening = Deepening(channels=channels)
        self.presence = presence

    def forward(self, photos: Tensor) -> Tensor:
        """Photos (B, 3, H, W) float32 in [0, 1] -> logits (B, 1, H, W) float32."""
        return resize(self.decode(self.encoder(photos)), photos.shape[-2:])

    def encoder_parameters(self) -> list[nn.Parameter]:
        """List the parameters that learn at the rate of the encoder."""
        return list(self.encoder.parameters())

    def rated(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Logits as in a call, and the confidence that there is a salient object, (B,) float32 in [0, 1].

        The confidence is at most the largest probability of the map: where nothing is found, it is 0.

        Raises:
            ValueError: there is no `presence`.
        """
        if self.presence is None:
            raise ValueError("this detector has no part that says whether there is an object")
        encoded = self.encoder(photos)
        logits = resize(self.decode(encoded), photos.shape[-2:])
        highest = torch.sigmoid(logits.amax(dim=(1, 2, 3)))
        return logits, torch.sigmoid(self.presence(encoded[-1])) * highest

    def decode(self, encoded: Sequence[Tensor]) -> Tensor:
        """E_1..E_5 -> logits (B, 1, h, w) at the finest stride, before they are enlarged to the photo."""
        h1, h2, h3, h4, h5 = (adapt(e) for adapt, e in zip(self.adapters, encoded, strict=True))
        regional = self.regional(h3, h4, h5)
        local = self.local(h1, h2, self.deepening(h5))
        return (local * resize(regional, local.shape[-2:])).sum(dim=1, keepdim=True)


def _double(maps: Tensor) -> Tensor:
    return resize(maps, (2 * maps.shape[-2], 2 * maps.shape[-1]))
