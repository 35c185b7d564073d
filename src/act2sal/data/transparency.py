"""Transparent photos: their colours and alpha, and what is laid behind them for networks to see them against."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WHITE, BLACK, GREY = 255, 0, 128

UNLIKE = 0.9
"""Share of what is opaque that has to differ from what lies behind it; our choice, as outlines may vanish."""

ENOUGH = 32
"""Difference in luminance, of 255, that is enough on white. Our choice: at two thirds of it the shipped detector
still marks a pale logo (one of the tests of predicting has it)."""


class Opacity(NamedTuple):
    """Colours and alpha of a photo with transparency.

    Attributes:
        colours: (H, W, 3) uint8 RGB, not blended with anything; white where alpha is 0.
        alpha: (H, W) uint8.
    """

    colours: NDArray[np.uint8]
    alpha: NDArray[np.uint8]

    @classmethod
    def of(cls, rgba: NDArray[np.uint8]) -> "Opacity":
        """Split pixels (H, W, 4) uint8."""
        alpha = np.ascontiguousarray(rgba[..., 3])
        colours = np.ascontiguousarray(rgba[..., :3])
        colours[alpha == 0] = WHITE
        return cls(colours, alpha)

    def laid_on(self, level: int) -> NDArray[np.uint8]:
        """The photo before a plain ground of a grey level in [0, 255]: (H, W, 3) uint8 RGB."""
        rgba = Image.fromarray(np.dstack([self.colours, self.alpha]))
        ground = Image.new("RGBA", rgba.size, (level, level, level, 255))
        return np.array(Image.alpha_composite(ground, rgba).convert("RGB"))

    def level_behind(self) -> int | None:
        """The grey level that the photo stands out from: white, black or mid-grey; None where nothing is opaque.

        White, the ground of catalogues, where 90 % of what is opaque differ enough from it; else the level from which
        they differ by most, as a white logo cannot be seen on white, and one of black and white neither there nor
        on black. Three levels do: any two luminances are 64 or more away from one of them.
        """
        luminance = np.asarray(Image.fromarray(self.colours).convert("L"))
        opaque = np.bincount(luminance.ravel(), weights=self.alpha.ravel(), minlength=256).astype(np.float64)
        if not opaque.any():
            return None
        if _contrast(opaque, WHITE) >= ENOUGH:
            return WHITE
        return max((WHITE, BLACK, GREY), key=lambda level: _contrast(opaque, level))


def _contrast(opaque: NDArray[np.float64], level: int) -> int:
    """How far from a level `UNLIKE` of what is opaque is, at least; opaque: alpha at each luminance, (256,)."""
    differences = np.abs(np.arange(256) - level)
    order = np.argsort(-differences, kind="stable")
    reached = np.cumsum(opaque[order]) >= UNLIKE * opaque.sum()
    return int(differences[order][reached.argmax()])
