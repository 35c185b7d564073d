"""Stage 1: the activation network, its decision boundary, sign and loss (A2S, Eq. 1-5).

An encoder that has never seen a mask still answers more strongly to objects than to their surroundings. Four
small blocks turn its three deepest levels into one map per photo, which an unsupervised loss pushes away from
the boundary between the two classes.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from act2sal.bilinear import bilinear
from act2sal.prefetch import sent

BoundaryKind = Literal["db1", "db2", "db3", "db4", "db5", "affine"]
SignRule = Literal["area", "area_zero", "corners", "border"]
ThresholdRule = Literal["otsu", "mean", "median"]

E3_STRIDE = 8


class Activation(NamedTuple):
    """What the activation network says about a batch, before any sign is chosen.

    theta: (B, 1, h, w) float32, logits of the fused map F at the fusion stride (Eq. 3).
    sides: logits of F_3, F_4, F_5, each (B, 1, h_i, w_i) float32 at its encoder level's own size.
    """

    theta: Tensor
    sides: tuple[Tensor, Tensor, Tensor]


class ScaledConv2d(nn.Conv2d):
    """A convolution of features that are multiplied by one number per channel, which it does to its weights, as there
    are fewer of these.
    """

    def forward(self, features: Tensor, scale: Tensor | None = None) -> Tensor:
        """features (B, C_in, h, w) of any float type, scale (C_in,) or None -> (B, C_out, h, w)."""
        weight = self.weight if scale is None else self.weight * scale.view(1, -1, 1, 1)
        return self._conv_forward(features.to(weight.dtype), weight, self.bias)


class ActivationBlock(nn.Module):
    """The block SE of Eq. 1: conv 3x3, GroupNorm(1), ReLU, then a channel gate.

    The gate is the spatial mean, a 1x1 convolution and a sigmoid, multiplied onto the channels.
    """

    def __init__(self, in_channels: int, channels: int = 64) -> None:
        super().__init__()
        self.conv = ScaledConv2d(in_channels, channels, 3, padding=1)
        self.norm = nn.GroupNorm(1, channels)
        self.gate = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor, scale: Tensor | None = None) -> Tensor:
        """(B, in_channels, h, w) float32 -> (B, channels, h, w) float32, all values >= 0.

        scale: (in_channels,) float32, multiplies the channels first.
        """
        convolved = self.conv(features, scale)
        convolved = convolved.float()  # an autocast may have rounded it, and Eq. 3 takes differences
        activated = functional.relu(self.norm(convolved))
        return activated * torch.sigmoid(self.gate(activated.mean(dim=(2, 3), keepdim=True)))


class DecisionBoundary(nn.Module):
    """One of the decision boundaries of A2S, Fig. 9, or an affine one, with the state that some of them need.

    db1 keeps a running channel mean over the photos seen in training; db4 learns one weight per channel, ones
    at the start. `affine`, `w^T f_n + b`, is for blocks that are fitted on labels: it needs no mean and no sign. The
    others hold nothing.

    Differs: `affine` is not in the paper. db1 in the paper uses the mean over the training set; a running mean
    (momentum 0.9) stands for it, as the exact one would need a pass over all photos at every step.
    """

    mean: Tensor

    def __init__(self, kind: BoundaryKind, channels: int) -> None:
        super().__init__()
        self.kind: BoundaryKind = kind
        if kind == "db1":
            self.register_buffer("mean", torch.zeros(channels))
        if kind == "db4":
            self.weight = nn.Parameter(torch.ones(channels))
        if kind == "affine":
            self.affine = nn.Conv2d(channels, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) float32 -> logits (B, 1, h, w) float32."""
        if self.kind == "db1":
            if self.training:
                self.mean.lerp_(features.detach().mean(dim=(0, 2, 3)), 0.1)
            return decision_boundary(features, "db1", vector=self.mean)
        if self.kind == "db4":
            return decision_boundary(features, "db4", vector=self.weight)
        if self.kind == "affine":
            return self.affine(features)
        return decision_boundary(features, self.kind)


