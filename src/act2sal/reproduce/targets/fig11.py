"""Fig. 11: features inside the Residual Attention Modules: R_l, R_r and their product (Eq. 9-11)."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from act2sal.a2s.detector import DetectorNetwork
from act2sal.a2s.resampling import resize
from act2sal.config import TrainConfig
from act2sal.data.images import resize_photo
from act2sal.data.photo_batches import to_batch
from act2sal.networks.checkpoint import load_detector
from act2sal.reproduce.bench import Bench, Target
from act2sal.reproduce.drawing import Picture, write_grid
from act2sal.reproduce.examples import example_names, examples
from act2sal.reproduce.results import Figure
from act2sal.reproduce.training import Training, baseline
from act2sal.reproduce.untrained import stretched

SHOWN = 4


def trainings(config: TrainConfig) -> list[Training]:
    """A2S."""
    return [baseline(config)]


def make(bench: Bench, stem: Path) -> Figure:
    """Draw the channel sums of R_l and R_r, of their product, and the prediction."""
    config, test = bench.configs[0], bench.material.tests[0]
    found = examples(test, example_names(test, SHOWN))
    detector = load_detector(bench.store.detector(baseline(config)) / "detector.safetensors")
    assert isinstance(detector, DetectorNetwork)
    size = config.stage2.size or config.size
    squares = np.stack([resize_photo(example.photo, (size, size)) for example in found])
    maps = features_inside(detector, to_batch(squares, torch.device("cpu")))
    rows: list[list[Picture]] = []
    for index, example in enumerate(found):
        shown = [_picture(values[index : index + 1], example.photo.shape[:2]) for values in maps.values()]
        rows.append([example.photo, *shown, example.mask])
    files = write_grid(stem, ("photo", *maps, "mask"), rows)
    names = ", ".join(example.name for example in found)
    caption = f"Sums over the channels, each stretched to [0, 1]. Photos {names} of {test.name}."
    return Figure(TARGET.title, files, caption, {})


def features_inside(detector: DetectorNetwork, photos: Tensor) -> dict[str, Tensor]:
    """Channel sums (B, 1, h, w) of R_l, R_r and R_l R_r, stretched to [0, 1], and the probabilities.

    Args:
        detector: in eval mode.
        photos: (B, 3, S, S) float32 in [0, 1].
    """
    kept: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        return module.register_forward_hook(lambda _module, _given, maps: kept.update({name: maps}))

    handles = [keep("R_l", detector.local), keep("R_r", detector.regional)]
    with torch.inference_mode():
        probs = torch.sigmoid(detector.eval()(photos))
    for handle in handles:
        handle.remove()
    product = kept["R_l"] * resize(kept["R_r"], kept["R_l"].shape[-2:])
    sums = {name: maps.sum(dim=1, keepdim=True) for name, maps in (*kept.items(), ("product", product))}
    order = ("R_l", "R_r", "product")
    return {name: stretched(sums[name]) for name in order} | {"prediction": probs}


def _picture(maps: Tensor, size: tuple[int, ...]) -> Picture:
    return np.round(resize(maps, (size[0], size[1]))[0, 0].numpy() * 255).astype(np.uint8)


TARGET = Target("Fig. 11: features inside the attention modules", trainings, make)
