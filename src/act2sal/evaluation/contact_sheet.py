"""Contact sheets: one row per photo, one column per picture of it, captions under each."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from act2sal.data.images import ImageError, read_photo
from act2sal.data.origin import Origin, marked_png, write_result

CELL = 220
"""Longest side of a picture, in pixels."""
_GAP, _LINE, _SIZE = 10, 18, 13
_INK, _PAPER, _ABSENT = (30, 30, 30), (255, 255, 255), (225, 225, 225)


@dataclass(frozen=True)
class Cell:
    """A picture, (H, W, 3) or (H, W) uint8 or None, and its caption."""

    picture: NDArray[np.uint8] | None
    caption: str = ""


def write_sheet(path: Path, heads: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Write a contact sheet as PNG.

    Args:
        path: file to write or replace.
        heads: titles of the columns.
        rows: rows of as many cells as there are heads.

    Raises:
        ValueError: no rows, or a row of another length.
    """
    if not rows or any(len(row) != len(heads) for row in rows):
        raise ValueError("a contact sheet needs rows, each with one cell per column")
    heights = [max(_fitted(cell)[1] for cell in row) for row in rows]
    width = _GAP + len(heads) * (CELL + _GAP)
    height = _GAP + _LINE + sum(h + _LINE + _GAP for h in heights)
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_SIZE)
    for column, head in enumerate(heads):
        draw.text((_left(column), _GAP), head, fill=_INK, font=font)
    top = _GAP + _LINE
    for row, row_height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            sheet.paste(_picture(cell), (_left(column), top))
            draw.text((_left(column), top + row_height + 2), cell.caption, fill=_INK, font=font)
        top += row_height + _LINE + _GAP
    content = io.BytesIO()
    sheet.save(content, format="PNG", optimize=True)
    write_result(path, marked_png(content.getvalue(), Origin("sheet")))


def cell_of(
    path: Path | None, caption: str = "", *, read: Callable[[Path], NDArray[np.uint8]] = read_photo
) -> Cell:
    """Make a cell of the picture in a file; without a picture if there is no file or it cannot be read."""
    if path is None:
        return Cell(None, caption)
    try:
        return Cell(read(path), caption)
    except ImageError:
        return Cell(None, caption)


def thumbnail(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink a picture (H, W, 3) or (H, W) uint8 to the size of a cell."""
    return np.asarray(_picture(Cell(picture)) if max(picture.shape[:2]) > CELL else picture)


def _left(column: int) -> int:
    return _GAP + column * (CELL + _GAP)


def _fitted(cell: Cell) -> tuple[int, int]:
    """Width and height of a picture in its cell."""
    if cell.picture is None:
        return CELL, CELL // 2
    height, width = cell.picture.shape[:2]
    scale = CELL / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _picture(cell: Cell) -> Image.Image:
    if cell.picture is None:
        return Image.new("RGB", _fitted(cell), _ABSENT)
    return Image.fromarray(cell.picture).convert("RGB").resize(_fitted(cell), Image.Resampling.BILINEAR)