class ActivationNetwork(nn.Module):
    """The trainable part of stage 1: `F_i = SE_i(E_i)`, `F = SE_0(concat(F_3, F_4, F_5))` (Eq. 1, Eq. 3).

    The encoder stays outside: it is frozen, so its features can be computed once and kept. Buffers `scale3`,
    `scale4`, `scale5` (C_i,) float32 multiply the encoder's channels before the blocks; ones unless
    `set_scales` is called.

    Differs: the official code resizes F_3..F_5 to stride 2 (`fusion_stride=2`, the size of E_1) before the
    concatenation; here the default is stride 4, whose labels are as good, at a quarter of the cost. The official
    code also multiplies E_5 by the column sums of the ResNet classifier, which is a `scale5` here.

    Args:
        in_channels: channels of E_3, E_4, E_5.
        channels: width of the four blocks.
        fusion_stride: stride, relative to the photo, of the fused map.
        boundary: decision boundary of Fig. 9; db5 is the Adaptive Decision Boundary.
    """

    scale3: Tensor
    scale4: Tensor
    scale5: Tensor

    def __init__(
        self,
        *,
        in_channels: tuple[int, int, int],
        channels: int = 64,
        fusion_stride: int = 4,
        boundary: BoundaryKind = "db5",
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.channels = channels
        self.fusion_stride = fusion_stride
        self.boundary: BoundaryKind = boundary
        for level, width in zip((3, 4, 5), in_channels, strict=True):
            self.register_buffer(f"scale{level}", torch.ones(width))
        self.blocks = nn.ModuleList(ActivationBlock(width, channels) for width in in_channels)
        self.fusion = ActivationBlock(3 * channels, channels)
        self.boundaries = nn.ModuleList(DecisionBoundary(boundary, channels) for _ in range(4))

    @property
    def scales(self) -> tuple[Tensor, Tensor, Tensor]:
        """The channel scales of E_3, E_4, E_5, each (C_i,) float32."""
        return self.scale3, self.scale4, self.scale5

    def set_scales(self, scales: Sequence[Tensor]) -> None:
        """Replace the channel scales of E_3, E_4, E_5, each (C_i,); a wrong shape is a ValueError."""
        for own, new in zip(self.scales, scales, strict=True):
            if own.shape != new.shape:
                raise ValueError(f"a scale of shape {tuple(new.shape)} given for {own.numel()} channels")
            own.copy_(new)

    def features(
        self, encoded: Sequence[Tensor], photo_size: tuple[int, int] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """F (B, C, h, w) at the fusion stride and [F_3, F_4, F_5] (B, C, h_i, w_i) (Eq. 1); see `forward`."""
        sides = [block(e, s) for block, e, s in zip(self.blocks, encoded, self.scales, strict=True)]
        height, width = photo_size or (E3_STRIDE * encoded[0].shape[-2], E3_STRIDE * encoded[0].shape[-1])
        size = (-(-height // self.fusion_stride), -(-width // self.fusion_stride))
        return self.fusion(torch.cat([bilinear(f, size) for f in sides], dim=1)), sides

    def forward(self, encoded: Sequence[Tensor], photo_size: tuple[int, int] | None = None) -> Activation:
        """Logits before the sign.

        Args:
            encoded: E_3, E_4, E_5, each (B, C_i, h_i, w_i) float32 or float16, at strides 8, 16, 32.
            photo_size: height and width of the photo; the fused map has this divided by the fusion stride,
                rounded up. Without it the photo is taken to be 8 times the size of E_3.
        """
        fused, sides = self.features(encoded, photo_size)
        f3, f4, f5 = (b(f) for b, f in zip(self.boundaries[:3], sides, strict=True))
        return Activation(self.boundaries[3](fused), (f3, f4, f5))


def activation_map(features: Tensor) -> Tensor:
    """`M = 1^T f_n`: features (B, C, h, w) -> (B, 1, h, w), the sum over channels."""
    return features.sum(dim=1, keepdim=True)


def interclass_variance(activation: Tensor, threshold: Tensor) -> Tensor:
    """`V = p1 p2 (mu1 - mu2)^2` of the two classes a threshold makes (Eq. 2).

    Args:
        activation: (B, 1, h, w) float.
        threshold: (B, 1, 1, 1) float; a pixel at the threshold belongs to the upper class.

    Returns:
        (B,) float, >= 0, in squared units of `activation`; 0 where one class is empty.
    """
    upper = (activation >= threshold).to(activation.dtype)
    p1, p2 = upper.mean(dim=(1, 2, 3)), (1 - upper).mean(dim=(1, 2, 3))
    tiny = torch.finfo(activation.dtype).tiny
    mu1 = (activation * upper).mean(dim=(1, 2, 3)) / p1.clamp_min(tiny)
    mu2 = (activation * (1 - upper)).mean(dim=(1, 2, 3)) / p2.clamp_min(tiny)
    return p1 * p2 * (mu1 - mu2) ** 2


def threshold_of(activation: Tensor, rule: ThresholdRule) -> Tensor:
    """Threshold of each image's activation map by one of the rules of A2S, Table I.

    (B, 1, h, w) float -> (B, 1, 1, 1) float in the units of the map.
    """
    if rule == "otsu":
        return otsu_threshold(activation)
    if rule == "mean":
        return activation.mean(dim=(1, 2, 3), keepdim=True)
    return activation.flatten(1).quantile(0.5, dim=1).view(-1, 1, 1, 1)


def otsu_threshold(activation: Tensor) -> Tensor:
    """The threshold that maximises Eq. 2 (Otsu, 1979): (B, 1, h, w) float -> (B, 1, 1, 1) float.

    The result is the least value of the upper class. A constant map gives its own value.

    Differs: exact, over every value that occurs, instead of over the bins of a histogram.
    """
    values = activation.flatten(1).double().sort(dim=1).values
    count = values.shape[1]
    below = torch.arange(1, count, device=values.device, dtype=values.dtype)
    sums = values.cumsum(dim=1)
    gap = (sums[:, -1:] - sums[:, :-1]) / (count - below) - sums[:, :-1] / below
    variance = below * (count - below) * gap**2
    variance = variance.masked_fill(values[:, 1:] == values[:, :-1], -1)
    variance = torch.cat([torch.zeros_like(values[:, :1]), variance], dim=1)
    best = values.gather(1, variance.argmax(dim=1, keepdim=True))
    return best.to(activation.dtype).view(-1, 1, 1, 1)


def adaptive_boundary(features: Tensor) -> Tensor:
    """The Adaptive Decision Boundary `theta_n = 1^T (f_n - mean_n f_n)` (Eq. 3).

    features (B, C, h, w) float -> logits (B, 1, h, w) float, of mean zero in every image.
    """
    summed = activation_map(features)
    return summed - summed.mean(dim=(2, 3), keepdim=True)


def decision_boundary(features: Tensor, kind: BoundaryKind, *, vector: Tensor | None = None) -> Tensor:
    """Logits by one of the five decision boundaries of A2S, Fig. 9; f-bar is the image's own mean.

    db1 `1^T (f_n - f_hat)`, db2 `f_bar^T f_n`, db3 `f_bar^T (f_n - f_bar)`, db4 `w^T (f_n - f_bar)`,
    db5 Eq. 3.

    Args:
        features: (B, C, h, w) float.
        kind: which one.
        vector: (C,) float: f_hat of db1 (mean over the training set) or w of db4; ignored by the others.

    Returns:
        (B, 1, h, w) float.

    Raises:
        ValueError: db1 or db4 without `vector`, or `affine`, which is learned (`DecisionBoundary`).
    """
    if kind == "affine":
        raise ValueError("the affine boundary is learned: use DecisionBoundary")
    if kind == "db5":
        return adaptive_boundary(features)
    mean = features.mean(dim=(2, 3), keepdim=True)
    if kind == "db2":
        return (mean * features).sum(dim=1, keepdim=True)
    if kind == "db3":
        return (mean * (features - mean)).sum(dim=1, keepdim=True)
    if vector is None:
        raise ValueError(f"{kind} needs a vector with one value per channel")
    if kind == "db1":
        return activation_map(features) - vector.sum()
    return (vector.view(1, -1, 1, 1) * (features - mean)).sum(dim=1, keepdim=True)


def foreground_sign(theta: Tensor, rule: SignRule = "area") -> Tensor:
    """Which side of the boundary is the object: multiply theta by this to have it positive (Eq. 5).

    * area: +1 if #(theta < 0) >= #(theta >= 0), else -1, so the smaller side is the object (the paper).
    * area_zero: sign(1/2 - fraction of theta > 0), so that an exact tie gives 0 (the official code).
    * corners: minus the majority of the four corners (A2S-v2); an undecided vote falls back to area.
    * border: minus the majority of the outermost pixels; an undecided vote falls back to area.

    Args:
        theta: (B, 1, h, w) float.
        rule: one of the above.

    Returns:
        (B, 1, 1, 1) of theta's dtype, in {-1, 0, 1}; 0 by area_zero alone.
    """
    if rule == "area_zero":
        positive = (theta > 0).sum(dim=(1, 2, 3), keepdim=True)
        return (theta[0].numel() - 2 * positive).sign().to(theta.dtype)
    by_area = _minority(theta >= 0)
    area = torch.where(by_area == 0, 1, by_area)
    if rule == "area":
        return area.to(theta.dtype)
    rim = _corners(theta) if rule == "corners" else _border(theta)
    vote = _minority(rim >= 0)
    return torch.where(vote == 0, area, vote).to(theta.dtype)


def _minority(positive: Tensor) -> Tensor:
    """+1 where fewer than half of an image's pixels are set, -1 where more, 0 in a tie; (B, 1, 1, 1)."""
    flat = positive.flatten(1)
    return (flat.shape[1] - 2 * flat.sum(dim=1)).sign().view(-1, 1, 1, 1)


def _corners(theta: Tensor) -> Tensor:
    return theta[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]


def _border(theta: Tensor) -> Tensor:
    rows = theta[:, :, [0, -1], :].flatten(1)
    columns = theta[:, :, 1:-1, [0, -1]].flatten(1)
    return torch.cat([rows, columns], dim=1)


def drop_pixels(shape: Sequence[int], rate: float, generator: torch.Generator) -> Tensor:
    """Mask of the pixels that the loss keeps: bool of the given shape, each False with probability `rate`.

    Drawn on the generator's device.
    """
    return torch.rand(tuple(shape), generator=generator, device=generator.device) >= rate


def separation_loss(theta: Tensor, alpha: float = 0.1, keep: Tensor | None = None) -> Tensor:
    """Distance from the boundary as a loss (Eq. 4): `1 - mean(D^2 + alpha D)`, D = |sigmoid(theta) - 1/2|.

    Differs: the constant 1 is the official code's; the paper has none. The mean is over the kept pixels of
    the whole batch, as in the official code.

    Args:
        theta: (B, 1, h, w) float logits, signed or not.
        alpha: weight of the linear term.
        keep: (B, 1, h, w) bool, the pixels that count; all of them if None.

    Returns:
        Scalar in [3/4 - alpha/2, 1]; 1 if nothing is kept.
    """
    distance = (torch.sigmoid(theta) - 0.5).abs()
    gain = distance**2 + alpha * distance
    if keep is None:
        return 1 - gain.mean()
    return 1 - (gain * keep).sum() / keep.sum().clamp_min(1)


def distance_loss(theta: Tensor, exponent: float, keep: Tensor | None = None) -> Tensor:
    """Distance from the boundary with an exponent in place of Eq. 4 (A2S-v2): `2^-k - mean |sigmoid(theta) - .5|^k`.

    Args:
        theta: (B, 1, h, w) float logits, signed or not.
        exponent: k; 2 pushes the decided pixels, 1 all pixels alike.
        keep: (B, 1, h, w) bool, the pixels that count; all of them if None.

    Returns:
        Scalar in [0, 2^-k]; 2^-k if nothing is kept.
    """
    gain = (torch.sigmoid(theta) - 0.5).abs() ** exponent
    if keep is None:
        return 0.5**exponent - gain.mean()
    return 0.5**exponent - (gain * keep).sum() / keep.sum().clamp_min(1)


def falling_exponent(epoch: int, epochs: int) -> float:
    """The exponent of `distance_loss` in an epoch, counted from 0: `2^(1 - epoch / epochs)`, from 2 to 1 (A2S-v2)."""
    return 2 ** (1 - epoch / epochs)


def undecided_margin(epoch: int, epochs: int) -> float:
    """Pixels with `|prob - 1/2|` below this do not count in an epoch, counted from 0: `.2 - .6 epoch / epochs`.

    The curriculum of A2S-v3: from a third of the epochs on it is at most 0, and all pixels count.
    """
    return 0.2 - 0.6 * epoch / epochs


def stage1_loss(
    activation: Activation,
    *,
    alpha: float = 0.1,
    weights: tuple[float, float, float, float] = (1.0, 0.1, 0.3, 0.5),
    drop: float = 0.5,
    auxiliary: bool = True,
    exponent: float | None = None,
    margin: float = 0.0,
    generator: torch.Generator,
) -> Tensor:
    """The loss of stage 1 (Eq. 4) on F and, with auxiliary supervision, on F_3, F_4, F_5.

    Args:
        activation: logits of the network.
        alpha: weight of the linear term (Table V).
        weights: of F, F_3, F_4, F_5; the values are the official code's.
        drop: fraction of the pixels dropped at random, afresh for every map; 0 is row A2 of Table IV.
        auxiliary: whether the side maps count; False is row A1 of Table IV.
        exponent: of `distance_loss`, which then takes the place of Eq. 4 (A2S-v2); None: Eq. 4.
        margin: pixels with `|sigmoid(theta) - 1/2|` below this do not count (`undecided_margin`).
        generator: randomness of the dropped pixels, on any device: one on the CPU draws the same everywhere.

    Returns:
        Scalar.
    """
    maps = (activation.theta, *activation.sides) if auxiliary else (activation.theta,)
    total = activation.theta.new_zeros(())
    for theta, weight in zip(maps, weights, strict=False):
        keep = sent(drop_pixels(theta.shape, drop, generator), theta.device) if drop > 0 else None
        if margin > 0:
            decided = (torch.sigmoid(theta.detach()) - 0.5).abs() >= margin
            keep = decided if keep is None else keep & decided
        if exponent is None:
            total = total + weight * separation_loss(theta, alpha, keep)
        else:
            total = total + weight * distance_loss(theta, exponent, keep)
    return total
