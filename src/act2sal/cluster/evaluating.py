"""`act2sal evaluate --engine ray`: the scores of each image by the processes of a cluster, their means here."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from act2sal.cluster.engine import Cluster, spread
from act2sal.data.images import limit_pixels
from act2sal.data.mask_files import MaskReader
from act2sal.evaluation.folders import score_files
from act2sal.evaluation.image_scores import ImageScores

PIECE = 64
"""Pairs that a process scores in one go."""


@dataclass(frozen=True)
class Piece:
    """Some pairs of maps and masks; first: the place of the first of them among all."""

    first: int
    pairs: tuple[tuple[Path, Path], ...]


@dataclass(frozen=True)
class PieceScores:
    """Scores of a piece, or one line for each pair that cannot be read."""

    first: int
    scores: tuple[ImageScores | str, ...]


def scored_on(
    cluster: Cluster, max_pixels: int, pairs: Collection[tuple[Path, Path]]
) -> Iterator[ImageScores | str]:
    """The scores of pairs of maps and masks, which all machines of the cluster can open, in their order.

    Args:
        cluster: where.
        max_pixels: of the largest picture that is read.
        pairs: a map and a mask each.

    Raises:
        UnclearError, InputError: as `evaluation.evaluate`.
        MissingPackageError, LostProcessError: as `engine.spread`.
    """
    every = list(pairs)
    if not every:
        return
    masks = MaskReader.of(mask for _, mask in every)
    pieces = [Piece(start, tuple(every[start : start + PIECE])) for start in range(0, len(every), PIECE)]
    ahead: dict[int, Sequence[ImageScores | str]] = {}
    first = 0
    for found in spread(pieces, partial(_scorer, masks, max_pixels), cluster):
        ahead[found.first] = found.scores
        while first in ahead:
            scores = ahead.pop(first)
            yield from scores
            first += len(scores)


def _scorer(masks: MaskReader, max_pixels: int, cores: int) -> "_Scorer":
    """What scores in a process."""
    del cores  # a process has one, and a pair is scored by one
    limit_pixels(max_pixels)
    return _Scorer(masks)


@dataclass(frozen=True)
class _Scorer:
    """Scores pieces in one process."""

    masks: MaskReader

    def __call__(self, piece: Piece) -> PieceScores:
        return PieceScores(piece.first, tuple(score_files(self.masks, *pair) for pair in piece.pairs))
