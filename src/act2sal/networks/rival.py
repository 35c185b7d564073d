"""What every network that can take the place of our detector has in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from act2sal.a2s.detector import ObjectPresence
from act2sal.networks.encoders import Encoder


class Rival(nn.Module, ABC):
    """A saliency network on an encoder of ours: photos in, logits at their size out.

    A subclass writes `outputs` and `own_loss`.

    Args:
        encoder: five levels, trained with the rest.

    Attributes:
        side: of the only squares, in pixels, that the network computes on, whatever it is shown; None: of any size.
        presence: says whether there is an object; None: nothing does.
    """

    side: ClassVar[int | None] = None

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.presence: ObjectPresence | None = None

    @abstractmethod
    def outputs(self, photos: Tensor) -> list[Tensor]:
        """Compute all logits that a loss looks at; the first ones, (B, 1, H, W), are the answer.

        Args:
            photos: (B, 3, H, W) float32 in [0, 1].

        Returns:
            Maps (B, 1, h, w) float32.
        """

    @abstractmethod
    def own_loss(self, outputs: Sequence[Tensor], target: Tensor) -> Tensor:
        """Compute the published loss.

        Args:
            outputs: of `outputs`.
            target: (B, 1, H, W) float in [0, 1].

        Returns:
            Scalar float32.
        """

    def encoder_parameters(self) -> list[nn.Parameter]:
        """List the parameters that learn at the rate of the encoder."""
        return list(self.encoder.parameters())

    def saliency_of(self, outputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Choose those of the outputs that are saliency maps."""
        return outputs

    def forward(self, photos: Tensor) -> Tensor:
        """Photos (B, 3, H, W) float32 in [0, 1] -> logits (B, 1, H, W) float32."""
        return self.outputs(photos)[0]

    def rated(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Logits as in a call, and the confidence that there is a salient object, (B,) float32 in [0, 1].

        The confidence is at most the largest probability of the map: where nothing is found, it is 0.

        Raises:
            ValueError: there is no `presence`.
        """
        if self.presence is None:
            raise ValueError("this detector has no part that says whether there is an object")
        deepest: list[Tensor] = []
        hook = self.encoder.register_forward_hook(lambda module, inputs, levels: deepest.append(levels[-1]))
        try:
            logits = self(photos)
        finally:
            hook.remove()
        highest = torch.sigmoid(logits.amax(dim=(1, 2, 3)))
        return logits, torch.sigmoid(self.presence(deepest[0])) * highest
