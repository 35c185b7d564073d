"""Draws figures as PNG and SVG: grids of pictures, and curves over epochs."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray
from PIL import Image

from act2sal.data.images import write_atomic
from act2sal.data.origin import Origin, write_result
from act2sal.evaluation.plots import CURVE_STYLE, curve_look

CELL = 1.3
"""Width of a picture in a grid, in inches."""
SHOWN = 160
"""Longest side of a picture in a grid, in pixels."""
DPI = 150

Picture = NDArray[np.uint8]
Curve = tuple[Sequence[float], Sequence[float]]
"""Epochs and values."""


def write_grid(
    stem: Path, heads: Sequence[str], rows: Sequence[Sequence[Picture]], sides: Sequence[str] = ()
) -> tuple[Path, ...]:
    """Write STEM.png and STEM.svg: pictures in rows under the heads of their columns.

    Args:
        stem: of the files.
        heads: of the columns.
        rows: pictures (H, W) or (H, W, 3) uint8.
        sides: what stands on the left of each row; empty: nothing.

    Raises:
        ValueError: no rows, or a row of another length.
    """
    if not rows or any(len(row) != len(heads) for row in rows):
        raise ValueError("a grid needs rows, each with one picture per column")
    heights = [max(picture.shape[0] / picture.shape[1] for picture in row) for row in rows]
    with style.context({"svg.hashsalt": "act2sal", "svg.fonttype": "none", "font.size": 8}):
        drawing = Drawing(figsize=(CELL * len(heads), CELL * sum(heights) + 0.3), layout="constrained")
        FigureCanvasAgg(drawing)
        axes = drawing.subplots(len(rows), len(heads), squeeze=False, gridspec_kw={"height_ratios": heights})
        for line, row in zip(axes, rows, strict=True):
            for place, picture in zip(line, row, strict=True):
                grey = {"cmap": "gray", "vmin": 0, "vmax": 255} if picture.ndim == 2 else {}
                place.imshow(_small(picture), **grey)
                place.set(xticks=[], yticks=[])
                place.spines[:].set_visible(False)
        for place, head in zip(axes[0], heads, strict=True):
            place.set_title(head)
        for line, side in zip(axes, sides, strict=False):
            line[0].set_ylabel(side)
        return _written(stem, drawing)


def write_curves(stem: Path, curves: Mapping[str, Curve], *, y: str, x: str = "epoch") -> tuple[Path, ...]:
    """Write STEM.png and STEM.svg: one curve for each name in the legend.

    Raises:
        ValueError: no curves.
    """
    if not curves:
        raise ValueError("there is nothing to draw")
    with style.context({**CURVE_STYLE, "svg.hashsalt": "act2sal"}):
        drawing = Drawing(figsize=(4.6, 3.2), layout="constrained")
        FigureCanvasAgg(drawing)
        axes = drawing.add_subplot()
        for number, (name, (places, values)) in enumerate(curves.items()):
            axes.plot(places, values, label=name, marker="o", markersize=3, **curve_look(number))
        axes.set(xlabel=x, ylabel=y)
        axes.grid(visible=True, alpha=0.2)
        axes.legend(frameon=False, fontsize=8)
        return _written(stem, drawing)


def _small(picture: Picture) -> Picture:
    """A picture of at most `SHOWN` pixels a side."""
    image = Image.fromarray(picture)
    image.thumbnail((SHOWN, SHOWN))
    return np.asarray(image)


def _written(stem: Path, drawing: Drawing) -> tuple[Path, ...]:
    """The figure as PNG, marked as ours, and as SVG."""
    png, svg = io.BytesIO(), io.BytesIO()
    drawing.savefig(png, format="png", dpi=DPI, metadata={"Software": Origin("plot").text})
    drawing.savefig(svg, format="svg", metadata={"Date": None})
    paths = stem.with_suffix(".png"), stem.with_suffix(".svg")
    write_result(paths[0], png.getvalue())
    write_atomic(paths[1], svg.getvalue())
    return paths
