"""The mean of detectors that stem from each other, as one detector: `python recipes/mean.py RUN RUN ... --out RUN`.

A detector that goes on from another's weights and learns for longer stays near it, and what lies between the two is
often better than either (Wortsman et al., ICML 2022, model soups). Weights and statistics of BatchNorm are
averaged, all with equal weight; the part that rates photos is fitted anew.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from lightning_fabric import Fabric

from act2sal.data.photo_bank import build_photo_bank
from act2sal.data.photo_files import find_photos
from act2sal.networks.checkpoint import load_detector, read_metadata, save_detector
from act2sal.networks.rivals import SaliencyNetwork
from act2sal.training.presence import fit_presence

DETECTOR = "detector.safetensors"


def main() -> None:
    """Average, fit, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "runs", type=Path, nargs="+", help="run directories; what they share is told of the first"
    )
    parser.add_argument("--photos", type=Path, required=True, help="those they were trained on")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write_mean(options.runs, options.out, photos=options.photos, seed=options.seed)


def write_mean(runs: Sequence[Path], out: Path, *, photos: Path, seed: int) -> None:
    """Write `out/detector.safetensors` from those of the runs.

    photos: of which examples with and without an object are made; no mask is read.
    """
    detector = mean([load_detector(run / DETECTOR) for run in runs])
    about = read_metadata(runs[0] / DETECTOR)
    size = int(about["size"])
    bank = build_photo_bank(find_photos(photos), out / "cache" / f"photos-{size}", size=size)
    detector.presence = fit_presence(detector, bank, seed=seed, fabric=Fabric(accelerator="cpu", devices=1))
    known = {
        key: value
        for key, value in about.items()
        if key in ("size", "trained on") or key.endswith("supervision")
    }
    save_detector(
        out / DETECTOR, detector, half=True, metadata=known | {"mean of": ", ".join(run.name for run in runs)}
    )


def mean(detectors: Sequence[SaliencyNetwork]) -> SaliencyNetwork:
    """Detectors of one shape -> one with the means of their weights and statistics, without `presence`."""
    for detector in detectors:
        detector.presence = None
    states = [detector.state_dict() for detector in detectors]
    averaged = {
        name: torch.stack([state[name].float() for state in states]).mean(dim=0).to(first.dtype)
        for name, first in states[0].items()
    }
    detectors[0].load_state_dict(averaged)
    return detectors[0].eval()


if __name__ == "__main__":
    main()
