"""Decision boundaries, thresholds and the sign: which pixels of an activation map are object (A2S, Eq. 2, 3, 5)."""

from typing import Literal

import torch
from torch import Tensor, nn

BoundaryKind = Literal["db1", "db2", "db3", "db4", "db5", "affine"]


SignRule = Literal["area", "area_zero", "corners", "border"]


ThresholdRule = Literal["otsu", "mean", "median"]


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
    """LabelThreshold of each image's activation map by one of the rules of A2S, Table I.

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
