"""Scores a network after each epoch, against masks that its training never sees (Fig. 7, 9 and 10).

A training reports its epochs to a watcher and takes nothing back; only callers of Python can set one.
"""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor, nn

from act2sal.config import TrainConfig
from act2sal.data.images import read_photo, resize_map, resize_photo, write_atomic, write_gray_png
from act2sal.data.mask_files import MaskReader
from act2sal.data.photo_batches import to_batch
from act2sal.data.photo_files import by_stem
from act2sal.evaluation import Tally
from act2sal.networks.encoders import Encoder, freeze
from act2sal.reproduce.material import PhotoSet
from act2sal.training.assembly import initial_encoder
from act2sal.training.stage1.cues import signed_logits

BATCH = 8
STAGE1, STAGE2 = "stage1", "stage2"
"""Fits that are scored, by their names in the log."""

Row = dict[str, float | int | str]
"""Scores of one fit and epoch on one set: stage, epoch, set, f_adaptive, mae."""


class Watched:
    """Some photos of a set with their masks.

    Args:
        photo_set: the set.
        count: photos, spread evenly over it.
    """

    def __init__(self, photo_set: PhotoSet, count: int) -> None:
        spread = np.linspace(0, len(photo_set.names) - 1, min(count, len(photo_set.names)))
        self.names = [photo_set.names[index] for index in spread.round().astype(int)]
        self._photos, self._masks = by_stem(photo_set.photos, []), by_stem(photo_set.masks, [])
        self._squares: dict[int, NDArray[np.uint8]] = {}

    def squares(self, size: int) -> NDArray[np.uint8]:
        """The photos as squares (N, size, size, 3) uint8."""
        if size not in self._squares:
            photos = [read_photo(self._photos[name]) for name in self.names]
            self._squares[size] = np.stack([resize_photo(photo, (size, size)) for photo in photos])
        return self._squares[size]

    @cached_property
    def masks(self) -> list[NDArray[np.bool_]]:
        """The masks (H, W) bool at their own sizes."""
        reader = MaskReader.of(self._masks[name] for name in self.names)
        return [reader.read(self._masks[name]) > 127 for name in self.names]

    def scores(self, probs: Sequence[NDArray[np.float32]]) -> dict[str, float]:
        """Adaptive F and MAE of maps (S, S) float32 in [0, 1], enlarged to the masks."""
        tally = Tally(replicates=0)
        for prob, mask in zip(probs, self.masks, strict=True):
            height, width = mask.shape
            tally.add(resize_map(prob, (height, width)).clip(0, 1), mask)
        scores = tally.scores()
        return {"f_adaptive": scores.f_adaptive, "mae": scores.mae}


class EpochScores:
    """Writes the scores after each epoch of stage 1 and stage 2 into a JSON file.

    Args:
        file: gets a list of `Row`; rows of epochs that are repeated after a stop are replaced.
        sets: by the names in the rows.
        config: of the training.
        shown: photos whose predictions are also kept as pictures (`shown_file`).
    """

    def __init__(self, file: Path, sets: dict[str, Watched], config: TrainConfig, shown: Watched) -> None:
        self.file, self.sets, self.config, self.shown = file, sets, config, shown
        self._encoded: dict[str, list[list[Tensor]]] = {}

    def __call__(self, stage: str, epoch: int, network: nn.Module) -> None:
        """Score the network of a fit after an epoch."""
        if stage not in (STAGE1, STAGE2):
            return
        if stage == STAGE2:
            probs = self._predictions(self.shown, network)
            for name, prob in zip(self.shown.names, probs, strict=True):
                write_gray_png(
                    shown_file(self.file.parent, epoch, name), np.round(prob * 255).astype(np.uint8)
                )
        rows = read_rows(self.file)
        for name, watched in self.sets.items():
            told: Row = {"stage": stage, "epoch": epoch, "set": name}
            rows = [row for row in rows if any(row[key] != value for key, value in told.items())]
            maps = self._cues(name, network) if stage == STAGE1 else self._predictions(watched, network)
            rows.append({**told, **watched.scores(maps)})
        write_atomic(self.file, json.dumps(rows, indent=1).encode())

    def _predictions(self, watched: Watched, network: nn.Module) -> list[NDArray[np.float32]]:
        """Maps of a detector."""
        size = self.config.stage2.view or self.config.stage2.size or self.config.size
        found: list[NDArray[np.float32]] = []
        device = next(network.parameters()).device
        for squares in _batches(watched.squares(size)):
            probs = torch.sigmoid(network(to_batch(squares, device)).float())
            found += list(probs[:, 0].cpu().numpy())
        return found

    def _cues(self, name: str, network: nn.Module) -> list[NDArray[np.float32]]:
        """Saliency cues sigmoid(sign theta) of the blocks of stage 1 (Eq. 3 and 5)."""
        modules = cast(Any, getattr(network, "module", network))
        blocks, options = modules[0], self.config.stage1
        found: list[NDArray[np.float32]] = []
        device = next(network.parameters()).device
        fitted = modules[1] if len(modules) > 1 else None
        for levels in self._levels(name, fitted, device):
            theta = blocks([level.to(device) for level in levels]).theta
            found += [expit(logits) for logits in signed_logits(theta, blocks, options)]
        return found

    def _levels(self, name: str, fitted: Encoder | None, device: torch.device) -> list[list[Tensor]]:
        """E_3..E_5 of the photos of a set, batch by batch; kept where the encoder is frozen."""
        if name in self._encoded:
            return self._encoded[name]
        encoder = fitted or freeze(initial_encoder(self.config.stage1, self.config)).to(device)
        squares = self.sets[name].squares(self.config.stage1.size or self.config.size)
        levels = [
            [level.cpu() for level in encoder(to_batch(part, device))[2:]] for part in _batches(squares)
        ]
        if fitted is None:
            self._encoded[name] = levels
        return levels


def shown_file(place: Path, epoch: int, name: str) -> Path:
    """The prediction of a photo after an epoch of stage 2, in the folder of its training."""
    return place / "shown" / f"{epoch:02d}" / f"{name}.png"


def read_rows(file: Path) -> list[Row]:
    """The rows that `EpochScores` wrote; none where there is no file."""
    return list(json.loads(file.read_bytes())) if file.is_file() else []


def _batches(squares: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [squares[start : start + BATCH] for start in range(0, len(squares), BATCH)]
