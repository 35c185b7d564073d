"""HS: hierarchical saliency detection (Yan, Xu, Shi, Jia, CVPR 2013).

Small patterns in an object or behind it look salient by themselves. So a photo is cut into three layers of ever
larger regions, cues are read in each, and a tree of regions settles what belongs together. Numbers of equations are
the paper's.

Differs: the authors' source was never published, and their maps do not follow the paper to the letter. What can be
read off the maps stands here instead: every region of the lowest layer, off the border, holds a square of 3 pixels;
regions meet at corners too; saliency passes from a region to its parts alone; and what hides the background is how
much of a region's outline is the border of the photo, while a place in the middle counts in the largest layer only.
The first regions are not known: ours are those of flat colour. Small changes of them give quite different trees, so
the map is the mean over several. What the maps leave open was chosen by how alike maps and scores are on half of
ECSSD.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from act2sal.classical.region_merging import flat_regions, merged
from act2sal.classical.superpixels import at_working_size, cielab, means, stretched
from act2sal.runtime.compiled import compiled

SCALES = (3, 17, 33)
"""Side, in pixels, of the square that the regions of each layer can hold, at about 400 x 300 (Section 3.1)."""
TOLERANCES = (1, 2, 3, 4, 5, 6)
"""Steps, in grey values of a channel, up to which pixels side by side are of one first region (chosen, see above)."""
REACH = 0.2**2
"""Square of the reach of the contrast, as a share of the photo, for a scale of 1 (Eq. 4)."""
CENTRE = 9.0
"""Strength of the preference for the middle (Eq. 5), which the largest layer has."""
OFF_BORDER = (9.0, 9.0, 4.5)
"""Strength of the preference for regions off the border, by layer (read off the maps; the last one chosen)."""
LAYER_CONFIDENCE = (0.5, 4.0)
"""Weight of the cues of the two finer layers (Eq. 8); in the largest, nothing stands against the cues."""
CONSISTENCY = 4.0
"""Weight of the agreement between a layer and the next (Eq. 9)."""


@dataclass(frozen=True)
class Layer:
    """labels: (H, W) int64, 0..N-1; cue: (N,) in [0, 1], saliency of each region within the layer (Eq. 6)."""

    labels: NDArray[np.int64]
    cue: NDArray[np.float64]


def hs(photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Saliency by HS: (H, W, 3) uint8 RGB -> (H, W) float32 in [0, 1], zeros for a photo of one colour."""
    return at_working_size(photo, _hs)


def _hs(photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    lab = cielab(photo).astype(np.float64)
    luv = cv2.cvtColor((photo / 255).astype(np.float32), cv2.COLOR_RGB2LUV).astype(np.float64)
    maps = []
    for tolerance in TOLERANCES:
        regions = flat_regions(photo, tolerance)
        for largest_last in (False, True):
            layers = layers_of(regions, luv, lab, largest_last=largest_last)
            maps.append(stretched(inferred(layers))[layers[0].labels])
    return stretched(np.mean(maps, axis=0)).astype(np.float32)


def layers_of(
    regions: NDArray[np.int64],
    luv: NDArray[np.float64],
    lab: NDArray[np.float64],
    *,
    largest_last: bool,
) -> list[Layer]:
    """The three layers above the first regions, the finest first (Section 3.1).

    Args:
        regions: (H, W), 0..N-1.
        luv: (H, W, 3) CIELUV, by which regions are merged.
        lab: (H, W, 3) CIELAB, by which they contrast.
        largest_last: see `merged`.
    """
    layers = []
    for level, scale in enumerate(SCALES):
        regions = merged(regions, luv, scale, largest_last=largest_last)
        layers.append(Layer(regions, layer_cue(regions, lab, level)))
    return layers


def layer_cue(labels: NDArray[np.int64], lab: NDArray[np.float64], level: int) -> NDArray[np.float64]:
    """Local contrast times what a region's place is worth (Eq. 4-6): (N,) in [0, 1].

    Args:
        labels: (H, W), 0..N-1.
        lab: (H, W, 3) CIELAB.
        level: 0, 1 or 2, which layer it is; 0 is the finest.
    """
    height, width = labels.shape
    sizes = np.bincount(labels.ravel())
    rows, columns = np.mgrid[:height, :width]
    places = np.stack([(rows + 0.5) / height, (columns + 0.5) / width], axis=-1)
    centres = means(places, labels, sizes)
    contrast = local_contrast(means(lab, labels, sizes), centres, sizes / labels.size, REACH * SCALES[level])
    cue = stretched(contrast) * np.exp(-OFF_BORDER[level] * border_share(labels, len(sizes)))
    if level < len(SCALES) - 1:
        return cue
    from_middle = ((places - 0.5) ** 2).sum(axis=-1, keepdims=True)
    return cue * stretched(means(np.exp(-CENTRE * from_middle), labels, sizes)[:, 0])


@compiled
def local_contrast(
    colours: NDArray[np.float64], places: NDArray[np.float64], shares: NDArray[np.float64], reach: float
) -> NDArray[np.float64]:
    """Distance in colour to all other regions, near and large ones first (Eq. 4): (N,).

    Args:
        colours: (N, 3).
        places: (N, 2), the photo being the unit square.
        shares: (N,) of the photo's pixels.
        reach: square of the reach.
    """
    contrast = np.zeros(len(shares))
    for one in range(len(shares)):
        for other in range(one):
            apart, gap = 0.0, 0.0
            for axis in range(2):
                apart += (places[one, axis] - places[other, axis]) ** 2
            for channel in range(3):
                gap += (colours[one, channel] - colours[other, channel]) ** 2
            weighted = np.exp(-apart / reach) * np.sqrt(gap)
            contrast[one] += shares[other] * weighted
            contrast[other] += shares[one] * weighted
    return contrast


def border_share(labels: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Share of each region's outermost pixels that lie on the border of the photo: (H, W) -> (N,) in [0, 1]."""
    rim = np.ones(labels.shape, bool)
    rim[1:-1, 1:-1] = False
    outline = rim.copy()
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    outline[:, 1:] |= across
    outline[:, :-1] |= across
    outline[1:] |= down
    outline[:-1] |= down
    of_outline = np.bincount(labels[outline], minlength=count)
    return np.bincount(labels[rim], minlength=count) / np.maximum(of_outline, 1)


def inferred(layers: list[Layer]) -> NDArray[np.float64]:
    """Saliency of the regions of the finest layer, from the largest regions down (Eq. 7-9): (N,).

    Each region takes the saliency of least energy beside the region that it lies in, which is settled already.
    """
    saliency = layers[-1].cue
    for layer, coarser, confidence in zip(layers[-2::-1], layers[:0:-1], LAYER_CONFIDENCE[::-1], strict=True):
        above = saliency[parents(layer.labels, coarser.labels)]
        saliency = (confidence * layer.cue + CONSISTENCY * above) / (confidence + CONSISTENCY)
    return saliency


def parents(fine: NDArray[np.int64], coarse: NDArray[np.int64]) -> NDArray[np.int64]:
    """The region of the coarse layer in which each region of the fine one lies: (N,)."""
    above = np.empty(int(fine.max()) + 1, np.int64)
    above[fine.ravel()] = coarse.ravel()
    return above
