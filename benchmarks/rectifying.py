"""Seconds that rectifying the labels of a photo takes: OLR (Eq. 14), and HMA with its dense CRF (Table VIII).

    python benchmarks/rectifying.py PHOTOS --out recipes/results/rectifying_speed.json

Predictions and labels are random blobs; neither way depends on what they show. On one core.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from act2sal.config import LabelConfig, Stage2Config
from act2sal.data.images import read_photo, resize_photo, write_atomic
from act2sal.data.photo_files import find_photos
from act2sal.runtime import cores
from act2sal.runtime.hardware import hardware
from act2sal.runtime.prefetch import LateWrites
from act2sal.runtime.stopwatch import OFF
from act2sal.training.stage2.batches import Batch
from act2sal.training.stage2.rectifying import Rectifier

BATCH = 8


def main() -> None:
    """Time both, and print or write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=80, help="photos")
    parser.add_argument("--size", type=int, default=320, help="pixels")
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    side = (options.size, options.size)
    files = find_photos(options.photos, options.count)
    photos = [resize_photo(read_photo(file.path), side) for file in files]
    with cores.at_most(1):
        seconds = {way: seconds_of(way, photos) for way in ("olr", "hma")}
    figures = {
        "command": "python benchmarks/rectifying.py PHOTOS --out recipes/results/rectifying_speed.json",
        "hardware": hardware(),
        "photos": len(photos),
        "size": options.size,
        "seconds_a_photo": {way: round(value, 6) for way, value in seconds.items()},
        "ratio": round(seconds["hma"] / seconds["olr"], 1),
    }
    text = json.dumps(figures, indent=1) + "\n"
    print(text)
    if options.out:
        write_atomic(options.out, text.encode())


def seconds_of(way: str, photos: list[np.ndarray]) -> float:
    """Seconds a photo, without the first batch."""
    config = replace(Stage2Config(), rectifier=way, rectify_warmup=0)  # type: ignore[arg-type]
    rectifier = Rectifier(photos, config, LabelConfig(), OFF)
    torch.manual_seed(0)
    spent = []
    for first in range(0, len(photos) - BATCH + 1, BATCH):
        batch, logits = drawn(range(first, first + BATCH), photos[0].shape[0])
        late = LateWrites(lambda indices, labels: None)
        begun = time.perf_counter()
        rectifier.rectify(late, batch, logits, epoch=1)
        late.flush()
        spent.append(time.perf_counter() - begun)
    later = spent[1:] or spent
    return sum(later) / (len(later) * BATCH)


def drawn(indices: range, side: int) -> tuple[Batch, Tensor]:
    """A batch whose labels are blobs, and logits that are other blobs."""
    labels, logits = (
        torch.nn.functional.interpolate(torch.randn(BATCH, 1, 8, 8), (side, side), mode="bicubic")
        for _ in range(2)
    )
    mirrored = torch.rand(BATCH) < 0.5
    shown = torch.zeros(BATCH, 3, side, side)
    return Batch(list(indices), shown, (labels > 0).float(), mirrored, None, None), 3 * logits


if __name__ == "__main__":
    main()
